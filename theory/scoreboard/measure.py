"""Draws beside an exact posterior: one dict of numbers, each with the floor that two exact sets of the same size have."""

import json
from dataclasses import dataclass
from math import ceil, inf, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch

from theory.diagnostics.floors import _flat
from theory.diagnostics.moments import (
    covariance_error,
    interval_coverage,
    mean_error,
    spread_ratios,
    trace_ratio,
)
from theory.diagnostics.stein import median_distance, stein_matrix
from theory.diagnostics.transport import _directions, mode_weight_error
from workbench._checkpoint import replace_with
from workbench._errors import BadInput
from workbench.provenance import digest

PAIRS = 20  # of exact sets behind a floor
REFERENCE, PAIRED = 10**6, 2 * 10**6  # seeds of the exact draws, apart from those of samplers and problems
TARGETS = dict(
    trace=1.0, spread=1.0, residual=1.0, cover50=0.5, cover90=0.9, cover95=0.95
)  # the others' is 0
SOUND = 0.999  # share of the draws, below which a sampler has diverged
HUGE = 1e8  # times the size of exact draws: a draw beyond has diverged, and its square would hide the rest


@dataclass
class Yardstick:
    """What the draws of one case and seed are held against.

    problem, law: the problem and its exact posterior.  y: (n, *shape) exact draws.  theta: directions (L, d).  length:
    of the Stein kernel, the median distance of exact draws, or None where the law has no score.  floors: metric ->
    (mean, 95 % quantile) of |metric - its target| between two exact sets.
    """

    problem: Any
    law: Any
    y: torch.Tensor
    theta: torch.Tensor
    length: float | None
    floors: dict

    @classmethod
    def bare(cls, case, seed, n=None):
        """The yardstick for n draws (the case's own number), without floors."""
        problem = case.load(seed)
        law = problem.exact
        y = law.sample(n or case.draws, REFERENCE + seed)
        flat = _flat(y, "exact draws")
        theta = _directions(case.slices, flat.shape[1], seed).to(flat)
        return cls(problem, law, y, theta, median_distance(y) if scored(law, y) else None, {})

    @classmethod
    def of(cls, case, seed, n=None, folder=None):
        """The same with floors, which are kept in, and read from, `folder`."""
        self = cls.bare(case, seed, n)
        n, data = len(self.y), digest(self.problem.y)
        self.floors = stored(folder, case, seed, n, data, lambda: self.exact_floors(n, seed))
        return self

    def metrics(self, x, y=None):
        """metric -> value of the draws x beside exact draws, those of the yardstick or y."""
        y = (self.y if y is None else y)[: len(x)]
        found = dict(
            sw2=sliced(x, y, self.theta),
            mean=mean_error(x, y),
            covariance=covariance_error(x, y),
            trace=trace_ratio(x, y),
            spread=spread_ratios(x, y).median().item(),
            residual=residual_ratio(self.problem, x, y),
        )
        found |= {f"cover{round(100 * p)}": interval_coverage(x, y, p) for p in (0.5, 0.9, 0.95)}
        if hasattr(self.law, "responsibilities") and len(self.law.weights) > 1:
            found["modes"] = mode_weight_error(x, self.law)
        if self.length is not None:
            u = stein_matrix(x, self.law.score(x), self.length)
            found["ksd"] = u.mean().clamp_min(0).sqrt().item()
        return found

    def exact_floors(self, n, seed):
        """metric -> (mean, 95 % quantile) of |metric - target| over pairs of exact sets."""
        pairs = []
        for i in range(PAIRS):
            x, y = self.law.sample(2 * n, PAIRED + PAIRS * seed + i).split(n)
            pairs.append({k: abs(v - TARGETS.get(k, 0.0)) for k, v in self.metrics(x, y).items()})
        floors = {}
        for key in pairs[0]:
            values = sorted(pair[key] for pair in pairs)
            floors[key] = (sum(values) / PAIRS, values[min(ceil(0.95 * (PAIRS + 1)), PAIRS) - 1])
        return floors


def scored(law, y):
    """Whether the law knows the score of its own draws."""
    try:
        return bool(torch.isfinite(law.score(y[:2])).all())
    except (TypeError, AttributeError, BadInput, NotImplementedError):
        return False


def sliced(x, y, theta):
    """Sliced W2 of as many draws x as y along the rows of theta."""
    a, b = (np.sort((theta @ _flat(z, "draws").to(theta).mT).double().cpu().numpy(), axis=1) for z in (x, y))
    return sqrt(((a - b) ** 2).mean())


def residual_ratio(problem, x, y):
    """rms(data - A x) over that of exact draws y; for noise that is not Gaussian of its stand-in, NaN without one."""
    try:
        plain = problem.gaussian
    except BadInput:
        return nan
    rms = lambda z: (plain.A(z) - plain.y).abs().square().double().mean().sqrt().item()  # noqa: E731
    return rms(x) / rms(y)


def measured(x, post, yardstick):
    """The numbers of draws x of a Posterior: metrics with floors, evidence, particles, share of finite draws, cost."""
    good = sound(x, yardstick.y)
    found = yardstick.metrics(x[good]) if good.sum() >= 4 else {k: inf for k in yardstick.floors}
    row = {}
    for key, value in found.items():
        row[key] = value
        row[f"{key}_floor"], row[f"{key}_floor95"] = yardstick.floors[key]
    row["finite"] = good.double().mean().item()
    row["ratio"] = row["sw2"] / row["sw2_floor"] if good.double().mean() >= SOUND else inf
    return row | particles(post, yardstick.law) | costs(post, len(x))


def sound(x, y):
    """Which draws are finite and of a size that can be squared and summed: (n,) of bool."""
    size = x.abs().flatten(1).amax(1)
    return size.isfinite() & (size <= HUGE * y.abs().max())


def particles(post, law):
    """Of a sampler with weights: the error of log p(y), the effective sample size, the fewest distinct ancestors."""
    if post.log_weights is None:
        return {}
    found = dict(ess=post.ess, ancestors=min(post.provenance["distinct_ancestors"]))
    if post.log_evidence is not None and hasattr(law, "log_evidence"):
        found["evidence"] = abs(post.log_evidence - law.log_evidence)
    return found


def costs(post, n):
    """Calls and seconds of one draw."""
    cost = post.cost
    return {k: getattr(cost, k) / n for k in ("denoiser", "vjp", "operator", "seconds")}


def stored(folder, case, seed, n, data, make):
    """The floors of a case, seed and number of draws: read, or made and written beside and renamed."""
    if folder is None:
        return make()
    path = Path(folder) / "floors" / f"{case.name.replace('/', '-')}-{seed}-{n}.json"
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["data"] == data and kept["slices"] == case.slices:
            return {k: tuple(v) for k, v in kept["floors"].items()}
        raise BadInput(f"{path.name}: {case.name} has other data now; take a new folder, or remove this one")
    floors = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        dict(case=case.name, seed=seed, draws=n, data=data, slices=case.slices, floors=floors), indent=1
    )
    replace_with(path, lambda beside: beside.write_text(text + "\n"))
    return floors
