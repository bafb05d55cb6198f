"""The base of every noise schedule: x_t = alpha(t) x_0 + sigma(t) eps, t from noise down to 0, the clean signal.

A denoiser needs only x_t / alpha and kappa = sigma / alpha, so any two Gaussian processes are the same one seen at
another time and scale. Time is float64; alpha and sigma come out as float64 numbers of no dimension, which torch
multiplies in the signal's own precision.
"""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput


def as_time(t):
    """t as a float64 tensor."""
    return torch.as_tensor(t, dtype=torch.float64)


@dataclass(frozen=True)
class Process:
    """A Gaussian noise schedule. A kind of process has `alpha(t)`, `sigma(t)`, `time(kappa)` and `f(t)`, `g2(t)`.

    dx = f(t) x dt + sqrt(g2(t)) dw with f = alpha'/alpha and g2 = d(sigma^2)/dt - 2 f sigma^2. At t = 0 every process
    is at the clean signal: alpha = 1, sigma = 0. `t_max` is where its published range ends.
    """

    t_max = 1.0
    gaussian = (
        True  # whether x_t - alpha x_0 is: what Tweedie's formulas, guidance and stochastic steps are made of
    )

    def alpha(self, t):
        raise NotImplementedError(f"{type(self).__name__} should define alpha(t)")

    def sigma(self, t):
        raise NotImplementedError(f"{type(self).__name__} should define sigma(t)")

    def time(self, kappa):
        """The t at which sigma / alpha = kappa, the inverse of `kappa(t)`."""
        raise NotImplementedError(f"{type(self).__name__} should define time(kappa)")

    def draw(self, like, t, rng):
        """Noise of the size it has at time t, sigma(t) eps, in the shape, dtype and device of `like`."""
        return self.sigma(t) * rng.normal(like)

    def kappa(self, t):
        """The noise level sigma / alpha of the rescaled signal x_t / alpha."""
        return self.sigma(t) / self.alpha(t)

    def lam(self, t):
        """Half the log signal-to-noise ratio, log(alpha / sigma)."""
        return -torch.log(self.kappa(t))


def positive(**values):
    """Raise BadInput unless every named number is positive."""
    for name, value in values.items():
        if not value > 0:
            raise BadInput(f"{name} = {value} should be positive")
