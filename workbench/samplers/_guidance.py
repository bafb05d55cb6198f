"""Guidance: a prior made of a prior, whose denoiser is E[x0 | x_t, y] or a stand-in for it."""

from dataclasses import dataclass
from typing import Any

from workbench._rng import Rng
from workbench.priors._prior import Prior
from workbench.samplers._published import Published


@dataclass(frozen=True)
class Guidance(Published):
    """x0 + Cov[x0 | x_t] pull, with Cov = (sigma^2 / alpha) J^T: what adds `J^T pull` to the score of p_t.

    A kind of guidance has `pull(problem, x, x0, covariance, t, rng)`, the (approximate) gradient of log p(y | x_t) in
    x0 = E[x0 | x_t = x], (n, *shape); covariance(v) is Cov[x0 | x_t] v and may be used in it. It then runs under
    every stepper. One that takes another step along it overrides `shift`, one that is no such product `denoise`. rng
    draws for the rows of x, apart from the stepper's draws.
    """

    def bind(self, problem, rng=None):
        """The problem's prior, guided by its data. rng: of the step, for guidance that draws, anew at every call."""
        return Guided(self, problem, (Rng(0) if rng is None else rng).fork("guidance"))

    def denoise(self, problem, x, t, rng):
        """The guided E[x0 | x_t = x]."""
        x0, covariance = problem.prior.tweedie(x, t)
        return x0 + self.shift(problem, x, x0, covariance, t, rng)

    def shift(self, problem, x, x0, covariance, t, rng):
        """Cov[x0 | x_t] pull, or a shorter step along it."""
        return covariance(self.pull(problem, x, x0, covariance, t, rng))

    def pull(self, problem, x, x0, covariance, t, rng):
        raise NotImplementedError(
            f"{type(self).__name__} should define pull(problem, x, x0, covariance, t, rng)"
        )


@dataclass(frozen=True, eq=False)
class Guided(Prior):
    """The prior that a guidance makes of a problem's prior."""

    guidance: Guidance
    problem: Any
    rng: Rng

    shape = property(lambda self: self.problem.prior.shape)
    dtype = property(lambda self: self.problem.prior.dtype)
    process = property(lambda self: self.problem.prior.process)
    noise_range = property(lambda self: self.problem.prior.noise_range)

    def denoise(self, x, t):
        return self.guidance.denoise(self.problem, x, t, self.rng)
