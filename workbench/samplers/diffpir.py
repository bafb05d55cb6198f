"""DiffPIR: a denoiser and a proximal step on the data in turn, partly noised again."""

from dataclasses import dataclass

import torch

from workbench.operators._linear import Linear
from workbench.samplers._checks import positive, whole, within
from workbench.samplers._gaussian import linearised
from workbench.samplers._reals import rows, squares
from workbench.samplers._sampler import Sampler, State


@dataclass(frozen=True)
class DiffPIR(Sampler):
    """xhat_y = argmin_x -log p(y | x) + lam / (2 kappa^2) ||x - xhat||^2, then noise, of which a share zeta is fresh.

    x_s = alpha_s xhat_y + sigma_s (sqrt(1 - zeta) eps' + sqrt(zeta) z), eps' = (x_t - alpha_t xhat_y) / sigma_t. In
    likelihood units: for Gaussian noise sigma_n and a linear A the proximal step is (A^H A + rho I)^{-1} (A^H y + rho
    xhat), rho = lam sigma_n^2 / kappa^2; lam = 1 is the mode of N(xhat, kappa^2 I) times the likelihood. A nonlinear
    A takes `iterations` Gauss-Newton steps from xhat, halved until the cost falls; Poisson noise is its plug-in. The
    mean of a conditional stands for a draw, and kappa^2 / lam for Cov[x0 | x_t]. Zhu et al. 2023, Alg. 1.
    """

    card = dict(name="diffpir", kind="sampler", exactness="B", needs="prox", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE", source="Zhu et al. 2023")  # fmt: skip
    published = dict(
        deblurring=dict(lam=1.0, zeta=0.1), super_resolution=dict(lam=1.0, zeta=0.1), inpainting=dict(lam=1.0, zeta=1.0),
        inverse_bench=dict(lam=8.0, zeta=1.0),
    )  # fmt: skip

    lam: float = 1.0
    zeta: float = 0.3
    iterations: int = 3

    def __post_init__(self):
        within("DiffPIR", 0, 1, zeta=self.zeta)
        positive("DiffPIR", lam=self.lam)
        whole("DiffPIR", iterations=self.iterations)

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x
        x0 = proximal(problem, problem.prior.denoise(x, t), self.lam / process.kappa(t) ** 2, self.iterations)
        eps = (x - process.alpha(t) * x0) / process.sigma(t)
        eps = (1 - self.zeta) ** 0.5 * eps + self.zeta**0.5 * rng.normal(x)
        return State(process.alpha(s) * x0 + process.sigma(s) * eps)


def proximal(problem, z, rho, iterations):
    """argmin_x ||whitened misfit at x||^2 / 2 + rho / 2 ||x - z||^2 of each row: one solve for a linear A, else at most
    `iterations` Gauss-Newton steps from z, each halved until it lowers the cost."""
    W, e = linearised(problem, z)
    if isinstance(problem.A, Linear):
        return z + W.solve(W.H(e), rho)
    x = z

    def cost(x, e):
        return squares(e) + rho * squares(x - z)

    for _ in range(iterations):
        step = W.solve(W.H(e) - rho * (x - z), rho)
        now, size = cost(x, e), torch.ones(len(x), dtype=torch.float64, device=x.device)
        for _ in range(8):
            ahead = x + rows(size, x) * step
            W_ahead, e_ahead = linearised(problem, ahead)
            worse = ~(cost(ahead, e_ahead) <= now)
            if not worse.any():
                break
            size = torch.where(worse, size / 2, size)
        size = torch.where(worse, 0.0, size)
        x = x + rows(size, x) * step
        W, e = linearised(problem, x)
    return x
