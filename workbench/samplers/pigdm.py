"""Pseudoinverse guidance: the likelihood of x_t with an isotropic stand-in for Cov[x0 | x_t]."""

from dataclasses import dataclass
from math import inf, isinf

from workbench._errors import BadInput
from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import positive, within
from workbench.samplers._gaussian import check_variance, isotropic, linearised, pseudoinverse_pull
from workbench.samplers._guidance import Guidance
from workbench.samplers._length import step_length
from workbench.samplers._sampler import Sampler, State


@dataclass(frozen=True)
class PiGDM(Guidance):
    """E[x0 | x_t, y] with p(x0 | x_t) taken as N(xhat, r^2 I): pull A^H (Sigma_y + r^2 A A^H)^{-1} (y - A xhat).

    r^2 = c kappa^2 / (c + kappa^2) for signals of variance c (per real component); the pull goes through the
    denoiser's Jacobian and enters both xhat and eps-hat. Exact for N(m, c I); elsewhere its bias is that of the
    isotropic covariance: it pulls too much where Cov[x0 | x_t] is larger than r^2 along the data, too little where it
    is smaller. variance should be the largest eigenvalue of the prior's covariance for the plain form (reach=inf) to
    be stable; below that it overshoots the data and may diverge. So the shift is cut, sample by sample, to at most
    `reach` times the step along it that lowers the linearised misfit the most: never where r^2 is right. 1 does not
    overshoot, 2 never raises the misfit, and 3 is stable on grids whose neighbouring noise levels are less than
    sqrt(3) apart. tol: of the linear solve, where A has no closed form. A nonlinear A is linearised at xhat, Poisson
    noise is its plug-in. Song et al. 2023, eq. 7, 8.
    """

    card = dict(name="pigdm", kind="guidance", exactness="B", needs="prox", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Song et al. 2023")  # fmt: skip

    variance: float = 1.0
    reach: float = 3.0
    tol: float = 1e-3

    def __post_init__(self):
        check_variance("PiGDM", self.variance)
        positive("PiGDM", tol=self.tol)
        if not self.reach > 0:
            raise BadInput(f"PiGDM: reach = {self.reach} should be positive; {inf} takes whole steps")

    def shift(self, problem, x, x0, covariance, t, rng):
        shift = covariance(self.pull(problem, x, x0, covariance, t, rng))
        if isinf(self.reach):
            return shift
        W, e = linearised(problem, x0)
        return step_length(problem, x0, W.H(e), shift, self.reach) * shift

    def pull(self, problem, x, x0, covariance, t, rng):
        r2 = isotropic(self.variance, problem.prior.process.kappa(t))
        return pseudoinverse_pull(*linearised(problem, x0), r2, self.tol)


@dataclass(frozen=True)
class PublishedPiGDM(Sampler):
    """x_s = DDIM(x_t, xhat) + alpha_s alpha_t r^2 J^H A^H (Sigma_y + r^2 A A^H)^{-1} (y - A xhat), as in the authors' code.

    The pull is added after a step whose eps-hat is not corrected, so the total push grows with the number of steps: use
    it at 20 to 100 steps, to compare with published numbers; `PiGDM` is the consistent form. Song et al. 2023, Alg. 1.
    """

    card = dict(name="published-pigdm", kind="sampler", exactness="B", needs="prox", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Song et al. 2023")  # fmt: skip
    published = dict(paper=dict(eta=1.0), inverse_bench=dict(eta=0.2))

    eta: float = 1.0
    variance: float = 1.0

    def __post_init__(self):
        within("PublishedPiGDM", 0, 1, eta=self.eta)
        check_variance("PublishedPiGDM", self.variance)

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x
        x0, covariance = problem.prior.tweedie(x, t)
        r2 = isotropic(self.variance, process.kappa(t))
        jacobian = process.alpha(t) / process.sigma(t) ** 2  # J^H = alpha / sigma^2 Cov[x0 | x_t]
        push = jacobian * covariance(pseudoinverse_pull(*linearised(problem, x0), r2))
        return State(
            ancestral(process, x, x0, t, s, rng, self.eta) + process.alpha(s) * process.alpha(t) * r2 * push
        )
