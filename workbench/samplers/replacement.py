"""Replacement: measured coordinates are overwritten by the data, noised to the level of the step."""

from dataclasses import dataclass, field

import torch

from workbench.samplers._sampler import Sampler, State
from workbench.samplers._spectral import spectral
from workbench.samplers.predictor_corrector import ByNoise, ByNorms, check_corrector, corrected, predicted


@dataclass(frozen=True)
class Replacement(Sampler):
    """V^H x_s <- alpha_s ybar + sqrt(sigma_s^2 - alpha_s^2 / s_i^2) z after every predictor and every corrector.

    ybar = U^H y / s are the data in the singular coordinates of the whitened operator (for orthonormal rows: y itself),
    so that the measured coordinates have variance sigma_s^2 about the signal. A coordinate is replaced while its own
    noise 1 / s_i is below that of the step, sigma_s / alpha_s; from there on the predictor denoises it with the others
    and correctors leave it. The steps between are those of PredictorCorrector, without the data: what is not measured
    learns of the data only through the steps, so this is not the posterior unless measured and unmeasured coordinates
    are independent. Song et al. 2021, sec. 5 and app. I.
    """

    card = dict(kind="sampler", exactness="B", needs="svd", complex=True, nonlinear=False, poisson=True,
                cost="(1 + corrections) NFE", source="Song et al. 2021")  # fmt: skip
    published = dict(ve=dict(snr=0.16, size=ByNorms()))

    snr: float = 0.16
    corrections: int = 1
    size: ByNoise | ByNorms = field(default_factory=ByNoise)

    def __post_init__(self):
        check_corrector("Replacement", self)

    def step(self, problem, state, t, s, rng):
        prior, x, data = problem.prior, state.x, rng.fork("data")
        if s == 0:
            return State(prior.denoise(x, t))
        x = predicted(prior, x, t, s, rng)
        x = replaced(problem, x, x, s, data)
        for _ in range(self.corrections):
            x = replaced(problem, corrected(self, prior, x, t, s, rng), x, s, data)
        return State(x)


def replaced(problem, x, before, s, rng):
    """x with its measured coordinates drawn from q(x_s | ybar). Those with too much noise for that are as in `before`,
    or, where the noise is beyond every level of the prior, as they are."""
    view, process = spectral(problem), problem.prior.process
    alpha, sigma = process.alpha(s), process.sigma(s)
    own = view.measured(x)
    kept = torch.where(view.deviation > problem.prior.noise_range[1], own, view.measured(before))
    spread = (sigma**2 - (alpha * view.deviation) ** 2).to(own.dtype.to_real())
    drawn = alpha * view.seen + spread.clamp_min(0).sqrt() * rng.normal(own)
    return x + view.V(torch.where(spread >= 0, drawn.to(own.dtype), kept) - own)
