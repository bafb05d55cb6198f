"""Resampling of weighted particles: N offspring whose expected numbers are N times the weights."""

from dataclasses import dataclass

import torch


def effective_sample_size(log_w):
    """(sum w)^2 / sum w^2."""
    w = torch.softmax(log_w, 0)
    return (1 / (w**2).sum()).item()


@dataclass(frozen=True)
class Systematic:
    """u_n = (n - 1 + U) / N through the inverse cumulative weights, when the effective sample size falls under
    `below` * N (Kitagawa 1996; Douc, Cappe, Moulines 2005). below = 1 resamples at every step, 0 never."""

    below: float = 0.5

    def __call__(self, log_w, rng):
        """The ancestors' indices, or None where the weights are even enough to go on."""
        n = len(log_w)
        if effective_sample_size(log_w) >= self.below * n:
            return None
        u = (torch.arange(n, dtype=torch.float64) + rng.uniform(1)) / n
        edges = torch.cumsum(torch.softmax(log_w.cpu(), 0), 0)
        return torch.searchsorted(edges / edges[-1], u, right=True).clamp_max(n - 1).to(log_w.device)
