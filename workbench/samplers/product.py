"""Products of priors: sums of scores, and the weights that make them right."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import torch

from workbench._errors import BadInput
from workbench.priors._prior import Prior
from workbench.samplers._ancestral import ancestral
from workbench.samplers._sampler import Sampler, State
from workbench.samplers.resampling import Resample, Systematic
from workbench.samplers.super_diff import as_priors, check_others, far_log_densities, inner, mixed, scores


def exponents(who, others, weights):
    """(1 - sum w, w_1, ...): of the problem's prior and the others; w_i = 1 if not given."""
    check_others(who, others)
    weights = weights or (1.0,) * len(others)
    if len(weights) != len(others):
        raise BadInput(f"{who}: weights = {weights} should be {len(others)} numbers, one for each of others")
    if not all(isfinite(w) for w in weights):
        raise BadInput(f"{who}: weights = {weights} should be finite")
    return (1 - sum(weights), *weights)


@dataclass(frozen=True, eq=False)
class _Composed(Prior):
    """The denoiser sum_i beta_i D_i of several priors under one process."""

    priors: Any
    beta: tuple

    shape = property(lambda self: self.priors[0].shape)
    dtype = property(lambda self: self.priors[0].dtype)
    process = property(lambda self: self.priors[0].process)
    noise_range = property(lambda self: self.priors[0].noise_range)

    def denoise(self, x, t):
        return sum(beta * prior.denoise(x, t) for beta, prior in zip(self.beta, self.priors, strict=True))


@dataclass(frozen=True)
class Product(Sampler):
    """s = s_0 + sum_i w_i (s_i - s_0), a prior made of priors for p_0 prod_i (p_i / p_0)^{w_i}: w > 0 is AND, w < 0 NOT.

    s_0 is the problem's prior; `others` are priors, or guidances of the problem, whose product with the prior is then
    a posterior.  weights: one for each of others (default: 1).  It runs DDPM steps, or `bind(problem)` under another
    stepper: Heun(guidance=Product(others)). Biased: the noised product is not the product of the noised densities;
    FKCProduct corrects that. Liu et al. 2022, eq. 11.
    """

    card = dict(kind="combination", exactness="B", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="M NFE, M priors (1)", source="Liu et al. 2022")  # fmt: skip

    others: tuple = ()
    weights: tuple = ()

    uses_data = property(lambda self: not all(isinstance(other, Prior) for other in self.others))

    def __post_init__(self):
        exponents("Product", self.others, self.weights)

    def bind(self, problem, rng=None):
        """The prior that the priors make."""
        priors = as_priors(problem, self.others, rng, "Product")
        return _Composed(priors, exponents("Product", self.others, self.weights))

    def step(self, problem, state, t, s, rng):
        prior = self.bind(problem, rng)
        return State(ancestral(prior.process, state.x, prior.denoise(state.x, t), t, s, rng))


@dataclass(frozen=True)
class FKCProduct(Sampler):
    """dx = dv sum_i beta_i s_i + sqrt(dv) z, d log w = dv (||sum beta_i s_i||^2 - sum beta_i ||s_i||^2) / 2: prod_i q_i^{beta_i}.

    The Feynman-Kac corrected product, v = (sigma / alpha)^2: weighted particles that follow the product of the noised
    densities at every level and so p_0 prod_i (p_i / p_0)^{w_i} at the last, beta = (1 - sum w, w); exact as n and the
    steps grow. With one other prior and w > 1 it is classifier-free guidance without its bias. Fields as in Product;
    the rate is taken at the old state. Skreta et al. 2025b, Prop. 3.3.
    """

    card = dict(kind="combination", exactness="E1", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="M NFE, M priors (1)", source="Skreta et al. 2025b")  # fmt: skip

    couples = True
    others: tuple = ()
    weights: tuple = ()
    resample: Resample = field(default_factory=Systematic)

    evidence, pools = False, True  # the mean weight is the normaliser of the product, and not p(y)
    uses_data = property(lambda self: not all(isinstance(other, Prior) for other in self.others))

    def __post_init__(self):
        exponents("FKCProduct", self.others, self.weights)

    def _priors(self, problem, rng):
        beta = exponents("FKCProduct", self.others, self.weights)
        return as_priors(problem, self.others, rng, "FKCProduct"), torch.tensor(beta, dtype=torch.float64)

    def init(self, problem, n, t, rng):
        x = problem.prior.initial(n, t, rng)
        priors, beta = self._priors(problem, rng)
        log_q = far_log_densities(priors, x / priors[0].process.alpha(t), t)
        beta = beta.to(log_q.device)
        return State(x, ((log_q - log_q[:, :1]) * beta).sum(1))  # x was drawn for the problem's own prior

    def step(self, problem, state, t, s, rng):
        priors, beta = self._priors(problem, rng)
        process = priors[0].process
        x, gain = state.x / process.alpha(t), process.kappa(t) ** 2 - process.kappa(s) ** 2
        score = scores(priors, x, t)
        beta = beta.to(x.device).expand(score.shape[:2])
        total = mixed(beta, score)
        square = inner(total[:, None], total[:, None])[:, 0]
        log_w = state.log_w + 0.5 * gain * (square - (beta * inner(score, score)).sum(1))
        x = x + gain * total
        if s > 0:
            x = x + torch.sqrt(gain) * rng.normal(x)
        return State(process.alpha(s) * x, log_w)
