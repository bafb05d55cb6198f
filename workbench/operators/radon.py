"""Parallel-beam computed tomography: line integrals of an attenuation image."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from warnings import catch_warnings, simplefilter

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
    angles: (n_angles,) in rad, any order and spacing.  shape: (H, W).
    detectors: how many columns; column u sees s = (u - centre) spacing.
    spacing: of the detector columns, mm.  pixel: side of a pixel, mm.
    centre: detector column onto which the rotation axis projects; by default the middle, (detectors - 1) / 2.
    dtype: of x and y, float32 by default; of complex ones, the real and imaginary parts are projected each.

    Joseph 1982 (IEEE Trans. Med. Imaging 1, 192): a ray steps along the axis it is closer to and interpolates
    linearly across it. The matrix and its transpose are built on first use and kept on the device of `angles`;
    a batch shares one pass over them. Not differentiable in the geometry. Raises BadInput for a geometry
    without meaning, and where the two matrices would exceed 2 GB: they take about
    29 H W n_angles pixel / spacing bytes in float32.
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
        usable = isinstance(angles, Tensor) and angles.ndim == 1 and len(angles) > 0
        if not usable or not angles.isfinite().all():
            got = tuple(angles.shape) if isinstance(angles, Tensor) else type(angles).__name__
            raise BadInput(
                f"ParallelBeam: angles is {got}, it should be a tensor (n_angles,) of finite numbers in rad"
            )
        if len(shape) != 2 or min(shape) < 1:
            raise BadInput(
                f"ParallelBeam: shape = {tuple(shape)} should be (H, W), the rows and columns of the image"
            )
        if self.detectors < 1:
            raise BadInput(f"ParallelBeam: detectors = {self.detectors} should be at least 1")
        for name in ("spacing", "pixel"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BadInput(
                    f"ParallelBeam: {name} = {getattr(self, name)} should be a length in mm, above 0"
                )
        if not np.isfinite(self.axis):
            raise BadInput(
                f"ParallelBeam: centre = {self.centre} should be a detector column, a finite number, or None"
            )
        if self.dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128):
            raise BadInput(
                f"ParallelBeam: dtype = {self.dtype} should be float32, float64, complex64 or complex128"
            )
        if self.memory > BUDGET:
            raise BadInput(
                f"ParallelBeam: {len(angles)} angles x {self.detectors} detectors on {shape[0]} x {shape[1]} pixels "
                f"need {self.memory / 1e9:.1f} GB for A and A^T, the limit is {BUDGET / 1e9:g} GB; bin the detector "
                f"columns and the pixels by 2, or take fewer angles"
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
    def memory(self):
        """The bytes of A and A^T, closely: two entries per ray and step, for the rays that meet the image."""
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

        transpose = csr_array(_joseph(self), shape=(prod(self.out_shape), prod(self.in_shape))).T.tocsr()
        pair = transpose.T.tocsr(), transpose  # each sorted within its rows
        return tuple(_tensor(M, self.device) for M in pair)

    def forward(self, x):
        A, At = self.matrices
        return _on_parts(x, lambda v: _paired(v, A, At).reshape(*v.shape[:-2], *self.out_shape))

    def adjoint(self, y):
        A, At = self.matrices
        return _on_parts(y, lambda v: _paired(v, At, A).reshape(*v.shape[:-2], *self.in_shape))


def _on_parts(x, function):
    """A real linear function of x, or of its real and imaginary parts as one more batch axis."""
    if not x.is_complex():
        return function(x)
    real, imaginary = function(torch.stack([x.real, x.imag]))
    return torch.complex(real, imaginary)


def _paired(v, M, Mt):
    """M v for v: (*batch, a, b), as (rows of the batch, rows of M); its gradient is Mt, kept beside it."""
    rows = v.reshape(prod(v.shape[:-2]), M.shape[1])
    return apply_pair(rows, lambda u: _product(M, u), lambda u: _product(Mt, u))


def _product(M, rows):
    """M on each of `rows`: (n, columns of M). Batch rows share one pass over M, which is what costs."""
    return (M @ rows[0])[None] if len(rows) == 1 else (M @ rows.mT).mT


def _tensor(M, device):
    """A scipy CSR array as a torch one."""
    with catch_warnings():
        simplefilter("ignore", UserWarning)  # torch calls its CSR layout a beta
        parts = (torch.from_numpy(part).to(device) for part in (M.indptr, M.indices, M.data))
        return torch.sparse_csr_tensor(*parts, size=M.shape)


def _joseph(A):
    """(weights in mm, pixels, row pointers) of every ray, in the order of (angle, detector)."""
    s = (np.arange(A.detectors) - A.axis) * A.spacing / A.pixel
    real = torch.empty((), dtype=A.dtype.to_real()).numpy().dtype
    views = [_view(t, s, A.shape, A.pixel, real) for t in A.angles.tolist()]
    weights, pixels, counts = (np.concatenate(parts) for parts in zip(*views, strict=True))
    return weights, pixels, np.concatenate([[0], counts.cumsum()]).astype(np.int32)


def _view(t, s, shape, pixel, real):
    """Weights, flat pixel indices and entries per ray of the rays at angle t and offsets s (in pixels).

    A ray nearer to the vertical crosses each row once, at x1 = (s - x2 sin t) / cos t, and is given the two
    pixels beside that point; its length in a row is pixel / |cos t|. Rows and columns change roles for the others.
    """
    (H, W), c, d = shape, np.cos(t), np.sin(t)
    if abs(c) >= abs(d):
        x2 = (H - 1) / 2 - np.arange(H)
        at, wide, along, across, length = (s[:, None] - x2 * d) / c + (W - 1) / 2, W, W, 1, pixel / abs(c)
    else:
        x1 = np.arange(W) - (W - 1) / 2
        at, wide, along, across, length = (H - 1) / 2 - (s[:, None] - x1 * c) / d, H, 1, W, pixel / abs(d)
    low = np.floor(at)
    near = np.stack([low, low + 1], -1).astype(np.int32)
    weights = np.stack([1 - (at - low), at - low], -1) * length
    kept = (near >= 0) & (near < wide) & (weights > 0)
    pixels = near * np.int32(across) + (np.arange(at.shape[1], dtype=np.int32) * np.int32(along))[:, None]
    return weights[kept].astype(real), pixels[kept], kept.sum((1, 2))
