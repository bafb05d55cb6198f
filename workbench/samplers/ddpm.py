"""DDPM and DDIM: ancestral steps through the denoised signal."""

from dataclasses import dataclass

from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import within
from workbench.samplers._sampler import State, Stepper


@dataclass(frozen=True)
class DDPM(Stepper):
    """x_s ~ q(x_s | x_t, x_0 = E[x_0 | x_t]), the ancestral sampler with the small variance.  Ho et al. 2020, Alg. 2."""

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Ho et al. 2020")  # fmt: skip

    def step(self, problem, state, t, s, rng):
        prior = self.prior(problem, rng)
        return State(ancestral(prior.process, state.x, prior.denoise(state.x, t), t, s, rng))


@dataclass(frozen=True)
class DDIM(Stepper):
    """x_s = alpha_s x0 + sqrt(sigma_s^2 - tau^2) eps + tau z, tau between 0 (the ODE, eta=0) and DDPM's (eta=1).

    Song, Meng, Ermon 2021, eq. 12.
    """

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Song, Meng, Ermon 2021")  # fmt: skip

    eta: float = 0.0

    def __post_init__(self):
        within("DDIM", 0, 1, eta=self.eta)

    def step(self, problem, state, t, s, rng):
        prior = self.prior(problem, rng)
        return State(ancestral(prior.process, state.x, prior.denoise(state.x, t), t, s, rng, self.eta))
