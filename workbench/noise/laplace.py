"""Laplace noise: heavier tails than Gaussian, for outliers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.noise._noise import Noise, beside, positive, summed
from workbench.noise.gaussian import Gaussian


@dataclass(frozen=True, eq=False)
class Laplace(Noise):
    """y = A(x) + n with density exp(-|n| / scale) / (2 scale) in each real component.

    scale: mean of |n|, one number > 0 or a real tensor that broadcasts to y; the standard deviation is sqrt(2) scale.
    """

    card = dict(family="Laplace", source="")

    scale: float | Tensor

    def __post_init__(self):
        positive("Laplace", "scale", self.scale)

    @classmethod
    def example(cls, rng):
        return cls(0.3)

    def draw(self, clean, rng):
        """The difference of two exponential variables, -scale log u each."""
        u = rng.uniform(4, *clean.shape).to(clean.device).clamp_min(2.0**-54).log()
        n = beside(clean, self.scale) * (u[:2] - u[2:])
        return clean + (torch.complex(*n) if clean.is_complex() else n[0]).to(clean.dtype)

    def log_likelihood(self, y, clean):
        """-sum |y - clean| / scale - log(2 scale) over the real components, in float64."""
        r, scale = y - clean, beside(y, self.scale)
        if r.is_complex():
            return summed(-(r.real.abs() + r.imag.abs()) / scale - 2 * (2 * scale).log(), y.ndim)
        return summed(-r.abs() / scale - (2 * scale).log(), y.ndim)

    def plug_in(self, y):
        """y, and Gaussian noise of the same variance, 2 scale^2."""
        return y, Gaussian(2**0.5 * beside(y, self.scale).to(y.dtype.to_real()))
