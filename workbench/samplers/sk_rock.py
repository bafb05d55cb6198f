"""Stabilised explicit Langevin: Chebyshev stages whose step grows with the square of their number."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from workbench.samplers._checks import positive, whole
from workbench.samplers._reals import rows
from workbench.samplers.ula import ULA, slope


@dataclass(frozen=True)
class SKROCK(ULA):
    """K_j = mu_j delta grad log pi(K_{j-1}) + nu_j K_{j-1} + (1 - nu_j) K_{j-2}, K_1 = x + mu_1 delta grad log pi(x + nu_1 Q) + k_1 Q.

    pi = p_sigma(x) p(y | x) as in ULA, Q = sqrt(2 delta) z, x <- K_s. With w_0 = 1 + eta / s^2 and w_1 = T_s / T_s' at w_0:
    mu_1 = w_1 / w_0, nu_1 = s w_1 / 2, k_1 = s w_1 / w_0, mu_j = 2 w_1 T_{j-1} / T_j, nu_j = 2 w_0 T_{j-1} / T_j at w_0.
    Stable for delta L <= `limit` = (s - 1/2)^2 (2 - 4 eta / 3) - 3/2, L the largest curvature.
    On a Gaussian of curvature p, with z = -delta p, the stationary variance is 2 delta B^2 / (1 - A^2) with
    A = T_s(w_0 + w_1 z) / T_s(w_0), B = (1 + w_1 z / 2) U_{s-1}(w_0 + w_1 z) / U_{s-1}(w_0).
    The default step is the longest whose variance is right within a tenth in every direction: 2.0 / L with 5 stages,
    0.4 / L a denoiser call where ULA has 0.2 / L. Longer ones mix faster, and directions with curvature above about
    2.3 / delta come out too narrow: at half of the limit with 10 stages by 50 % in variance at p = L, 70 % at L / 5.
    stages: s, denoiser calls a step.  eta: damping.  Others as in ULA. Pereyra et al. 2020, Alg. 3.1.
    """

    card = dict(name="sk-rock", kind="sampler", exactness="E1", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="s NFE, s stages (5)", source="Pereyra et al. 2020")  # fmt: skip

    stages: int = 5
    eta: float = 0.05

    def __post_init__(self):
        super().__post_init__()
        whole("SKROCK", least=2, stages=self.stages)
        positive("SKROCK", eta=self.eta)

    @property
    def reach(self):
        """The default step, in units of the inverse of the largest curvature."""
        return accurate_step(self.stages, self.eta)

    @property
    def limit(self):
        """The longest stable step, in the same units."""
        return (self.stages - 0.5) ** 2 * (2 - 4 * self.eta / 3) - 1.5

    def step(self, problem, state, t, s, rng):
        x, delta = state.x, rows(state.delta, state.x)
        t = problem.prior.process.time(state.kappa[0])
        Q = torch.sqrt(2 * delta) * rng.normal(x)
        S, (w0, w1, T) = self.stages, chebyshev(self.stages, self.eta)
        before, x = x, x + w1 / w0 * delta * slope(problem, x + 0.5 * S * w1 * Q, t) + S * w1 / w0 * Q
        for j in range(2, S + 1):
            mu, nu = 2 * w1 * T[j - 1] / T[j], 2 * w0 * T[j - 1] / T[j]
            before, x = x, mu * delta * slope(problem, x, t) + nu * x + (1 - nu) * before
        return self.State(x, delta=state.delta, kappa=state.kappa)


def chebyshev(s, eta):
    """w_0, w_1 = T_s(w_0) / T_s'(w_0) and the values T_0 ... T_s at w_0."""
    w0 = 1 + eta / s**2
    T, slopes = [1.0, w0], [0.0, 1.0]
    for _ in range(2, s + 1):
        slopes.append(2 * T[-1] + 2 * w0 * slopes[-1] - slopes[-2])
        T.append(2 * w0 * T[-1] - T[-2])
    return w0, T[s] / slopes[s], T


def variance(z, s, eta):
    """The stationary variance times the precision p of a Gaussian, at z = delta p: 2 z B^2 / (1 - A^2)."""
    w0, w1, T = chebyshev(s, eta)

    def both(x):
        """T_s and U_{s-1} at x."""
        first, second = [torch.ones_like(x), x], [torch.ones_like(x), 2 * x]
        for _ in range(2, s + 1):
            first.append(2 * x * first[-1] - first[-2])
            second.append(2 * x * second[-1] - second[-2])
        return first[s], second[s - 1]

    (A, B), (_, whole) = both(w0 - w1 * z), both(torch.as_tensor(w0, dtype=z.dtype))
    return 2 * z * ((1 - 0.5 * w1 * z) * B / whole) ** 2 / (1 - (A / T[s]) ** 2)


@lru_cache
def accurate_step(s, eta, off=0.1):
    """The longest delta L for which that is within `off` of 1 for all p <= L."""
    z = torch.linspace(0, s**2, 100 * s**2 + 1, dtype=torch.float64)[1:]
    wrong = ~((variance(z, s, eta) - 1).abs() <= off)
    return z[wrong.int().argmax() - 1].item()
