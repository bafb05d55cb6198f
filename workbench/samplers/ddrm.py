"""Denoising diffusion restoration: data and denoised signal fused one singular coordinate at a time."""

from dataclasses import dataclass

import torch

from workbench.samplers._checks import within
from workbench.samplers._sampler import Sampler, State
from workbench.samplers._spectral import spectral


@dataclass(frozen=True)
class DDRM(Sampler):
    """x_s in the singular coordinates of A: the denoised signal where nothing is seen, the data where they are sharper
    than the noise kappa_s, their deviation from the denoised signal in between.

    With X = x / alpha, kappa = sigma / alpha, z ~ N(0, I), Y = (y_i / s_i) of noise v_i = sigma_y / s_i, and X0, Y0 the
    denoised signal and its coordinates, X_s is
        X0 + kappa_s (sqrt(1 - eta^2) (X_t - X0) / kappa_t + eta z)         where s_i = 0,
        Y0 + kappa_s (sqrt(1 - eta^2) (Y - Y0) / v_i + eta z)               where kappa_s < v_i,
        (1 - eta_b) Y0 + eta_b Y + sqrt(kappa_s^2 - eta_b^2 v_i^2) z        where kappa_s >= v_i.
    Every branch has variance kappa_s^2 given x_0. No gradients. The mean is not that of the posterior: over-smooth with
    few steps, and data below their noise level are fitted step by step with many. Kawar et al. 2022, eq. 7, 8.
    """

    card = dict(kind="sampler", exactness="B", needs="svd", complex=True, nonlinear=False, poisson=True,
                cost="1 NFE", source="Kawar et al. 2022")  # fmt: skip
    published = dict(paper=dict(eta=0.85, eta_b=1.0))

    eta: float = 0.85
    eta_b: float = 1.0

    def __post_init__(self):
        within("DDRM", 0, 1, eta=self.eta, eta_b=self.eta_b)

    def init(self, problem, n, t, rng):
        """Data with noise added up to kappa where they are sharper, noise elsewhere."""
        process, data = problem.prior.process, spectral(problem)
        x, kappa = problem.prior.initial(n, t, rng) / process.alpha(t), process.kappa(t)
        noise = data.measured(x)  # kappa z
        added = (1 - (data.deviation / kappa) ** 2).clamp_min(0).sqrt()
        coordinates = torch.where(data.deviation <= kappa, data.seen + added * noise, noise)
        return State(process.alpha(t) * data.replaced(x, coordinates))

    def step(self, problem, state, t, s, rng):
        process, data = problem.prior.process, spectral(problem)
        kappa, v = process.kappa(s), data.deviation
        x0, z = problem.prior.denoise(state.x, t), rng.normal(state.x)
        x = x0 + renoised(self.eta, kappa, (state.x / process.alpha(t) - x0) / process.kappa(t), z)
        y0, z = data.measured(x0), data.measured(z)
        blurred = y0 + renoised(self.eta, kappa, (data.seen - y0) / v, z)
        sharp = (1 - self.eta_b) * y0 + self.eta_b * data.seen
        sharp = sharp + (kappa**2 - self.eta_b**2 * v**2).clamp_min(0).sqrt() * z
        return State(process.alpha(s) * data.replaced(x, torch.where(kappa < v, blurred, sharp)))


def renoised(eta, kappa, eps, z):
    """Noise of size kappa, made of the old eps and of fresh z: kappa (sqrt(1 - eta^2) eps + eta z)."""
    return kappa * ((1 - eta**2) ** 0.5 * eps + eta * z)
