"""How far to go along a guidance or a gradient, each sample on its own: never away from the data."""

from math import inf

import torch

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.samplers._gaussian import linearised
from workbench.samplers._likelihood import gradient, relaxed, steepness
from workbench.samplers._reals import rows, squares

HALVINGS = 60  # of a shift that makes the data less likely


def step_length(problem, x0, g, shift, reach=1.0):
    """c <= 1 of each row, (n, 1, ...): at most `reach` times the step along `shift` that lowers the linearised misfit
    ||e - c W shift||^2 the most, c* = <g, shift> / ||W shift||^2 with g = W^H e, or grad log p(y | x0)."""
    W, _ = linearised(problem, x0)
    slope = (
        (torch.view_as_real(g.conj() * shift)[..., 0] if g.is_complex() else g * shift).flatten(1).double()
    )
    curvature = squares(W(shift)).clamp_min(torch.finfo(torch.float64).tiny)
    return rows((reach * slope.sum(1).clamp_min(0) / curvature).clamp_max(1), x0)


def halved(problem, x0, shift, least=inf):
    """The shift of each row, halved until the data are as likely at x0 + shift as at x0, or as `least`, (n,): what any
    likelihood needs. No shift where halving does not help."""
    now = relaxed(problem, x0)
    least = torch.minimum(now, torch.as_tensor(least, dtype=now.dtype, device=now.device))
    for _ in range(HALVINGS):
        worse = ~(relaxed(problem, x0 + shift) >= least - 1e-6 * least.abs())
        if not worse.any():
            return shift
        shift = torch.where(rows(worse, x0).bool(), shift / 2, shift)
    return torch.where(rows(worse, x0).bool(), 0.0, shift)


def quadratic(problem):
    """Whether log p(y | x) is quadratic in x, so that steps that its curvature allows need no halving."""
    return isinstance(problem.A, Linear) and hasattr(problem.noise, "cov")


def uphill(problem, x, gain=1.0, ridge=0.0):
    """gain grad log p(y | x) / (L + ridge), L the curvature ||H^H Sigma_y^{-1} H|| of the Gaussian stand-in of the noise
    (of its sharpest where there is none): at x, and for a nonlinear A at the end of the step if it is larger there.
    Halved where log p is not quadratic and falls."""
    try:
        twin = problem.gaussian
    except BadInput:
        twin = problem
    step = _step(problem, twin, x, gain, ridge)
    return step if quadratic(problem) else halved(problem, x, step)


def _step(problem, twin, x, gain, ridge):
    g, L = gradient(problem, x), _curvature(twin, x)
    step = lambda L: (gain / (L + ridge)).to(x.dtype.to_real()) * g
    if isinstance(problem.A, Linear):
        return step(L)
    return step(torch.maximum(L, _curvature(twin, x + step(L))))


def _curvature(problem, x):
    L = torch.as_tensor(steepness(problem, x), dtype=torch.float64, device=x.device)
    return L.clamp_min(torch.finfo(torch.float32).tiny)
