"""Laws of the increments of a Levy process, each a Gaussian of random variance.

`burn_in` is how many sweeps a posterior of such increments takes to forget its start: a Student's step of a hundred
times the usual moves slowly between neighbours under a blur.
"""

from dataclasses import dataclass
from math import inf, log, pi

import numpy as np
import torch
from scipy.special import gammaln, stdtrit

from theory.distributions import _gibbs
from workbench._errors import BadInput


def _positive(law):
    for name, value in vars(law).items():
        if not 0 < value < inf:
            raise BadInput(f"{type(law).__name__}: {name} = {value} should be positive")


@dataclass(frozen=True)
class Gauss:
    """u ~ N(0, var)."""

    var: float = 0.25
    code, burn_in = _gibbs.GAUSS, 1

    def __post_init__(self):
        _positive(self)

    parameters = property(lambda self: np.array([self.var, 0.0]))
    scale = property(lambda self: self.var**0.5)

    def draw(self, rng, n, L):
        return self.scale * rng.normal(torch.empty(n, L, dtype=torch.float64))

    def log_density(self, u):
        return -0.5 * u**2 / self.var - 0.5 * log(2 * pi * self.var)


@dataclass(frozen=True)
class Laplace:
    """p(u) = exp(-|u| / b) / (2 b): the variance is exponential of mean 2 b^2."""

    b: float = 1.0
    code, burn_in = _gibbs.LAPLACE, 500

    def __post_init__(self):
        _positive(self)

    parameters = property(lambda self: np.array([self.b, 1.0]))
    scale = property(lambda self: 2**0.5 * self.b)

    def draw(self, rng, n, L):
        v = 2 * rng.uniform(n, L) - 1
        return -self.b * v.sign() * torch.log1p(-v.abs())

    def log_density(self, u):
        return -u.abs() / self.b - log(2 * self.b)


@dataclass(frozen=True)
class BernoulliLaplace:
    """u = 0 with probability 1 - lam, else Laplace of scale b: a compound Poisson process; it has no density."""

    lam: float = 0.1
    b: float = 1.0
    code, burn_in = _gibbs.BERNOULLI_LAPLACE, 500

    def __post_init__(self):
        _positive(self)
        if self.lam >= 1:
            raise BadInput(f"BernoulliLaplace: lam = {self.lam} should be below 1; use Laplace(b)")

    parameters = property(lambda self: np.array([self.b, self.lam]))
    scale = property(lambda self: (2 * self.lam) ** 0.5 * self.b)

    def draw(self, rng, n, L):
        jump = rng.uniform(n, L) < self.lam
        return torch.where(jump, Laplace(self.b).draw(rng, n, L), 0.0)

    def log_density(self, u):
        raise BadInput("BernoulliLaplace has no density: an increment is 0 with positive probability")


@dataclass(frozen=True)
class StudentT:
    """u = s t, t of nu degrees of freedom: the variance is inverse gamma(nu / 2, nu s^2 / 2). nu = 1 is Cauchy's."""

    nu: float = 1.0
    s: float = 1.0
    code, burn_in = _gibbs.STUDENT, 5000

    def __post_init__(self):
        _positive(self)

    parameters = property(lambda self: np.array([self.nu, self.s]))
    scale = property(
        lambda self: self.s * (self.nu / (self.nu - 2)) ** 0.5 if self.nu > 2.5 else 2.3 * self.s
    )

    def draw(self, rng, n, L):
        u = rng.uniform(n, L).clamp_min(2.0**-54)
        return self.s * torch.from_numpy(stdtrit(self.nu, u.numpy()))

    def log_density(self, u):
        nu = self.nu
        front = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * log(nu * pi) - log(self.s)
        return front - 0.5 * (nu + 1) * torch.log1p((u / self.s) ** 2 / nu)
