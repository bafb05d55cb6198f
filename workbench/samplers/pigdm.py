"""Pseudoinverse guidance: the likelihood of x_t with an isotropic stand-in for Cov[x0 | x_t]."""

from dataclasses import dataclass

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.samplers._ancestral import ancestral
from workbench.samplers._guidance import Guidance
from workbench.samplers._sampler import Sampler, State


def linearised(problem, x0):
    """W and e with y ~ A(x0 + v) + noise <=> e ~ W v + standard normal noise: the whitened operator (the Jacobian at x0
    of a nonlinear one) and the misfit at x0, (n, *m), in standard deviations of the noise. Poisson: its plug-in."""
    if isinstance(problem.A, Linear):
        W, w = problem.white
        return W, w - W(x0)
    problem = problem.gaussian
    return problem.noise.whiten(problem.A.linearize(x0), problem.y - problem.A(x0))


def isotropic(variance, kappa):
    """r_t^2 = c kappa^2 / (c + kappa^2): the variance of x0 given x_t where x0 ~ N(m, c I)."""
    return variance * kappa**2 / (variance + kappa**2)


def pseudoinverse_pull(problem, x0, r2):
    """A^H (Sigma_y + r^2 A A^H)^{-1} (y - A(x0)) = (W^H W + I / r^2)^{-1} W^H e / r^2, with whitened W and misfit e."""
    W, e = linearised(problem, x0)
    return W.solve(W.H(e), 1 / r2) / r2


def check_variance(who, variance):
    if not variance > 0:
        raise BadInput(
            f"{who}: variance = {variance} should be positive; it is that of the signal's entries, 1 if standardised"
        )


@dataclass(frozen=True)
class PiGDM(Guidance):
    """E[x0 | x_t, y] with p(x0 | x_t) taken as N(xhat, r^2 I): pull A^H (Sigma_y + r^2 A A^H)^{-1} (y - A xhat).

    r^2 = c kappa^2 / (c + kappa^2) for signals of variance c (per real component); the pull goes through the
    denoiser's Jacobian and enters both xhat and eps-hat. Exact for N(m, c I); elsewhere its bias is that of the
    isotropic covariance: it pulls too much where Cov[x0 | x_t] is larger than r^2 along the data, too little where it is
    smaller. A nonlinear A is linearised at xhat, Poisson noise is its plug-in. Song et al. 2023, eq. 7, 8.
    """

    card = dict(name="pigdm", kind="guidance", exactness="B", needs="prox", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Song et al. 2023")  # fmt: skip

    variance: float = 1.0

    def __post_init__(self):
        check_variance("PiGDM", self.variance)

    def pull(self, problem, x, x0, covariance, t, rng):
        return pseudoinverse_pull(problem, x0, isotropic(self.variance, problem.prior.process.kappa(t)))


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
        check_variance("PublishedPiGDM", self.variance)

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x
        x0, covariance = problem.prior.tweedie(x, t)
        r2 = isotropic(self.variance, process.kappa(t))
        jacobian = process.alpha(t) / process.sigma(t) ** 2  # J^H = alpha / sigma^2 Cov[x0 | x_t]
        push = jacobian * covariance(pseudoinverse_pull(problem, x0, r2))
        return State(
            ancestral(process, x, x0, t, s, rng, self.eta) + process.alpha(s) * process.alpha(t) * r2 * push
        )
