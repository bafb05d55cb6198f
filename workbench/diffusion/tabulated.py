"""A discrete variance-preserving schedule, made continuous."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.diffusion._process import Process, as_time


@dataclass(frozen=True)
class Tabulated(Process):
    """alpha_i = sqrt(abar_i), sigma_i = sqrt(1 - abar_i) at i = 1 ... N, log kappa linear in t between them.

    abar: decreasing cumulative products of 1 - beta_i, a tuple of N numbers in (0, 1).  t in [0, N]; t = i is entry i
    (network step i - 1). Below t = 1, kappa falls linearly to 0. Ho, Jain, Abbeel 2020.
    """

    card = dict(source="Ho et al. 2020")

    abar: tuple

    def __post_init__(self):
        table = torch.tensor(self.abar, dtype=torch.float64)
        if (
            table.ndim != 1
            or len(table) < 2
            or not (0 < table[-1] and table[0] < 1 and (table.diff() < 0).all())
        ):
            raise BadInput("Tabulated: abar should decrease strictly inside (0, 1)")
        object.__setattr__(self, "log_kappa", 0.5 * torch.log((1 - table) / table))

    @classmethod
    def linear(cls, beta_first=1e-4, beta_last=0.02, steps=1000):
        """The schedule of Ho et al. 2020: beta linear from 1e-4 to 0.02 over 1000 steps."""
        beta = torch.linspace(beta_first, beta_last, steps, dtype=torch.float64)
        return cls(tuple(torch.cumprod(1 - beta, 0).tolist()))

    @property
    def t_max(self):
        return float(len(self.abar))

    def kappa(self, t):
        t = as_time(t)
        below = t * self.log_kappa[0].exp()
        i = (t.floor().long() - 1).clamp(0, len(self.log_kappa) - 2)
        slope = self.log_kappa[i + 1] - self.log_kappa[i]
        return torch.where(t < 1, below, torch.exp(self.log_kappa[i] + slope * (t - 1 - i)))

    def time(self, kappa):
        kappa = as_time(kappa)
        first = self.log_kappa[0].exp()
        level = torch.log(kappa.clamp_min(first))
        i = (torch.searchsorted(self.log_kappa, level, right=True) - 1).clamp(0, len(self.log_kappa) - 2)
        above = 1 + i + (level - self.log_kappa[i]) / (self.log_kappa[i + 1] - self.log_kappa[i])
        return torch.where(kappa < first, kappa / first, above)

    def alpha(self, t):
        return torch.rsqrt(1 + self.kappa(t) ** 2)

    def sigma(self, t):
        kappa = self.kappa(t)
        return kappa * torch.rsqrt(1 + kappa**2)

    def _slope(self, t):
        """d log kappa / dt."""
        t = as_time(t)
        i = (t.floor().long() - 1).clamp(0, len(self.log_kappa) - 2)
        return torch.where(t < 1, 1 / t, self.log_kappa[i + 1] - self.log_kappa[i])

    def f(self, t):
        return -(self.sigma(t) ** 2) * self._slope(t)

    def g2(self, t):
        return 2 * self.sigma(t) ** 2 * self._slope(t)
