"""The twisted diffusion sampler."""

from dataclasses import dataclass, field
from math import log, pi

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.samplers import _sampler
from workbench.samplers._ancestral import moments
from workbench.samplers._resample import Systematic
from workbench.samplers._sampler import Sampler

ROWS_LIMIT = 512  # real measurements up to which the twist's covariance is formed


@dataclass(frozen=True)
class TDS(Sampler):
    """Sequential Monte Carlo whose proposal and targets follow a twist psi_t(x) ~ log p(y | x_t): exact as n grows.

    x_s ~ N(m_psi, tau^2), the DDPM step through xhat + (sigma^2 / alpha) grad psi; the log-weight gains
    log N(x_s; m, tau^2) - log N(x_s; m_psi, tau^2) + psi_s(x_s) - psi_t(x_t). The last step is unguided and
    psi_0 = log p(y | x_0). Wu et al. 2023, Alg. 1, with the moment-matching twist N(y; A xhat, Sigma_y + A Sigma A^H).
    n is the number of particles; the twist forms a matrix of the size of y, at most 512 real numbers.
    """

    card = dict(kind="sampler", exactness="E1", needs="gradient", complex=True, nonlinear=True, poisson=False,
                cost="1 NFE + m VJP", source="Wu et al. 2023")  # fmt: skip

    couples = True
    resample: Systematic = field(default_factory=Systematic)

    @dataclass
    class State(_sampler.State):
        """x0: E[x0 | x_t], guided: xhat + (sigma^2 / alpha) grad psi, psi: the twist, (n,) float64."""

        x0: Tensor | None = None
        guided: Tensor | None = None
        psi: Tensor | None = None

    def init(self, problem, n, t, rng):
        x = problem.prior.initial(n, t, rng)
        x0, guided, psi = twist(problem, x, t)
        return self.State(x, psi.clone(), x0, guided, psi)

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x
        if s == 0:
            log_w = state.log_w + problem.noise.log_likelihood(problem.y, problem.A(state.x0)) - state.psi
            return self.State(state.x0, log_w)
        mean, tau = moments(process, x, state.x0, t, s)
        proposed, _ = moments(process, x, state.guided, t, s)
        z = rng.normal(x)
        x = proposed + tau * z
        ratio = 0.5 * squares(z) - 0.5 * squares((x - mean) / tau)
        x0, guided, psi = twist(problem, x, s)
        return self.State(x, state.log_w + ratio + psi - state.psi, x0, guided, psi)


def squares(z):
    """||z||^2 of each row in float64: (n,)."""
    z = torch.view_as_real(z) if z.is_complex() else z
    return z.flatten(1).double().square().sum(1)


def twist(problem, x, t):
    """E[x0 | x_t = x], the moment-matched E[x0 | x_t, y], and psi = log N(y; A xhat, Sigma_y + A Sigma A^H)."""
    y, reals = problem.y, problem.y.numel() * (2 if problem.y.is_complex() else 1)
    if reals > ROWS_LIMIT:
        raise BadInput(
            f"TDS: y has {reals} real numbers, more than {ROWS_LIMIT}; use DDPM(guidance=MomentMatching())"
        )
    x0, covariance = problem.prior.tweedie(x, t)
    A = problem.A.linearize(x0)
    columns = [as_reals(problem.noise.cov(e) + A(covariance(A.H(e)))) for e in unit_vectors(y, len(x))]
    V = torch.stack(columns, dim=-1).double()
    L = torch.linalg.cholesky(0.5 * (V + V.mT))
    r = as_reals(y - problem.A(x0)).double()[..., None]
    u = torch.cholesky_solve(r, L)
    log_det = 2 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    psi = -0.5 * ((r * u).sum((1, 2)) + log_det + reals * log(2 * pi))
    return x0, x0 + covariance(A.H(from_reals(u[..., 0], y))), psi


def as_reals(v):
    """(n, *m) as (n, real numbers)."""
    return torch.view_as_real(v).flatten(1) if v.is_complex() else v.flatten(1)


def from_reals(v, like):
    """The inverse of `as_reals`, in the shape and dtype of `like`."""
    v = v.to(like.dtype.to_real())
    if like.is_complex():
        return torch.view_as_complex(v.reshape(len(v), *like.shape, 2))
    return v.reshape(len(v), *like.shape)


def unit_vectors(y, n):
    """The real coordinate directions of y, each repeated for n rows."""
    reals = y.numel() * (2 if y.is_complex() else 1)
    for e in torch.eye(reals, dtype=y.dtype.to_real(), device=y.device):
        yield from_reals(e[None], y).expand(n, *y.shape)
