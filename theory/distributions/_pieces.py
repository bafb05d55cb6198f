"""Integrals of exp(c + b y - q y^2 / 2) over intervals: Gauss-Legendre nodes on the part of each that carries mass."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

REACH = 40.0  # nats under its maximum, below which an integrand is left out: e^-40 = 4e-18
NODES = 40  # the Chebyshev coefficients of a Gaussian cut there are below 1e-15 from degree 80 on
HALVINGS = 55  # of an interval, when a distribution function is inverted


@dataclass(frozen=True)
class Pieces:
    """p(y) = sum_k w_k prod_i sum_j exp(c_kij + slope_kij y_i) [low_kij < y_i < high_kij], an atom where low = high.

    log_w: (K,).  low, high, slope, c: (K, d, J) float64, J pieces a coordinate.
    """

    log_w: Tensor
    low: Tensor
    high: Tensor
    slope: Tensor
    c: Tensor

    @property
    def atoms(self):
        return self.low == self.high

    def pick(self, k, i):
        """The pieces of component k[n] and coordinate i for every row n: four tensors (n, J)."""
        return self.low[k, i], self.high[k, i], self.slope[k, i], self.c[k, i]


def legendre(count, like):
    """The nodes of Gauss and Legendre on (0, 1) and the logarithms of their weights, which sum to 1."""
    node, weight = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy((node + 1) / 2).to(like.device), torch.from_numpy(weight / 2).log().to(
        like.device
    )


def window(b, q, low, high):
    """The part of (low, high) where b y - q y^2 / 2 is within REACH of its maximum there, q >= 0."""
    b, q = b.detach(), q.detach()
    top = torch.where(q > 0, b / q, b.sign() * torch.inf).nan_to_num(0.0).clamp(low, high)
    slope = b - q * top  # not zero at an end of the interval alone
    reach = lambda g: 2 * REACH / (g + (g**2 + 2 * REACH * q).sqrt())  # noqa: E731
    left, right = top - reach(slope.clamp_min(0)), top + reach((-slope).clamp_min(0))
    return torch.maximum(left, low), torch.minimum(right, high)


def nodes(b, q, low, high):
    """Nodes y: (..., NODES) in each interval and the logarithms of their weights; an atom's weights sum to 1."""
    left, right = window(b, q, low, high)
    u, log_u = legendre(NODES, low)
    width = right - left
    log_width = torch.where(low == high, torch.zeros_like(width), width.clamp_min(1e-300).log())
    return left[..., None] + width[..., None] * u, log_width[..., None] + log_u


def draw(u, b, q, low, high):
    """The quantile of level u of the density prop. to exp(b y - q y^2 / 2) on (low, high), elementwise."""
    return _exponential(u, b, low, high) if (q == 0).all() else _halving(u, b, q, low, high)


def _exponential(u, b, low, high):
    """u = (1 - e^-|b|s) / (1 - e^-|b|w) for the distance s from the heavier end of an interval of width w."""
    width, rate = high - low, b.abs()
    flat = rate * width < 1e-9
    s = torch.where(flat, u * width, -torch.log1p(u * torch.expm1(-rate * width)) / rate)
    return torch.where(b > 0, high - s, low + s)


def _halving(u, b, q, low, high):
    """By halving the interval: its distribution function is one quadrature each time."""
    left, right = window(b, q, low, high)
    v, log_v = legendre(NODES, low)
    top = torch.where(q > 0, b / q, b.sign() * torch.inf).nan_to_num(0.0).clamp(low, high)
    peak = b * top - 0.5 * q * top**2

    def mass(y):
        at = left[..., None] + (y - left)[..., None] * v
        energy = b[..., None] * at - 0.5 * q[..., None] * at**2 - peak[..., None]
        return (y - left) * (energy + log_v).exp().sum(-1)

    goal, a, z = u * mass(right), left, right
    for _ in range(HALVINGS):
        middle = 0.5 * (a + z)
        below = mass(middle) < goal
        a, z = torch.where(below, middle, a), torch.where(below, z, middle)
    return 0.5 * (a + z)


def pick(u, log_p):
    """The index that uniforms u: (...) choose with probabilities prop. to exp(log_p): (..., J)."""
    edges = torch.softmax(log_p, -1).cumsum(-1)[..., :-1]
    return (u[..., None] >= edges).sum(-1)
