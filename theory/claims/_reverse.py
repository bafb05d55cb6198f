"""Integrators of the reverse family dX = [f X - (1 + eta^2) g^2 s / 2] dt + eta g dw, on decreasing times."""

from itertools import pairwise

import torch


def quadratic(t_max, t_min, steps):
    """steps + 1 decreasing times t_min + (t_max - t_min) u^2, dense where the law is sharp; float64."""
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return _decreasing(t_min + (t_max - t_min) * u**2)


def uniform(t_max, t_min, steps):
    """steps + 1 equal steps; for claims whose subject is the step."""
    return _decreasing(torch.linspace(t_max, t_min, steps + 1, dtype=torch.float64))


def karras(t_max, t_min, steps, rho=7.0):
    """steps + 1 decreasing times, equal in t^(1 / rho)."""
    u = torch.linspace(t_max ** (1 / rho), t_min ** (1 / rho), steps + 1, dtype=torch.float64)
    return _decreasing(u**rho)


def _decreasing(times):
    """The times, if every step is a step down: a clamped end would silently go back."""
    if not (times.diff() < 0).all():
        raise ValueError(f"times {times[0]:g} to {times[-1]:g} should decrease strictly")
    return times


def velocity(score, process, eta=0.0):
    """v(x, t) = f x - (1 + eta^2) g^2 s / 2 of a score callable; eta = 0 is that of the probability-flow ODE."""
    return lambda x, t: process.f(t) * x - 0.5 * (1 + eta**2) * process.g2(t) * score(x, t)


def euler(v, x, times):
    """x at the last time: dx = v dt by Euler's steps."""
    for t, s in pairwise(times):
        x = x + (s - t) * v(x, t)
    return x


def heun(v, x, times):
    """The same by the trapezoidal predictor-corrector, of order 2."""
    for t, s in pairwise(times):
        k = v(x, t)
        x = x + 0.5 * (s - t) * (k + v(x + (s - t) * k, s))
    return x


def rk4(v, x, times):
    """The same by the classical Runge-Kutta method, of order 4."""
    for t, s in pairwise(times):
        h, middle = s - t, 0.5 * (t + s)
        a = v(x, t)
        b = v(x + 0.5 * h * a, middle)
        c = v(x + 0.5 * h * b, middle)
        x = x + h / 6 * (a + 2 * b + 2 * c + v(x + h * c, s))
    return x


def euler_maruyama(score, process, x, times, rng, eta=1.0):
    """x at the last time of the member eta of the family, with rng the noise: step i draws from rng.at(i)."""
    v = velocity(score, process, eta)
    for i, (t, s) in enumerate(pairwise(times)):
        noise = rng.at(i).normal(x) if eta else 0.0
        x = x + (s - t) * v(x, t) + eta * torch.sqrt(process.g2(t) * (t - s)) * noise
    return x
