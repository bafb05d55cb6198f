"""Moment matching: the Gaussian posterior mean under the second-order Tweedie covariance."""

from dataclasses import dataclass
from typing import Any

from workbench._errors import BadInput
from workbench.operators._solve import cg
from workbench.priors._prior import Prior


@dataclass(frozen=True)
class MomentMatching:
    """E[x0 | x_t, y] with p(x0 | x_t) taken as N(xhat, Sigma): xhat + Sigma A^H (Sigma_y + A Sigma A^H)^{-1} (y - A xhat).

    Sigma = (sigma^2 / alpha) J is the exact second moment, applied by products with the denoiser's Jacobian; the
    system is solved by conjugate gradients to `tol`, at most `iterations`. Exact for Gaussian priors; a nonlinear A is
    linearised at xhat. Rozet et al. 2024, Alg. 1 (they use 1 to 5 iterations).
    """

    card = dict(kind="guidance", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=False,
                cost="1 NFE + (k + 1) VJP", source="Rozet et al. 2024")  # fmt: skip

    iterations: int = 100
    tol: float = 1e-5

    def __post_init__(self):
        if self.iterations < 1 or not self.tol >= 0:
            raise BadInput(
                f"MomentMatching: iterations = {self.iterations} should be at least 1 and tol = {self.tol} not negative"
            )

    def bind(self, problem):
        """The problem's prior, conditioned on its data."""
        return _Matched(self, problem)


@dataclass(frozen=True, eq=False)
class _Matched(Prior):
    """The prior made of a prior."""

    guidance: MomentMatching
    problem: Any

    shape = property(lambda self: self.problem.prior.shape)
    dtype = property(lambda self: self.problem.prior.dtype)
    process = property(lambda self: self.problem.prior.process)
    noise_range = property(lambda self: self.problem.prior.noise_range)

    def denoise(self, x, t):
        problem = self.problem
        x0, covariance = problem.prior.tweedie(x, t)
        A = problem.A.linearize(x0)

        def seen(v):
            return problem.noise.cov(v) + A(covariance(A.H(v)))

        r = problem.y - problem.A(x0)
        u = cg(seen, r, problem.y.ndim, tol=self.guidance.tol, iterations=self.guidance.iterations)
        return x0 + covariance(A.H(u))
