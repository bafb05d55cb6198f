"""Cone-beam computed tomography: a volume seen from a point, on a circle or a helix."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._cone import Cone
from workbench.operators._pair import apply_pair
from workbench.operators._planar import check, check_source, fan, marching, on_parts
from workbench.operators._sizes import integer, number, pick, sizes
from workbench.operators._volume import Volumetric, check_volume
from workbench.operators.fan_beam import arc_detector, flat_detector
from workbench.operators.rays import Rays


@dataclass(frozen=True, eq=False)
class ConeBeam(Volumetric):
    """y(t, v, u) = integral of x along the ray from the source at angle t to row v, column u: cone-beam CT.

    x: (*, D, H, W), attenuation in 1/mm; slice k is at height (k - (D - 1) / 2) thickness, rows and columns lie as in
    `FanBeam`.  y: (*, n_angles, rows, columns), line integrals without unit; row 0 is the lowest.
    angles: (n_angles,) in rad, the source at dso (sin t, -cos t).  shape: (D, H, W).
    detectors: (rows, columns) of the detector, whose columns are parallel to the rotation axis.
    dso, dsd: distance from the source to the axis and to the detector, mm.
    spacing: (between rows, between columns) on the detector, mm, or one number for both.
    pixel: side of a pixel within a slice, mm.  thickness: of a slice, mm, by default that of a pixel.
    centre: (row, column) of the ray that meets the axis at a right angle; by default the middle of the detector.
    heights: (n_angles,) mm of source and detector above the middle of the volume: a helix, pitch * turns; default 0.
    detector: `flat_detector`, or `arc_detector` (a cylinder around the source, as clinical scanners have).
    dtype: of x and y; of complex ones, the real and imaginary parts are projected each.

    By Joseph's method, bilinear in each plane that a ray crosses. The adjoint is the exact transpose, and neither
    needs a matrix: a copy of x and one of y, on the CPU by numba (as many threads as torch uses), on a GPU by cupy.
    Not differentiable in the geometry. Raises BadInput for a geometry without meaning, a source within the circle
    around the image, or rays steeper than 45 degrees. Joseph 1982; Kak and Slaney 1988, section 3.6.
    """

    card = dict(
        family="tomography", linear=True, svd=False, source="Joseph 1982; Kak and Slaney 1988, sec. 3.6"
    )

    angles: Tensor
    shape: tuple
    detectors: tuple
    dso: float
    dsd: float
    spacing: float | tuple = 1.0
    pixel: float = 1.0
    thickness: float | None = None
    centre: tuple | None = None
    heights: Tensor | None = None
    detector: Callable = flat_detector
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_volume(self)
        check(self, dso=self.dso, dsd=self.dsd, pixel=self.pixel)
        check_source(self, self.shape[1:])
        heights = self.heights
        if heights is not None and (
            not isinstance(heights, Tensor)
            or heights.shape != self.angles.shape
            or not heights.isfinite().all()
        ):
            got = f"shape {tuple(heights.shape)}" if isinstance(heights, Tensor) else type(heights).__name__
            raise BadInput(
                f"ConeBeam: heights has {got}, it should be a tensor ({len(self.angles)},), finite mm per view"
            )
        if self.cone.steepest > 1:
            raise BadInput(
                f"ConeBeam: rays climb {self.cone.steepest:.3g} mm per mm, the limit is 1 (45 degrees); use fewer rows, a smaller "
                f"spacing or a larger dsd"
            )

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        views, shape, detectors = integer(rng, 1, 3), sizes(rng, 3, 1, 4), sizes(rng, 2, 1, 4)
        dso = number(rng, 5, 8)
        return cls(
            pick(rng, 7 * rng.uniform(views), torch.pi / 2 * torch.arange(views)),
            shape,
            detectors,
            dso,
            dsd=dso + pick(rng, 0, 5),
            spacing=pick(rng, 0.9, (0.8, 1.1)),
            pixel=number(rng, 0.5, 1.5),
            thickness=pick(rng, None, 1.1),
            centre=pick(rng, None, tuple((3 * rng.uniform(2)).tolist())),
            heights=pick(rng, None, rng.uniform(views) - 0.5),
            detector=pick(rng, flat_detector, arc_detector),
            dtype=dtype,
        )

    @cached_property
    def cone(self):
        """The rays, a detector column each, and how they climb from row to row."""
        s = (np.arange(self.detectors[1]) - self.middle[1]) * self.spacings[1]
        along, across = self.detector(s, self.dsd)
        source, towards = (v.reshape(-1, 2) for v in fan(self.angles, along, across, self.dso))
        rays = Rays.through(source, towards, self.in_shape[1:], self.pixel)
        zeros = np.zeros(len(self.angles))
        heights = zeros if self.heights is None else self.heights.double().cpu().numpy()
        base = np.repeat(heights / self.slice_thickness + (self.shape[0] - 1) / 2, len(s))
        run = np.hypot(*towards.T) / self.slice_thickness
        rise = self.spacings[0] / self.slice_thickness
        return Cone(rays, run, base, -self.middle[0] * rise, rise, self.detectors[0], self.shape[0])

    def forward(self, x):
        return on_parts(x, lambda v: apply_pair(v, self._project, self._back))

    def adjoint(self, y):
        return on_parts(y, lambda v: apply_pair(v, self._back, self._project))

    def _project(self, x):
        y = x.new_empty(prod(x.shape[:-3]), *self.out_shape)
        for volume, views in zip(x.reshape(len(y), *self.in_shape), y, strict=True):
            columns = marching(x.device).cone_project(self.cone, volume.movedim(0, -1).contiguous())
            views.copy_(columns.unflatten(0, (len(views), -1)).mT)
        return y.reshape(*x.shape[:-3], *self.out_shape)

    def _back(self, y):
        x = y.new_empty(prod(y.shape[:-3]), *self.in_shape)
        for volume, views in zip(x, y.reshape(len(x), *self.out_shape), strict=True):
            columns = views.mT.contiguous().flatten(0, 1)
            volume.copy_(marching(y.device).cone_back(self.cone, columns).movedim(-1, 0))
        return x.reshape(*y.shape[:-3], *self.in_shape)

    def to(self, device=None, dtype=None):
        """The same operator on `device` and in the precision of `dtype`; angles and heights keep theirs."""
        moved = super().to(device, dtype)
        if moved is self or self.heights is None:
            return moved
        return replace(moved, heights=self.heights.to(moved.device))
