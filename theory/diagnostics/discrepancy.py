"""Kernel and classifier distances between draws: unbiased at zero, where the floor of W2 hides the effect."""

from dataclasses import dataclass
from math import ceil, sqrt

import torch

from theory.diagnostics.floors import Gap, _checked, _exact_pairs
from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True)
class KernelGap(Gap):
    """square: the unbiased estimate of the squared distance, which may be negative; value = sqrt(max(square, 0))."""

    square: float


def mmd(x, y, width=None, law=None, repeats=40, seed=0):
    """sqrt(E k(x, x') + E k(y, y') - 2 E k(x, y)), k = exp(-||x - y||^2 / (2 width^2)), by the U-statistic: a Gap.

    x: (n, *shape), y: (m, *shape) draws, real or complex.  width: a length in units of x; None for the median distance
    of the pool.  The floor is from `repeats` permutations of x and y together, or from exact pairs of `law`. O((n + m)^2).
    Gretton et al. 2012, eq. 3.
    """
    x, y, _ = _checked(x, y, None)
    if width is None:
        pool = torch.cat([x, y])
        width = torch.pdist(pool[:: max(1, len(pool) // 1000)].double()).median().item()
    if not width > 0:
        raise BadInput(f"mmd: width = {width} should be a positive length, in units of x")
    return _kernel_gap(lambda r: torch.exp(-0.5 * (r / width) ** 2), "MMD", x, y, law, repeats, seed)


def energy_distance(x, y, law=None, repeats=40, seed=0):
    """sqrt(2 E ||x - y|| - E ||x - x'|| - E ||y - y'||) by the U-statistic: a Gap; no length to choose.

    The rest as in `mmd`. Szekely and Rizzo 2013; Sejdinovic et al. 2013 (an MMD with k = -||x - y||).
    """
    x, y, _ = _checked(x, y, None)
    return _kernel_gap(torch.neg, "energy distance", x, y, law, repeats, seed)


def c2st(x, y, folds=5, landmarks=64, repeats=40, seed=0):
    """Held-out accuracy of a classifier that tells x from y, 1/2 where the laws agree: a Gap, its floor from permuted labels.

    x: (n, *shape), y: (m, *shape) draws; as many of each are used. Least squares on labels +-1 of linear, quadratic (all
    products where d <= 16, else squares) and `landmarks` radial features, ridge and `folds`-fold cross-validation.
    interval: of the accuracy, 1.96 binomial standard errors. Friedman 2003; Lopez-Paz and Oquab 2017.
    """
    x, y, _ = _checked(x, y, None)
    n = min(len(x), len(y))
    phi = _features(torch.cat([x[:n], y[:n]]).double(), landmarks, seed)
    labels = torch.cat([torch.ones(n), -torch.ones(n)]).to(phi)
    shuffled = [labels[_shuffle(2 * n, seed, i)] for i in range(repeats)]
    right = _held_out(phi, torch.stack([labels, *shuffled], 1), folds, seed)
    value, floors = right[0].item(), sorted(right[1:].tolist())
    error = sqrt(value * (1 - value) / (2 * n))
    interval = (max(value - 1.96 * error, 0.0), min(value + 1.96 * error, 1.0))
    return Gap(value, *_floor(floors), interval, "C2ST accuracy", (n, n), x.shape[1])


def _kernel_gap(kernel, metric, x, y, law, repeats, seed):
    """The KernelGap of a kernel of the distance, one matrix for the value and all permutations."""
    n = len(x)
    K = _matrix(kernel, torch.cat([x, y]))
    square, spread = _u_statistic(K, torch.arange(len(K)), n)
    if law is None:
        nulls = [_u_statistic(K, _shuffle(len(K), seed, i).to(K.device), n)[0] for i in range(repeats)]
    else:
        pools = (torch.cat(pair) for pair in _exact_pairs(x, y, law, repeats, seed))
        nulls = [_u_statistic(_matrix(kernel, pool), torch.arange(len(K)), n)[0] for pool in pools]
    error = sqrt(
        spread + torch.tensor(nulls).var().item()
    )  # the second term is what is left where the laws agree
    interval = tuple(sqrt(max(square + side * error, 0.0)) for side in (-1.96, 1.96))
    floors = sorted(sqrt(max(v, 0.0)) for v in nulls)
    sizes = (n, len(y))
    return KernelGap(sqrt(max(square, 0.0)), *_floor(floors), interval, metric, sizes, x.shape[1], square)


def _matrix(kernel, pool):
    return kernel(torch.cdist(pool.double(), pool.double(), compute_mode="donot_use_mm_for_euclid_dist"))


def _u_statistic(K, order, n):
    """The unbiased squared distance between rows order[:n] and order[n:] of K, and its variance by linear terms."""
    K = K[order][:, order]
    m = len(K) - n
    xx, yy, xy = K[:n, :n], K[n:, n:], K[:n, n:]
    same_x = (xx.sum(1) - xx.diagonal()) / (n - 1)
    same_y = (yy.sum(1) - yy.diagonal()) / (m - 1)
    square = same_x.mean() + same_y.mean() - 2 * xy.mean()
    spread = 4 * (same_x - xy.mean(1)).var() / n + 4 * (same_y - xy.mean(0)).var() / m
    return square.item(), spread.item()


def _floor(floors):
    """Mean and 95 % quantile of sorted null values."""
    return sum(floors) / len(floors), floors[min(ceil(0.95 * (len(floors) + 1)), len(floors)) - 1]


def _shuffle(n, seed, i):
    return Rng(seed, "permutations").at(i).uniform(n).argsort()


def _features(x, landmarks, seed):
    """(n, F) standardised features: x, its products or squares, and radial functions of distances to some of the draws."""
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-12)
    i, j = torch.triu_indices(x.shape[1], x.shape[1])
    products = x[:, i] * x[:, j] if x.shape[1] <= 16 else x**2
    chosen = x[_shuffle(len(x), seed, 2**31)[:landmarks]]
    r = torch.cdist(x, chosen)
    radial = torch.exp(-0.5 * (r / r.median().clamp_min(1e-12)) ** 2 * 4)
    phi = torch.cat([x, products, radial], 1)
    phi = (phi - phi.mean(0)) / phi.std(0).clamp_min(1e-12)
    return torch.cat([torch.ones_like(phi[:, :1]), phi], 1)


def _held_out(phi, labels, folds, seed):
    """Accuracy on the fold left out, of every column of labels: (n, L) -> (L,)."""
    fold = _shuffle(len(phi), seed, 2**31 + 1) % folds
    right = torch.zeros(labels.shape[1], dtype=phi.dtype, device=phi.device)
    for k in range(folds):
        train, test = fold != k, fold == k
        normal = phi[train].mT @ phi[train] / train.sum()
        ridge = 0.01 * torch.eye(len(normal), dtype=phi.dtype, device=phi.device)
        weights = torch.linalg.solve(normal + ridge, phi[train].mT @ labels[train] / train.sum())
        right += (torch.sign(phi[test] @ weights) == labels[test]).sum(0)
    return right / len(phi)
