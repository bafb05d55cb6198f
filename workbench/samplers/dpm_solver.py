"""DPM-Solver++: exponential integrators of the probability-flow ODE and of the reverse SDE."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.priors._prior import needs_gaussian
from workbench.samplers import _sampler
from workbench.samplers._sampler import Stepper


@dataclass(frozen=True)
class DPMSolver2M(Stepper):
    """x_s = (sigma_s / sigma_t) x - alpha_s (exp(-h) - 1) D, D = x0 + (x0 - x0_before) h / (2 h_before).

    h is the step in half log-SNR. Second order, one denoiser call; the first and last steps are first order.
    Lu et al. 2022, DPM-Solver++, Alg. 2.
    """

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Lu et al. 2022")  # fmt: skip

    @dataclass
    class State(_sampler.State):
        """x0: the denoised signal of the step before, h: its step in half log-SNR, (n,)."""

        x0: Tensor | None = None
        h: Tensor | None = None

    def step(self, problem, state, t, s, rng):
        prior, x = self.prior(problem, rng), state.x
        process = prior.process
        x0 = prior.denoise(x, t)
        if s == 0:
            return self.State(x0)
        h = process.lam(s) - process.lam(t)
        D = _ahead(x0, state, h)
        x = process.sigma(s) / process.sigma(t) * x - process.alpha(s) * torch.expm1(-h) * D
        return self.State(x, x0=x0, h=h.expand(len(x)).clone())


def _ahead(x0, state, h):
    """x0 half a step ahead, on the line through the step before: x0 + (x0 - x0_before) h / (2 h_before)."""
    return x0 if state.x0 is None else x0 + (x0 - state.x0) * (0.5 * h / state.h[0])


@dataclass(frozen=True)
class DPMSolver2S(Stepper):
    """u = (sigma_m / sigma_t) x - alpha_m (exp(-h/2) - 1) x0_t, x_s = (sigma_s / sigma_t) x - alpha_s (exp(-h) - 1) x0_m(u).

    m halves the step h in half log-SNR. Second order without a memory, two denoiser calls; the last step denoises.
    Lu et al. 2022, DPM-Solver++, Alg. 1 with r = 1/2.
    """

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="2 NFE", source="Lu et al. 2022")  # fmt: skip

    def step(self, problem, state, t, s, rng):
        prior, x = self.prior(problem, rng), state.x
        process = prior.process
        x0 = prior.denoise(x, t)
        if s == 0:
            return self.State(x0)
        h = process.lam(s) - process.lam(t)
        m = process.time(torch.exp(-(process.lam(t) + 0.5 * h)))
        u = process.sigma(m) / process.sigma(t) * x - process.alpha(m) * torch.expm1(-0.5 * h) * x0
        middle = prior.denoise(u, m)
        return self.State(
            process.sigma(s) / process.sigma(t) * x - process.alpha(s) * torch.expm1(-h) * middle
        )


@dataclass(frozen=True)
class DPMSolver3M(Stepper):
    """x_s = (sigma_s / sigma_t) x + alpha_s int_0^h exp(u - h) P(u) du, P the parabola through the last three x0.

    In Newton's form P(u) = x0 + D1 u + D2 u (u + h1), with divided differences over the steps h1, h2 before, and
    int exp(u - h) (1, u, u^2) du = (I0, h - I0, h^2 - 2 (h - I0)), I0 = 1 - exp(-h).
    One denoiser call. Third order past its start: the first step is first order, the second second order, and the last
    denoises. Lu et al. 2022, DPM-Solver++, multistep of order 3; their code halves the weight of D2, which makes it
    second order.
    """

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Lu et al. 2022")  # fmt: skip

    @dataclass
    class State(_sampler.State):
        """x0, slope: the denoised signal of the step before and its divided difference; h, before: the last two steps."""

        x0: Tensor | None = None
        slope: Tensor | None = None
        h: Tensor | None = None
        before: Tensor | None = None

    def step(self, problem, state, t, s, rng):
        prior, x = self.prior(problem, rng), state.x
        process = prior.process
        x0 = prior.denoise(x, t)
        if s == 0:
            return self.State(x0)
        h = process.lam(s) - process.lam(t)
        I0 = -torch.expm1(-h)
        I1 = h - I0
        I2 = h**2 - 2 * I1
        x = process.sigma(s) / process.sigma(t) * x + process.alpha(s) * I0 * x0
        slope = None
        if state.x0 is not None:
            h1 = state.h[0]
            slope = (x0 - state.x0) / h1
            x = x + process.alpha(s) * I1 * slope
        if state.slope is not None:
            bend = (slope - state.slope) / (h1 + state.before[0])
            x = x + process.alpha(s) * (I2 + h1 * I1) * bend
        return self.State(x, x0=x0, slope=slope, h=h.expand(len(x)).clone(), before=state.h)


@dataclass(frozen=True)
class DPMSolverSDE(Stepper):
    """x_s = (sigma_s / sigma_t) e^-h x + alpha_s (1 - e^-2h) D + sigma_s sqrt(1 - e^-2h) z, D as in DPMSolver2M.

    SDE-DPM-Solver++(2M), the reverse SDE: its first step, where D = x0, is DDPM's. One denoiser call; the last step
    denoises. Lu et al. 2022, DPM-Solver++, eq. 19.
    """

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Lu et al. 2022")  # fmt: skip

    State = DPMSolver2M.State

    def step(self, problem, state, t, s, rng):
        prior, x = self.prior(problem, rng), state.x
        process = prior.process
        needs_gaussian(process)
        x0 = prior.denoise(x, t)
        if s == 0:
            return self.State(x0)
        h = process.lam(s) - process.lam(t)
        share = -torch.expm1(-2 * h)
        D = _ahead(x0, state, h)
        x = process.sigma(s) / process.sigma(t) * torch.exp(-h) * x + process.alpha(s) * share * D
        return self.State(
            x + process.sigma(s) * share.sqrt() * rng.normal(x), x0=x0, h=h.expand(len(x)).clone()
        )
