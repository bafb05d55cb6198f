"""Quantised data: Gaussian noise, then rounding to a grid of levels; one bit is two levels."""

from dataclasses import dataclass
from math import inf, isinf

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.noise._noise import Noise, beside, positive, standard_normal, summed
from workbench.noise.gaussian import Gaussian


@dataclass(frozen=True, eq=False)
class Quantised(Noise):
    """y = the level nearest to A(x) + sigma n: levels offset + step k, from `low` to `high`; in each real component.

    sigma: standard deviation before rounding, one number > 0 or a real tensor that broadcasts to y.
    step: between the levels, > 0.  low, high: the outermost levels, which also stand for all beyond (default none).
    The likelihood is the probability of the cell of y, Phi((y + step/2 - c) / sigma) - Phi((y - step/2 - c) / sigma).
    One bit, sign(A(x) + sigma n), is Quantised(sigma, step=2, offset=1, low=-1, high=1). Widrow and Kollar 2008.
    """

    card = dict(family="quantised", source="Widrow and Kollar 2008")

    sigma: float | Tensor
    step: float = 1.0
    offset: float = 0.0
    low: float = -inf
    high: float = inf

    def __post_init__(self):
        positive("Quantised", "sigma", self.sigma)
        positive("Quantised", "step", self.step)
        if not self.low < self.high:
            raise BadInput(f"noise.Quantised: low = {self.low} should be below high = {self.high}")

    @classmethod
    def example(cls, rng):
        return cls(0.3, step=0.5)

    def nearest(self, v):
        """The level nearest to each entry of v."""
        k = torch.round((v - self.offset) / self.step)
        return (self.offset + self.step * k).clamp(self.low, self.high)

    def draw(self, clean, rng):
        v = clean + beside(clean, self.sigma).to(clean.dtype.to_real()) * standard_normal(clean, rng)
        return (
            torch.complex(self.nearest(v.real), self.nearest(v.imag)) if v.is_complex() else self.nearest(v)
        )

    def plug_in(self, y):
        """y, and Gaussian noise of variance sigma^2 + step^2 / 12. BadInput where levels end: one bit has no such noise."""
        if isinf(self.low) and isinf(self.high):
            return y, Gaussian((beside(y, self.sigma) ** 2 + self.step**2 / 12).sqrt().to(y.dtype.to_real()))
        return super().plug_in(y)

    def sharpest(self, y):
        """Of the variance before rounding, which the law is never sharper than."""
        return Gaussian(beside(y, self.sigma).to(y.dtype.to_real()))

    def log_likelihood(self, y, clean):
        """sum log P(cell of y | clean) over the real components, in float64."""
        if y.is_complex() or clean.is_complex():
            return self.log_likelihood(y.real, clean.real) + self.log_likelihood(y.imag, clean.imag)
        sigma, y, clean = beside(y, self.sigma), y.double(), clean.double()
        below = torch.where(y <= self.low, -inf, (y - self.step / 2 - clean) / sigma)
        above = torch.where(y >= self.high, inf, (y + self.step / 2 - clean) / sigma)
        return summed(log_interval(below, above), y.ndim)


def log_interval(a, b):
    """log(Phi(b) - Phi(a)) for a < b, in the tail where it is accurate: log Phi(b) + log(1 - Phi(a) / Phi(b))."""
    flip = a + b > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)  # the same probability, in the lower tail
    top = torch.special.log_ndtr(b)
    finite = a > -inf
    ratio = torch.special.log_ndtr(torch.where(finite, a, b - 1)) - top
    return torch.where(finite, top + torch.log(-torch.expm1(ratio)), top)
