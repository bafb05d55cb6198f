"""Log-Poisson noise: line integrals from counted photons, with a floor where none came through."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.noise._noise import Noise, beside, positive, real, summed
from workbench.noise.gaussian import Gaussian
from workbench.noise.poisson import Poisson


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

    def rate(self, clean):
        """Expected counts photons exp(-scale clean)."""
        return beside(clean, self.photons) * torch.exp(-self.scale * real("LogPoisson", clean))

    def mean(self, clean):
        """E[y | clean], summed over the counts that matter, in the units of y."""
        rate = self.rate(clean)
        top = int(rate.max().item() + 10 * rate.max().item() ** 0.5 + 40)
        total = torch.zeros_like(rate)
        for first in range(0, top, 1024):
            k = torch.arange(first, min(first + 1024, top), dtype=torch.float64, device=rate.device)
            mass = log_poisson(k, rate[..., None]).exp()
            total = total + (mass * self._logarithm(k, beside(clean, self.photons)[..., None])).sum(-1)
        return total.to(clean.dtype)

    def _logarithm(self, k, photons):
        return -(k.clamp_min(self.floor) / photons).log() / self.scale

    def draw(self, clean, rng):
        k = Poisson().draw(self.rate(clean), rng)
        return self._logarithm(k, beside(clean, self.photons)).to(clean.dtype)

    def log_likelihood(self, y, clean):
        """sum log Poisson(k; rate), or log P(k <= floor), for the count k that y stands for; in float64."""
        rate, seen = self.rate(clean), self.rate(y)
        at_floor = seen <= max(self.floor, 0.5) * (1 + 1e-4)
        few = torch.arange(int(self.floor) + 1, dtype=torch.float64, device=rate.device)
        below = log_poisson(few, rate[..., None]).logsumexp(-1)
        return summed(torch.where(at_floor, below, log_poisson(seen.round(), rate)), y.ndim)

    def gaussian(self, y):
        """The plug-in Gaussian noise of y, of variance 1 / (k scale^2) for k counts: weights exp(-y) photons."""
        return Gaussian((self.rate(y).clamp_min(max(self.floor, 1.0)).rsqrt() / self.scale).to(y.dtype))

    def whiten(self, A, y):
        raise BadInput(
            "noise.LogPoisson cannot be whitened exactly; use noise.gaussian(y), its plug-in Gaussian"
        )


def log_poisson(k, rate):
    """log of rate^k e^{-rate} / k!."""
    return k * rate.log() - rate - torch.lgamma(k + 1)
