"""The measures of a certificate: each takes one noise level and gives a value and its standard error."""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import torch

from theory.diagnostics._estimate import averaged, pooled_ratio, root_ratio
from theory.diagnostics._field import coordinates
from theory.diagnostics.conservative import circles, circulation, conservativity
from theory.diagnostics.dimension import (
    effective_rank,
    jacobian_spectrum,
    local_dimension,
    normal_bundle_dimension,
)
from theory.diagnostics.fokker_planck import divergence, fokker_planck_residual
from workbench._errors import BadInput

EXACT_LIMIT = 32  # real coordinates up to which divergences are exact
SPECTRUM_LIMIT = 256  # and up to which whole Jacobians and normal bundles are made


@dataclass(frozen=True)
class Level:
    """One noise level: clean signals (n, *shape), the same with noise, and the prior that is asked."""

    prior: object
    exact: object | None
    clean: torch.Tensor
    noised: torch.Tensor
    t: torch.Tensor
    kappa: float
    seed: int

    @property
    def d(self):
        return coordinates(self.clean[:1]).shape[1]

    @property
    def probes(self):
        return None if self.d <= EXACT_LIMIT else 16


def _asymmetry(level):
    found = conservativity(level.prior.score, level.noised, level.t, level.probes or 16, level.seed)
    return found.value, found.error


def _loops(level):
    rings = circles(level.noised, float(level.prior.process.sigma(level.t)), seed=level.seed)
    found = circulation(level.prior.score, rings, level.t)
    return found.value, found.error


def _residual(level):
    x, process, score = level.noised[:64], level.prior.process, level.prior.score
    if level.d <= EXACT_LIMIT:
        found = fokker_planck_residual(score, x, level.t, process)
        return found.relative, found.relative_error
    # two independent sets of probes: their product has no bias, where the square of one has its variance
    one, two = (fokker_planck_residual(score, x, level.t, process, 4, 2 * level.seed + k) for k in (0, 1))
    product = (one.vectors.conj() * two.vectors).real.flatten(1).sum(1)
    size = score(x, level.t).abs().square().flatten(1).sum(1).mean().item()
    unit = 2 * float(process.sigma(level.t)) ** 2 / float(process.g2(level.t))
    square, error = averaged(product)
    value = max(square, 0.0) ** 0.5
    spread = error / max(2 * value, error**0.5) if error else 0.0
    return unit * value / size**0.5, unit * spread / size**0.5


def _rank(level):
    k = None if level.d <= SPECTRUM_LIMIT else 32
    s = jacobian_spectrum(level.prior.denoise, level.noised[:8], level.t, k, level.seed)
    return averaged(effective_rank(s))


def _flipd(level):
    x, process = level.clean[:64], level.prior.process
    found = local_dimension(level.prior.score, x, level.t, process, level.probes, level.seed)
    return found.value, found.error


def _normal_bundle(level):
    if level.d > SPECTRUM_LIMIT:
        raise BadInput(f"{level.d} coordinates are too many for 4 d noised copies of each point")
    process = level.prior.process
    found = normal_bundle_dimension(level.prior.score, level.clean[:8], level.t, process, level.seed)
    if not found.gap > 3:
        raise BadInput(f"no gap in the singular values (largest ratio {found.gap:.2g}, below 3)")
    return found.value, found.error


def _mse(level):
    """E ||D - x_0||^2 / d."""
    return averaged(_misses(level) / level.d)


def _trace(level):
    """(sigma^2 / alpha) E tr J / E ||D - x_0||^2, 1 for the posterior mean of the law of x."""
    process = level.prior.process
    scale = float(process.sigma(level.t)) ** 2 / float(process.alpha(level.t))
    spread = divergence(level.prior.denoise, level.noised, level.t, level.probes, level.seed)
    return pooled_ratio(scale * spread, _misses(level))


def _score_error(level):
    if level.exact is None:
        raise BadInput("no exact law was given")
    found, true = (coordinates(p.score(level.noised, level.t)).detach() for p in (level.prior, level.exact))
    return root_ratio((found - true).square().sum(1), true.square().sum(1))


@dataclass(frozen=True)
class Measure:
    """One column: how it is measured, its title, the value of a perfect score (nan: depends on the law), a log axis."""

    of: Callable
    title: str
    ideal: float = nan
    log: bool = False


MEASURES = {
    "asymmetry": Measure(_asymmetry, "asymmetry index", 0.0, True),
    "circulation": Measure(_loops, "circulation (radius sigma)", 0.0, True),
    "residual": Measure(_residual, "relative Fokker-Planck residual", 0.0, True),
    "score_error": Measure(_score_error, "relative score error", 0.0, True),
    "mse": Measure(_mse, "denoising MSE per coordinate", log=True),
    "trace": Measure(_trace, "posterior variance of dD/dx / MSE", 1.0),
    "rank": Measure(_rank, "effective rank of dD/dx"),
    "flipd": Measure(_flipd, "FLIPD"),
    "normal_bundle": Measure(_normal_bundle, "normal-bundle dimension"),
}


def _misses(level):
    found = level.prior.denoise(level.noised, level.t).detach()
    return coordinates(found - level.clean).double().square().sum(1)
