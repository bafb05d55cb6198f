"""Moment matching: the Gaussian posterior mean under the second-order Tweedie covariance."""

from dataclasses import dataclass

from workbench.operators._solve import cg
from workbench.samplers._checks import not_negative, whole
from workbench.samplers._guidance import Guidance


@dataclass(frozen=True)
class MomentMatching(Guidance):
    """E[x0 | x_t, y] with p(x0 | x_t) taken as N(xhat, Sigma): xhat + Sigma A^H (Sigma_y + A Sigma A^H)^{-1} (y - A xhat).

    Sigma = (sigma^2 / alpha) J is the exact second moment, applied by products with the denoiser's Jacobian; the
    system is solved by conjugate gradients to `tol`, at most `iterations`. Exact for Gaussian priors; a nonlinear A is
    linearised at xhat, Poisson noise is its plug-in. Rozet et al. 2024, Alg. 1 (they use 1 to 5 iterations).
    """

    card = dict(kind="guidance", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + (k + 1) VJP", source="Rozet et al. 2024")  # fmt: skip
    published = dict(mmps=dict(iterations=1), mmps_5=dict(iterations=5))

    iterations: int = 100
    tol: float = 1e-5

    def __post_init__(self):
        whole("MomentMatching", iterations=self.iterations)
        not_negative("MomentMatching", tol=self.tol)

    def pull(self, problem, x, x0, covariance, t, rng):
        problem = problem.gaussian
        A = problem.A.linearize(x0)

        def seen(v):
            return problem.noise.cov(v) + A(covariance(A.H(v)))

        r = problem.y - problem.A(x0)
        return A.H(cg(seen, r, problem.y.ndim, tol=self.tol, iterations=self.iterations))
