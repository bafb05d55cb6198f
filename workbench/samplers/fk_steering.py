"""Feynman-Kac steering: the prior's own sampler, its particles weighted by the reward of what they denoise to."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workbench.samplers import _sampler
from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import not_negative, whole
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._sampler import Sampler
from workbench.samplers.resampling import Multinomial, Resample, Systematic

# Potentials: log G_k from the reward r_k, the one before, and the largest and the sum of all up to k, each (n,).


@dataclass(frozen=True)
class Difference:
    """G_k = exp(r_k - r_{k-1}): telescopes to the reward of the last."""

    def log(self, r, before, largest, total):
        return r - before


@dataclass(frozen=True)
class Maximum:
    """G_k = exp(max over j <= k of r_j)."""

    def log(self, r, before, largest, total):
        return largest


@dataclass(frozen=True)
class Total:
    """G_k = exp(sum over j <= k of r_j)."""

    def log(self, r, before, largest, total):
        return total


@dataclass(frozen=True)
class Reward:
    """G_k = exp(r_k)."""

    def log(self, r, before, largest, total):
        return r


@dataclass(frozen=True)
class FKSteering(Sampler):
    """log w gains log G_k, a potential of the rewards r = lam log p(y | E[x0 | x_t]); the moves are the prior's DDPM steps.

    The last weight is exp(lam log p(y | x_0)) / (product of the G before), so that the product over a path is the
    likelihood whatever the potential: Difference(), Maximum(), Total() or Reward(). Weights are kept until the
    particles are resampled. No gradients: any likelihood and any operator. lam = 1 for the posterior; `every` steps a
    potential. Exact as n grows for any potential, slowly where the data are sharp; for many independent small groups,
    as published, use n=4, ensembles=... . The published
    text setting resamples at every potential, multinomially (here: unless the weights are equal), and its reward is a
    mean over 4 draws of x0 where we take that of E[x0 | x_t]. Singhal et al. 2025, Alg. 1.
    """

    card = dict(kind="sampler", exactness="E1", needs="black box", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE", source="Singhal et al. 2025")  # fmt: skip
    published = dict(text=dict(lam=10.0, every=20, resample=Multinomial(below=0.9999)))

    couples = apart = True

    lam: float = 1.0
    every: int = 1
    potential: Any = field(default_factory=Difference)
    resample: Resample = field(default_factory=Systematic)

    @dataclass
    class State(_sampler.State):
        """x0: E[x0 | x_t]; r: the reward before, largest, total: of all so far, paid: sum of log G, k: steps, (n,)."""

        x0: Tensor | None = None
        r: Tensor | None = None
        largest: Tensor | None = None
        total: Tensor | None = None
        paid: Tensor | None = None
        k: Tensor | None = None

    def __post_init__(self):
        whole("FKSteering", every=self.every)
        not_negative("FKSteering", lam=self.lam)

    def init(self, problem, n, t, rng):
        x = problem.prior.initial(n, t, rng)
        zero = torch.zeros(n, dtype=torch.float64, device=x.device)
        lowest = torch.full_like(zero, -torch.inf)
        first = self.State(x, zero, problem.prior.denoise(x, t), zero, lowest, zero, zero, zero)
        return self._weighed(problem, first)

    def step(self, problem, state, t, s, rng):
        if s == 0:
            reward = self.lam * log_likelihood(problem, state.x0)
            log_w = state.log_w + reward - state.paid
            return self.State(state.x0, log_w, state.x0, reward, state.largest, state.total, reward, state.k)
        x = ancestral(problem.prior.process, state.x, state.x0, t, s, rng)
        rest = (state.r, state.largest, state.total, state.paid, state.k + 1)
        moved = self.State(x, state.log_w, problem.prior.denoise(x, s), *rest)
        return self._weighed(problem, moved) if moved.k[0] % self.every == 0 else moved

    def _weighed(self, problem, state):
        """The state after the potential at its x."""
        r = (self.lam * log_likelihood(problem, state.x0)).clamp_min(-1e300)
        largest, total = torch.maximum(state.largest, r), state.total + r
        gain = self.potential.log(r, state.r, largest, total)
        return self.State(
            state.x, state.log_w + gain, state.x0, r, largest, total, state.paid + gain, state.k
        )
