"""Euler's method on the reverse dynamics."""

from dataclasses import dataclass

import torch

from workbench.priors._prior import needs_gaussian
from workbench.samplers._checks import within
from workbench.samplers._sampler import State, Stepper


@dataclass(frozen=True)
class Euler(Stepper):
    """dx = [f x - (1 + eta^2) g^2 s / 2] dt + eta g dw in the prior's own time: Euler, or Euler-Maruyama for eta > 0.

    eta = 0 is the probability-flow ODE, eta = 1 the reverse SDE. The last step returns the denoised signal.
    Song et al. 2021, eq. 6, 13.
    """

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Song et al. 2021")  # fmt: skip

    eta: float = 0.0

    def __post_init__(self):
        within("Euler", 0, 1, eta=self.eta)

    def step(self, problem, state, t, s, rng):
        prior, x = self.prior(problem, rng), state.x
        process = prior.process
        x0 = prior.denoise(x, t)
        if s == 0:
            return State(x0)
        score = (process.alpha(t) * x0 - x) / process.sigma(t) ** 2
        drift = process.f(t) * x - 0.5 * (1 + self.eta**2) * process.g2(t) * score
        x = x + (s - t) * drift
        if self.eta > 0:
            needs_gaussian(process)
            x = x + self.eta * torch.sqrt(process.g2(t) * (t - s)) * rng.normal(x)
        return State(x)
