"""Rician noise: magnitude images of MRI."""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from workbench.noise._noise import Noise, beside, positive, standard_normal, summed


@dataclass(frozen=True, eq=False)
class Rician(Noise):
    """y = |A(x) + sigma (n1 + i n2)| with n1, n2 standard normal: the magnitude of a complex image of one coil.

    sigma: standard deviation of each real component, one number > 0 or a real tensor that broadcasts to y.
    A(x) may be real or complex; only its magnitude matters. y is real, >= 0. Rice 1944; Gudbjartsson and Patz 1995.
    """

    card = dict(family="Rician", source="Rice 1944; Gudbjartsson and Patz 1995")

    sigma: float | Tensor

    def __post_init__(self):
        positive("Rician", "sigma", self.sigma)

    @classmethod
    def example(cls, rng):
        return cls(0.3)

    def mean(self, clean):
        """sigma sqrt(pi/2) e^{-h} ((1 + 2 h) I0(h) + 2 h I1(h)), h = |clean|^2 / (4 sigma^2)."""
        sigma = beside(clean, self.sigma)
        h = (clean.abs().double() / sigma) ** 2 / 4
        mean = sigma * (pi / 2) ** 0.5 * ((1 + 2 * h) * torch.special.i0e(h) + 2 * h * torch.special.i1e(h))
        return mean.to(clean.dtype.to_real())

    def draw(self, clean, rng):
        noise = standard_normal(clean.to(clean.dtype.to_complex()), rng)
        return (clean + beside(clean, self.sigma).to(clean.dtype.to_real()) * noise).abs()

    def log_likelihood(self, y, clean):
        """sum log(y / sigma^2) - (y - a)^2 / (2 sigma^2) + log(e^{-z} I0(z)), z = a y / sigma^2, a = |clean|; float64."""
        sigma, a, y = beside(y, self.sigma), clean.abs().double(), y.double()
        y, a = y / sigma, a / sigma
        return summed(y.log() - sigma.log() - (y - a) ** 2 / 2 + torch.special.i0e(a * y).log(), y.ndim)
