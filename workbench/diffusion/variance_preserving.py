"""Variance-preserving processes with a linear rate beta (Song et al. 2021)."""

from dataclasses import dataclass

import torch

from workbench.diffusion._process import Process, as_time


@dataclass(frozen=True)
class VariancePreserving(Process):
    """alpha = exp(-B(t) / 2), sigma^2 = 1 - alpha^2, with B(t) = beta_min t + (beta_max - beta_min) t^2 / 2.

    t in [0, 1].  Song et al. 2021, eq. 11, 32; the published range starts at t = 1e-3.
    """

    card = dict(source="Song et al. 2021")

    beta_min: float = 0.1
    beta_max: float = 20.0

    def beta(self, t):
        return self.beta_min + (self.beta_max - self.beta_min) * as_time(t)

    def integral(self, t):
        """B(t), the integral of beta from 0 to t."""
        t = as_time(t)
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def _time_of_integral(self, B):
        slope = self.beta_max - self.beta_min
        if slope == 0:
            return B / self.beta_min
        return 2 * B / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * B))

    def alpha(self, t):
        return torch.exp(-0.5 * self.integral(t))

    def sigma(self, t):
        return torch.sqrt(-torch.expm1(-self.integral(t)))

    def time(self, kappa):
        return self._time_of_integral(torch.log1p(as_time(kappa) ** 2))

    def f(self, t):
        return -0.5 * self.beta(t)

    def g2(self, t):
        return self.beta(t)


@dataclass(frozen=True)
class SubVariancePreserving(VariancePreserving):
    """alpha = exp(-B(t) / 2), sigma = 1 - alpha^2: the variance-preserving drift with less noise.

    t in [0, 1].  Song et al. 2021, eq. 29.
    """

    card = dict(source="Song et al. 2021")

    def sigma(self, t):
        return -torch.expm1(-self.integral(t))

    def time(self, kappa):
        kappa = as_time(kappa)  # alpha^2 + kappa alpha - 1 = 0; -2 log alpha = 2 asinh(kappa / 2)
        return self._time_of_integral(2 * torch.asinh(0.5 * kappa))

    def g2(self, t):
        return self.beta(t) * -torch.expm1(-2 * self.integral(t))
