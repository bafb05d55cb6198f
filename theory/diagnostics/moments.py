"""Mean, spread, fit and central intervals of draws x beside those of exact draws y."""

import torch

from theory.diagnostics.floors import _checked, _even, _flat, _normalised
from workbench._errors import BadInput


def mean_error(x, y, weights=None):
    """||E x - E y|| / sqrt(tr Cov y): the shift in standard deviations of the law; a float.

    x: (n, *shape) with weights (n,), y: (m, *shape) exact draws. About sqrt(1/n + 1/m) for exact x.
    """
    x, y, w = _pair(x, y, weights)
    return ((w @ x - y.mean(0)).norm() / y.var(0).sum().sqrt()).item()


def covariance_error(x, y, weights=None):
    """||Cov x - Cov y||_F / ||Cov y||_F, from products of draws, so that no covariance is formed; a float."""
    x, y, w = _pair(x, y, weights)
    u = (x - w @ x) * (w / (1 - (w**2).sum())).sqrt()[:, None]
    v = (y - y.mean(0)) / (len(y) - 1) ** 0.5
    own = _square(v, v)
    return ((_square(u, u) + own - 2 * _square(u, v)).clamp_min(0) / own).sqrt().item()


def trace_ratio(x, y, weights=None):
    """tr Cov x / tr Cov y: below 1 where draws are too alike, 1 where they are right on the whole; a float."""
    x, y, w = _pair(x, y, weights)
    return (_variances(x, w).sum() / y.var(0).sum()).item()


def spread_ratios(x, y, weights=None):
    """std x_i / std y_i of each real coordinate, (d,): below 1 is the mark of a sampler that is guided too hard."""
    x, y, w = _pair(x, y, weights)
    return (_variances(x, w) / y.var(0)).sqrt()


def misfit(clean, y, sigma=1.0, weights=None):
    """E ||y - A x||^2 / (m sigma^2) over clean = A x: (n, *m), sigma the noise in each real component; a float.

    1 where A x is the mean of y's law; of posterior draws less or more: compare with that of exact draws.
    """
    if tuple(clean.shape[1:]) != tuple(y.shape):
        raise BadInput(f"misfit: clean is {tuple(clean.shape)}, it should be (n, *{tuple(y.shape)})")
    r = _flat(clean - y, "clean - y").double() / sigma
    w = _even(r) if weights is None else _normalised(weights, len(r))
    return (w.to(r.device) @ (r**2).mean(1)).item()


def interval_coverage(x, y, level=0.9, weights=None):
    """The share of exact draws y inside the central interval of x that holds `level` of x, over all real coordinates.

    x: (n, *shape) with weights (n,), y: (m, *shape). One posterior and no truths: right where it equals `level`, too
    small where x is overconfident. A float in [0, 1].
    """
    if not 0 < level < 1:
        raise BadInput(f"interval_coverage: level = {level} should lie between 0 and 1")
    x, y, w = _pair(x, y, weights)
    x, order = x.sort(0)
    reached = w[order].cumsum(0) - 0.5 * w[order]  # the middle of each draw's share
    low, high = (_at(x, reached, q) for q in (0.5 - level / 2, 0.5 + level / 2))
    return ((y >= low) & (y <= high)).double().mean().item()


def _pair(x, y, weights):
    x, y, w = _checked(x, y, weights)
    x, y = x.double(), y.double()
    return x, y, (_even(x) if w is None else w).to(x.device)


def _variances(x, w):
    """The unbiased weighted variance of each coordinate."""
    return w @ (x - w @ x) ** 2 / (1 - (w**2).sum())


def _square(u, v):
    """||u' v||_F^2 summed as <u u', v v'>: tr(u'u v'v)."""
    return ((u @ v.mT) ** 2).sum()


def _at(x, reached, q):
    """The q-quantile of each column of the sorted x, linear between draws: (1, d)."""
    i = torch.searchsorted(reached.mT.contiguous(), x.new_full((x.shape[1], 1), q)).mT
    above, below = i.clamp_max(len(x) - 1), (i - 1).clamp_min(0)
    a, b = reached.gather(0, below), reached.gather(0, above)
    share = ((q - a) / (b - a).clamp_min(1e-300)).clamp(0, 1)
    return torch.lerp(x.gather(0, below), x.gather(0, above), share)
