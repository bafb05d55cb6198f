"""Twists: differentiable stand-ins psi_t(x) for log p(y | x_t = x), which steer sequential Monte Carlo."""

from dataclasses import dataclass
from math import log, pi

import torch

from workbench._errors import BadInput
from workbench.samplers._likelihood import gradient, relaxed
from workbench.samplers._reals import as_reals, from_reals, squares, unit_vectors
from workbench.samplers._spectral import spectral

ROWS_LIMIT = 512  # real measurements up to which the matched twist's covariance is formed


@dataclass(frozen=True)
class Twist:
    """A kind of twist has `value(problem, x0, covariance, t)`: psi, (n,) float64, and its gradient in x0 with the
    covariance held still, (n, *shape). Called, it gives E[x0 | x_t], that plus (sigma^2 / alpha) grad psi, and psi."""

    def __call__(self, problem, x, t):
        x0, covariance = problem.prior.tweedie(x, t)
        psi, pull = self.value(problem, x0, covariance, t)
        return x0, x0 + covariance(pull), psi

    def value(self, problem, x0, covariance, t):
        raise NotImplementedError(f"{type(self).__name__} should define value(problem, x0, covariance, t)")


@dataclass(frozen=True)
class Matched(Twist):
    """log N(y; A xhat, Sigma_y + A Cov[x0 | x_t] A^H): the moments of y given x_t, exact for Gaussian priors.

    It forms a matrix of the size of y, at most 512 real numbers. A nonlinear A is linearised at xhat.
    """

    def value(self, problem, x0, covariance, t):
        problem = problem.gaussian
        y, reals = problem.y, problem.y.numel() * (2 if problem.y.is_complex() else 1)
        if reals > ROWS_LIMIT:
            raise BadInput(
                f"TDS: y has {reals} real numbers, more than the {ROWS_LIMIT} of twist=Matched(); use Isotropic() or "
                f"PlugIn(), or DDPM(guidance=MomentMatching())"
            )
        A = problem.A.linearize(x0)
        columns = [as_reals(problem.noise.cov(e) + A(covariance(A.H(e)))) for e in unit_vectors(y, len(x0))]
        V = torch.stack(columns, dim=-1).double()
        L = torch.linalg.cholesky(0.5 * (V + V.mT))
        r = as_reals(y - problem.A(x0)).double()[..., None]
        u = torch.cholesky_solve(r, L)
        log_det = 2 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        psi = -0.5 * ((r * u).sum((1, 2)) + log_det + reals * log(2 * pi))
        return psi, A.H(from_reals(u[..., 0], y))


@dataclass(frozen=True)
class Isotropic(Twist):
    """log N(y; A xhat, Sigma_y + v A A^H) with v = c kappa^2 / (c + kappa^2): PiGDM's, for data of variance c.

    In the singular vectors of A, so y may be large; linear A.
    """

    variance: float = 1.0

    def value(self, problem, x0, covariance, t):
        data, kappa = spectral(problem), problem.prior.process.kappa(t)
        v = (self.variance * kappa**2 / (self.variance + kappa**2)).item()
        spread = 1 + v * data.s.double() ** 2
        r = data.s * (data.seen - data.measured(x0))  # in standard deviations of the noise
        c = 2 if r.is_complex() else 1
        constant = -0.5 * (data.residual + data.reals * log(2 * pi) + c * spread.log().sum().item())
        psi = constant - 0.5 * squares(r / spread.sqrt())
        return psi, data.V((data.s * r / spread).to(r.dtype))


@dataclass(frozen=True)
class PlugIn(Twist):
    """log p(y | x0 = xhat), that of DPS: any differentiable likelihood, with weights of large variance."""

    def value(self, problem, x0, covariance, t):
        return relaxed(problem, x0), gradient(problem, x0)
