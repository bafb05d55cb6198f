"""Kernel Stein discrepancy: how far draws are from a law of which only the score is known."""

from math import ceil, sqrt

import torch

from theory.diagnostics.floors import Gap, _even, _flat, _normalised
from workbench._errors import BadInput
from workbench._rng import Rng


def ksd(x, score, weights=None, c=1.0, beta=-0.5, law=None, repeats=20, seed=0):
    """sqrt(sum_ij w_i w_j u(x_i, x_j)), u the Stein kernel of k(x, y) = (c^2 + ||x - y||^2)^beta: a Gap.

    u(x, y) = k s_x.s_y + 2 beta q^(beta-1) (s_y - s_x).(x - y) - 2 beta d q^(beta-1) - 4 beta (beta-1) q^(beta-2) ||x - y||^2,
    q = c^2 + ||x - y||^2, has mean zero where x is a draw of the law with score s.
    x: (n, *shape) draws, real or complex (a complex one is a real one of twice the size).  score: x -> grad log p(x) of
    the law at its draws, like x.  weights: (n,) >= 0, normalised here.  c: a length, in units of x; see
    `median_distance`.  beta: in (-1, 0).  The value is the V-statistic, which is a distance; the interval is that of the
    U-statistic, whose mean is zero for the right law.  law: whatever has `sample(n, seed)`: the floor is from `repeats`
    exact sets; without it the mean is sum_i w_i^2 u(x_i, x_i), the quantile of 1000 draws of random signs.
    Blind to wrong weights of modes that lie apart, since the score is: compare those by `mode_weight_error`.
    Gorham and Mackey 2017; Liu, Lee, Jordan 2016; Chwialkowski, Strathmann, Gretton 2016 (signs).
    """
    if not c > 0 or not -1 < beta < 0:
        raise BadInput(f"ksd: c = {c} should be positive and beta = {beta} between -1 and 0")
    w = _even(x) if weights is None else _normalised(weights, len(x))
    u = stein_matrix(x, score(x), c, beta)
    w = w.to(u.device)
    value = (w @ u @ w).clamp_min(0).sqrt().item()
    if law is None:
        floor, floor95 = _signed(u, w, seed)
    else:
        floor, floor95 = _exact_sets(score, w, c, beta, law, repeats, seed)
    size = 1 / (w**2).sum().item()
    return Gap(value, floor, floor95, _interval(u, w), "KSD", (size, float("inf")), _flat(x, "x").shape[1])


def ksd_squared(x, score, weights=None, c=1.0, beta=-0.5):
    """The U-statistic sum_{i != j} w_i w_j u(x_i, x_j) / sum_{i != j} w_i w_j: mean zero under the law, so it may be
    negative; a float. Arguments as in `ksd`."""
    w = _even(x) if weights is None else _normalised(weights, len(x))
    u = stein_matrix(x, score(x), c, beta)
    return _off_diagonal(u, w.to(u.device))


def stein_matrix(x, s, c=1.0, beta=-0.5):
    """u(x_i, x_j), float64 (n, n), for x: (n, *shape) and the scores s there."""
    if tuple(s.shape) != tuple(x.shape) or s.is_complex() != x.is_complex():
        raise BadInput(f"ksd: score gives {tuple(s.shape)} {s.dtype} for x of {tuple(x.shape)} {x.dtype}")
    x, s = _flat(x, "x").double(), _flat(s, "score(x)").double()
    d = x.shape[1]
    x = x - x.mean(0)  # distances by products lose digits far from the origin
    square = (x**2).sum(1)
    r2 = (square[:, None] + square - 2 * x @ x.mT).clamp_min(0).fill_diagonal_(0)
    q = c**2 + r2
    pull = s @ x.mT  # s_i . x_j
    own = pull.diagonal()
    across = pull.mT - own - own[:, None] + pull  # (s_j - s_i) . (x_i - x_j)
    return (
        q**beta * (s @ s.mT)
        + 2 * beta * q ** (beta - 1) * (across - d)
        - 4 * beta * (beta - 1) * q ** (beta - 2) * r2
    )


def median_distance(y, most=1000):
    """The median distance between two of the draws y: (n, *shape), of at most the first `most`: the usual length c.

    Take y from the law, never from the sampler under test: its length would follow its own errors.
    """
    y = _flat(y, "y")[:most].double()
    return torch.pdist(y).median().item()


def _off_diagonal(u, w):
    own = w**2
    return ((w @ u @ w - own @ u.diagonal()) / (1 - own.sum())).item()


def _interval(u, w):
    """sqrt(U +- 1.96 standard errors): U is a mean over i of u's rows, twice."""
    rows = u @ w
    error = 2 * (w**2 @ (rows - w @ rows) ** 2).sqrt().item()
    U = _off_diagonal(u, w)
    return sqrt(max(U - 1.96 * error, 0.0)), sqrt(max(U + 1.96 * error, 0.0))


def _signed(u, w, seed, draws=1000):
    """Floor and 95 % quantile from (w e)' u (w e), e random signs."""
    e = torch.where(Rng(seed, "signs").uniform(draws, len(w)) < 0.5, -1.0, 1.0).to(u) * w
    V = ((e @ u) * e).sum(1).clamp_min(0).sqrt().sort().values
    return V.mean().item(), V[ceil(0.95 * draws) - 1].item()


def _exact_sets(score, w, c, beta, law, repeats, seed):
    if repeats < 2:
        raise BadInput(f"repeats = {repeats} should be at least 2; the floor is their mean and 95 % quantile")
    found = []
    for r in Rng(seed, "floor").uniform(repeats).tolist():
        y = law.sample(len(w), int(r * 2**53))
        u = stein_matrix(y, score(y), c, beta)
        found.append((w @ u @ w).clamp_min(0).sqrt().item())
    found.sort()
    return sum(found) / repeats, found[min(ceil(0.95 * (repeats + 1)), repeats) - 1]
