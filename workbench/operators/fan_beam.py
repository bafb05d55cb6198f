"""Fan-beam computed tomography: rays from one point, onto a flat or a curved detector."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from workbench.operators._planar import Planar, check, check_plane, check_source, fan
from workbench.operators._sizes import integer, number, pick, sizes
from workbench.operators.rays import Rays, joseph, siddon


def flat_detector(s, dsd):
    """(along, across) in mm from the source to the point s mm along a flat detector, dsd mm away."""
    return np.full(len(s), float(dsd)), s


def arc_detector(s, dsd):
    """(along, across) in mm from the source to the point at arc length s mm of a detector curved around the source."""
    return dsd * np.cos(s / dsd), dsd * np.sin(s / dsd)


@dataclass(frozen=True, eq=False)
class FanBeam(Planar):
    """y(t, u) = integral of x along the ray from the source at angle t to detector column u: fan-beam CT.

    x: (*, H, W), attenuation in 1/mm; row 0 is on top, x2 points up, the rotation axis is the middle of the image.
    y: (*, n_angles, detectors), line integrals without unit.
    angles: (n_angles,) in rad; the source is at dso (sin t, -cos t), columns run along (cos t, sin t), so that far
    away it is `ParallelBeam` at the same angles.  shape: (H, W).
    detectors: how many columns; column u is (u - centre) spacing mm along the detector from the ray through the axis.
    dso, dsd: distance from the source to the axis and to the detector, mm.
    spacing: of the columns on the detector, mm.  pixel: side of a pixel, mm.
    centre: the column of the ray through the axis; by default the middle, (detectors - 1) / 2.
    detector: `flat_detector` or `arc_detector` (a circle around the source).
    dtype: of x and y; of complex ones, the real and imaginary parts are projected each.
    model: how a ray meets pixels, `joseph` (linear interpolation) or `siddon` (exact lengths).

    Stored or computed on the way as in `ParallelBeam`. Raises BadInput for a geometry without meaning, such as a
    source within the circle around the image. Kak and Slaney 1988, section 3.4.
    """

    card = dict(family="tomography", linear=True, svd=False, source="Kak and Slaney 1988, sec. 3.4")

    angles: Tensor
    shape: tuple
    detectors: int
    dso: float
    dsd: float
    spacing: float = 1.0
    pixel: float = 1.0
    centre: float | None = None
    detector: Callable = flat_detector
    dtype: torch.dtype = torch.float32
    model: Callable = joseph

    def __post_init__(self):
        check(self, dso=self.dso, dsd=self.dsd, spacing=self.spacing, pixel=self.pixel)
        check_plane(self)
        check_source(self, self.shape)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        views, shape, dso = integer(rng, 1, 6), sizes(rng, 2, 1, 8), number(rng, 7, 10)
        return cls(
            pick(rng, 7 * rng.uniform(views), torch.pi / 2 * torch.arange(views)),
            shape,
            detectors=integer(rng, 1, 9),
            dso=dso,
            dsd=dso + pick(rng, 0, 6),
            spacing=number(rng, 0.5, 2),
            pixel=number(rng, 0.5, 1.2),
            centre=pick(rng, None, number(rng, 0, 8)),
            detector=pick(rng, flat_detector, arc_detector),
            dtype=dtype,
            model=pick(rng, joseph, siddon),
        )

    @cached_property
    def rays(self):
        """The `Rays` of every view and column."""
        s = (np.arange(self.detectors) - self.axis) * self.spacing
        source, towards = fan(self.angles, *self.detector(s, self.dsd), self.dso)
        return Rays.through(source.reshape(-1, 2), towards.reshape(-1, 2), self.shape, self.pixel)
