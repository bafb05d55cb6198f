"""The Ornstein-Uhlenbeck process: a constant pull to zero and constant noise."""

from dataclasses import dataclass

import torch

from workbench.diffusion._process import Process, as_time, positive


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Process):
    """dx = -rate x dt + sqrt(2 rate variance) dw: alpha = exp(-rate t), sigma^2 = variance (1 - alpha^2), t in [0, inf).

    `variance` is that of the stationary law; rate = 1, variance = 1/2 (dx = -x dt + dw) is the convention of
    Deveney et al. 2023, variance = 1 is variance preserving with a constant beta = 2 rate.
    """

    card = dict(source="Deveney et al. 2023")

    t_max = 10.0

    rate: float = 1.0
    variance: float = 0.5

    def __post_init__(self):
        positive(rate=self.rate, variance=self.variance)

    def alpha(self, t):
        return torch.exp(-self.rate * as_time(t))

    def sigma(self, t):
        return torch.sqrt(-self.variance * torch.expm1(-2 * self.rate * as_time(t)))

    def time(self, kappa):
        return torch.log1p(as_time(kappa) ** 2 / self.variance) / (2 * self.rate)

    def f(self, t):
        return torch.full_like(as_time(t), -self.rate)

    def g2(self, t):
        return torch.full_like(as_time(t), 2 * self.rate * self.variance)
