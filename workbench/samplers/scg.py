"""Stochastic control guidance: the best of several next states, with no derivative of anything."""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.samplers import _sampler
from workbench.samplers._ancestral import moments
from workbench.samplers._checks import whole
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._sampler import Sampler


@dataclass(frozen=True)
class SCG(Sampler):
    """x_s = argmax_k log p(y | A(E[x0 | x_s^(k)])) over K draws x_s^(k) = m + tau z_k of the DDPM step.

    Path-integral control at temperature zero: any likelihood of a black-box A, but no draw of the posterior, and
    diversity is lost. Choosing in proportion to the likelihood instead is SVDD.  candidates: K.  below: the noise
    level kappa under which it chooses (published: after the first quarter of the steps, which on the linear
    variance-preserving schedule is 17); above it is DDPM.
    Huang et al. 2024, Alg. 1; K is 8 to 512 in public code.
    """

    card = dict(kind="sampler", exactness="P", needs="black box", complex=True, nonlinear=True, poisson=True,
                cost="K NFE, K candidates (8)", source="Huang et al. 2024")  # fmt: skip
    published = dict(code=dict(candidates=8), config=dict(candidates=512, below=17.0))

    candidates: int = 8
    below: float = inf

    @dataclass
    class State(_sampler.State):
        """x0: E[x0 | x_t], which the choice has already worked out."""

        x0: Tensor | None = None

    def __post_init__(self):
        whole("SCG", candidates=self.candidates)
        if not self.below >= 0:
            raise BadInput(f"SCG: below = {self.below} should be 0 or more")

    def step(self, problem, state, t, s, rng):
        prior, x, n = problem.prior, state.x, len(state.x)
        x0 = prior.denoise(x, t) if state.x0 is None else state.x0
        if s == 0:
            return self.State(x0, x0=x0)
        mean, tau = moments(prior.process, x, x0, t, s)
        K = self.candidates if prior.process.kappa(s) < self.below else 1
        ahead = mean[:, None] + tau * rng.normal(x[:, None].expand(n, K, *x.shape[1:]))
        x0 = prior.denoise(ahead.flatten(0, 1), s)
        if K == 1:
            return self.State(ahead[:, 0], x0=x0)
        best = log_likelihood(problem, x0).reshape(n, K).argmax(1)
        one = torch.arange(n, device=x.device)
        return self.State(ahead[one, best], x0=x0.reshape(ahead.shape)[one, best])
