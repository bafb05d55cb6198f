"""TSDiff: observation self-guidance of a series model, and refinement by the model as an energy."""

from dataclasses import dataclass, field

import torch

from workbench.samplers._ancestral import moments
from workbench.samplers._checks import not_negative, positive, within
from workbench.samplers._guidance import Guidance
from workbench.samplers._likelihood import gradient, steepness, weighted
from workbench.samplers._reals import as_reals, from_reals, rows
from workbench.samplers._sampler import Sampler, State
from workbench.samplers.ula import resolved_length


@dataclass(frozen=True)
class Mean:
    """E = -log p(y | x0): ||y - A x0||^2 / 2 sigma_y^2 for Gaussian noise. Called, it gives -grad E at x0."""

    def __call__(self, problem, x0, rng):
        return gradient(problem, x0)


@dataclass(frozen=True)
class Quantile:
    """E = sum_j max(q r_j, (q - 1) r_j), r = (y - A x0) / sigma_y: a sample at level q is drawn to the q-quantile.

    The pinball loss, an asymmetric Laplace likelihood. The paper spreads the levels (i + 1) / (n + 1) over the batch;
    here each sample draws its own, uniform and the same at every step, so that it does not depend on its batch.
    level: one for all samples, None for that.  Linear A, Gaussian noise (or its plug-in).
    """

    level: float | None = None

    def __post_init__(self):
        within("Quantile", 0, 1, level=self.level)

    def __call__(self, problem, x0, rng):
        W, w = problem.white
        r = as_reals(w - W(x0))
        q = rng.at(0).fork("level").uniform(len(r), 1).to(r) if self.level is None else self.level
        return W.H(from_reals(q - (r < 0).to(r), w)).to(x0.dtype)


@dataclass(frozen=True)
class SelfGuidance(Guidance):
    """xhat - w (sigma^2 / alpha) grad_{x_t} E(xhat): TSDiff's guidance in the noise, eps + w sigma grad E; any stepper.

    energy: Mean() or Quantile().  weight: w, a temperature; None takes the push that TSDiff explains.
    Kollovieh et al. 2023, eq. 8, DDIM form.
    """

    card = dict(kind="guidance", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Kollovieh et al. 2023")  # fmt: skip

    energy: Mean | Quantile = field(default_factory=Mean)
    weight: float | None = None

    def __post_init__(self):
        not_negative("SelfGuidance", weight=self.weight)

    def shift(self, problem, x, x0, covariance, t, rng):
        slope = self.energy(problem, x0, rng)
        shift = covariance(slope)
        return (along(problem, x0, slope, shift) if self.weight is None else self.weight) * shift


@dataclass(frozen=True)
class TSDiff(Sampler):
    """x_s = x'_s - w tau^2 grad_{x_t} E(xhat), x'_s a DDPM step and tau^2 its variance.

    The published update, whose push at a step is smaller than that of SelfGuidance by (alpha_s / alpha_t) sigma_s^2 /
    sigma_t^2, the ratio of tau^2 to what moves the mean.  energy: as there.  weight: None moves xhat itself, to
    xhat + w C g, g = -grad E, C = Cov[x0 | x_t], where p(x0 | x_t, y) is largest along C g for a Gaussian: w = <g, C g>
    / (<g, C g> + ||A' C g||^2), by the same product and one more A. Given ones are the published w,
    tuned per data set with E = ||y - xhat||^2 / 2; in units of the likelihood 1 diverges where the data are sharp.
    Kollovieh et al. 2023, Alg. 1.
    """

    card = dict(name="tsdiff", kind="sampler", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Kollovieh et al. 2023")  # fmt: skip
    published = dict(quantile=dict(energy=Quantile()))

    energy: Mean | Quantile = field(default_factory=Mean)
    weight: float | None = None

    def __post_init__(self):
        not_negative("TSDiff", weight=self.weight)

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x
        x0, covariance = problem.prior.tweedie(x, t)
        slope = self.energy(problem, x0, rng)
        shift = covariance(slope)  # (sigma^2 / alpha) J^T slope
        if self.weight is None:
            x0 = x0 + along(problem, x0, slope, shift) * shift
        mean, tau = moments(process, x, x0, t, s)
        if self.weight is not None and tau > 0:
            mean = mean + tau**2 * self.weight * process.alpha(t) / process.sigma(t) ** 2 * shift
        return State(mean + tau * rng.normal(x) if tau > 0 else mean)


def along(problem, x0, slope, shift):
    """The w that climbs w <g, C g> - w^2 (<g, C g> + ||A' C g||^2) / 2 to its top, g the slope, C g the shift: (n, 1, ...)."""
    seen = problem.A.linearize(x0)(shift)
    curved = dot(seen, weighted(problem.noise.sharpest(problem.y), seen)).clamp_min(0)
    gain = dot(slope, shift).clamp_min(torch.finfo(torch.float64).tiny)
    return rows(gain / (gain + curved), x0)


def dot(u, v):
    """Re <u, v> of each row, float64 (n,)."""
    return (as_reals(u).double() * as_reals(v).double()).sum(1)


@dataclass(frozen=True)
class TSDiffRefiner(Sampler):
    """x <- x - delta grad [E_eps ||eps - eps_hat(alpha x + sigma eps)||^2 / 2 + w E(x)] + sqrt(2 T delta) z at one fixed level.

    eps - eps_hat = (x0_hat - x) / kappa: the prior as an energy, smallest where it reconstructs x. Stochastic
    gradients, one noise a step; T = 0 seeks its minimum, T = 1 samples it by Langevin. Steps are iterations. On a
    Gaussian prior of covariance C the energy is kappa^2 ||(C + kappa^2)^{-1} (x - m)||^2 / 2, so the prior counts as
    if its precision were kappa^2 (C + kappa^2)^{-2}.  level: kappa (default: the length that the data resolve).
    weight: w. delta: default half of 1 / (1 / kappa^2 + w ||A'||^2). Starts at the denoised zero. Kollovieh et al.
    2023, Sec. 3.3.
    """

    card = dict(name="tsdiff-refiner", kind="sampler", exactness="P", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Kollovieh et al. 2023")  # fmt: skip

    energy: Mean | Quantile = field(default_factory=Mean)
    level: float | None = None
    weight: float = 1.0
    temperature: float = 0.0
    delta: float | None = None

    def __post_init__(self):
        positive("TSDiffRefiner", level=self.level, delta=self.delta)
        not_negative("TSDiffRefiner", weight=self.weight, temperature=self.temperature)

    def grid(self, prior, steps):
        """Iteration numbers."""
        return torch.arange(steps, -1, -1, dtype=torch.float64)

    def init(self, problem, n, t, rng):
        prior = problem.prior
        like = torch.zeros(n, *prior.shape, dtype=prior.dtype, device=problem.y.device)
        return State(prior.denoise(like, prior.process.time(prior.noise_range[1])))

    def step(self, problem, state, t, s, rng):
        prior, x = problem.prior, state.x
        kappa = resolved_length(problem) if self.level is None else self.level
        t = prior.process.time(kappa)
        x0, covariance = prior.tweedie(prior.process.alpha(t) * (x + kappa * rng.normal(x)), t)
        off = (x - x0) / kappa**2
        pull = self.weight * self.energy(problem, x, rng) - off + covariance(off) / kappa**2
        delta = (
            0.5 / (1 / kappa**2 + self.weight * steepness(problem, x)) if self.delta is None else self.delta
        )
        x = x + delta * pull
        if self.temperature > 0:
            x = x + torch.sqrt(torch.as_tensor(2 * self.temperature * delta)) * rng.normal(x)
        return State(x)
