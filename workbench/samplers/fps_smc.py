"""FPS-SMC: a particle filter along a diffused measurement."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.samplers import _sampler
from workbench.samplers._ancestral import moments
from workbench.samplers._sampler import Sampler
from workbench.samplers._spectral import gaussian_spectral, spectral
from workbench.samplers.mcg_diff import density_of_coordinates, log_normal
from workbench.samplers.resampling import Resample, Systematic


@dataclass(frozen=True)
class Telescoping:
    """N(y_s; A m, sigma_y^2 + tau^2 A A^H) over N(y_t; A x_t, sigma_y^2): along a path the likelihood counts once."""

    def gain(self, after, before):
        return after - before


@dataclass(frozen=True)
class Independent:
    """The published weight, without the denominator: every y_t counts as data of its own, though the noise in it is
    the same at all levels. Consistent only as sigma_y -> 0."""

    def gain(self, after, before):
        return after


@dataclass(frozen=True)
class FPSSMC(Sampler):
    """Each step is conditioned on the measurement diffused to its level: x_s ~ N(m, tau^2) N(y_s; A x_s, alpha_s^2 Sigma_y).

    In u = x / alpha and the singular vectors of A: y_kappa = ybar + kappa e with e ~ N(0, I), carried from level to
    level as e_s = sqrt(1 - c) e_t + sqrt(c) e', c = eta^2 (1 - (kappa_s / kappa_t)^2), one sequence an ensemble. For
    any sequence the telescoping weights are exact as n grows, but slowly: with one sequence the error is large, and
    the mean weight is far below p(y) at any affordable n, so no evidence is given. Pool several, ensembles=40.
    weights: Telescoping(), or Independent(), the published ones. Linear A with singular values, Gaussian noise. Dou
    and Song 2024, Alg. 2.
    """

    card = dict(name="fps-smc", kind="sampler", exactness="E1", needs="svd", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Dou and Song 2024")  # fmt: skip
    published = dict(
        paper=dict(eta=1.0, weights=Independent()), benchmark=dict(eta=0.85, weights=Independent())
    )

    couples = True
    evidence = pools = False

    eta: float = 1.0
    weights: Telescoping | Independent = field(default_factory=Telescoping)
    resample: Resample = field(default_factory=Systematic)

    @dataclass
    class State(_sampler.State):
        """e: the noise of the measurement at this level, the same in every row, (n, r)."""

        e: Tensor | None = None

    def __post_init__(self):
        if not 0 < self.eta <= 1:
            raise BadInput(
                f"FPSSMC: eta = {self.eta} should lie in (0, 1], the share of the noise that is drawn anew"
            )

    def init(self, problem, n, t, rng):
        process, data = problem.prior.process, gaussian_spectral(problem, "FPSSMC")
        kappa, own = float(process.kappa(t)), data.deviation.double()
        e = rng.fork("measurement").normal(data.seen[None]).expand(n, *data.seen.shape)
        u = problem.prior.initial(n, t, rng) / process.alpha(t)
        seen = data.seen + kappa * e
        coordinates = data.measured(u)
        noise = rng.fork("data").normal(coordinates)
        gain = (kappa**2 / (kappa**2 + own**2)).to(data.s.dtype)
        u = data.replaced(u, coordinates + gain * (seen - coordinates - data.deviation * noise))
        start = log_normal(seen, torch.zeros_like(coordinates), kappa**2 + own**2)
        return self.State(process.alpha(t) * u, start + density_of_coordinates(problem), e.clone())

    def step(self, problem, state, t, s, rng):
        process, data = problem.prior.process, spectral(problem)
        high, low, own = float(process.kappa(t)), float(process.kappa(s)), data.deviation.double()
        x0 = problem.prior.denoise(state.x, t)
        m, tau = moments(process, state.x, x0, t, s, self.eta)
        u, m, tau = state.x / process.alpha(t), m / process.alpha(s), float(tau / process.alpha(s))
        c = self.eta**2 * (1 - (low / high) ** 2)
        fresh = rng.fork("measurement").normal(data.seen[None])
        e = (1 - c) ** 0.5 * state.e + c**0.5 * fresh
        seen = data.seen + low * e
        mean = data.measured(m)
        before = log_normal(data.seen + high * state.e, data.measured(u), own**2)
        log_w = state.log_w + self.weights.gain(log_normal(seen, mean, own**2 + tau**2), before)
        gain = (tau**2 / (tau**2 + own**2)).to(data.s.dtype)
        z = rng.normal(u)
        shift = gain * (seen - mean) + (gain.sqrt() * data.deviation - tau) * data.measured(
            z
        )  # of V^H (m + tau z)
        return self.State(process.alpha(s) * (m + tau * z + data.V(shift)), log_w, e)
