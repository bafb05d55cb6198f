"""Coverage and width of posterior intervals: do the error bars hold the truth as often as they say?"""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.metrics.distortion import matching


def coverage(posterior, truth, level=0.9, mask=None):
    """The share of entries of truth inside their equal-tailed weighted `level` interval: a float.

    posterior: a Posterior of real samples (n, *shape).  truth: (*shape).  mask: (*shape) bool, the entries that
    count. Compare with `expected_coverage`: intervals between a few exact draws hold less than `level`. Entries of
    one image are dependent, so one image scatters more than its number of entries suggests.
    """
    low, high = _interval(posterior, truth, level, mask)
    truth = truth.to(low.device)
    return _average((low <= truth) & (truth <= high), mask)


def interval_width(posterior, level=0.9, mask=None):
    """The mean width of the equal-tailed weighted `level` intervals, in the unit of the signal: a float."""
    low, high = _interval(posterior, posterior.samples[0], level, mask)
    return _average(high - low, mask)


def expected_coverage(n, level=0.9):
    """level (n - 1) / (n + 1): what the `level` interval between n exact draws covers on average.

    The interpolated q-quantile of n draws has (q (n - 1) + 1) / (n + 1) of the law below it (David and Nagaraja
    2003): exact for uniform laws, 0.02 too low for Gaussian ones at n = 8 and 0.01 at n = 16. For weighted draws
    take n = posterior.ess, approximately.
    """
    return level * (n - 1) / (n + 1)


@dataclass(frozen=True)
class Coverage:
    """Coverage: the share of the truth inside its posterior interval, 0.9 for exact 90 % intervals of many draws."""

    card = dict(better="equal to level", unit="", complex=False, source="")

    level: float = 0.9

    def __call__(self, posterior, truth):
        return coverage(posterior, truth, self.level)


@dataclass(frozen=True)
class IntervalWidth:
    """Interval width: the mean width of the posterior intervals, in the unit of the signal."""

    card = dict(better="lower at equal coverage", unit="signal", complex=False, source="")

    level: float = 0.9

    def __call__(self, posterior, truth):
        return interval_width(posterior, self.level)


def _interval(posterior, truth, level, mask):
    if not hasattr(posterior, "samples"):
        raise BadInput(
            f"posterior is a {type(posterior).__name__}, one image has no intervals; give a wb.Posterior"
        )
    if posterior.samples.is_complex() or truth.is_complex():
        raise BadInput("coverage: complex samples have no order; use post.map(torch.abs) with truth.abs()")
    if not 0 < level < 1:
        raise BadInput(f"level = {level} should lie between 0 and 1, for example 0.9")
    matching(posterior.samples[0], truth, mask)
    return posterior.quantile(0.5 * (1 - level)), posterior.quantile(0.5 * (1 + level))


def _average(x, mask):
    x = x.to(torch.float64)
    return (x if mask is None else x[mask.to(x.device)]).mean().item()
