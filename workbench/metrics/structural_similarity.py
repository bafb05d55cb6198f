"""Structural similarity: agreement of local means, contrasts and patterns with the truth."""

from dataclasses import dataclass

import torch
from torch.nn.functional import conv2d

from workbench._errors import BadInput
from workbench.metrics.distortion import best, matching

# Wang et al. 2004: a Gaussian window of 11 x 11, standard deviation 1.5
WIDTH, RADIUS, K1, K2 = 1.5, 5, 0.01, 0.03


def ssim(x, truth, peak=None):
    """mean of (2 mx mt + c1)(2 cxt + c2) / ((mx^2 + mt^2 + c1)(vx + vt + c2)) over windows: (*batch,) float64.

    m, v, c: Gaussian-weighted means, variances and covariance in 11 x 11 windows that lie inside the image,
    c1 = (0.01 peak)^2, c2 = (0.03 peak)^2.  x: (*batch, *shape), truth: (*shape) real, the last two axes an image of
    at least 11 x 11, further axes are averaged over.  peak: default max |truth|. Wang, Bovik, Sheikh, Simoncelli 2004.
    """
    x, t = _images(x, truth), _images(truth, truth)
    peak = t.abs().max().item() if peak is None else peak
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    mx, mt = _window(x), _window(t)
    vx, vt, c = _window(x * x) - mx * mx, _window(t * t) - mt * mt, _window(x * t) - mx * mt
    s = (2 * mx * mt + c1) * (2 * c + c2) / ((mx**2 + mt**2 + c1) * (vx + vt + c2))
    return s.flatten(s.ndim - truth.ndim).mean(-1)


@dataclass(frozen=True)
class SSIM:
    """Structural similarity of the posterior mean, 1 where it equals the truth: of a Posterior or a real image."""

    card = dict(better="higher", unit="", complex=False, source="Wang et al. 2004")

    peak: float | None = None

    def __call__(self, estimate, truth):
        return ssim(best(estimate), truth, self.peak).item()


def _images(x, truth):
    """x in double precision, checked."""
    if x.is_complex() or truth.is_complex():
        raise BadInput("ssim: complex images have no order of brightness; use x.abs() and truth.abs()")
    if truth.ndim < 2 or min(truth.shape[-2:]) < 2 * RADIUS + 1:
        raise BadInput(
            f"ssim: an image is {tuple(truth.shape)}, smaller than its window of 11 x 11; use nrmse"
        )
    return matching(x, truth).double()


def _window(x):
    """The Gaussian-weighted mean around each pixel whose window lies inside the image."""
    offset = torch.arange(-RADIUS, RADIUS + 1, dtype=x.dtype, device=x.device)
    g = torch.softmax(-0.5 * (offset / WIDTH) ** 2, 0)
    rows = x.reshape(-1, 1, *x.shape[-2:])
    out = conv2d(conv2d(rows, g[None, None, :, None]), g[None, None, None, :])
    return out.reshape(*x.shape[:-2], *out.shape[-2:])
