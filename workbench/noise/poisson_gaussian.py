"""Poisson-Gaussian noise: counted photons, read out by electronics."""

from dataclasses import dataclass
from math import ceil, log, pi

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.noise._noise import Noise, beside, positive, standard_normal, summed
from workbench.noise.gaussian import Gaussian
from workbench.noise.poisson import Poisson

WIDTH = 9  # standard deviations of the counts that are summed over: e^{-40} is left out


@dataclass(frozen=True, eq=False)
class PoissonGaussian(Noise):
    """y = k + sigma n, k ~ Poisson(gain * A(x) + background), n standard normal; y in counts.

    gain, background: as in `Poisson`.  sigma: of the read-out, in counts, one number > 0 or a tensor that broadcasts.
    The likelihood is the exact sum over the unseen counts k, on the window that holds all of it in double precision.
    Snyder, Hammoud and White 1993; Foi et al. 2008.
    """

    card = dict(family="Poisson", source="Snyder, Hammoud and White 1993")

    gain: float | Tensor = 1.0
    sigma: float | Tensor = 1.0
    background: float | Tensor = 0.0

    def __post_init__(self):
        positive("PoissonGaussian", "sigma", self.sigma)
        self.counts  # noqa: B018  checks the rest

    @property
    def counts(self):
        """The photons alone."""
        return Poisson(self.gain, self.background)

    @classmethod
    def example(cls, rng):
        return cls(gain=20.0, sigma=1.5, background=0.5)

    def mean(self, clean):
        """The rate gain * clean + background, in counts."""
        return self.counts.mean(clean)

    def residual(self, y, clean):
        """(y - rate) / gain."""
        return (y - self.mean(clean)) / beside(clean, self.gain).to(clean.dtype)

    def draw(self, clean, rng):
        counts = self.counts.draw(clean, rng)
        return counts + beside(clean, self.sigma).to(clean.dtype) * standard_normal(
            clean, rng.fork("read-out")
        )

    def log_likelihood(self, y, clean):
        """log sum_k Poisson(k; rate) N(y; k, sigma^2), summed over the entries, in float64."""
        rate, sigma, y = self.mean(clean).double().clamp_min(1e-12), beside(y, self.sigma), y.double()
        middle = likeliest(rate.detach(), y, sigma)
        spread = (1 / (1 / sigma**2 + 1 / middle.clamp_min(1.0))).sqrt().max().item()
        low = (middle - WIDTH * spread).clamp_min(0).floor()
        terms = torch.full_like(rate + y, -torch.inf)
        for step in range(ceil(2 * WIDTH * spread) + 2):
            k = low + step
            term = k * rate.log() - rate - torch.lgamma(k + 1) - ((y - k) / sigma) ** 2 / 2
            terms = torch.logaddexp(terms, term)
        return summed(terms - sigma.log() - log(2 * pi) / 2, y.ndim)

    def gaussian(self, y):
        """The plug-in Gaussian noise of (y - background) / gain, whose variance is (max(y, 1) + sigma^2) / gain^2."""
        sigma = (y.double().clamp_min(1) + beside(y, self.sigma) ** 2).sqrt() / beside(y, self.gain)
        return Gaussian(sigma.to(y.dtype))

    def plug_in(self, y):
        """(y - background) / gain, and its plug-in Gaussian noise."""
        return ((y - beside(y, self.background)) / beside(y, self.gain)).to(y.dtype), self.gaussian(y)

    def whiten(self, A, y):
        raise BadInput(
            "noise.PoissonGaussian cannot be whitened exactly; use noise.gaussian(y) with (y - background) / gain"
        )


def likeliest(rate, y, sigma):
    """The count k >= 0 of the largest term: log(rate / k) + (y - k) / sigma^2 = 0, by Newton's method in log k."""
    u = torch.maximum(y, torch.minimum(rate, torch.ones_like(rate))).clamp_min(1e-12).log() + 0 * rate
    for _ in range(60):
        k = u.exp()
        u = u - (u - rate.log() - (y - k) / sigma**2) / (1 + k / sigma**2)
    return u.exp()
