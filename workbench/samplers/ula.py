"""Langevin dynamics on the posterior whose prior is smoothed at one noise level, with and without acceptance."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.diffusion.grids import karras
from workbench.samplers import _sampler
from workbench.samplers._ancestral import ancestral
from workbench.samplers._likelihood import gradient, log_likelihood, steepness
from workbench.samplers._reals import rows, squares
from workbench.samplers._sampler import Sampler


def smoothed_score(prior, x, t):
    """(D(x; kappa) - x) / kappa^2, the score of the prior smoothed by noise of size kappa(t), in the signal's units."""
    process = prior.process
    return (prior.denoise(process.alpha(t) * x, t) - x) / process.kappa(t) ** 2


def slope(problem, x, t):
    """grad log [p_kappa(x) p(y | x)]: of the smoothed posterior."""
    return smoothed_score(problem.prior, x, t) + gradient(problem, x)


def resolved_length(problem):
    """1 / ||A'||, the length that the data resolve (at the denoised zero where A is not linear): a float, inside the
    prior's noise range and at most its geometric middle."""
    prior = problem.prior
    low, high = prior.noise_range
    like = problem.y.new_zeros(1, *prior.shape, dtype=prior.dtype)
    S = torch.as_tensor(steepness(problem, prior.denoise(like, prior.process.time(high)))).item()
    return min(max(low, 1 / sqrt(S) if S > 0 else high), sqrt(low * high))


def prior_draws(prior, n, rng, steps):
    """n draws of the prior by `steps` ancestral steps: where chains start. (n, *shape)."""
    times = karras(prior.process, *prior.noise_range, steps)
    x = prior.initial(n, times[0], rng)
    for t, s in zip(times[:-1], times[1:], strict=True):
        x = ancestral(prior.process, x, prior.denoise(x, t), t, s, rng)
    return x


def positive(who, **values):
    """Raise BadInput unless every named number is None or positive."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise BadInput(f"{who}: {name} = {value} should be positive")


@dataclass(frozen=True)
class ULA(Sampler):
    """x <- x + delta grad log [p_sigma(x) p(y | x)] + sqrt(2 delta) z, one chain a sample; steps are iterations.

    Targets the posterior of the prior smoothed by noise of size sigma, with a bias of order delta: on a Gaussian of
    precision P the covariance is (P - delta P^2 / 2)^{-1}.  sigma: in the signal's units (default: the length
    1 / ||A'|| that the data resolve, inside the prior's noise range).  delta: default half of
    1 / (1 / sigma^2 + ||A'||^2), the inverse of the largest curvature.  warm: ancestral steps of the prior that make
    the start. Roberts and Tweedie 1996; Laumont et al. 2022.
    """

    card = dict(kind="sampler", exactness="E1", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE", source="Roberts and Tweedie 1996")  # fmt: skip

    delta: float | None = None
    sigma: float | None = None
    warm: int = 20

    @dataclass
    class State(_sampler.State):
        """delta: the step, kappa: the smoothing, (n,) float64."""

        delta: Tensor | None = None
        kappa: Tensor | None = None

    def __post_init__(self):
        positive(type(self).__name__, delta=self.delta, sigma=self.sigma, warm=self.warm)

    def grid(self, prior, steps):
        """Iteration numbers."""
        return torch.arange(steps, -1, -1, dtype=torch.float64)

    def init(self, problem, n, t, rng):
        x = prior_draws(problem.prior, n, rng, self.warm)
        kappa = resolved_length(problem) if self.sigma is None else self.sigma
        return self.State(x, delta=self._steps(problem, x, kappa), kappa=_full(x, kappa))

    def _steps(self, problem, x, kappa):
        if self.delta is not None:
            return _full(x, self.delta)
        S = torch.as_tensor(steepness(problem, x), dtype=torch.float64)
        return (self.reach / (1 / kappa**2 + S)).flatten().expand(len(x)).clone().to(x.device)

    @property
    def reach(self):
        """The default step, in units of the inverse of the largest curvature; 2 is where it blows up."""
        return 0.5

    def step(self, problem, state, t, s, rng):
        x, delta = state.x, rows(state.delta, state.x)
        t = problem.prior.process.time(state.kappa[0])
        x = x + delta * slope(problem, x, t) + torch.sqrt(2 * delta) * rng.normal(x)
        return self.State(x, delta=state.delta, kappa=state.kappa)


def _full(x, value):
    return torch.full((len(x),), value, dtype=torch.float64, device=x.device)


@dataclass(frozen=True)
class MALA(ULA):
    """ULA's move accepted with probability min(1, pi(x') q(x | x') / (pi(x) q(x' | x))): no bias of the step.

    pi = p_sigma(x) p(y | x) needs the prior's log-density `log_prob(x, t)`, which analytic priors have; BadInput for
    others. Each row is accepted on its own. Fields as in ULA. Besag 1994; Roberts and Tweedie 1996.
    """

    card = dict(kind="sampler", exactness="E1", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE", source="Besag 1994")  # fmt: skip

    @dataclass
    class State(ULA.State):
        """log_pi: (n,) float64 and its gradient at x."""

        log_pi: Tensor | None = None
        pull: Tensor | None = None

    def init(self, problem, n, t, rng):
        start = super().init(problem, n, t, rng)
        t = problem.prior.process.time(start.kappa[0])
        start.log_pi, start.pull = log_posterior(problem, start.x, t), slope(problem, start.x, t)
        return start

    def step(self, problem, state, t, s, rng):
        x, delta = state.x, rows(state.delta, state.x)
        t = problem.prior.process.time(state.kappa[0])
        z = rng.normal(x)
        ahead = x + delta * state.pull + torch.sqrt(2 * delta) * z
        log_pi, pull = log_posterior(problem, ahead, t), slope(problem, ahead, t)
        back = squares(x - ahead - delta * pull) / (4 * state.delta)
        log_ratio = log_pi - state.log_pi + 0.5 * squares(z) - back
        taken = rng.uniform(len(x)).to(x.device).log() < log_ratio

        def pick(new, old):
            return torch.where(taken.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return self.State(
            pick(ahead, x),
            delta=state.delta,
            kappa=state.kappa,
            log_pi=pick(log_pi, state.log_pi),
            pull=pick(pull, state.pull),
        )


def log_posterior(problem, x, t):
    """log p_kappa(x) + log p(y | x) up to a constant, float64 (n,); BadInput where the prior has no log-density."""
    try:
        log_p = problem.prior.log_prob(problem.prior.process.alpha(t) * x, t)
    except (AttributeError, BadInput):
        raise BadInput(
            "MALA: the prior has no log_prob(x, t), which acceptance needs; use ULA, or an analytic prior"
        ) from None
    return log_p.double() + log_likelihood(problem, x)
