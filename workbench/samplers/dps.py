"""Diffusion posterior sampling."""

from dataclasses import dataclass

import torch

from workbench.samplers._ancestral import ancestral
from workbench.samplers._sampler import Sampler, State


@dataclass(frozen=True)
class DPS(Sampler):
    """x_s = x'_s - zeta grad_x ||y - A(E[x0 | x_t])||, x'_s an unguided DDPM step.

    Chung et al. 2023, Alg. 1, along the gradient of the norm as in the authors' code (the paper prints the squared
    norm with zeta / ||r||, the same up to a factor 2). Norms are per sample. Published zeta, images in [-1, 1] and
    noise 0.05: 0.3 deblurring and super-resolution, 0.5 inpainting, 1 phase retrieval, with 1000 steps.
    """

    card = dict(kind="sampler", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Chung et al. 2023")  # fmt: skip

    zeta: float = 1.0

    def step(self, problem, state, t, s, rng):
        prior = problem.prior
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            x0 = prior.denoise(x, t)  # E[x0 | x_t]
            residual = problem.y - problem.noise.mean(problem.A(x0))
            misfit = torch.linalg.vector_norm(residual.flatten(1), dim=1)
            (pull,) = torch.autograd.grad(misfit.sum(), x)
        x, x0 = x.detach(), x0.detach()
        return State(ancestral(prior.process, x, x0, t, s, rng) - self.zeta * pull)
