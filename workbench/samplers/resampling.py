"""Resampling of weighted particles: N offspring whose expected numbers are N times the weights.

Every scheme resamples when the effective sample size falls under `below` * N: below = 1 at every step, 0 never. All
are unbiased, E[offspring of i] = N W_i; they differ in the variance of that number. Douc, Cappe, Moulines 2005.
"""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.samplers._checks import within


def effective_sample_size(log_w):
    """(sum w)^2 / sum w^2."""
    w = torch.softmax(log_w, 0)
    return (1 / (w**2).sum()).item()


@dataclass(frozen=True)
class Resample:
    """A scheme has `ancestors(W, rng)`: normalised weights (n,) float64 on the CPU -> n indices."""

    below: float = 0.5

    def __post_init__(self):
        within(type(self).__name__, 0, 2, below=self.below)

    def __call__(self, log_w, rng):
        """The ancestors' indices, or None where the weights are even enough to go on. Particles that diverged (weights
        of NaN) have no offspring; BadInput where none is left."""
        log_w = log_w.nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        if not torch.isfinite(log_w.max()):
            raise BadInput(
                "every particle has weight zero or is not finite: the sampler diverged; use more steps"
            )
        if effective_sample_size(log_w) >= self.below * len(log_w):
            return None
        return self.ancestors(torch.softmax(log_w.double().cpu(), 0), rng).to(log_w.device)

    def ancestors(self, W, rng):
        raise NotImplementedError(f"{type(self).__name__} should define ancestors(W, rng)")


def inverse_cdf(W, u):
    """The index whose stretch of the cumulative weights holds u in [0, 1)."""
    edges = torch.cumsum(W, 0)
    return torch.searchsorted(edges / edges[-1], u, right=True).clamp_max(len(W) - 1)


@dataclass(frozen=True)
class Multinomial(Resample):
    """N independent draws: the largest variance, and the textbook central limit theorem (Gordon et al. 1993)."""

    def ancestors(self, W, rng):
        return inverse_cdf(W, rng.uniform(len(W)))


@dataclass(frozen=True)
class Stratified(Resample):
    """u_n = (n - 1 + U_n) / N: never more variance than multinomial (Kitagawa 1996)."""

    def ancestors(self, W, rng):
        n = len(W)
        return inverse_cdf(W, (torch.arange(n, dtype=torch.float64) + rng.uniform(n)) / n)


@dataclass(frozen=True)
class Systematic(Resample):
    """u_n = (n - 1 + U) / N, one U: floor or ceil of N W_i offspring, as a rule the least variance (Kitagawa 1996)."""

    def ancestors(self, W, rng):
        n = len(W)
        return inverse_cdf(W, (torch.arange(n, dtype=torch.float64) + rng.uniform(1)) / n)


@dataclass(frozen=True)
class Residual(Resample):
    """floor(N W_i) offspring for certain, the rest stratified by what is left (Liu and Chen 1998)."""

    def ancestors(self, W, rng):
        n = len(W)
        sure = (n * W).floor()
        left = int(n - sure.sum())
        kept = torch.repeat_interleave(torch.arange(n), sure.long())
        if left == 0:
            return kept
        u = (torch.arange(left, dtype=torch.float64) + rng.uniform(left)) / left
        return torch.cat([kept, inverse_cdf((n * W - sure).clamp_min(0), u)])


@dataclass(frozen=True)
class SSP(Resample):
    """The Srinivasan sampling process: floor or ceil of N W_i offspring each, whatever the order of the particles.

    Two fractional parts p_i, p_j at a time trade until one is 0 or 1. Gerber, Chopin, Whiteley 2019.
    """

    def ancestors(self, W, rng):
        n = len(W)
        wanted = n * W
        counts = wanted.floor()
        p, counts = (wanted - counts).tolist(), counts.long().tolist()
        i = 0
        for j, u in enumerate(rng.uniform(n).tolist()[1:], start=1):
            up, down = min(p[j], 1 - p[i]), min(p[i], 1 - p[j])
            if up + down <= 0:  # both are 0 or 1 already
                settled, i = i, j
            elif u * (up + down) < down:  # i takes from j
                p[i], p[j] = p[i] + up, p[j] - up
                settled, i = (i, j) if p[i] >= 1 - 1e-12 else (j, i)
            else:
                p[i], p[j] = p[i] - down, p[j] + down
                settled, i = (i, j) if p[i] <= 1e-12 else (j, i)
            counts[settled] += round(p[settled])
        counts[i] += n - sum(counts)
        return torch.repeat_interleave(torch.arange(n), torch.tensor(counts))
