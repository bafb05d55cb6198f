"""Log-likelihoods that a score implies: along its probability-flow ODE, and along any path with noise (Ito)."""

from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch

from theory.diagnostics._estimate import Estimate, averaged
from theory.diagnostics._field import coordinates, field, signals
from theory.diagnostics.fokker_planck import _divergence, _rates
from workbench._errors import BadInput


@dataclass(frozen=True, eq=False)
class LogLikelihood(Estimate):
    """value: mean of log_prob over the points, nats.  bits: -value / (d log 2), bits per real coordinate in the units of
    x (add log2 of the bin count for data that were dequantised to [0, 1]).  log_prob: (n,), float64."""

    name: ClassVar[str] = "log-likelihood"

    bits: float
    log_prob: torch.Tensor


def ode_log_likelihood(score, x, process, grid, prior_log_prob, probes=None, seed=0):
    """log p_t0(x) = log p_T(x_T) + int_t0^T div v dt along dx = v dt, v = f x - g^2 s / 2, by Heun: a LogLikelihood.

    x: (n, *shape) at time t0.  grid: decreasing times T ... t0 > 0; a last 0 is left out, since the score need not be
    bounded there.  prior_log_prob: x_T -> (n,), the log-density at T.  probes: None for the exact divergence, else
    Rademacher probes that stay the same along the path.  Second order in the step. Chen et al. 2018; Song et al. 2021.
    """
    times = _decreasing(grid)
    times = (times[:-1] if times[-1] == 0 else times).flip(0)
    u, total, t = coordinates(x.detach()), 0.0, times[0]
    v, spread = _flow(score, x, u, t, process, probes, seed)
    for s in times[1:]:
        h = (s - t).item()
        v1, spread1 = _flow(score, x, u + h * v, s, process, probes, seed)
        u, total = u + 0.5 * h * (v + v1), total + 0.5 * h * (spread + spread1)
        t = s
        v, spread = _flow(score, x, u, t, process, probes, seed)
    log_prob = (prior_log_prob(signals(u, x)) + total).double()
    value, error = averaged(log_prob)
    return LogLikelihood(value, error, len(u), probes, -value / (u.shape[1] * log(2)), log_prob)


def ito_log_likelihood(score, path, times, process):
    """log p(x_end, t_end) - log p(x_start, t_start) = sum s . dx + [div f x + (f x - g^2 s / 2) . s] dtau: (n,), no divergence.

    path: (steps + 1, n, *shape) at the decreasing `times` of a reverse diffusion with noise g, whatever drove it (s may
    belong to another density than the one that did); dtau = t_k - t_k+1, all taken at the start of the step. Bias of
    order h, spread of order sqrt(h). Skreta et al. 2025.
    """
    times = _decreasing(times)
    if len(path) != len(times):
        raise BadInput(f"path has {len(path)} points and times {len(times)}; they should be as many")
    total = 0.0
    for k in range(len(times) - 1):
        total = total + _ito_step(score, path[k], path[k + 1], times[k], times[k] - times[k + 1], process)
    return total


def _ito_step(score, x, after, t, dtau, process):
    f, g2 = _rates(process, t)
    u, s = coordinates(x), coordinates(score(x, t)).detach()
    work = (s * coordinates(after - x)).sum(1)
    return work + dtau.item() * (f * u.shape[1] + ((f * u - 0.5 * g2 * s) * s).sum(1))


def _flow(score, x, u, t, process, probes, seed):
    """The velocity of the probability-flow ODE at u: (n, d), and its divergence: (n,)."""
    f, g2 = _rates(process, t)
    F = field(score, x, t)
    spread = _divergence(F, u.detach(), probes, seed).detach()
    return f * u - 0.5 * g2 * F(u).detach(), f * u.shape[1] - 0.5 * g2 * spread


def _decreasing(times):
    times = torch.as_tensor(times, dtype=torch.float64)
    if times.ndim != 1 or len(times) < 2 or not (times.diff() < 0).all():
        raise BadInput("times should be two or more that decrease strictly; a clamped last node repeats")
    return times
