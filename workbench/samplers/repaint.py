"""RePaint: replacement that goes back in time and repeats, so that the two parts of the signal agree."""

from dataclasses import dataclass

import torch

from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import whole
from workbench.samplers._sampler import Sampler, State
from workbench.samplers._spectral import spectral
from workbench.samplers.replacement import replaced


@dataclass(frozen=True)
class RePaint(Sampler):
    """`jump` DDPM steps from t to s, the data replaced after each; then x_t ~ q(x_t | x_s) and again, `resamplings` times.

    `steps` counts DDPM steps: a step of the grid is one jump, whose `jump` inner steps are even in the time of the
    process, so that a published run of 250 steps with jumps of 10 is a grid of 25, at 10 denoiser calls a step.
    Measured coordinates are drawn as in Replacement; where their noise is no longer below that of the step there is
    no going back, since the data could not be put in again. More resamplings bring what is not measured nearer to its
    law given what is. Inpainting in practice, any A with singular vectors here. Lugmayr et al. 2022, Alg. 1, with the
    schedule of their appendix (r = j = 10).
    """

    card = dict(name="repaint", kind="sampler", exactness="B", needs="svd", complex=True, nonlinear=False, poisson=True,
                cost="resamplings NFE", source="Lugmayr et al. 2022")  # fmt: skip
    published = dict(inpainting=dict(resamplings=10, jump=10))

    resamplings: int = 10
    jump: int = 10

    def __post_init__(self):
        whole("RePaint", resamplings=self.resamplings, jump=self.jump)

    def grid(self, prior, steps):
        """The prior's times, steps // jump of them, at least 2: `steps` counts the inner steps of one way down."""
        return prior.grid(max(2, steps // self.jump))

    def step(self, problem, state, t, s, rng):
        process, x, data = problem.prior.process, state.x, rng.fork("data")
        times = torch.linspace(t.item(), s.item(), self.jump + 1, dtype=torch.float64)
        noisy = (process.kappa(t) >= spectral(problem).deviation).any()
        for k in range(self.resamplings if noisy else 1):
            if k:
                x = _noised(process, x, s, t, rng)
                x = replaced(problem, x, x, t, data)
            for high, low in zip(times[:-1], times[1:], strict=True):
                x = ancestral(process, x, problem.prior.denoise(x, high), high, low, rng)
                if low > 0:
                    x = replaced(problem, x, x, low, data)
        return State(x)


def _noised(process, x, s, t, rng):
    """A draw of q(x_t | x_s), t > s."""
    a = process.alpha(t) / process.alpha(s)
    return a * x + torch.sqrt(process.sigma(t) ** 2 - a**2 * process.sigma(s) ** 2) * rng.normal(x)
