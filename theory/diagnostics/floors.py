"""A distance between two sets of draws beside the distance that two exact sets have."""

from dataclasses import dataclass
from math import ceil, prod, sqrt

import torch

from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True)
class Gap:
    """A distance between two sets of draws, and what it means.

    value: the distance.  floor, floor95: mean and 95 % quantile of the same distance between two sets that are both
    exact (the quantile that one more exact pair exceeds with chance 5 %).  interval: 95 % interval of the distance
    between the laws themselves, sqrt(value^2 - mean floor^2 +- 1.96 standard errors).  metric: its name.
    sizes: effective number of draws on each side.  dimension: real coordinates of a draw (sliced distances shrink like
    1 / sqrt(dimension)).
    """

    value: float
    floor: float
    floor95: float
    interval: tuple
    metric: str
    sizes: tuple
    dimension: int

    @property
    def at_floor(self):
        """Whether the value is no larger than 95 % of the distances between two exact sets."""
        return self.value <= self.floor95

    @property
    def excess(self):
        """value - floor: what the sampler adds to the noise of finitely many draws."""
        return self.value - self.floor

    def __float__(self):
        return self.value

    def __str__(self):
        low, high = self.interval
        verdict = "at the floor" if self.at_floor else f"{self.value / self.floor:.1f} times the floor"
        return (
            f"{self.metric} = {self.value:.4g}, {verdict}: two exact sets are {self.floor:.4g} apart "
            f"(95 % below {self.floor95:.4g}); 95 % interval {low:.4g} to {high:.4g}, "
            f"draws {self.sizes[0]:.0f} and {self.sizes[1]:.0f}, {self.dimension} real coordinates"
        )


def floored(distance, x, y, weights=None, law=None, metric="distance", repeats=20, seed=0):
    """Any distance of draws with its floor and interval: a Gap.

    distance: (x, y, weights) -> a float, for x: (n, *shape) with weights (n,) or None and y: (m, *shape), such as
    `lambda x, y, w: mode_weight_error(x, mixture, w)` or `fitted_bures_wasserstein`.  law: whatever has `sample(n, seed)`
    and gives exact draws of what y was drawn from; without it the floor is from random splits of x and y together.
    """
    if tuple(x.shape[1:]) != tuple(y.shape[1:]) or x.dtype != y.dtype:
        raise BadInput(
            f"draws of x are {tuple(x.shape[1:])} {x.dtype}, of y {tuple(y.shape[1:])} {y.dtype}; they should be alike"
        )
    weights = None if weights is None else _normalised(weights, len(x))
    whole = lambda draws, name: draws
    return _gap(lambda *sets: float(distance(*sets)), metric, x, y, weights, law, repeats, seed, form=whole)


def _flat(x, name):
    """x as (n, d) real."""
    if not isinstance(x, torch.Tensor) or x.ndim < 2 or len(x) < 4:
        raise BadInput(
            f"{name} is {tuple(getattr(x, 'shape', ()))}, it should be at least 4 draws in a tensor (n, *shape)"
        )
    x = (torch.view_as_real(x) if x.is_complex() else x).detach().flatten(1)
    if not x.isfinite().all():
        raise BadInput(f"{name} has NaN or infinite entries; drop those draws, and say how many")
    return x


def _checked(x, y, weights):
    if tuple(x.shape[1:]) != tuple(y.shape[1:]) or x.is_complex() != y.is_complex():
        raise BadInput(
            f"draws of x are {tuple(x.shape[1:])} {x.dtype}, of y {tuple(y.shape[1:])} {y.dtype}; they should be alike"
        )
    x = _flat(x, "x")
    return x, _flat(y, "y").to(x), None if weights is None else _normalised(weights, len(x))


def _normalised(weights, n):
    w = torch.as_tensor(weights).detach().cpu().double()
    if tuple(w.shape) != (n,) or not (w >= 0).all() or not 0 < w.sum() < float("inf"):
        raise BadInput(
            f"weights {tuple(w.shape)} should be {n} numbers >= 0; for log-weights, torch.softmax(log_w, 0)"
        )
    return w / w.sum()


def _even(x):
    return torch.full((len(x),), 1 / len(x), dtype=torch.float64)


def _gap(distance, metric, x, y, weights, law, repeats, seed, draws=100, form=None):
    """The Gap that `distance(x, y, weights of x)` gives; form: what draws of the law are to be like x, `_flat` by default."""
    if repeats < 2:
        raise BadInput(f"repeats = {repeats} should be at least 2; the floor is their mean and 95 % quantile")
    value = distance(x, y, weights)
    pairs = (
        _splits(x, y, weights, repeats, seed) if law is None else _exact_pairs(x, y, law, repeats, seed, form)
    )
    floors = sorted(distance(a, b, weights) for a, b in pairs)
    noise = sum(f**2 for f in floors) / repeats
    if law is None and weights is None:
        noise = min(noise, _within(distance, x, y, noise, repeats, seed))
    square, error = value**2 - noise, _standard_error(distance, x, y, weights, seed, draws)
    return Gap(
        value,
        sum(floors) / repeats,
        floors[min(ceil(0.95 * (repeats + 1)), repeats) - 1],
        (sqrt(max(square - 1.96 * error, 0.0)), sqrt(max(square + 1.96 * error, 0.0))),
        metric,
        (len(x) if weights is None else 1 / (weights**2).sum().item(), len(y)),
        prod(x.shape[1:]) * (2 if x.is_complex() else 1),
    )


def _exact_pairs(x, y, law, repeats, seed, form=None):
    """Pairs of sets as large as x and y, all independent draws of `law`."""
    for u in Rng(seed, "floor").uniform(repeats).tolist():
        draws = (form or _flat)(law.sample(len(x) + len(y), int(u * 2**53)), "law.sample").to(x)
        if draws.shape[1:] != x.shape[1:]:
            raise BadInput(
                f"law draws {tuple(draws.shape[1:])}, x has {tuple(x.shape[1:])}; give the law of y"
            )
        yield draws[: len(x)], draws[len(x) :]


def _splits(x, y, weights, repeats, seed):
    """Pairs of sets as large as x and y, from both together: permuted, or with weights drawn with replacement."""
    pool, n = torch.cat([x, y]), len(x)
    for i in range(repeats):
        u = Rng(seed, "splits").at(i).uniform(len(pool))
        index = u.argsort() if weights is None else _drawn(u, weights, len(y))
        yield pool[index[:n]], pool[index[n:]]


def _within(distance, x, y, pooled, repeats, seed):
    """What finitely many draws add to distance^2 when the laws are far apart, and their pool is no law of either.

    Halves of x are one law's, so are halves of y; how a half relates to the whole is that of splits of the pool."""
    n, m = len(x) // 2, len(y) // 2
    own, small = 0.0, 0.0
    for i in range(repeats):
        rng = Rng(seed, "halves").at(i)
        a, b = (v[rng.uniform(len(v)).argsort()] for v in (x, y))
        c = torch.cat([x, y])[rng.uniform(len(x) + len(y)).argsort()]
        own += 0.5 * (distance(a[:n], a[n : 2 * n], None) ** 2 + distance(b[:m], b[m : 2 * m], None) ** 2)
        small += distance(c[:n], c[n : n + m], None) ** 2
    return pooled * own / small if small > 0 else pooled


def _drawn(u, weights, m):
    """Entries of the pool at the uniforms u, x as likely as its weights say, both sides as likely as their sizes."""
    share = len(weights) / (len(weights) + m)
    p = torch.cat([share * weights, (1 - share) * torch.full((m,), 1 / m, dtype=torch.float64)])
    return torch.searchsorted(p.cumsum(0), u, right=True).clamp_max(len(p) - 1)


def _standard_error(distance, x, y, weights, seed, draws):
    """The standard error of distance^2, from its spread over subsets of n^0.7 draws: larger than needed where the
    laws agree, where the bootstrap would be inconsistent. Politis and Romano 1994."""
    b, c = (max(2, min(round(len(v) ** 0.7), len(v) // 2)) for v in (x, y))
    squares = []
    for i in range(draws):
        rng = Rng(seed, "subsets").at(i)
        rows, others = rng.uniform(len(x)).argsort()[:b], rng.uniform(len(y)).argsort()[:c]
        if weights is None:
            squares.append(distance(x[rows], y[others], None) ** 2)
        elif weights[rows].sum() > 0:
            squares.append(distance(x[rows], y[others], weights[rows] / weights[rows].sum()) ** 2)
    share = max(b / len(x), c / len(y))
    return torch.tensor(squares, dtype=torch.float64).std().item() * sqrt(share / max(1 - share, 0.1))
