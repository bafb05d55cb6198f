"""Denoising diffusion null-space models: the range of A^H from the data, the rest from the denoiser."""

from dataclasses import dataclass

import torch

from workbench.samplers._checks import whole, within
from workbench.samplers._clean import clean_spectral
from workbench.samplers._sampler import Sampler, State
from workbench.samplers._spectral import spectral
from workbench.samplers.ddrm import renoised


@dataclass(frozen=True)
class _NullSpace(Sampler):
    """x_s = alpha_s (rectified x0 + noise), and time travel: `travel` steps back, each stretch `repeats` times.

    A kind has `noised(problem, x0, eps, z, kappa)`: X_s = x_s / alpha_s from the denoised signal, the old and the fresh
    noise.
    """

    eta: float = 0.85
    travel: int = 1
    repeats: int = 1

    def __post_init__(self):
        within(type(self).__name__, 0, 1, eta=self.eta)
        whole(type(self).__name__, travel=self.travel, repeats=self.repeats)

    def grid(self, prior, steps):
        """The prior's times, going back up `travel` of them and down again repeats - 1 times at every travel-th."""
        times = prior.grid(steps)
        order, level = [], 0
        stops = {steps - 1 - j: self.repeats - 1 for j in range(0, steps - self.travel, self.travel)}
        while level <= steps:
            order.append(level)
            if stops.get(level, 0) > 0:
                stops[level] -= 1
                level -= self.travel
            else:
                level += 1
        return times[order]

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x / problem.prior.process.alpha(t)
        kappa, low = process.kappa(t), process.kappa(s)
        if low > kappa:  # back in time
            return State(process.alpha(s) * (x + torch.sqrt(low**2 - kappa**2) * rng.normal(x)))
        x0 = problem.prior.denoise(state.x, t)
        return State(process.alpha(s) * self.noised(problem, x0, (x - x0) / kappa, rng.normal(x), low))


@dataclass(frozen=True)
class DDNM(_NullSpace):
    """xhat_y = A^+ y + (I - A^+ A) xhat, x_s = alpha_s xhat_y + sigma_s (sqrt(1 - eta^2) eps-hat + eta z).

    The rule for data without noise: A x = y at the end, whatever the noise of y, which A^+ amplifies by 1 / s_i.
    Coordinates whose noise 1 / s_i is above a tenth of the prior's noisiest level count as not measured (use DDNMPlus
    where s_i spread over decades, as with many coils). travel, repeats: time travel, l steps
    back at every l-th, r times in all (off by default; in the sampler's own grid). Wang et al. 2023, Alg. 1, 2.
    """

    card = dict(kind="sampler", exactness="P", needs="svd", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Wang et al. 2023")  # fmt: skip

    def noised(self, problem, x0, eps, z, kappa):
        data = clean_spectral(problem, "DDNM")
        return data.replaced(x0, data.seen) + renoised(self.eta, kappa, eps, z)


@dataclass(frozen=True)
class DDNMPlus(_NullSpace):
    """xhat_y = xhat + V Lambda (Y - V^H xhat), Y = y_i / s_i of noise v_i: Lambda_i = 1 while kappa_s >= v_i, then
    sqrt(1 - eta^2) kappa_s / v_i.

    Fresh noise fills each measured coordinate up to kappa_s: of variance kappa_s^2 - v_i^2, then eta^2 kappa_s^2, so
    that Var(x_s | x_0) = sigma_s^2; unmeasured ones take sigma_s (sqrt(1 - eta^2) eps-hat + eta z). The same steps as
    DDRM at eta_b = 1, from plain noise and with time travel; below the noise it fits the data step by step, the
    more so the more steps. Wang et al. 2023, section 4, in the spectral form of the authors' code.
    """

    card = dict(kind="sampler", exactness="B", needs="svd", complex=True, nonlinear=False, poisson=True,
                cost="1 NFE", source="Wang et al. 2023")  # fmt: skip
    published = dict(paper=dict(eta=0.85))

    def noised(self, problem, x0, eps, z, kappa):
        data = spectral(problem)
        v, y0 = data.deviation, data.measured(x0)
        sharp = kappa >= v
        scale = torch.where(sharp, 1.0, (1 - self.eta**2) ** 0.5 * kappa / v).to(v.dtype)
        fresh = torch.where(sharp, (kappa**2 - v**2).clamp_min(0).sqrt(), self.eta * kappa).to(v.dtype)
        x = x0 + renoised(self.eta, kappa, eps, z)
        return data.replaced(x, y0 + scale * (data.seen - y0) + fresh * data.measured(z))


@dataclass(frozen=True)
class ScalarDDNMPlus(_NullSpace):
    """xhat_y = xhat + lambda A^+ (y - A xhat), lambda = min(1, kappa_s / v), fresh noise gamma z in the range of A^H.

    gamma^2 = kappa_s^2 - lambda^2 v^2, with one noise level v for all coordinates, the rms of A^+ n (sigma_y where A
    A^H = I), those left out that DDNM leaves out; unmeasured coordinates take sigma_s (sqrt(1 - eta^2) eps-hat + eta
    z). Below v the measured ones draw nothing any more and go on to the noisy data. Wang et al. 2023, eq. 17 to 19.
    """

    card = dict(kind="sampler", exactness="P", needs="svd", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Wang et al. 2023")  # fmt: skip

    def noised(self, problem, x0, eps, z, kappa):
        data = clean_spectral(problem, "ScalarDDNMPlus")
        v, y0 = data.deviation.double().square().mean().sqrt(), data.measured(x0)
        lam = (kappa / v).clamp_max(1)
        gamma = (kappa**2 - (lam * v) ** 2).clamp_min(0).sqrt()
        x = x0 + renoised(self.eta, kappa, eps, z)
        return data.replaced(x, y0 + lam * (data.seen - y0) + gamma * data.measured(z))
