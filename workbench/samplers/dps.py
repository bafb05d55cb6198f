"""Diffusion posterior sampling."""

from dataclasses import dataclass
from math import inf, isinf

import torch

from workbench._errors import BadInput
from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import not_negative
from workbench.samplers._guidance import Guidance
from workbench.samplers._length import halved, quadratic, step_length
from workbench.samplers._likelihood import gradient
from workbench.samplers._sampler import Sampler, State


@dataclass(frozen=True)
class DPS(Sampler):
    """x_s = x'_s - zeta grad_x ||y - A(E[x0 | x_t])||, x'_s an unguided DDPM step.

    Chung et al. 2023, Alg. 1, along the gradient of the norm as in the authors' code (the paper prints the squared
    norm with zeta / ||r||, the same up to a factor 2). Norms are per sample. The published zeta are for images in
    [-1, 1], noise 0.05 and 1000 steps. `LikelihoodDPS` is the same guidance in likelihood units.
    """

    card = dict(kind="sampler", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Chung et al. 2023")  # fmt: skip
    published = dict(
        super_resolution=dict(zeta=0.3), gaussian_blur=dict(zeta=0.3), motion_blur=dict(zeta=0.3),
        nonlinear_blur=dict(zeta=0.3), box_inpainting=dict(zeta=0.5), random_inpainting=dict(zeta=0.5),
        phase_retrieval=dict(zeta=1.0),
    )  # fmt: skip

    zeta: float = 1.0

    def __post_init__(self):
        not_negative("DPS", zeta=self.zeta)

    def step(self, problem, state, t, s, rng):
        prior = problem.prior
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            x0 = prior.denoise(x, t)  # E[x0 | x_t]
            residual = problem.noise.residual(problem.y, problem.A(x0))
            misfit = torch.linalg.vector_norm(residual.flatten(1), dim=1)
            (pull,) = torch.autograd.grad(misfit.sum(), x)
        x, x0 = x.detach(), x0.detach()
        return State(ancestral(prior.process, x, x0, t, s, rng) - self.zeta * pull)


@dataclass(frozen=True)
class LikelihoodDPS(Guidance):
    """xhat + c Cov[x0 | x_t] grad log p(y | xhat): the posterior mean with p(y | x_t) taken as p(y | x0 = xhat).

    grad log p(y | x) is exact for any noise, H^H Sigma_y^{-1} (y - A xhat) if Gaussian; no scale to tune. It is right
    as Cov[x0 | x_t] -> 0 and far too large before, by A Cov A^H / Sigma_y, so each sample's step c <= 1 is the one
    that brings the linearised misfit down along it the most, times `reach`; where A is nonlinear or the noise not
    Gaussian it is then halved until log p(y | xhat) does not fall. reach=inf is the plain guidance (c = 1), stable only
    where the noise is as large as what the prior leaves open.
    Chung et al. 2023, eq. 11.
    """

    card = dict(kind="guidance", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Chung et al. 2023")  # fmt: skip

    reach: float = 1.0

    def __post_init__(self):
        if not self.reach > 0:
            raise BadInput(f"LikelihoodDPS: reach = {self.reach} should be positive; {inf} takes whole steps")

    def shift(self, problem, x, x0, covariance, t, rng):
        g = gradient(problem, x0)
        shift = covariance(g)
        if isinf(self.reach):
            return shift
        shift = step_length(problem, x0, g, shift, self.reach) * shift
        return shift if quadratic(problem) else halved(problem, x0, shift)
