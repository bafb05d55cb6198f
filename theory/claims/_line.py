"""Laws on a line: the density of a reverse SDE by its Fokker-Planck equation, quantiles, and W2 between them."""

from itertools import pairwise

import numpy as np
import torch
from scipy.linalg import solve_banded


def reverse_density(score, process, q, x, times):
    """The densities (len(times), N) on the grid x of the reverse SDE driven by `score`, started from q at times[0].

    In the reverse clock dq/dtau = -(c q)' + (g^2 / 2) q'', c = -f x + g^2 shat. Finite volumes with exponentially fitted
    fluxes (Scharfetter and Gummel 1969: positive, second order), Crank-Nicolson in time after four implicit half steps.
    """
    h = (x[1] - x[0]).item()
    middle = 0.5 * (x[1:] + x[:-1])
    q, out = q.numpy(), [q.clone().numpy()]
    for i, (t, s) in enumerate(pairwise(times)):
        halves = [(t, 0.5 * (t + s)), (0.5 * (t + s), s)] if i < 2 else [(t, s)]
        for a, b in halves:
            bands = _generator(score, process, middle, 0.5 * (a + b), h)
            q = _step(bands, q, (a - b).item(), 1.0 if i < 2 else 0.5)
        out.append(q)
    return torch.from_numpy(np.stack(out))


def _generator(score, process, middle, t, h):
    """The tridiagonal generator of dq/dtau = L q, as bands for solve_banded, with no flux at the ends."""
    D = 0.5 * process.g2(t).item()
    c = -process.f(t).item() * middle.numpy() + 2 * D * score(middle[:, None], t)[:, 0].numpy()
    w = c * h / D
    up, down = _bernoulli(-w) * D / h, _bernoulli(w) * D / h  # flux = up q_i - down q_(i + 1)
    bands = np.zeros((3, len(middle) + 1))
    bands[0, 1:], bands[2, :-1] = down / h, up / h
    bands[1, :-1] -= up / h
    bands[1, 1:] -= down / h
    return bands


def _bernoulli(w):
    """w / (e^w - 1)."""
    return np.where(np.abs(w) < 1e-8, 1 - 0.5 * w, w / np.expm1(np.where(np.abs(w) < 1e-8, 1.0, w)))


def _step(bands, q, dt, implicit):
    right = q + (1 - implicit) * dt * _times(bands, q)
    left = -implicit * dt * bands
    left[1] += 1
    return solve_banded((1, 1), left, right)


def _times(bands, q):
    out = bands[1] * q
    out[:-1] += bands[0, 1:] * q[1:]
    out[1:] += bands[2, :-1] * q[:-1]
    return out


def quantiles(q, x, u):
    """The u-quantiles of a density q on the grid x."""
    mass = torch.cumulative_trapezoid(q, x)
    cdf = torch.cat([mass.new_zeros(1), mass]) / mass[-1]
    return torch.from_numpy(np.interp(u.numpy(), cdf.numpy(), x.numpy()))


def levels(n):
    """The middles of n equal shares of (0, 1)."""
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def w2(a, b):
    """W2 of two laws from their quantiles at equal levels."""
    return (a - b).square().mean().sqrt().item()


def slope_of(values, x):
    """d values / dx on the grid, of order 4 inside."""
    h = (x[1] - x[0]).item()
    out = torch.gradient(values, spacing=h)[0]
    out[2:-2] = (values[:-4] - 8 * values[1:-3] + 8 * values[3:-1] - values[4:]) / (12 * h)
    return out
