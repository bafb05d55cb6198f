"""Proper scores of draws against one truth: on average over truths and data, none is lower than the posterior's."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.metrics.distortion import matching


def energy_score(x, truth, weights=None):
    """E ||X - truth|| - E ||X - X'|| / 2 over draws X, X' independent: a float, in the unit of the signal.

    x: (n, *shape), n at least 2, truth: (*shape), real or complex.  weights: (n,) >= 0, normalised here. Pairs of a draw
    with itself do not count, so that the value does not depend on n on average (Ferro 2014): it may be negative. Strictly
    proper for the joint law, dependence between entries included. Gneiting and Raftery 2007, section 4.3.
    """
    x, truth, w = _rows(x, truth, weights)
    apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = (w @ apart @ w) / (1 - (w**2).sum())
    return (w @ torch.linalg.vector_norm(x - truth, dim=1) - 0.5 * pairs).item()


def crps(x, truth, weights=None):
    """The mean over real entries of E |X - truth| - E |X - X'| / 2: a float, in the unit of the signal.

    x, truth, weights as in `energy_score`. With x sorted, E |X - X'| / 2 = sum_i w_i x_i (sum_{j<i} w_j - sum_{j>i} w_j):
    n log n an entry. Proper for the law of each entry alone. Matheson and Winkler 1976; Ferro 2014.
    """
    x, truth, w = _rows(x, truth, weights)
    off = (w @ (x - truth).abs()).mean()
    x, order = x.sort(0)
    w = w[order]
    below = w.cumsum(0) - w
    half = (w * x * (below - (1 - below - w))).sum(0).mean()
    return (off - half / (1 - (w[:, 0] ** 2).sum())).item()


@dataclass(frozen=True)
class EnergyScore:
    """Energy score E ||X - truth|| - E ||X - X'|| / 2 of a Posterior: proper for its joint law."""

    card = dict(better="lower", unit="signal", complex=True, source="Gneiting and Raftery 2007")

    def __call__(self, posterior, truth):
        return energy_score(posterior.samples, truth, posterior.weights)


@dataclass(frozen=True)
class CRPS:
    """Continuous ranked probability score of a Posterior, the mean over entries: proper for the law of each."""

    card = dict(better="lower", unit="signal", complex=True, source="Matheson and Winkler 1976")

    def __call__(self, posterior, truth):
        return crps(posterior.samples, truth, posterior.weights)


def _rows(x, truth, weights):
    """x (n, entries), truth (entries,) and weights (n,) that sum to 1: real, in double precision; checked."""
    matching(x, truth)
    if x.ndim != truth.ndim + 1 or len(x) < 2:
        raise BadInput(
            f"x has shape {tuple(x.shape)}, it should be 2 or more draws of truth's {tuple(truth.shape)}"
        )
    w = torch.ones(len(x)) if weights is None else torch.as_tensor(weights)
    w = w.to(x.device, torch.float64)
    if w.shape != (len(x),) or not (w >= 0).all() or (w > 0).sum() < 2:
        raise BadInput(f"weights {tuple(w.shape)} should be {len(x)} numbers >= 0, two of them positive")
    return _real(x).flatten(1), _real(truth.to(x.device)).flatten(), w / w.sum()


def _real(x):
    """Real and imaginary parts apart, in double precision."""
    return (torch.view_as_real(x) if x.is_complex() else x).double()
