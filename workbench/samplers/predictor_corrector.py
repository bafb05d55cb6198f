"""Predictor-corrector: steps of the reverse SDE, each followed by Langevin moves at the new noise level."""

from dataclasses import dataclass, field

import torch

from workbench._errors import BadInput
from workbench.priors._prior import needs_gaussian
from workbench.samplers._checks import positive, whole
from workbench.samplers._reals import rows, squares
from workbench.samplers._sampler import State, Stepper


@dataclass(frozen=True)
class ByNoise:
    """eps = 2 a^2 (snr sigma_s)^2: the annealed Langevin step, the same for every sample, so that p_s stays p_s."""

    def __call__(self, sigma, score, z):
        return sigma**2


@dataclass(frozen=True)
class ByNorms:
    """eps = 2 a^2 (snr ||z|| / ||score||)^2, norms of each sample: the published step, for thousands of entries.

    In few dimensions the ratio has heavy tails and follows the position, so that the moves no longer keep p_s.
    """

    def __call__(self, sigma, score, z):
        tiny = torch.finfo(torch.float64).tiny
        return rows(squares(z) / squares(score).clamp_min(tiny), score)


@dataclass(frozen=True)
class PredictorCorrector(Stepper):
    """x_s = (2 - a) x + Delta score + sqrt(Delta) z, a = alpha_t / alpha_s, then x += eps score + sqrt(2 eps) z at s.

    Delta = sigma_t^2 - a^2 sigma_s^2, the variance of x_t given x_s: reverse diffusion. The Langevin move is repeated
    `corrections` times with eps = 2 a^2 (snr sigma_s)^2, size=ByNoise(), or the published 2 a^2 (snr ||z|| /
    ||score||)^2, size=ByNorms(), which is about the same in high dimension; a^2 is 1 for variance-exploding processes
    and 1 - beta for variance-preserving ones. The last step denoises. Song et al. 2021, Alg. 1 to 5 (whose code
    averages the norms over the batch; here they are of each sample).
    """

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="(1 + corrections) NFE", source="Song et al. 2021")  # fmt: skip
    published = dict(
        ve=dict(snr=0.16, size=ByNorms()),
        vp=dict(snr=0.01, size=ByNorms()),
        ve_large=dict(snr=0.075, size=ByNorms()),
    )

    snr: float = 0.16
    corrections: int = 1
    size: ByNoise | ByNorms = field(default_factory=ByNoise)

    def __post_init__(self):
        check_corrector("PredictorCorrector", self)

    def step(self, problem, state, t, s, rng):
        prior, x = self.prior(problem, rng), state.x
        if s == 0:
            return State(prior.denoise(x, t))
        x = predicted(prior, x, t, s, rng)
        for _ in range(self.corrections):
            x = corrected(self, prior, x, t, s, rng)
        return State(x)


def check_corrector(who, sampler):
    """Raise BadInput unless corrections is a whole number and snr is positive, and under 1, where moves are stable."""
    whole(who, 0, corrections=sampler.corrections)
    positive(who, snr=sampler.snr)
    if isinstance(sampler.size, ByNoise) and sampler.snr >= 1:
        raise BadInput(
            f"{who}: snr = {sampler.snr} should be under 1, from where on corrections by noise diverge"
        )


def predicted(prior, x, t, s, rng):
    """A reverse-diffusion step from t to s."""
    process = prior.process
    needs_gaussian(process)
    a = process.alpha(t) / process.alpha(s)
    spread = process.sigma(t) ** 2 - a**2 * process.sigma(s) ** 2
    return (2 - a) * x + spread * prior.score(x, t) + spread.sqrt() * rng.normal(x)


def corrected(sampler, prior, x, t, s, rng):
    """A Langevin step at s, after the step from t, of the sampler's snr and size."""
    process = prior.process
    a = process.alpha(t) / process.alpha(s)
    z, score = rng.normal(x), prior.score(x, s)
    eps = 2 * (a * sampler.snr) ** 2 * sampler.size(process.sigma(s), score, z)
    return x + eps * score + torch.sqrt(2 * eps) * z
