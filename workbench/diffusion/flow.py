"""The straight line of rectified flow."""

from dataclasses import dataclass

from workbench.diffusion._process import Process, as_time


@dataclass(frozen=True)
class Flow(Process):
    """alpha = 1 - t, sigma = t, t in [0, 1): t = 0 is the signal, t = 1 the noise.

    Liu et al. 2023; Lipman et al. 2023. Libraries that count the other way convert with 1 - t at their boundary.
    """

    card = dict(source="Liu et al. 2023")

    t_max = 0.999

    def alpha(self, t):
        return 1 - as_time(t)

    def sigma(self, t):
        return as_time(t)

    def time(self, kappa):
        kappa = as_time(kappa)
        return kappa / (1 + kappa)

    def f(self, t):
        return -1 / (1 - as_time(t))

    def g2(self, t):
        t = as_time(t)
        return 2 * t / (1 - t)
