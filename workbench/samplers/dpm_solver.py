"""DPM-Solver++: exponential integrators of the probability-flow ODE."""

from dataclasses import dataclass

import torch
from torch import Tensor

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
        D = x0
        if state.x0 is not None:
            D = x0 + (x0 - state.x0) * (0.5 * h / state.h[0])
        x = process.sigma(s) / process.sigma(t) * x - process.alpha(s) * torch.expm1(-h) * D
        return self.State(x, x0=x0, h=h.expand(len(x)).clone())
