"""SVDD: at every step, the best of several candidates by their soft value."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.samplers._ancestral import moments
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._sampler import Sampler, State


def value_of_the_mean(problem, x, t):
    """log p(y | E[x0 | x_t = x]), the posterior-mean value (SVDD-PM): one denoiser call, (n,)."""
    return log_likelihood(problem, problem.prior.denoise(x, t))


@dataclass(frozen=True)
class SVDD(Sampler):
    """`candidates` draws from the prior's kernel p(x_s | x_t), one of them kept with probability ~ exp(v_s / alpha).

    v_s(x) stands for the soft value log E[p(y | x0) | x_s = x]; with that itself the chain is exact as the number of
    candidates grows. value: a function (problem, x, s) -> (n,); the default is the posterior-mean one, a regressor of
    log p(y | x0) is the paper's Monte Carlo one. alpha = 1 for the posterior; alpha = 0 keeps the best, as the
    authors' code does. No gradients, and every sample on its own: errors of one step are never corrected. Li et al.
    2024, Alg. 1.
    """

    card = dict(kind="sampler", exactness="B", needs="black box", complex=True, nonlinear=True, poisson=True,
                cost="(M + 1) NFE", source="Li et al. 2024")  # fmt: skip
    published = dict(code=dict(candidates=10, alpha=0.0))

    candidates: int = 10
    alpha: float = 1.0
    value: Callable = value_of_the_mean

    def __post_init__(self):
        if self.candidates < 1 or not self.alpha >= 0:
            raise BadInput(
                f"SVDD: candidates = {self.candidates} should be at least 1 and alpha = {self.alpha} not negative"
            )

    def step(self, problem, state, t, s, rng):
        prior, x = problem.prior, state.x
        mean, tau = moments(prior.process, x, prior.denoise(x, t), t, s)
        if s == 0:
            return State(mean)
        n, M = len(x), self.candidates
        several = mean[:, None] + tau * rng.normal(x.new_empty(n, M, *x.shape[1:]))
        v = self.value(problem, several.flatten(0, 1), s).double().reshape(n, M)
        return State(several[torch.arange(n, device=x.device), self._chosen(v, rng)])

    def _chosen(self, v, rng):
        """The index of the candidate kept in each row, (n,)."""
        if self.alpha == 0:
            return v.argmax(1)
        edges = torch.softmax(v / self.alpha, 1).cumsum(1)
        u = rng.uniform(len(v), 1).to(v.device) * edges[:, -1:]
        return torch.searchsorted(edges, u, right=True)[:, 0].clamp_max(v.shape[1] - 1)
