"""Parallel-beam computed tomography: line integrals of an attenuation image."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import pi, prod

import numpy as np
import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._pair import apply_pair

BUDGET = 2e9  # bytes of A and A^T together


@dataclass(frozen=True, eq=False)
class ParallelBeam(Linear):
    """y(t, s) = integral of x along the line x1 cos(t) + x2 sin(t) = s: parallel-beam CT, by Joseph's method.

    x: (*, H, W), attenuation in 1/mm; row 0 is on top, x2 points up, the origin is the middle of the image.
    y: (*, n_angles, detectors), line integrals without unit.
    angles: (n_angles,) in rad, any order and spacing.  detectors: columns; column u sees s = (u - centre) spacing.
    shape: (H, W).  spacing: of the detector columns, mm.  pixel: side of a pixel, mm.
    centre: detector column onto which the rotation axis projects, a float; by default the middle, (detectors - 1) / 2.
    dtype: of x and y, float32 by default; of complex ones, the real and imaginary parts are projected each.

    Joseph 1982 (IEEE Trans. Med. Imaging 1, 192): a ray steps along the axis it is closer to and interpolates
    linearly across it. The matrix and its transpose are built on first use and kept on the device of `angles`;
    a batch shares one pass over them. Not differentiable in the geometry. Raises BadInput for a geometry without
    meaning, and where the two matrices would exceed 2 GB: about 29 H W n_angles pixel / spacing bytes in float32.
    """

    card = dict(family="tomography", linear=True, svd=False, source="Joseph 1982")

    angles: Tensor
    shape: tuple
    detectors: int
    spacing: float = 1.0
    pixel: float = 1.0
    centre: float | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        angles, shape = self.angles, self.shape
        if not isinstance(angles, Tensor) or angles.ndim != 1 or not len(angles) or not angles.isfinite().all():
            got = tuple(angles.shape) if isinstance(angles, Tensor) else type(angles).__name__
            raise BadInput(f"ParallelBeam: angles is {got}, it should be a tensor (n_angles,) of finite numbers in rad")
        if len(shape) != 2 or min(shape) < 1:
            raise BadInput(f"ParallelBeam: shape = {tuple(shape)} should be (H, W), the rows and columns of the image")
        if self.detectors < 1:
            raise BadInput(f"ParallelBeam: detectors = {self.detectors} should be at least 1")
        for name in ("spacing", "pixel"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BadInput(f"ParallelBeam: {name} = {getattr(self, name)} should be a length in mm, above 0")
        if self.bytes > BUDGET:
            raise BadInput(
                f"ParallelBeam: {len(angles)} angles x {self.detectors} detectors on {shape[0]} x {shape[1]} pixels need "
                f"{self.bytes / 1e9:.1f} GB for A and A^T, the limit is {BUDGET / 1e9:g} GB; bin the detector columns "
                f"and the pixels by 2, or take fewer angles"
            )

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: (len(self.angles), self.detectors))
    in_dtype = out_dtype = property(lambda self: self.dtype)
    axis = property(lambda self: (self.detectors - 1) / 2 if self.centre is None else self.centre)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        angles = torch.cumsum(0.1 + 0.4 * rng.uniform(7), 0)
        return cls(angles, (6, 9), detectors=11, spacing=1.2, pixel=0.9, centre=4.3, dtype=dtype)

    @property
    def bytes(self):
        """The memory of A and A^T: two entries per ray and step, for the rays that meet the image; a close estimate."""
        (H, W), t = self.shape, self.angles.double()
        steep = t.cos().abs() >= t.sin().abs()
        steps, across = torch.where(steep, H, W), torch.where(steep, W, H)
        rays = (across + 1) * torch.maximum(t.cos().abs(), t.sin().abs()) * self.pixel / self.spacing
        nnz = (2 * steps * rays.clamp_max(self.detectors)).sum().item()
        return 2 * nnz * (4 + torch.empty((), dtype=self.dtype.to_real()).element_size())

    def to(self, device=None, dtype=None):
        """The same operator on `device` and in the precision of `dtype`; the angles keep theirs."""
        moved = super().to(device, dtype)
        if moved.device == self.device and moved.dtype == self.dtype:
            return self
        return replace(moved, angles=self.angles.to(moved.device))

    @cached_property
    def matrices(self):
        """A: (n_angles detectors, H W) and A^T, real sparse CSR tensors with int32 indices."""
        from scipy.sparse import csr_array

        A = csr_array(_joseph(self), shape=(prod(self.out_shape), prod(self.in_shape)))
        return tuple(_tensor(M, self.device) for M in (A, A.T.tocsr()))

    def forward(self, x):
        A, At = self.matrices
        return _real_linear(x, A, At, self.in_shape, self.out_shape)

    def adjoint(self, y):
        A, At = self.matrices
        return _real_linear(y, At, A, self.out_shape, self.in_shape)


def _joseph(A):
    """The rays' weights in mm as (values, columns, row pointers), row by row, columns ascending."""
    real = torch.empty((), dtype=A.dtype.to_real()).numpy().dtype
    s = (np.arange(A.detectors) - A.axis) * A.spacing / A.pixel
    parts = [_view(t, s, A.shape) for t in A.angles.double().tolist()]
    values = np.concatenate([v for v, _, _ in parts]).astype(real) * real.type(A.pixel)
    counts = np.concatenate([n for _, _, n in parts])
    pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return values, np.concatenate([c for _, c, _ in parts]), pointers
