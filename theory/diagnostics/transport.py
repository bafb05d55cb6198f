"""How far apart two laws are, from draws of them, beside the distance that two exact sets of draws have."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch

from theory.diagnostics.floors import Gap, _checked, _even, _gap, _normalised
from workbench._errors import BadInput
from workbench._rng import Rng

PAIRS_LIMIT = 4000**2  # entries of the cost matrix of exact transport: 128 MB, seconds a solve


def sliced_wasserstein(x, y, weights=None, law=None, slices=256, repeats=20, seed=0):
    """sqrt(mean over directions theta of W2^2(<theta, x>, <theta, y>)), theta uniform on the sphere: a Gap.

    x: (n, *shape), y: (m, *shape) draws, real or complex (a complex one is a real one of twice the size).
    slices: directions, rounded up to whole orthonormal frames, so that a shift of the mean is measured exactly.
    weights: (n,) >= 0 of x, normalised here; exponentiate log-weights first.  law: whatever has `sample(n, seed)` and
    gives exact draws of what y was drawn from; the floor comes from it, `repeats` pairs of sets of the same sizes and
    weights, else from random splits of x and y together (with weights: from draws with replacement).
    The same seed gives the same directions, splits and numbers. Rabin, Peyre, Delon, Bernot 2012;
    frames: Rowland et al. 2019.
    """
    x, y, weights = _checked(x, y, weights)
    theta = _directions(slices, x.shape[1], seed).to(x.device, x.dtype)

    def distance(x, y, w):
        return sqrt(quantile_gap((x @ theta.mT).mT.double(), (y @ theta.mT).mT.double(), w).mean().item())

    return _gap(distance, "sliced W2", x, y, weights, law, repeats, seed)


def wasserstein2(x, y, weights=None, law=None, repeats=20, seed=0):
    """W2 = sqrt(min over couplings of E ||x - y||^2) between two sets of draws, by exact optimal transport: a Gap.

    x: (n, *shape), y: (m, *shape), real or complex.  weights, law: as in `sliced_wasserstein`.
    Assignment (Crouse 2016) for equal sizes without weights, network simplex (Bonneel et al. 2011) otherwise. In more
    than about 4 dimensions the floor hides most errors. Raises BadInput where n m is above 4000^2.
    """
    x, y, weights = _checked(x, y, weights)
    if len(x) * len(y) > PAIRS_LIMIT:
        raise BadInput(
            f"wasserstein2: {len(x)} x {len(y)} draws are too many; take 4000 of each, or sliced_wasserstein"
        )
    return _gap(exact_transport, "W2", x, y, weights, law, repeats, seed)


def wasserstein1d(x, y, p=2, weights=None, law=None, repeats=20, seed=0):
    """(int_0^1 |F_x^-1(u) - F_y^-1(u)|^p du)^(1/p) between draws of numbers, sizes may differ: a Gap.

    x: (n,) or (n, 1), y: (m,) or (m, 1) real; p >= 1.  weights, law: as in `sliced_wasserstein`. Exact, n log n.
    """
    x, y = (v[:, None] if v.ndim == 1 else v for v in (x, y))
    x, y, weights = _checked(x, y, weights)
    if x.shape[1] != 1 or not p >= 1:
        raise BadInput(f"wasserstein1d: {x.shape[1]} coordinates and p = {p}; it takes numbers, and p >= 1")

    def distance(x, y, w):
        return quantile_gap(x.mT.double(), y.mT.double(), w, p).item() ** (1 / p)

    return _gap(distance, f"W{p:g}", x, y, weights, law, repeats, seed)


def max_sliced_wasserstein(x, y, weights=None, law=None, starts=8, steps=10, repeats=20, seed=0):
    """max over unit vectors theta of W2(<theta, x>, <theta, y>), theta found on every other draw, W2 on the rest: a Gap.

    x: (n, *shape), y: (m, *shape), 8 draws or more.  weights, law: as in `sliced_wasserstein`.  Power iteration on
    theta -> D^T D theta, D the differences of draws matched along theta, from `starts` directions and the gap of the
    means. The value is of a direction that did not see the draws it is measured on, so it is no maximum of noise; half
    the draws make its floor sqrt(2) that of a given direction. Deshpande et al. 2019.
    """
    x, y, weights = _checked(x, y, weights)
    if min(len(x), len(y)) < 8:
        raise BadInput(
            f"max_sliced_wasserstein: {len(x)} and {len(y)} draws cannot be halved; give 8 or more"
        )
    theta = _directions(starts, x.shape[1], seed)[:starts].to(x)

    def distance(x, y, w):
        halves = (w, w) if w is None else (_share(w[::2]), _share(w[1::2]))
        best = _steepest(x[::2].double(), y[::2].double(), halves[0], theta.double(), steps)
        x, y = x[1::2].double() @ best, y[1::2].double() @ best
        return sqrt(quantile_gap(x[None], y[None], halves[1]).item())

    return _gap(distance, "max-sliced W2", x, y, weights, law, repeats, seed)


@dataclass(frozen=True)
class SinkhornGap(Gap):
    """epsilon: the entropic weight, in units of x squared.  violation: sum |marginal - weights| of the plan found."""

    epsilon: float
    violation: float

    def __str__(self):
        return f"{super().__str__()}; epsilon {self.epsilon:.3g}, marginals off by {self.violation:.1g}"


def sinkhorn_divergence(x, y, epsilon=None, weights=None, law=None, repeats=5, steps=500, seed=0):
    """sqrt(OT(x, y) - OT(x, x) / 2 - OT(y, y) / 2), OT the transport of ||x - y||^2 plus epsilon KL(P | a b^T): a Gap.

    x: (n, *shape), y: (m, *shape).  epsilon: None for a hundredth of the median squared distance.  weights, law: as in
    `sliced_wasserstein`.  In the log domain, epsilon halved from the largest distance down, then up to `steps` updates.
    It is zero for equal sets, W2 as epsilon falls, a kernel distance as it grows. Feydy et al. 2019; Cuturi 2013.
    """
    x, y, weights = _checked(x, y, weights)
    epsilon = 0.01 * _squares(x, y).median().item() if epsilon is None else epsilon
    if not epsilon > 0:
        raise BadInput(f"sinkhorn_divergence: epsilon = {epsilon} should be positive; x and y may coincide")

    def distance(x, y, w):
        a = _even(x) if w is None else w
        sides = [(x, y, a, _even(y)), (x, x, a, a), (y, y, _even(y), _even(y))]
        cross, one, two = (_entropic(*side, epsilon, steps)[0] for side in sides)
        return sqrt(max(cross - 0.5 * (one + two), 0.0))

    gap = _gap(distance, "Sinkhorn divergence", x, y, weights, law, repeats, seed, draws=20)
    violation = _entropic(x, y, _even(x) if weights is None else weights, _even(y), epsilon, steps)[1]
    return SinkhornGap(**vars(gap), epsilon=epsilon, violation=violation)


def bures_wasserstein(mean1, cov1, mean2, cov2):
    """sqrt(||m1 - m2||^2 + c tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)), W2 between two Gaussians: a float.

    mean: (d,) or (*shape), cov: (d, d) per real component, with c = 2 for complex circular laws and else 1.
    Dowson and Landau 1982.
    """
    c = 2 if cov1.is_complex() else 1
    root = _root(cov1)
    cross = torch.linalg.eigvalsh(_hermitian(root @ cov2 @ root)).clamp_min(0).sqrt().sum()
    spread = cov1.diagonal().real.sum() + cov2.diagonal().real.sum() - 2 * cross
    return sqrt(max(((mean1 - mean2).abs() ** 2).sum().item() + c * spread.item(), 0.0))


def fitted_bures_wasserstein(x, y, weights=None):
    """`bures_wasserstein` between the Gaussians that have the moments of x: (n, *shape) and y: (m, *shape): a float.

    For n exact draws of N(0, I_d) against the law itself its square is d / n + d (d + 1) / (4 n) on average, not 0.
    """
    x, y, weights = _checked(x, y, weights)
    even = torch.full((len(y),), 1 / len(y), dtype=torch.float64)
    return bures_wasserstein(*_moments(x, _even(x) if weights is None else weights), *_moments(y, even))


def mode_weight_error(x, mixture, weights=None):
    """0.5 sum_k |what_k - w_k|, what_k the mean responsibility of component k over the draws x: a float in [0, 1].

    x: (n, *shape).  mixture: a law with `weights` and `responsibilities(x)`, for example a `condition`ed
    GaussianMixture.  weights: (n,) of x, normalised here. Counting the nearest component instead is biased.
    """
    if not hasattr(mixture, "responsibilities"):
        raise BadInput(
            f"mode_weight_error: mixture = {type(mixture).__name__} has no components; give a GaussianMixture"
        )
    rho = mixture.responsibilities(x).double()
    found = rho.mean(0) if weights is None else _normalised(weights, len(x)).to(rho.device) @ rho
    return 0.5 * (found - mixture.weights.to(rho)).abs().sum().item()


def _directions(slices, d, seed):
    """At least `slices` unit vectors (L, d), in whole random orthonormal frames where d <= slices."""
    rng = Rng(seed, "slices")
    if d > slices:
        theta = rng.normal(torch.empty(slices, d, dtype=torch.float64))
        return theta / theta.norm(dim=1, keepdim=True)
    return torch.linalg.qr(rng.normal(torch.empty(-(-slices // d), d, d, dtype=torch.float64))).Q.flatten(
        0, 1
    )


def quantile_gap(x, y, weights, p=2):
    """The integral over u in (0, 1) of |quantile of x - quantile of y|^p, for rows x: (L, n), y: (L, m): (L,)."""
    if weights is None and x.shape == y.shape:
        return (_sorted(x) - _sorted(y)).abs().pow(p).mean(1)
    x, order = x.sort(1)
    y = _sorted(y)
    w = torch.full_like(x, 1 / x.shape[1]) if weights is None else weights.to(x.device)[order]
    ends_x = w.cumsum(1)
    ends_y = (
        torch.arange(1, y.shape[1] + 1, device=y.device, dtype=y.dtype)
        .div(y.shape[1])
        .expand_as(y)
        .contiguous()
    )
    ends = torch.cat([torch.zeros_like(x[:, :1]), ends_x[:, :-1], ends_y], 1).clamp_max(1).sort(1).values
    middle = 0.5 * (ends[:, 1:] + ends[:, :-1])
    at_x = torch.searchsorted(ends_x, middle).clamp_max(x.shape[1] - 1)
    at_y = torch.searchsorted(ends_y, middle).clamp_max(y.shape[1] - 1)
    return (ends.diff(dim=1) * (x.gather(1, at_x) - y.gather(1, at_y)).abs().pow(p)).sum(1)


def _sorted(x):
    """x sorted along its rows; numpy is ten times faster than torch here on the CPU."""
    return x.sort(1).values if x.is_cuda else torch.from_numpy(np.sort(x.numpy(), axis=1))


def exact_transport(x, y, weights=None):
    """W2 between the points x: (n, d), with normalised weights (n,) or even, and y: (m, d), exactly; a float without a floor.

    Assignment for equal sizes without weights, network simplex otherwise.
    """
    cost = (
        (torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist") ** 2).cpu().numpy()
    )
    if weights is None and len(x) == len(y):
        from scipy.optimize import linear_sum_assignment

        return sqrt(cost[linear_sum_assignment(cost)].mean())
    import ot

    w = _even(x) if weights is None else weights
    return sqrt(max(ot.emd2(w.numpy(), _even(y).numpy(), cost, numItermax=10**7), 0.0))


def _steepest(x, y, weights, theta, steps):
    """The unit vector (d,) along which x: (n, d) and y: (m, d) are found furthest apart, from rows of theta."""
    shift = (x.mean(0) if weights is None else weights.to(x) @ x) - y.mean(0)
    theta = torch.cat([theta, shift[None]])
    ranks = (torch.arange(min(len(x), len(y)), dtype=x.dtype, device=x.device) + 0.5) / min(len(x), len(y))
    best, most = theta[0], -1.0
    for _ in range(steps):
        theta = theta / theta.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        apart = _ranked(x, theta, ranks, weights) - _ranked(y, theta, ranks, None)  # (L, ranks, d)
        along = (apart @ theta[:, :, None])[..., 0]
        size = along.square().mean(1)
        if size.max() > most:
            best, most = theta[size.argmax()], size.max().item()
        theta = (along[:, None] @ apart)[:, 0]
    return best


def _ranked(x, theta, ranks, weights):
    """The draws of x: (n, d) whose projections on each row of theta have the given ranks in (0, 1): (L, ranks, d)."""
    order = (x @ theta.mT).argsort(0).mT
    w = torch.full_like(x[:, 0], 1 / len(x)) if weights is None else weights.to(x)
    ends = w[order].cumsum(1).contiguous()
    rows = torch.searchsorted(ends, ranks.expand(len(theta), -1).contiguous()).clamp_max(len(x) - 1)
    return x[order.gather(1, rows)]


def _share(w):
    return w / w.sum() if w.sum() > 0 else torch.full_like(w, 1 / len(w))


def _squares(x, y):
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist") ** 2


def _entropic(x, y, a, b, epsilon, steps):
    """min over plans of <P, C> + epsilon KL(P | a b^T), by its dual sum a f + sum b g, and sum |P 1 - a|: two floats."""
    C = _squares(x, y)
    log_a, log_b = (torch.log(w.to(C)) for w in (a, b))
    f, g = torch.zeros_like(log_a), torch.zeros_like(log_b)
    level, off = max(C.max().item(), epsilon), 0.0
    for step in range(steps):
        level = max(0.5 * level, epsilon)
        f_new = -level * torch.logsumexp(log_b + (g - C) / level, 1)
        if level == epsilon and step > 0:
            off = ((f - f_new) / epsilon).expm1().mul(a.to(C)).abs().sum().item()
        f = f_new if x is not y else 0.5 * (f + f_new)  # a symmetric problem has one potential
        g = f if x is y else -level * torch.logsumexp(log_a[:, None] + (f[:, None] - C) / level, 0)
        if level == epsilon and step > 0 and off < 1e-6:
            break
    return (a.to(C).mul(f).nansum() + b.to(C).mul(g).nansum()).item(), off


def _moments(x, w):
    """Mean and covariance of the weighted draws x: (n, d), in float64."""
    x, w = x.double(), w.to(x.device)
    mean = w @ x
    return mean, ((x - mean).mT * w) @ (x - mean) / (1 - (w**2).sum())


def _hermitian(C):
    return 0.5 * (C + C.mH)


def _root(C):
    c, Q = torch.linalg.eigh(_hermitian(C))
    return (Q * c.clamp_min(0).sqrt()) @ Q.mH
