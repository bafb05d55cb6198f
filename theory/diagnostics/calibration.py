"""Whether posteriors mean what they say, from many pairs of a truth and draws given its data."""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch

from theory.diagnostics._estimate import Estimate, averaged
from theory.diagnostics._field import coordinates
from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True, eq=False)
class Covered(Estimate):
    """value: share of truths inside.  expected: that of exact draws, a number near `level` that n draws allow.
    z: (value - expected) / error; below -3 the posteriors are too sure, or biased."""

    name: ClassVar[str] = "coverage"

    expected: float
    z: float


def coverage(draws, truths, level=0.9):
    """The share of entries of the truth within the central `level` of its draws, by ranks: a Covered.

    draws: (N, n, *shape), n draws for each of N truths: (N, *shape), real or complex (real and imaginary parts apart).
    Of n + 1 ranks the outer k on each side are outside, so that exact draws cover (n + 1 - 2 k) / (n + 1) whatever the
    law. The error is over pairs, since entries of one signal depend on each other.
    """
    u, v, n = _pairs(draws, truths)
    outside = round((1 - _level(level)) / 2 * (n + 1))
    if outside == 0:
        raise BadInput(
            f"coverage: {n} draws cannot resolve level = {level}; take {round(2 / (1 - level))} or more"
        )
    ranks = (u < v[:, None]).sum(1)
    inside = ((ranks >= outside) & (ranks <= n - outside)).double().mean(1)
    return _covered(inside, (n + 1 - 2 * outside) / (n + 1))


def hpd_coverage(log_prob_draws, log_prob_truths, level=0.9):
    """The share of truths in the region of highest posterior density that holds `level`: a Covered.

    log_prob_draws: (N, n) log p(draw | data), log_prob_truths: (N,), up to a constant of each pair. The truth is inside
    if fewer than k = round(level (n + 1)) draws are more likely; exact draws give k / (n + 1). Hyndman 1996.
    """
    n = log_prob_draws.shape[1]
    k = round(_level(level) * (n + 1))
    if k > n:
        raise BadInput(
            f"hpd_coverage: {n} draws cannot resolve level = {level}; take {round(1 / (1 - level))} or more"
        )
    above = (log_prob_draws > log_prob_truths[:, None]).sum(1)
    return _covered((above < k).double(), k / (n + 1))


@dataclass(frozen=True, eq=False)
class Uniformity(Estimate):
    """value: largest |ECDF - u| over u and coordinates.  band: what exact posteriors stay below with chance 95 %, over
    all coordinates together.  p_value: of the value, Bonferroni over coordinates.  chi2_p_value: the smallest p-value
    of the rank histograms, Bonferroni.  positions: (N, d) in (0, 1), uniform for exact draws: mean above 1/2 where truths
    lie above the draws, crowded at both ends where the draws are too narrow.  counts: (d, bins)."""

    name: ClassVar[str] = "distance from uniform ranks"

    band: float
    p_value: float
    chi2_p_value: float
    positions: torch.Tensor
    counts: torch.Tensor

    @property
    def calibrated(self):
        """Whether the ECDF stays inside its band."""
        return self.value <= self.band


def sbc(draws, truths, bins=20, seed=0):
    """Ranks of truths among their draws, entry by entry, against the uniform law: a Uniformity.

    draws: (N, n, *shape), truths: (N, *shape) drawn from the prior, with draws given the data of each; thinned until
    independent. Ranks are spread over ((r, r + 1) / (n + 1)) at random, so that the Kolmogorov band is exact.
    Talts et al. 2018; Cook, Gelman, Rubin 2006. For other quantities pass f(draws), f(truths).
    """
    u, v, n = _pairs(draws, truths)
    below, ties = (u < v[:, None]).sum(1), (u == v[:, None]).sum(1)
    return _uniformity(below, ties, n, bins, seed)


def sbc_ranks(ranks, n, bins=20, seed=0):
    """`sbc` of ranks: (N,) or (N, d) integers from 0 to n, that another program counted among n draws."""
    ranks = ranks[:, None] if ranks.ndim == 1 else ranks
    if not 0 <= ranks.min() <= ranks.max() <= n:
        raise BadInput(
            f"ranks lie from {int(ranks.min())} to {int(ranks.max())}; they should from 0 to n = {n}"
        )
    return _uniformity(ranks, torch.zeros_like(ranks), n, bins, seed)


@dataclass(frozen=True, eq=False)
class TARP(Uniformity):
    """value: largest |expected coverage - level|.  The rest as in Uniformity, of one position a pair."""

    name: ClassVar[str] = "TARP gap"

    def curve(self, levels):
        """Expected coverage probability at credibility `levels`: (k,) -> (k,)."""
        return (self.positions < levels).double().mean(0)


def tarp(draws, truths, references=None, bins=20, seed=0):
    """Coverage of balls around random points: the share of draws nearer to the point than the truth is uniform: a TARP.

    draws: (N, n, *shape), truths: (N, *shape).  references: (N, *shape) points that do not know the truths; None for
    uniform ones in the box of the truths. If it passes for every law of the points, those that depend on the data
    included, the posterior is exact. Sees the joint law, dependence between entries included. Lemos et al. 2023.
    """
    u, v, n = _pairs(draws, truths)
    if references is None:
        low, high = v.amin(0), v.amax(0)
        r = low + (high - low) * Rng(seed, "references").uniform(*v.shape).to(v)
    else:
        r = coordinates(references).to(v)
    mine, theirs = (v - r).norm(dim=1), (u - r[:, None]).norm(dim=2)
    below, ties = (theirs < mine[:, None]).sum(1), (theirs == mine[:, None]).sum(1)
    return TARP(**vars(_uniformity(below[:, None], ties[:, None], n, bins, seed)))


@dataclass(frozen=True, eq=False)
class CalibrationError(Estimate):
    """value: sum_b (n_b / n) |accuracy - confidence|.  floor: its mean for labels drawn from the probabilities
    themselves, not 0 since bins are finite; error: the standard deviation of those."""

    name: ClassVar[str] = "expected calibration error"

    floor: float

    @property
    def at_floor(self):
        """Whether the value is within two standard errors of the floor."""
        return self.value <= self.floor + 2 * self.error


def expected_calibration_error(probabilities, labels, bins=15, repeats=50, seed=0):
    """How far the accuracy of the likeliest class is from its probability, in `bins` of equal mass: a CalibrationError.

    probabilities: (n, K), rows that sum to 1; labels: (n,) integers.  Naeini, Cooper, Hauskrecht 2015; Guo et al. 2017.
    """
    if probabilities.ndim != 2 or not torch.allclose(
        probabilities.sum(1), torch.ones(len(probabilities)).to(probabilities), atol=1e-4
    ):
        raise BadInput(f"probabilities {tuple(probabilities.shape)} should be (n, K), rows that sum to 1")
    p = probabilities.double()
    confidence, choice = p.max(1)
    value = _binned_gap(confidence, choice == labels.to(choice), bins)
    edges, nulls = p.cumsum(1), []
    for i in range(repeats):
        u = Rng(seed, "labels").at(i).uniform(len(p), 1).to(p)
        drawn = (u > edges).sum(1).clamp_max(p.shape[1] - 1)
        nulls.append(_binned_gap(confidence, choice == drawn, bins))
    nulls = torch.tensor(nulls, dtype=torch.float64)
    return CalibrationError(value, nulls.std().item(), len(p), None, nulls.mean().item())


def _pairs(draws, truths):
    """Draws (N, n, d) and truths (N, d), real, and n."""
    if tuple(draws.shape[:1] + draws.shape[2:]) != tuple(truths.shape) or draws.shape[1] < 2:
        raise BadInput(
            f"draws are {tuple(draws.shape)} and truths {tuple(truths.shape)}; they should be (N, n, *shape), n at "
            f"least 2, and (N, *shape)"
        )
    if truths.ndim == 1:
        draws, truths = draws[..., None], truths[:, None]
    u = coordinates(draws.flatten(0, 1)).reshape(*draws.shape[:2], -1)
    return u, coordinates(truths).to(u), draws.shape[1]


def _level(level):
    if not 0 < level < 1:
        raise BadInput(f"level = {level} should lie between 0 and 1")
    return level


def _covered(inside, expected):
    value, error = averaged(inside)
    error = max(error, sqrt(expected * (1 - expected) / len(inside)) if error == 0 else error)
    return Covered(value, error, len(inside), None, expected, (value - expected) / error)


def _uniformity(below, ties, n, bins, seed):
    """below, ties: (N, d) numbers of the n draws that are less than the truth, and equal to it."""
    from scipy.stats import chi2, kstwo

    N, d = below.shape
    spread = Rng(seed, "ranks").uniform(N, d).to(below.device)
    positions = (below + spread * (ties + 1)) / (n + 1)
    sorted_ = positions.sort(0).values
    steps = torch.arange(N + 1, dtype=torch.float64, device=below.device)[:, None] / N
    value = torch.maximum(steps[1:] - sorted_, sorted_ - steps[:-1]).max().item()
    bins = min(bins, max(N // 5, 2))
    counts = torch.stack([torch.histc(column.cpu(), bins, 0, 1) for column in positions.T])
    statistic = ((counts - N / bins) ** 2).sum(1).max().item() * bins / N
    return Uniformity(
        value,
        0.5 / sqrt(N),  # of the ECDF at its middle
        N,
        None,
        float(kstwo.ppf(1 - 0.05 / d, N)),
        min(1.0, d * float(kstwo.sf(value, N))),
        min(1.0, d * float(chi2.sf(statistic, bins - 1))),
        positions,
        counts,
    )


def _binned_gap(confidence, right, bins):
    order = confidence.argsort()
    gap = (right.double() - confidence)[order]
    return sum(part.sum().abs().item() for part in gap.tensor_split(bins)) / len(gap)
