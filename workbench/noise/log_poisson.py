"""Log-Poisson noise: line integrals from counted photons, with a floor where none came through."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.noise._noise import Noise, beside, positive, real, summed
from workbench.noise.gaussian import Gaussian
from workbench.noise.poisson import Poisson

MANY = 2000.0  # counts above which four terms of a series give E[log k] to 1e-10


@dataclass(frozen=True, eq=False)
class LogPoisson(Noise):
    """y = -log(max(k, floor) / photons) / scale, k ~ Poisson(photons exp(-scale A(x))): low-dose CT after the logarithm.

    A(x): line integrals, times `scale` without unit (LoDoPaB-CT divides by the attenuation of 3071 HU: 81.35858 per m).
    photons: expected counts without an object, one number > 0 or a tensor that broadcasts to y.
    floor: what stands for too few counts, > 0.  Defaults as in LoDoPaB-CT (Leuschner et al. 2021).
    y takes countably many values: the likelihood is the probability of the count that y stands for (the nearest one),
    and of all counts at most `floor` where y is at the floor.
    """

    card = dict(family="Poisson", source="Leuschner et al. 2021")

    photons: float | Tensor = 4096.0
    floor: float = 0.1
    scale: float = 1.0

    def __post_init__(self):
        for name in ("photons", "floor", "scale"):
            positive("LogPoisson", name, getattr(self, name))

    @classmethod
    def example(cls, rng):
        return cls(photons=50.0)

    def log_rate(self, clean):
        """log of the expected counts, log(photons) - scale clean."""
        return beside(clean, self.photons).log() - self.scale * real("LogPoisson", clean)

    def mean(self, clean):
        """E[y | clean], in the units of y: the sum over counts, or above 2000 of them the series of E[log k]."""
        log_rate = self.log_rate(clean)
        rate = log_rate.exp()
        few = rate.nan_to_num().clamp_max(MANY)
        low = (few - 10 * few.sqrt()).clamp_min(0).floor()
        total = torch.zeros_like(rate)
        for step in range(int(20 * few.max().item() ** 0.5 + 40) if few.numel() else 0):
            k = low + step
            total = total + log_poisson(k, few.log()).exp() * k.clamp_min(self.floor).log()
        series = log_rate - 1 / (2 * rate) - 5 / (12 * rate**2) - 3 / (4 * rate**3)
        expected = torch.where(rate < MANY, total, series)
        return ((beside(clean, self.photons).log() - expected) / self.scale).to(clean.dtype)

    def draw(self, clean, rng):
        k = Poisson().draw(self.log_rate(clean).exp(), rng)
        photons = beside(clean, self.photons)
        return (-(k.clamp_min(self.floor) / photons).log() / self.scale).to(clean.dtype)

    def log_likelihood(self, y, clean):
        """sum log Poisson(k; rate), or log P(k <= floor), for the count k that y stands for; in float64."""
        log_rate, seen = self.log_rate(clean), self.log_rate(y).exp()
        at_floor = seen <= max(self.floor, 0.5) * (1 + 1e-4)
        few = torch.arange(int(self.floor) + 1, dtype=torch.float64, device=log_rate.device)
        below = log_poisson(few, log_rate[..., None]).logsumexp(-1)
        return summed(torch.where(at_floor, below, log_poisson(seen.round(), log_rate)), y.ndim)

    def gaussian(self, y):
        """The plug-in Gaussian noise of y, of variance 1 / (k scale^2) for k counts: weights exp(-y) photons."""
        return Gaussian(
            (self.log_rate(y).exp().clamp_min(max(self.floor, 1.0)).rsqrt() / self.scale).to(y.dtype)
        )

    def plug_in(self, y):
        """y, and its plug-in Gaussian noise."""
        return y, self.gaussian(y)

    def whiten(self, A, y):
        raise BadInput(
            "noise.LogPoisson cannot be whitened exactly; use noise.gaussian(y), its plug-in Gaussian"
        )


def log_poisson(k, log_rate):
    """log of rate^k e^{-rate} / k!, from the logarithm of the rate: finite for any object, however dense."""
    return k * log_rate - log_rate.clamp_max(700).exp() - torch.lgamma(k + 1)
