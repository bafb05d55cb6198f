"""Parallel-beam computed tomography: line integrals of an attenuation image."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from workbench.operators._planar import Planar, check, check_plane
from workbench.operators._sizes import integer, number, pick, sizes
from workbench.operators.rays import Rays, joseph, siddon


@dataclass(frozen=True, eq=False)
class ParallelBeam(Planar):
    """y(t, s) = integral of x along the line x1 cos(t) + x2 sin(t) = s: parallel-beam CT.

    x: (*, H, W), attenuation in 1/mm; row 0 is on top, x2 points up, the origin is the middle of the image.
    y: (*, n_angles, detectors), line integrals without unit.
    angles: (n_angles,) in rad, any order and spacing.  shape: (H, W).
    detectors: how many columns; column u sees s = (u - centre) spacing.
    spacing: of the detector columns, mm.  pixel: side of a pixel, mm.
    centre: detector column onto which the rotation axis projects; by default the middle, (detectors - 1) / 2.
    dtype: of x and y, float32 by default; of complex ones, the real and imaginary parts are projected each.
    model: how a ray meets pixels, `joseph` (linear interpolation) or `siddon` (exact lengths).

    The matrix and its transpose are built on first use and kept on the device of `angles`, about
    29 H W n_angles pixel / spacing bytes in float32 (`memory`); beyond 2 GB the same weights are computed on the way
    instead, on the CPU by numba and on a GPU by cupy. A batch shares one pass over them. Not differentiable in the
    geometry. Raises BadInput for a geometry without meaning.
    """

    card = dict(family="tomography", linear=True, svd=False, source="Joseph 1982; Siddon 1985")

    angles: Tensor
    shape: tuple
    detectors: int
    spacing: float = 1.0
    pixel: float = 1.0
    centre: float | None = None
    dtype: torch.dtype = torch.float32
    model: Callable = joseph

    def __post_init__(self):
        check(self, spacing=self.spacing, pixel=self.pixel)
        check_plane(self)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        views = integer(rng, 1, 6)
        return cls(
            pick(rng, 4 * rng.uniform(views), torch.pi / 2 * torch.arange(views)),
            sizes(rng, 2, 1, 8),
            detectors=integer(rng, 1, 10),
            spacing=number(rng, 0.5, 2),
            pixel=number(rng, 0.5, 2),
            centre=pick(rng, None, number(rng, 0, 9)),
            dtype=dtype,
            model=pick(rng, joseph, siddon),
        )

    @cached_property
    def rays(self):
        """The `Rays` of every view and column: through s (cos t, sin t), along (-sin t, cos t)."""
        s = (np.arange(self.detectors) - self.axis) * self.spacing
        t = self.angles.double().cpu().numpy()[:, None]
        normal, along = np.stack([np.cos(t), np.sin(t)], -1), np.stack([-np.sin(t), np.cos(t)], -1)
        points = s[:, None] * normal
        return Rays.through(
            points.reshape(-1, 2), np.broadcast_to(along, points.shape).reshape(-1, 2), self.shape, self.pixel
        )
