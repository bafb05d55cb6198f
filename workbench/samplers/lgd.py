"""Loss-guided diffusion: the likelihood averaged over draws around the denoised signal."""

from dataclasses import dataclass

import torch

from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import not_negative, whole
from workbench.samplers._gaussian import check_variance, isotropic
from workbench.samplers._guidance import Guidance
from workbench.samplers._length import halved
from workbench.samplers._likelihood import gradient, relaxed
from workbench.samplers._reals import rows, squares
from workbench.samplers._sampler import Sampler, State


def spread(x0, r, draws, rng):
    """`draws` draws of N(xhat, r^2 I) a row: (n, draws, *shape)."""
    around = x0[:, None].expand(-1, draws, *x0.shape[1:])
    return around + r * rng.normal(around)


def check_draws(who, draws, variance):
    whole(who, draws=draws)
    check_variance(who, variance)


@dataclass(frozen=True)
class LGDMC(Guidance):
    """pull = grad log (1 / M) sum_i p(y | xhat + r xi_i), xi_i ~ N(0, I), the likelihood smoothed by M draws.

    r^2 = c kappa^2 / (c + kappa^2) for signals of variance c; one product with the denoiser's Jacobian for all draws.
    Any differentiable likelihood. For a linear A it tends to PiGDM as M grows; at few draws it follows the best of
    them where r ||A|| is far above the noise, and M has to grow exponentially with the number of measurements. There
    the pull is as steep as the likelihood, so it is halved, sample by sample, until the shift r^2 pull no longer
    makes the data less likely than a typical draw does; with many draws it never is. Song et al. 2023, Loss-Guided
    Diffusion, eq. 8.
    """

    card = dict(name="lgd-mc", kind="guidance", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Song et al. 2023")  # fmt: skip

    draws: int = 10
    variance: float = 1.0

    def __post_init__(self):
        check_draws("LGDMC", self.draws, self.variance)

    def shift(self, problem, x, x0, covariance, t, rng):
        pull, typical = self.smoothed(problem, x0, t, rng)
        return halved(problem, x0, covariance(pull), typical)

    def pull(self, problem, x, x0, covariance, t, rng):
        return self.smoothed(problem, x0, t, rng)[0]

    def smoothed(self, problem, x0, t, rng):
        """The pull, and the log-likelihood of a typical draw, (n,)."""
        r = isotropic(self.variance, problem.prior.process.kappa(t)).sqrt()
        drawn = spread(x0, r, self.draws, rng).flatten(0, 1)
        log_p = relaxed(problem, drawn).reshape(len(x0), self.draws)
        pulls = rows(torch.softmax(log_p, 1).flatten(), drawn) * gradient(problem, drawn)
        return pulls.unflatten(0, (len(x0), self.draws)).sum(1), log_p.mean(1)


@dataclass(frozen=True)
class PublishedLGD(Sampler):
    """x_s = x'_s - zeta J^H mean_i grad L_i / (2 sqrt(mean_i L_i)), L_i = ||y - A(xhat + r xi_i)||^2, x'_s a DDPM step.

    The average of gradients, as in public benchmark code: for a linear A the draws cancel in expectation and it is
    DPS with the norm sqrt(mean L) (DPS itself at variance -> 0). Norms are per sample. Song et al. 2023, Loss-Guided
    Diffusion.
    """

    card = dict(kind="sampler", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Song et al. 2023")  # fmt: skip

    zeta: float = 1.0
    draws: int = 10
    variance: float = 1.0

    def __post_init__(self):
        not_negative("PublishedLGD", zeta=self.zeta)
        check_draws("PublishedLGD", self.draws, self.variance)

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x
        x0, covariance = problem.prior.tweedie(x, t)
        r = isotropic(self.variance, process.kappa(t)).sqrt()
        drawn = spread(x0, r, self.draws, rng.fork("guidance")).flatten(0, 1)
        L, slope = squared_misfit(problem, drawn)
        mean_L = L.reshape(len(x0), self.draws).mean(1).clamp_min(torch.finfo(torch.float32).tiny)
        mean_slope = slope.unflatten(0, (len(x0), self.draws)).mean(1) / rows(2 * mean_L.sqrt(), x0)
        push = process.alpha(t) / process.sigma(t) ** 2 * covariance(mean_slope)
        return State(ancestral(process, x, x0, t, s, rng) - self.zeta * push)


def squared_misfit(problem, x):
    """||y - E[y | x]||^2 of each row, (n,) float64, and its gradient in x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        L = squares(problem.noise.residual(problem.y, problem.A(x)))
        (slope,) = torch.autograd.grad(L.sum(), x)
    return L.detach(), slope
