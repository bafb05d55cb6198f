"""PFGM++: noise with the heavy tails of a Poisson flow in D further dimensions; D to infinity is diffusion."""

from dataclasses import dataclass
from math import inf, lgamma, log, pi

import torch
from scipy.special import gammaincinv

from workbench._errors import BadInput
from workbench.diffusion._process import Process, as_time, positive


@dataclass(frozen=True)
class PoissonFlow(Process):
    """x_t = x_0 + R u, p(x_t | x_0) ~ (|x_t - x_0|^2 + r^2)^(-(N + D) / 2), r = t sqrt(D): sigma = t is EDM's clock.

    N: the real numbers of a signal, D: the further dimensions. u is uniform on the sphere and R = r sqrt(B / (1 -
    B)), B ~ Beta(N / 2, D / 2): the same law as t z / sqrt(chi2_D / D), Student's with D degrees of freedom, which is
    drawn here in float64. Its variance is sigma^2 D / (D - 2) for D > 2. The field of the ODE is (x - E[x0 | x_t]) /
    sigma, so the samplers of EDM run unchanged from `draw` at the first level; Tweedie's formulas do not hold for
    finite D (the score is not (x0 - x) / sigma^2, Cov[x0 | x_t] not sigma^2 J), nor do guidance and stochastic steps
    made of them. Xu et al. 2023, eq. 5, 8 and Alg. 1; D = 2048 for CIFAR-10, 128 for FFHQ 64.
    """

    card = dict(source="Xu et al. 2023")

    t_max = 80.0
    gaussian = False

    D: float = 2048
    N: int = 3072

    def __post_init__(self):
        positive(D=self.D, N=self.N)
        if not 0.2 <= self.D < inf or not self.N < inf:
            raise BadInput(
                f"PoissonFlow: D = {self.D} should be at least 0.2, under which draws overflow, and finite, as N = {self.N}"
            )

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

    def draw(self, like, t, rng):
        """Draws of x_t - x_0, R u: rows of the shape, dtype and device of `like`."""
        z, u = rng.normal(like), rng.uniform(len(like)).clamp(1e-16, 1 - 2**-53)
        chi2 = 2 * torch.from_numpy(gammaincinv(0.5 * self.D, u.numpy()))
        heavy = torch.sqrt(self.D / chi2).to(like.device, like.dtype.to_real())
        return self.sigma(t) * z * heavy.reshape(-1, *[1] * (like.ndim - 1))

    def log_kernel(self, squares, t):
        """log p(x_t | x_0), normalised over R^N, from |x_t - x_0|^2 in float64."""
        N, D, r2 = self.N, self.D, self.D * self.sigma(t) ** 2
        constant = lgamma(0.5 * (N + D)) - lgamma(0.5 * D) - 0.5 * N * log(pi)
        return constant - 0.5 * N * torch.log(r2) - 0.5 * (N + D) * torch.log1p(squares / r2)

    def rate(self, squares, t):
        """-2 d log p / d |x_t - x_0|^2, 1 / sigma^2 for Gaussian noise: how hard each signal pulls."""
        return (self.N + self.D) / (squares + self.D * self.sigma(t) ** 2)
