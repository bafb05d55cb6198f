"""The exponential function averaged over a sphere, in logarithms: what a uniform direction under Gaussian noise needs.

With u uniform on S^{d-1} and nu = d / 2 - 1, E exp(kappa u_1) = Gamma(nu + 1) (2 / kappa)^nu I_nu(kappa). Up to
kappa = 50 its power series, of positive terms, is short; beyond, the uniform expansion of I_nu (Debye; DLMF 10.41.3)
in 1 / R, R = sqrt(nu^2 + kappa^2), holds for every nu >= 0. Float64, from kappa = 0 to 1e8 and more.
"""

from functools import cache
from math import log, pi

import numpy as np
import torch
from numpy.polynomial import Polynomial

SWITCH = 50.0  # kappa from which the expansion is taken
TERMS = 100  # of the series: the last is below 1e-17 of the sum at kappa = 50
ORDER = 12  # of the expansion: the last term is below 1e-15 at R = 50


@cache
def debye():
    """u_0, ..., u_ORDER of DLMF 10.41.9-10, polynomials in p."""
    u, p = [Polynomial([1.0])], Polynomial([0.0, 1.0])
    for _ in range(ORDER):
        u.append(0.5 * p**2 * (1 - p**2) * u[-1].deriv() + 0.125 * ((1 - 5 * p**2) * u[-1]).integ())
    return u


@cache
def corrections(nu):
    """sum_k u_k(nu / R) / nu^k as a polynomial in w = 1 / R, without its constant 1."""
    total = np.zeros(3 * ORDER + 1)
    for k, u in enumerate(debye()[1:], 1):
        for power in range(k, 3 * k + 1, 2):
            total[power] += u.coef[power] * nu ** (power - k)
    return Polynomial(total)


def horner(polynomial, w):
    out = torch.zeros_like(w)
    for c in polynomial.coef[::-1]:
        out = out * w + float(c)
    return out


def series(nu, kappa):
    """sum_{k >= 1} (kappa^2 / 4)^k / (k! (nu + 1)_k)."""
    k = torch.arange(1, TERMS, dtype=torch.float64, device=kappa.device)
    ratios = (0.25 * kappa**2)[..., None] / (k * (nu + k))
    return torch.cumprod(ratios, -1).sum(-1)


def regimes(d, kappa):
    """nu, whether the series is taken, kappa for the series, and kappa and R for the expansion."""
    nu = 0.5 * d - 1
    small = kappa <= SWITCH
    near, far = kappa.clamp_max(SWITCH), kappa.clamp_min(SWITCH)
    return nu, small, near, far, torch.sqrt(nu**2 + far**2)


def log_mean_exp(d, kappa):
    """log E exp(kappa u_1) for u uniform on S^{d-1}, kappa >= 0 float64."""
    nu, small, near, _, R = regimes(d, kappa)
    front = torch.lgamma(torch.tensor(nu + 1.0, dtype=torch.float64)).item() + nu * log(2) - 0.5 * log(2 * pi)
    far = (
        front + R - nu * torch.log(nu + R) - 0.5 * torch.log(R) + torch.log1p(horner(corrections(nu), 1 / R))
    )
    return torch.where(small, torch.log1p(series(nu, near)), far)


def mean_over(d, kappa):
    """E[u_1] / kappa under the tilted law exp(kappa u_1): I_{nu+1} / (kappa I_nu), 1 / d at kappa = 0."""
    nu, small, near, far, R = regimes(d, kappa)
    w, c = 1 / R, corrections(nu)
    slope = horner(c.deriv(), w) / (
        1 + horner(c, w)
    )  # of the log of the corrections in w; dw / dkappa = -kappa w^3
    return torch.where(
        small,
        (1 + series(nu + 1, near)) / (d * (1 + series(nu, near))),
        1 / (nu + R) - 0.5 * w**2 - slope * w**3,
    )


def variance(d, kappa):
    """Var[u_1] under the tilted law, the derivative of kappa mean_over(kappa): no digits are lost to 1 - A^2."""
    nu, small, near, far, R = regimes(d, kappa)
    m = mean_over(d, near)
    by_series = 1 - (near * m) ** 2 - (d - 1) * m
    w, c = 1 / R, corrections(nu)
    one = 1 + horner(c, w)
    slope = horner(c.deriv(), w) / one
    bend = horner(c.deriv(2), w) / one - slope**2
    # kappa^2 w^2 is a number below 1, whatever kappa
    share = (far * w) ** 2
    by_expansion = (
        nu * w / (nu + R) + (2 * share - 1) * 0.5 * w**2 + (bend * w * share + slope * (3 * share - 1)) * w**3
    )
    return torch.where(small, by_series, by_expansion)
