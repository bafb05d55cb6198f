"""Parallel-beam tomography of a volume, as at a synchrotron or in an electron microscope."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workbench.operators._sizes import integer, number, pick, sizes
from workbench.operators._volume import Volumetric, check_volume
from workbench.operators.radon import ParallelBeam
from workbench.operators.rays import joseph, siddon


@dataclass(frozen=True, eq=False)
class ParallelBeam3D(Volumetric):
    """y(t, v, s) = integral of x at height z_v along x1 cos(t) + x2 sin(t) = s: parallel-beam CT of a volume.

    x: (*, D, H, W), attenuation in 1/mm; slice k is at height (k - (D - 1) / 2) thickness, rows and columns lie as in
    `ParallelBeam`.  y: (*, n_angles, rows, columns), line integrals without unit; row 0 is the lowest.
    angles: (n_angles,) in rad.  shape: (D, H, W).  detectors: (rows, columns).
    spacing: (between rows, between columns) of the detector, mm, or one number for both.
    pixel: side of a pixel within a slice, mm.  thickness: of a slice, mm, by default that of a pixel.
    centre: (row, column) of the ray through the middle of the volume; by default the middle of the detector.
    dtype, model: as in `ParallelBeam`.

    The rays are horizontal, so this is the tomograph of one plane on the slices as a batch, followed by linear
    interpolation from slices to detector rows (nothing to do where they agree). Raises BadInput as `ParallelBeam`.
    """

    card = dict(family="tomography", linear=True, svd=False, source="Joseph 1982; Siddon 1985")

    angles: Tensor
    shape: tuple
    detectors: tuple
    spacing: float | tuple = 1.0
    pixel: float = 1.0
    thickness: float | None = None
    centre: tuple | None = None
    dtype: torch.dtype = torch.float32
    model: Callable = joseph

    def __post_init__(self):
        check_volume(self)
        self.plane  # noqa: B018  checks the rest

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        views = integer(rng, 1, 4)
        return cls(
            pick(rng, 4 * rng.uniform(views), torch.pi / 2 * torch.arange(views)),
            sizes(rng, 3, 1, 4),
            sizes(rng, 2, 1, 5),
            spacing=pick(rng, 1.0, (0.8, 1.2)),
            pixel=number(rng, 0.5, 1.5),
            thickness=pick(rng, None, 1.1),
            centre=pick(rng, None, tuple((4 * rng.uniform(2)).tolist())),
            dtype=dtype,
            model=pick(rng, joseph, siddon),
        )

    @cached_property
    def plane(self):
        """The tomograph of one slice."""
        columns, spacing, centre = self.detectors[1], self.spacings[1], self.middle[1]
        return ParallelBeam(
            self.angles, self.shape[1:], columns, spacing, self.pixel, centre, self.dtype, self.model
        )

    @cached_property
    def between(self):
        """(rows, D): the weights of the slices in each detector row, by linear interpolation, 0 beyond the volume."""
        (D, _, _), (rows, _) = self.shape, self.detectors
        at = (torch.arange(rows, dtype=torch.float64) - self.middle[0]) * self.spacings[
            0
        ] / self.slice_thickness + (D - 1) / 2
        weights = (1 - (at[:, None] - torch.arange(D)).abs()).clamp_min(0)
        return weights.to(self.device, self.dtype)

    @cached_property
    def aligned(self):
        """Whether each detector row sees one slice, its own."""
        return self.between.shape[0] == self.between.shape[1] and bool((self.between.diagonal() == 1).all())

    def forward(self, x):
        y = self.plane.forward(x)
        return (
            y if self.aligned else torch.tensordot(self.between, y, ([1], [y.ndim - 3])).movedim(0, -3)
        ).transpose(-3, -2)

    def adjoint(self, y):
        y = y.transpose(-3, -2)
        return self.plane.adjoint(
            y if self.aligned else torch.tensordot(self.between, y, ([0], [y.ndim - 3])).movedim(0, -3)
        )
