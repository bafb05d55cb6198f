"""The cosine schedule."""

from dataclasses import dataclass
from math import pi

import torch

from workbench.diffusion._process import Process, as_time


@dataclass(frozen=True)
class Cosine(Process):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2), t in [0, 1); clip t at 0.999.  Nichol and Dhariwal 2021."""

    card = dict(source="Nichol and Dhariwal 2021")

    t_max = 0.999

    def alpha(self, t):
        return torch.cos(0.5 * pi * as_time(t))

    def sigma(self, t):
        return torch.sin(0.5 * pi * as_time(t))

    def time(self, kappa):
        return torch.atan(as_time(kappa)) * 2 / pi

    def f(self, t):
        return -0.5 * pi * torch.tan(0.5 * pi * as_time(t))

    def g2(self, t):
        return pi * torch.tan(0.5 * pi * as_time(t))
