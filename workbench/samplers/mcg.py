"""Manifold-constrained gradients: a gradient step, then the measured part replaced by noised data."""

from dataclasses import dataclass

import torch

from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import not_negative
from workbench.samplers._clean import clean_spectral
from workbench.samplers._sampler import Sampler, State


@dataclass(frozen=True)
class MCG(Sampler):
    """x_s = (I - A^+ A) x' + A^+ (alpha_s y + sigma_s A z), x' = DDPM(x_t) - zeta grad_x ||A^+ (y - A E[x0 | x_t])||.

    A^+ by the singular vectors of A; norms are per sample. The projection fits the noise of the data exactly, A x = y
    at the end, amplified by 1 / s_i, so it is meant for data without noise and singular values of one size;
    coordinates whose noise 1 / s_i is above a tenth of the prior's noisiest level count as not measured. Chung et al.
    2022, eq. 14 to 16, along the gradient of the norm as in the code of DPS; zeta as there.
    """

    card = dict(kind="sampler", exactness="P", needs="svd", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE + 1 VJP", source="Chung et al. 2022")  # fmt: skip

    zeta: float = 1.0

    def __post_init__(self):
        not_negative("MCG", zeta=self.zeta)

    def step(self, problem, state, t, s, rng):
        process, x, data = problem.prior.process, state.x, clean_spectral(problem, "MCG")
        x0, covariance = problem.prior.tweedie(x, t)
        r = data.seen - data.measured(x0)
        size = torch.linalg.vector_norm(r.flatten(1), dim=1)[:, None]
        pull = covariance(data.V(r / size.clamp_min(torch.finfo(size.dtype).tiny)))
        push = process.alpha(t) / process.sigma(t) ** 2 * pull  # J^H = alpha / sigma^2 Cov[x0 | x_t]
        x = ancestral(process, x, x0, t, s, rng) + self.zeta * push
        z = data.measured(rng.normal(x))
        return State(data.replaced(x, process.alpha(s) * data.seen + process.sigma(s) * z))
