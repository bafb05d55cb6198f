"""Scores that are affine and act on every coordinate apart: each coordinate is a one-dimensional case of its own."""

from functools import cache

import torch

from theory.claims._reverse import rk4
from workbench.noise.gaussian import Gaussian as GaussianNoise
from workbench.operators.mask import Mask
from workbench.problem import Problem


def observed(law, y, sigma):
    """The problem of seeing every coordinate of a law: y and sigma, (d,) each."""
    A = Mask(torch.ones(law.shape, dtype=torch.bool), torch.float64)
    return Problem(law, A, GaussianNoise(sigma), y)


def moments(score, process, mean, variance, times, eta=0.0):
    """(mean, variance), (d,) each, at the last of `times` of the reverse family started from N(mean, diag variance).

    score(x, t): (n, d) -> (n, d), affine in each coordinate alone, read off from its values at 0 and 1. eta = 0 is the ODE,
    1 the SDE; dm/dt = B m - (1 + eta^2) g^2 b / 2, dV/dt = 2 B V - eta^2 g^2, B = f - (1 + eta^2) g^2 a / 2, by RK4.
    """
    probe = torch.stack([torch.zeros_like(mean), torch.ones_like(mean)])

    @cache  # by the value of t: the stages of a step share times
    def rates(t):
        b, a = score(probe, t)
        g2 = process.g2(t)
        half = 0.5 * (1 + eta**2) * g2
        B = process.f(t) - half * (a - b)
        return torch.stack([B, 2 * B]), torch.stack([half * b, (eta**2 * g2).expand_as(b)])

    def slope(state, t):
        gain, push = rates(t.item())
        return gain * state - push

    return tuple(rk4(slope, torch.stack([mean, variance]), times))
