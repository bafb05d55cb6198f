"""What guidance makes of Gaussian noise: the misfit of a linearised operator, an isotropic covariance."""

from math import inf

from workbench._errors import BadInput
from workbench.operators._linear import Linear


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


def check_variance(who, variance):
    """Raise BadInput unless the variance of a signal's entries is positive and finite."""
    if not 0 < variance < inf:
        raise BadInput(
            f"{who}: variance = {variance} should be positive and finite; it is that of the signal's entries, 1 if "
            f"standardised"
        )


def pseudoinverse_pull(W, e, r2, tol=1e-3):
    """A^H (Sigma_y + r^2 A A^H)^{-1} (y - A(x0)) = (W^H W + I / r^2)^{-1} W^H e / r^2, with whitened W and misfit e.

    tol: of the residual, where W has no closed form; rough, since the guidance is an approximation itself."""
    return W.solve(W.H(e), 1 / r2, tol=tol) / r2
