"""Annealed Langevin dynamics: a few Langevin steps at every noise level, the likelihood taken at the noisy signal."""

from dataclasses import dataclass, field

import torch

from workbench._errors import BadInput
from workbench.samplers._checks import positive, whole
from workbench.samplers._likelihood import gradient, steepness
from workbench.samplers._sampler import Sampler, State
from workbench.samplers.ula import smoothed_score


@dataclass(frozen=True)
class Inflated:
    """grad log p(y | x) / (1 + spread^2 ||A'||^2 kappa^2): Sigma_y grown to Sigma_y + gamma^2, gamma = spread ||A|| kappa.

    In units of the likelihood: no step is stiffer in the data than in the prior, whatever sigma_y.
    """

    spread: float = 1.0

    def __post_init__(self):
        positive("Inflated", spread=self.spread)

    def __call__(self, problem, x, kappa):
        return gradient(problem, x) / (1 + self.spread**2 * steepness(problem, x) * kappa**2)


@dataclass(frozen=True)
class NoiseFree:
    """A^H (y - A x) / kappa^2, data without noise and gamma = kappa: the rule of the public MRI code, for ||A|| <= 1."""

    def __call__(self, problem, x, kappa):
        A, problem = problem.A.linearize(x), problem.gaussian
        return A.H(problem.y - problem.A(x)) / kappa**2


@dataclass(frozen=True)
class ALD(Sampler):
    """x <- x + delta_i [s_i(x) - A^H (A x - y) / (sigma_y^2 + gamma_i^2)] + sqrt(2 delta_i) z, `repeats` times a level.

    delta_i = ratio kappa_i^2.  s_i: the score of the signal with noise kappa_i. A level left to itself reaches
    p_i(x) exp(-||y - A x||^2 / 2 (sigma_y^2 + gamma_i^2)), so the law is right only for slow annealing and gamma -> 0.
    ratio: stable under Inflated where ratio (1 + 1 / spread^2) < 2; small ones lag behind the levels unless there are
    many. rule: the data term, Inflated() in likelihood units or NoiseFree(). The last level ends with a denoising.
    Published (Jalal et al. 2021, public code): 2311 levels from 232 to 0.0066, where the last step is 9e-7.
    """

    card = dict(kind="sampler", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="K NFE, K repeats (5)", source="Jalal et al. 2021")  # fmt: skip
    published = dict(csgm_mri=dict(repeats=3, ratio=9e-7 / 0.0066**2, rule=NoiseFree()))

    repeats: int = 5
    ratio: float = 0.5
    rule: Inflated | NoiseFree = field(default_factory=Inflated)

    def __post_init__(self):
        whole("ALD", repeats=self.repeats)
        positive("ALD", ratio=self.ratio)
        if isinstance(self.rule, Inflated) and not self.ratio * (1 + self.rule.spread**-2) < 2:
            raise BadInput(
                f"ALD: ratio = {self.ratio} diverges with spread = {self.rule.spread}; it should be under "
                f"{2 / (1 + self.rule.spread**-2):g}"
            )

    def step(self, problem, state, t, s, rng):
        prior = problem.prior
        process, kappa = prior.process, prior.process.kappa(t)
        x, delta = state.x / process.alpha(t), self.ratio * kappa**2
        for _ in range(self.repeats):
            pull = smoothed_score(prior, x, t) + self.rule(problem, x, kappa)
            x = x + delta * pull + torch.sqrt(2 * delta) * rng.normal(x)
        return State(prior.denoise(process.alpha(t) * x, t) if s == 0 else process.alpha(s) * x)
