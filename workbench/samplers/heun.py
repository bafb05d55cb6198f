"""Heun's method with churn, the EDM sampler."""

from dataclasses import dataclass
from math import inf, sqrt

import torch

from workbench._errors import BadInput
from workbench.priors._prior import needs_gaussian
from workbench.samplers._checks import not_negative
from workbench.samplers._sampler import State, Stepper


@dataclass(frozen=True)
class Heun(Stepper):
    """d = (x - D(x; kappa)) / kappa, averaged over both ends of the step, in x / alpha and kappa = sigma / alpha.

    churn: the noise level is first raised to kappa (1 + min(churn, sqrt 2 - 1)) inside [churn_min, churn_max], with
    noise of size churn_noise. Karras et al. 2022, Alg. 2, whose churn is S_churn / N here. Second order.
    """

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="2 NFE", source="Karras et al. 2022")  # fmt: skip

    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = inf
    churn_noise: float = 1.0

    def __post_init__(self):
        not_negative("Heun", churn_noise=self.churn_noise)
        if not 0 <= self.churn <= 1:
            raise BadInput(
                f"Heun: churn = {self.churn} should lie between 0 and 1; it is S_churn / N of the paper, N the steps"
            )
        if not self.churn_min <= self.churn_max:
            raise BadInput(
                f"Heun: churn_min = {self.churn_min} should be at most churn_max = {self.churn_max}"
            )

    def step(self, problem, state, t, s, rng):
        prior = self.prior(problem, rng)
        process = prior.process
        kappa, low = process.kappa(t), process.kappa(s)
        x = state.x / process.alpha(t)
        if self.churn > 0 and self.churn_min <= kappa <= self.churn_max:
            needs_gaussian(process)
            high = kappa * (1 + min(self.churn, sqrt(2) - 1))
            x = x + self.churn_noise * torch.sqrt(high**2 - kappa**2) * rng.normal(x)
            kappa, t = high, process.time(high)
        slope = (x - prior.denoise(process.alpha(t) * x, t)) / kappa
        ahead = x + (low - kappa) * slope
        if s == 0:
            return State(ahead)
        slope_ahead = (ahead - prior.denoise(process.alpha(s) * ahead, s)) / low
        return State(process.alpha(s) * (x + (low - kappa) * 0.5 * (slope + slope_ahead)))
