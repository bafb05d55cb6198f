"""The optimal boundary condition: one initial noise for all, chosen because it was good on examples."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.samplers._ancestral import ancestral
from workbench.samplers._guidance import Guidance
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._reals import squares
from workbench.samplers._sampler import Sampler, State
from workbench.samplers.moment_matching import MomentMatching


@dataclass(frozen=True)
class OptimalBoundary(Sampler):
    """x_T* = argmin_k sum_r loss(x0(x_T^(k), y_r), x_r), then the ODE from x_T* for every y.  A point estimate.

    The flow is DDIM under the guidance `flow`; candidates are K draws of x_T, shared by all rows, made and compared in
    init unless `start` is given, which `search(problem, steps, seed)` finds once for later problems.
    pairs: ((y_r, x_r), ...) of the same operator; without them the loss is -log p(y | A x0) of the problem's own y.
    loss: (n, *shape), (*shape) -> (n,), default the squared distance. For a Gaussian problem the best of all x_T is 0,
    which gives the posterior mean. x_T* belongs to its grid, operator and resolution. Ma et al. 2023.
    """

    card = dict(kind="sampler", exactness="P", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Ma et al. 2023")  # fmt: skip

    pairs: tuple = ()
    candidates: int = 8
    flow: Guidance = field(default_factory=MomentMatching)
    start: Tensor | None = None
    search_steps: int = 20
    loss: Any = None

    def __post_init__(self):
        if self.candidates < 1 or self.search_steps < 1:
            raise BadInput(
                f"OptimalBoundary: candidates = {self.candidates} and search_steps = {self.search_steps} should be at "
                f"least 1"
            )

    def init(self, problem, n, t, rng):
        start = self.start
        if start is None:
            times = problem.prior.grid(self.search_steps)
            times = torch.cat([t.reshape(1), times[times < t]])
            start = self._best(problem, times, rng.rows(0))
        return State(start.to(problem.y.device).expand(n, *start.shape).clone())

    def step(self, problem, state, t, s, rng):
        prior = self.flow.bind(problem, rng)
        return State(ancestral(prior.process, state.x, prior.denoise(state.x, t), t, s, rng, eta=0.0))

    def search(self, problem, steps=20, seed=0):
        """The same sampler with its start chosen, for the operator, prior and pairs at hand."""
        with torch.no_grad():
            start = self._best(problem, problem.prior.grid(steps), Rng(seed, "boundary"))
        return replace(self, start=start)

    def _best(self, problem, times, rng):
        x = problem.prior.initial(self.candidates, times[0], rng.fork("candidates"))
        return x[self.losses(problem, x, times).argmin()]

    def losses(self, problem, x, times):
        """The loss of every candidate x: (K, *shape), summed over the pairs: (K,)."""
        if not self.pairs:
            return -log_likelihood(problem, self._end(problem, x, times))
        loss = _squared if self.loss is None else self.loss
        return sum(loss(self._end(replace(problem, y=y), x, times), truth) for y, truth in self.pairs)

    def _end(self, problem, x, times):
        state = State(x)
        for t, s in zip(times[:-1], times[1:], strict=True):
            state = self.step(problem, state, t, s, Rng(0, "boundary"))
        return state.x


def _squared(x, truth):
    return squares(x - truth)
