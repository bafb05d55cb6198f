"""Plug-and-play diffusion: a split Gibbs sampler whose prior step is a reverse diffusion."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.diffusion.grids import karras
from workbench.operators._linear import Linear
from workbench.samplers import _sampler
from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import positive, whole, within
from workbench.samplers._likelihood import gradient, steepness
from workbench.samplers._sampler import Sampler
from workbench.samplers.ula import prior_draws, resolved_length


@dataclass(frozen=True)
class Conjugate:
    """z ~ N(z; x, rho^2 I) p(y | z) exactly, for linear A: (W^H W + I / rho^2)^{-1} [W^H (w + n_1) + x / rho^2 + n_2 / rho].

    W, w: the whitened operator and data; n_1, n_2 standard normal, so that what is solved has its own precision as
    covariance (perturb and solve). Poisson noise is its Gaussian plug-in.
    """

    def draw(self, problem, x, rho, rng):
        W, w = problem.white
        n1 = rng.normal(torch.empty(len(x), *w.shape, dtype=w.dtype, device=w.device))
        b = W.H(w + n1) + x / rho**2 + rng.normal(x) / rho
        return W.solve(b, (1 / rho**2).item())


@dataclass(frozen=True)
class Langevin:
    """z ~ N(z; x, rho^2 I) p(y | z) by `steps` steps z <- z + delta grad + sqrt(2 delta) n from z = x: any likelihood.

    delta: default a fifth of 1 / (||H'||^2 + 1 / rho^2), the inverse of the largest curvature at x, each row its own.
    least: a given delta falls to that share of itself over the levels `span` of rho, linearly in rho^(1/7), so in the
    steps of a grid of Karras et al. 2022 (DAPS: 0.01 from 100 to 0.1). 1 keeps it.
    """

    steps: int = 100
    delta: float | None = None
    least: float = 1.0
    span: tuple = (100.0, 0.1)

    def __post_init__(self):
        whole("Langevin", steps=self.steps)
        positive("Langevin", delta=self.delta, least=self.least)
        within("Langevin", 0, 1, least=self.least)

    def length(self, rho):
        """delta at the level rho."""
        high, low, here = (float(v) ** (1 / 7) for v in (*self.span, rho))
        done = min(max((high - here) / (high - low), 0.0), 1.0)
        return torch.tensor(self.delta * (1 + done * (self.least - 1)))

    def draw(self, problem, x, rho, rng):
        delta = 0.2 / (steepness(problem, x) + 1 / rho**2) if self.delta is None else self.length(rho)
        z = x
        for _ in range(self.steps):
            pull = gradient(problem, z) + (x - z) / rho**2
            z = z + delta * pull + torch.sqrt(2 * delta) * rng.normal(z)
        return z


def draw_given(problem, inner, x, rho, rng):
    """A draw from N(z; x, rho^2 I) p(y | z) by `inner`: None is Conjugate() for linear A with Gaussian noise, else Langevin()."""
    if inner is None:
        inner = Conjugate() if isinstance(problem.A, Linear) and hasattr(problem.noise, "cov") else Langevin()
    return inner.draw(problem, x, rho, rng)


@dataclass(frozen=True)
class PnPDM(Sampler):
    """z ~ N(z; x, rho^2) p(y | z), then x ~ p(x) N(z; x, rho^2) by reverse diffusion from kappa = rho; steps are iterations.

    The Gibbs sampler of p(x) p(y | z) exp(-||x - z||^2 / 2 rho^2): for linear A its x is exactly the posterior with
    Sigma_y + rho^2 A A^H in place of Sigma_y. rho falls from rho0 by `decay` an iteration to rho_min, both in the
    signal's units (default: rho_min = 0.3 / ||A'||, three tenths of what the data resolve, and rho0 = 30 rho_min).
    The mixing time grows as 1 / rho^2.  levels: ancestral steps of the x-step, which must be stochastic, and of the
    prior draw at the start.  top: the x-step takes, of one grid of `levels` steps down from this noise level, the part
    below rho, as published; None gives every x-step all of its levels.  inner: the z-step, Conjugate() or Langevin()
    (default: the first where A is linear). Wu et al. 2024, Alg. 1.
    """

    card = dict(name="pnp-dm", kind="sampler", exactness="B", needs="prox", complex=True, nonlinear=True, poisson=True,
                cost="K NFE, K levels (20)", source="Wu et al. 2024")  # fmt: skip
    published = dict(
        linear=dict(rho0=10.0, decay=0.9, rho_min=0.3, levels=100, top=80.0),
        nonlinear=dict(rho0=10.0, decay=0.9, rho_min=0.1, levels=100, top=80.0, inner=Langevin(100, 1e-4)),
        black_hole=dict(rho0=10.0, decay=0.93, rho_min=0.02, levels=100, top=80.0, inner=Langevin(100, 1e-4)),
    )

    rho0: float | None = None
    decay: float = 0.9
    rho_min: float | None = None
    levels: int = 20
    top: float | None = None
    inner: Any = None

    @dataclass
    class State(_sampler.State):
        """rho and rho_min: of the next iteration and of the last ones, (n,) float64."""

        rho: Tensor | None = None
        rho_min: Tensor | None = None

    def __post_init__(self):
        positive("PnPDM", rho0=self.rho0, decay=self.decay, rho_min=self.rho_min, top=self.top)
        within("PnPDM", 0, 1, decay=self.decay)
        whole("PnPDM", levels=self.levels)
        if self.rho0 is not None and self.rho_min is not None and self.rho0 < self.rho_min:
            raise BadInput(
                f"PnPDM: rho0 = {self.rho0} should be at least rho_min = {self.rho_min}, to which it falls"
            )

    def grid(self, prior, steps):
        """Iteration numbers."""
        return torch.arange(steps, -1, -1, dtype=torch.float64)

    def init(self, problem, n, t, rng):
        prior = problem.prior
        low, high = prior.noise_range
        rho_min = max(0.3 * resolved_length(problem), 2 * low) if self.rho_min is None else self.rho_min
        rho0 = max(rho_min, min(30 * rho_min, 0.5 * high)) if self.rho0 is None else self.rho0
        if not min(rho0, rho_min) > low:
            raise BadInput(
                f"PnPDM: rho_min = {min(rho0, rho_min):g} should be above {low:g}, the smallest noise the prior knows"
            )
        x = prior_draws(prior, n, rng, self.levels)
        full = torch.ones(n, dtype=torch.float64, device=x.device)
        return self.State(x, rho=rho0 * full, rho_min=rho_min * full)

    def step(self, problem, state, t, s, rng):
        prior, rho = problem.prior, state.rho[0]
        z = draw_given(problem, self.inner, state.x, rho, rng)
        times = self._times(prior, rho)
        x = prior.process.alpha(times[0]) * z
        for u, v in zip(times[:-1], times[1:], strict=True):
            x = ancestral(prior.process, x, prior.denoise(x, u), u, v, rng)
        return self.State(x, rho=torch.maximum(self.decay * state.rho, state.rho_min), rho_min=state.rho_min)

    def _times(self, prior, rho):
        """Of the x-step, from kappa = rho to 0."""
        process, low = prior.process, prior.noise_range[0]
        if self.top is None or not self.top > rho:
            return karras(process, low, rho.item(), self.levels)
        times, first = karras(process, low, self.top, self.levels), process.time(rho)
        return torch.cat([first.reshape(1), times[times < first]])
