"""Stochastic interpolants: a straight line between noise and signal with a bridge of noise on it."""

from dataclasses import dataclass
from math import inf

import torch

from workbench._errors import BadInput
from workbench.diffusion._process import Process, as_time, positive


@dataclass(frozen=True)
class Interpolant(Process):
    """x_t = (1 - t) x_0 + t (m + base z) + gamma(t) w, gamma = bridge sqrt(2 t (1 - t)); z, w ~ N(0, I).

    t = 0 is the signal, t = 1 the base (Albergo et al. count the other way). One-sided, m = 0: a Gaussian process
    with alpha = 1 - t and sigma^2 = base^2 t^2 + gamma^2, on which every stepper runs: `prior.under(Interpolant())`;
    bridge = 0 is the straight line of Flow. Two-sided, a mean m for each sample, such as A^+ y: x_t - t m (`centred`)
    is that same process, for the prior of x_0 given m. `velocity` and `noise` are b and eta_z as views of a prior's
    denoiser; the targets that train them are `velocity_target` and w. gamma' grows without bound at both ends: keep t
    in [1e-3, 1 - 1e-3] where it is used. Albergo, Boffi, Vanden-Eijnden 2023, eq. 2.1, 2.10, 2.13.
    """

    card = dict(source="Albergo et al. 2023")

    t_max = 0.999

    base: float = 1.0
    bridge: float = 1.0

    def __post_init__(self):
        positive(base=self.base)
        if not (0 <= self.bridge < inf and self.base < inf):
            raise BadInput(
                f"Interpolant: bridge = {self.bridge} should be 0 or more, and finite, as base = {self.base}"
            )

    def gamma(self, t):
        """The deviation of the bridge."""
        t = as_time(t)
        return self.bridge * torch.sqrt(2 * t * (1 - t))

    def alpha(self, t):
        return 1 - as_time(t)

    def sigma(self, t):
        t = as_time(t)
        return torch.sqrt((self.base * t) ** 2 + 2 * self.bridge**2 * t * (1 - t))

    def time(self, kappa):
        """kappa^2 = base^2 r^2 + 2 bridge^2 r with r = t / (1 - t)."""
        kappa = as_time(kappa)
        b = self.bridge**2
        return kappa**2 / (kappa**2 + b + torch.sqrt(b**2 + (self.base * kappa) ** 2))

    def f(self, t):
        return -1 / (1 - as_time(t))

    def g2(self, t):
        t = as_time(t)
        return 2 * self.base**2 * t / (1 - t) + 2 * self.bridge**2

    def point(self, x0, start, w, t):
        """x_t of a signal x0, a base draw `start` = m + base z and a standard normal w, each (n, *shape)."""
        return self.alpha(t) * x0 + as_time(t) * start + self.gamma(t) * w

    def velocity_target(self, x0, start, w, t):
        """d x_t / dt = start - x0 + gamma'(t) w, whose conditional mean is the velocity."""
        return (
            start - x0 + self.bridge**2 * (1 - 2 * as_time(t)) / self.gamma(t) * w
            if self.bridge
            else start - x0
        )

    def centred(self, x, t, mean=0.0):
        """x_t - t m, the Gaussian process of a path whose base has mean m."""
        return x - as_time(t) * mean

    def velocity(self, prior, x, t, mean=0.0):
        """b(x, t) = E[d x_t / dt | x_t = x] = m + f x' - g2 s / 2, x' centred, of a prior under any process.

        From t = 1 to 0, x follows dx = b dt, or dx = (b - eps s) dt + sqrt(2 eps) dw for any eps(t) >= 0 (dt < 0).
        """
        x = self.centred(x, t, mean)
        return mean + self.f(t) * x - 0.5 * self.g2(t) * prior.under(self).score(x, t)

    def noise(self, prior, x, t, mean=0.0):
        """eta_z(x, t) = E[w | x_t = x] = -gamma s, finite where the score is not."""
        return -self.gamma(t) * prior.under(self).score(self.centred(x, t, mean), t)
