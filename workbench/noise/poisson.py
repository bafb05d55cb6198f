"""Poisson noise: counted photons."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.noise._noise import Noise, summed
from workbench.noise.gaussian import Gaussian


@dataclass(frozen=True, eq=False)
class Poisson(Noise):
    """y ~ Poisson(gain * A(x) + background), y in counts.

    gain: counts per unit of A(x), > 0; background: expected counts without signal, >= 0; numbers or tensors that
    broadcast to y. The rate is floored at 1e-12 counts, where its logarithm would end.
    """

    card = dict(family="Poisson", source="")

    gain: float | Tensor = 1.0
    background: float | Tensor = 0.0

    def __post_init__(self):
        if not (torch.as_tensor(self.gain) > 0).all():
            raise BadInput(f"noise.Poisson: gain = {self.gain} should be positive counts per unit of A(x)")
        if not (torch.as_tensor(self.background) >= 0).all():
            raise BadInput(f"noise.Poisson: background = {self.background} should not be negative")

    @classmethod
    def example(cls, rng):
        return cls(gain=20.0, background=0.5)

    def mean(self, clean):
        """The rate gain * clean + background, in counts."""
        if clean.is_complex():
            raise BadInput("noise.Poisson: A(x) is complex, a rate is real; measure an intensity")
        return _beside(clean, self.gain) * clean + _beside(clean, self.background)

    def residual(self, y, clean):
        """(y - rate) / gain."""
        return (y - self.mean(clean)) / _beside(clean, self.gain)

    def draw(self, clean, rng):
        from scipy.stats import poisson

        rate = self.mean(clean)
        if (rate < 0).any():
            raise BadInput(
                f"noise.Poisson: the rate is {rate.min().item():g} somewhere; it should not be negative"
            )
        uniform = rng.uniform(1, *clean.shape)[0]
        counts = poisson.ppf(uniform.numpy(), rate.double().cpu().numpy())
        return torch.as_tensor(counts).clamp_min(0).to(clean.device, clean.dtype)

    def log_likelihood(self, y, clean):
        """sum y log rate - rate - log y!, in float64."""
        rate, y = self.mean(clean).double().clamp_min(1e-12), y.double()
        terms = y * rate.log() - rate - torch.lgamma(y + 1)
        return summed(terms, y.ndim)

    def _knee(self, y):
        """The rate under which `relaxed` leaves the law: a quarter of the count, at least 1."""
        return (y / 4).clamp_min(1.0)

    def relaxed(self, y, clean):
        """log p, with the parabola that osculates y log rate - rate below a quarter of the count (and one count).

        Where A(x) makes a rate tiny or negative the law is a cliff and then flat; the parabola leads back up. Entries
        without counts keep -rate, and nothing below 0.
        """
        rate, y = self.mean(clean).double(), y.double()
        r0 = self._knee(y)
        step = (rate - r0) / r0
        low = y * (r0.log() + step - 0.5 * step**2) - rate
        terms = torch.where(rate < r0, low, y * rate.clamp_min(1e-12).log() - rate)
        terms = torch.where(y > 0, terms, -rate.clamp_min(0))
        return summed(terms - torch.lgamma(y + 1), y.ndim)

    def gradient(self, y, clean):
        """gain (y / rate - 1), and that of the parabola of `relaxed` below it."""
        rate = self.mean(clean)
        r0 = self._knee(y)
        slope = torch.where(rate < r0, y / r0 * (2 - rate / r0), y / rate.clamp_min(1e-12)) - 1
        return _beside(clean, self.gain) * torch.where((y > 0) | (rate > 0), slope, 0.0)

    def sharpest(self, y):
        """Of curvature gain^2 y / r0^2, the largest of `relaxed`, where r0 is a quarter of the count, at least 1."""
        return Gaussian(self._knee(y) / (y.clamp_min(1).sqrt() * _beside(y, self.gain)))

    def gaussian(self, y):
        """The plug-in Gaussian noise of (y - background) / gain, whose variance is max(y, 1) / gain^2."""
        return Gaussian(y.clamp_min(1).sqrt() / _beside(y, self.gain))

    def plug_in(self, y):
        """(y - background) / gain, and its plug-in Gaussian noise."""
        return (y - _beside(y, self.background)) / _beside(y, self.gain), self.gaussian(y)

    def whiten(self, A, y):
        raise BadInput(
            "noise.Poisson cannot be whitened exactly; use noise.gaussian(y) with (y - background) / gain"
        )


def _beside(like, value):
    """`value`, a number or a tensor, on the device of `like`."""
    return value.to(like.device) if isinstance(value, Tensor) else value
