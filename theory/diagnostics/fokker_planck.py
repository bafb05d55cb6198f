"""Residuals of the equations that scores, log-densities and velocities of a diffusion obey."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from theory.diagnostics._estimate import Estimate, averaged, root_ratio
from theory.diagnostics._field import (
    axes,
    coordinates,
    derivative,
    field,
    followed,
    gradient,
    products,
    signals,
    signs,
    step_length,
)
from workbench._errors import BadInput


@dataclass(frozen=True, eq=False)
class ScoreResidual(Estimate):
    """value: E ||r||^2.  relative: sqrt(E ||r||^2 / E ||s||^2) over d log kappa / dt: the change of the score that its
    own equation does not explain, per unit of log(sigma / alpha), beside the score.  relative_error: of that.  weighted: sigma^4 E ||r||^2.
    vectors: r at the points, (n, *shape)."""

    name: ClassVar[str] = "Fokker-Planck residual"

    relative: float
    relative_error: float
    weighted: float
    vectors: torch.Tensor


def fokker_planck_residual(score, x, t, process, probes=None, seed=0):
    """r = ds/dt - grad[g^2/2 (div s + ||s||^2) - f x . s - div f x], zero where score(., t) are the scores of one diffusion.

    x: (n, *shape) draws of p_t.  process: f(t), g2(t), sigma(t).  probes: None for the exact divergence (d products, each
    differentiated once more), else Rademacher probes: then E ||r||^2 is too large by their variance, `vectors` is unbiased.
    ds/dt by four-point differences in t; grad ||s||^2 = 2 J^T s where s is no gradient. Lai et al. 2023.
    """
    rate, g2 = _rates(process, t)
    if not g2 > 0 or not float(process.sigma(t)) > 0:
        raise BadInput(f"fokker_planck_residual: t = {float(t):g} has no noise; take a time inside the range")
    u = coordinates(x)
    f = field(score, x, t)
    s, _, back = products(f, u)
    s = s.detach()
    slope = gradient(lambda v: _divergence(f, v, probes, seed), u)
    r = _time_derivative(lambda t: field(score, x, t)(u), t, _clock(process, t), u)
    r = (r - 0.5 * g2 * slope - g2 * back(s) + rate * (s + back(u))).detach()
    value, error = averaged(r.square().sum(1))
    sigma2 = float(process.sigma(t)) ** 2
    relative = (2 * sigma2 / g2 * v for v in root_ratio(r.square().sum(1), s.square().sum(1)))
    return ScoreResidual(value, error, len(u), probes, *relative, sigma2**2 * value, signals(r, x))


@dataclass(frozen=True, eq=False)
class DensityResidual(Estimate):
    """value: E (R - E R)^2, blind to the normaliser.  mean: E R.  residuals: R at the points, (n,)."""

    name: ClassVar[str] = "log-density residual"

    mean: float
    residuals: torch.Tensor


def log_density_residual(log_p, x, t, process, probes=None, seed=0):
    """R = du/dt + div(f x) + f x . grad u - g^2/2 (Lap u + ||grad u||^2) of a potential u = log_p(x, t): a DensityResidual.

    x: (n, *shape) draws of p_t.  log_p: x, t -> (n,), with a normaliser that may be any function of t.  probes: None for
    the exact Laplacian; else Rademacher, and the value is too large by their variance (see `residual_square`).
    """
    R = _density_residual(log_p, x, t, process, probes, seed)
    value, error = averaged(_centred(R).square() * len(R) / max(len(R) - 1, 1))
    return DensityResidual(value, error, len(R), probes, R.double().mean().item(), R)


@dataclass(frozen=True, eq=False)
class SquaredResidual(Estimate):
    """value: unbiased for E (R - E R)^2; it may be negative.  plug_in: the same from one set of probes, too large."""

    name: ClassVar[str] = "squared residual"

    plug_in: float


def residual_square(log_p, x, t, process, probes=1, seed=0):
    """Cov(R_1, R_2) over points, R_1 and R_2 the residual with two independent sets of Rademacher probes.

    Var(R_1) itself is too large by (g^4 / 4) 2 (||H||_F^2 - sum H_ii^2) / probes, H the Hessian of log_p.
    """
    one, two = (_density_residual(log_p, x, t, process, probes, seed, first=k * probes) for k in (0, 1))
    scale = len(one) / max(len(one) - 1, 1)
    value, error = averaged(_centred(one) * _centred(two) * scale)
    plug_in = 0.5 * scale * (_centred(one).square() + _centred(two).square()).mean().item()
    return SquaredResidual(value, error, len(one), 2 * probes, plug_in)


def continuity_residual(velocity, log_p, x, t, clock=None, probes=None, seed=0):
    """R = d log p / dt + div v + v . grad log p, zero where the velocity moves mass as log_p says: a DensityResidual.

    velocity: x, t -> like x; any gauge with div(p v) = 0 may be added to it.  clock: a time over which p_t changes,
    t itself unless given; log_p is differenced over a thousandth of it.
    """
    u = coordinates(x)
    v = field(velocity, x, t)
    p = lambda u, t: log_p(signals(u, x), t)
    change = _time_derivative(lambda t: p(u, t), t, float(t) if clock is None else clock, u)
    slope = gradient(lambda u: p(u, t), u)
    R = (change + _divergence(v, u, probes, seed) + (v(u) * slope).sum(1)).detach()
    value, error = averaged(_centred(R).square() * len(R) / max(len(R) - 1, 1))
    return DensityResidual(value, error, len(R), probes, R.double().mean().item(), R)


def divergence(field_of_x, x, t=None, probes=None, seed=0):
    """div F at the points x: (n, *shape) -> (n,): d exact products, or the mean of v . J v over Rademacher probes v.

    field_of_x: x -> like x, or with t: (x, t) -> like x. A probe has the variance ||J + J^T||_F^2 / 2 - 2 sum J_ii^2.
    Hutchinson 1989.
    """
    f = field(field_of_x if t is not None else lambda x, _: field_of_x(x), x, t)
    return _divergence(f, coordinates(x), probes, seed).detach()


def _divergence(f, u, probes, seed, first=0):
    """div f, (n,), followed by autograd where u is and f can be."""
    if probes is None:
        directions, count = [e.expand_as(u) for e in axes(u)], 1
    else:
        directions, count = [signs(u.detach(), seed, first + k) for k in range(probes)], probes
    out, x = (f(u), u) if u.requires_grad else followed(f, u)
    if not out.requires_grad:
        h = step_length(u.detach())
        return sum(((f(u + h * v) - f(u - h * v)) * v).sum(1) / (2 * h[:, 0]) for v in directions) / count
    follow = u.requires_grad
    rows = (derivative((out * v).sum(), x, create_graph=follow) for v in directions)
    return sum((row * v).sum(1) for row, v in zip(rows, directions, strict=True)) / count


def _density_residual(log_p, x, t, process, probes, seed, first=0):
    rate, g2 = _rates(process, t)
    u = coordinates(x)
    p = lambda u, t: log_p(signals(u, x), t)
    s = lambda u: _score(lambda u: p(u, t), u)
    slope, spread = s(u).detach(), _divergence(s, u, probes, seed, first).detach()
    change = _time_derivative(lambda t: p(u, t), t, _clock(process, t), u)
    drift = rate * (u.shape[1] + (u * slope).sum(1))
    return change + drift - 0.5 * g2 * (spread + slope.square().sum(1))


def _score(p, u):
    """grad p at u with its graph where u is followed, so that it can be differentiated again."""
    if not u.requires_grad:
        return gradient(p, u)
    with torch.enable_grad():
        out = p(u)
    if not out.requires_grad:
        return gradient(p, u)
    return derivative(out.sum(), u, create_graph=True)


def _time_derivative(value, t, clock, like):
    """[v(t - 2h) - 8 v(t - h) + 8 v(t + h) - v(t + 2h)] / 12 h with h = eps^(1/5) clock, eps of the precision."""
    h = torch.finfo(like.dtype).eps ** 0.2 * clock
    t = torch.as_tensor(t, dtype=torch.float64)
    with torch.no_grad():
        return (value(t - 2 * h) - value(t + 2 * h) + 8 * (value(t + h) - value(t - h))) / (12 * h)


def _rates(process, t):
    """f(t) and g2(t) as floats."""
    if not (hasattr(process, "f") and hasattr(process, "g2")) or not getattr(process, "gaussian", True):
        raise BadInput(
            f"process = {type(process).__name__} has no drift f(t) and diffusion g2(t) of Gaussian noise; "
            f"see the score through another process, or use continuity_residual"
        )
    return float(process.f(t)), float(process.g2(t))


def _clock(process, t):
    """The time over which kappa = sigma / alpha grows by a factor e: 2 sigma^2 / g^2."""
    return 2 * float(process.sigma(t)) ** 2 / float(process.g2(t))


def _centred(R):
    R = R.double()
    return R - R.mean()
