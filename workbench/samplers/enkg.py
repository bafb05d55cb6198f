"""Ensemble Kalman guidance: the gradient of the likelihood by statistical linearisation across particles."""

from dataclasses import dataclass, field

import torch

from workbench._errors import BadInput
from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import not_negative, positive, whole, within
from workbench.samplers._reals import as_reals
from workbench.samplers._sampler import Sampler, State
from workbench.samplers.daps import flow_end


@dataclass(frozen=True)
class LikelihoodRate:
    """weight (kappa_t^2 - kappa_s^2) / v, v the ensemble's variance an entry: the push that the score of y asks of the step.

    Not above 1 / tr C_YY, C_YY the covariance of the predicted data in units of their noise, which keeps it stable.
    """

    weight: float = 1.0

    def __post_init__(self):
        not_negative("LikelihoodRate", weight=self.weight)

    def __call__(self, c, variance, spread, gain):
        return torch.minimum(self.weight * gain / variance, 1 / spread)


@dataclass(frozen=True)
class FrobeniusRate:
    """guidance / ||c||_F, the published rate, from which sigma_y drops out."""

    guidance: float = 2.0

    def __post_init__(self):
        positive("FrobeniusRate", guidance=self.guidance)

    def __call__(self, c, variance, spread, gain):
        return self.guidance / torch.linalg.matrix_norm(c)


@dataclass(frozen=True)
class EnKG(Sampler):
    """x_i <- x_i + rate sum_j c_ij (x_j - mean x), c_ij = <Sigma_y^{-1} (y - Y_i), Y_j - mean Y> / N, Y = A(ODE end of x).

    `updates` times a level, then a DDIM step with eta. The push is C_xY Sigma_y^{-1} (y - Y_i): the gradient of the
    likelihood of the ODE's end, preconditioned by the ensemble's covariance, with A a black box. Ensembles
    smaller than the signal's real components stay in their span; 2 is the least, and the spread is not calibrated.
    rate: LikelihoodRate(), in likelihood units, or FrobeniusRate().  ode_steps: of the ODE. Zheng et al. 2024.
    """

    card = dict(name="enkg", kind="sampler", exactness="P", needs="black box", complex=True, nonlinear=True, poisson=True,
                cost="K M + 1 NFE, K updates (2), M ode_steps (20)", source="Zheng et al. 2024")  # fmt: skip
    published = dict(navier_stokes=dict(rate=FrobeniusRate(2.0), updates=2, ode_steps=20, eta=1.0))

    couples = True
    rate: LikelihoodRate | FrobeniusRate = field(default_factory=LikelihoodRate)
    updates: int = 2
    ode_steps: int = 20
    eta: float = 1.0

    def __post_init__(self):
        whole("EnKG", updates=self.updates, ode_steps=self.ode_steps)
        within("EnKG", 0, 1, eta=self.eta)

    def init(self, problem, n, t, rng):
        if n < 2:
            raise BadInput(
                f"EnKG: n = {n} is no ensemble, whose spread guides it; ask for at least 2 samples"
            )
        return super().init(problem, n, t, rng)

    def step(self, problem, state, t, s, rng):
        prior = problem.prior
        process, x = prior.process, state.x
        gain = (process.kappa(t) ** 2 - process.kappa(s) ** 2) / self.updates
        for _ in range(self.updates):
            x = x + process.alpha(t) * self._push(problem, x, t, gain)
        return State(ancestral(process, x, prior.denoise(x, t), t, s, rng, self.eta))

    def _push(self, problem, x, t, gain):
        """rate sum_j c_ij (x_j - mean x), of x / alpha."""
        Y = problem.A(flow_end(problem.prior, x, t, self.ode_steps))
        pull = as_reals(problem.noise.gradient(problem.y, Y)).double()  # Sigma_y^{-1} (y - Y_i)
        off = x / problem.prior.process.alpha(t)
        off, dY = off - off.mean(0), as_reals(Y - Y.mean(0)).double()
        c = pull @ dY.mT / len(x)
        reals = as_reals(off)
        variance = reals.double().square().sum() / reals.numel()
        spread = (self._white(problem, Y) * dY).sum() / len(x)
        if not variance > 0 or not spread > 0:
            return torch.zeros_like(x)
        rate = self.rate(c, variance, spread, gain)
        return torch.tensordot((rate * c).to(off.dtype), off, dims=1)

    def _white(self, problem, Y):
        """Sigma_y^{-1} (Y - mean Y), by how the gradient changes along the ensemble."""
        middle = Y.mean(0, keepdim=True)
        noise, y = problem.noise, problem.y
        return as_reals(noise.gradient(y, middle) - noise.gradient(y, Y)).double()
