"""Variance-exploding processes: the signal stays, the noise grows."""

from dataclasses import dataclass
from math import log

import torch

from workbench.diffusion._process import Process, as_time


@dataclass(frozen=True)
class VarianceExploding(Process):
    """alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t, t in (0, 1]; sigma(0) = 0 is the clean signal.

    Song et al. 2021, eq. 30 (0.01 to 50 for CIFAR; sigma_max about the largest distance between two signals).
    """

    card = dict(source="Song et al. 2021")

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    @property
    def _rate(self):
        return log(self.sigma_max / self.sigma_min)

    def alpha(self, t):
        return torch.ones_like(as_time(t))

    def sigma(self, t):
        t = as_time(t)
        return torch.where(t > 0, self.sigma_min * torch.exp(self._rate * t), 0.0)

    def time(self, kappa):
        return torch.log(as_time(kappa) / self.sigma_min) / self._rate

    def f(self, t):
        return torch.zeros_like(as_time(t))

    def g2(self, t):
        return 2 * self._rate * self.sigma(t) ** 2


@dataclass(frozen=True)
class EDM(Process):
    """alpha = 1, sigma = t: the noise level is the clock.  Karras et al. 2022, Table 1."""

    card = dict(source="Karras et al. 2022")

    t_max = 80.0

    def alpha(self, t):
        return torch.ones_like(as_time(t))

    def sigma(self, t):
        return as_time(t)

    def time(self, kappa):
        return as_time(kappa)

    def f(self, t):
        return torch.zeros_like(as_time(t))

    def g2(self, t):
        return 2 * as_time(t)
