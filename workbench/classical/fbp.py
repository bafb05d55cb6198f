"""Filtered back-projection, the inverse of tomography in a plane."""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import torch

from workbench._errors import BadInput
from workbench.classical._fan import fan_back_projection
from workbench.classical._ramp import ramp_filtered
from workbench.operators._operator import checked
from workbench.operators.fan_beam import FanBeam
from workbench.operators.radon import ParallelBeam


def ram_lak(f):
    """1: the ramp filter up to the Nyquist frequency, for clean data. f: frequency / Nyquist, in [0, 1]."""
    return torch.ones_like(f)


def shepp_logan(f):
    """sin(pi f / 2) / (pi f / 2): a little less of the fine detail. f: frequency / Nyquist, in [0, 1]."""
    return torch.sinc(f / 2)


def hann(f):
    """cos^2(pi f / 2): smooth, for noisy data. f: frequency / Nyquist, in [0, 1]."""
    return torch.cos(pi / 2 * f) ** 2


@dataclass(frozen=True)
class FBP:
    """x = sum_t w_t (ramp * y_t)(x1 cos t + x2 sin t): filtered back-projection, on the scale of x (1/mm).

    window: gain as a function of frequency / Nyquist; `ram_lak`, `shepp_logan`, `hann`, or any other callable.
    Kak and Slaney 1988, section 3.3.
    """

    card = dict(kind="classical", family="tomography", source="Kak and Slaney 1988, ch. 3")

    window: Callable = ram_lak

    def reconstruct(self, problem):
        """The image (*, H, W) of problem.y: (*, n_angles, detectors); problem.A a ParallelBeam or a FanBeam."""
        return filtered_back_projection(problem.A, problem.y, self.window)


def filtered_back_projection(A, y, window=ram_lak):
    """The image (*, H, W) in 1/mm of y: (*, n_angles, detectors), its views weighted by their angular share.

    Raises BadInput unless A is a ParallelBeam or a FanBeam and y fits it.
    """
    if not isinstance(A, ParallelBeam | FanBeam):
        raise BadInput(
            f"FBP: A is a {type(A).__name__}, it should be a ParallelBeam or a FanBeam (and for a ConeBeam, use FDK); "
            f"give the operator of the scan itself"
        )
    checked(y, A.out_shape, A.out_dtype, "FBP")
    if isinstance(A, FanBeam):
        return fan_back_projection(A, y, window)
    weights = angular_shares(A.angles).to(y.dtype)
    return back_projected(A, weights[:, None] * ramp_filtered(y, A.spacing, window))


def angular_shares(angles):
    """The part of the half turn each view stands for: half the gap to either neighbour, modulo pi; (n,) in rad.

    They sum to pi. Views at t and t + pi see the same lines, and equal views share. One gap that is more than
    four times the mean of the others is a missing wedge (limited angle), not a part of its two neighbours: it
    counts as that mean.
    """
    t, order = (angles.double() % pi).sort()
    gaps = torch.cat([t[1:], t[:1] + pi]) - t  # from each view to the next one
    widest = gaps.argmax()
    others = (pi - gaps[widest]) / max(len(t) - 1, 1)
    if len(t) > 1 and gaps[widest] > 4 * others > 0:
        gaps[widest] = others
    return torch.empty_like(gaps).scatter_(0, order, (gaps + gaps.roll(1)) / 2)


def back_projected(A, q):
    """sum_t q_t(x1 cos t + x2 sin t) on the pixels of A, linear between detectors and 0 beyond: (*, H, W).

    Each pixel reads one value per view, unlike A^H, whose weights per pixel vary with the angle.
    """
    H, W = A.shape
    x1 = (torch.arange(W, dtype=torch.float64, device=q.device) - (W - 1) / 2) * A.pixel
    x2 = ((H - 1) / 2 - torch.arange(H, dtype=torch.float64, device=q.device)) * A.pixel
    padded = torch.nn.functional.pad(q, (1, 1))
    image = q.new_zeros(*q.shape[:-2], H, W)
    for i, t in enumerate(A.angles.double().to(q.device)):
        at = (x1 * t.cos() + x2[:, None] * t.sin()) / A.spacing + A.axis + 1
        low = at.clamp(0, A.detectors).floor().long()
        f = (at.clamp(0, A.detectors + 1) - low).to(q.dtype.to_real())
        image += (1 - f) * padded[..., i, :][..., low] + f * padded[..., i, :][..., low + 1]
    return image
