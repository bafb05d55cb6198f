"""MCGdiff: sequential Monte Carlo for linear data, each number of which is a sample of the forward process."""

from dataclasses import dataclass, field
from math import pi

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.samplers import _sampler
from workbench.samplers._ancestral import moments
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._sampler import Sampler
from workbench.samplers._spectral import gaussian_spectral, log_scale, spectral
from workbench.samplers.resampling import Resample, Systematic


def log_normal(x, mean, variance):
    """The sum over the coordinates of log N(x; mean, variance), per real component: (n,) float64."""
    c = 2 if x.is_complex() or mean.is_complex() else 1
    square = (x - mean).abs().double().square() / variance
    return -0.5 * (square + c * torch.log(2 * pi * variance)).sum(-1)


@dataclass(frozen=True)
class Passage:
    """The chain passes through the datum of coordinate i at its noise level, and that is all: nothing is left to weigh."""

    def left(self, problem, x0, passed):
        return 0.0


@dataclass(frozen=True)
class Reweighted:
    """The reference ending: p(y | x_0) over the potentials passed. Of large variance where kappa_r is small."""

    def left(self, problem, x0, passed):
        return log_likelihood(problem, x0) - log_scale(problem) - passed


@dataclass(frozen=True)
class MCGDiff(Sampler):
    """Coordinate i of V^H x is seen as ybar_i at the noise level kappa_i = 1 / s_i: the reverse chain is made to pass there.

    In u = x / alpha the potential of coordinate i is N(u_i; ybar_i, v), v = kappa^2 - kappa_i^2 + kappa_r (1 +
    kappa_i^2), for kappa >= kappa_i. A step draws the DDPM kernel times the potentials and weighs with the integral of
    that product over the potentials before; a coordinate whose level lies within the step is drawn there first, then
    taken on with the same denoised signal, so that levels need not lie on the grid. Below its level it is free.
    ending: Passage() (as kappa_r -> 0 the passage itself has the likelihood's law), or Reweighted(), the published one.
    Linear A with singular values, Gaussian noise. Exact as n grows and the steps shrink. Cardoso et al. 2024, Alg. 2.
    """

    card = dict(name="mcgdiff", kind="sampler", exactness="E1", needs="svd", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Cardoso et al. 2024")  # fmt: skip
    published = dict(reference=dict(kappa_r=1e-4, ending=Reweighted()))

    couples = apart = True

    kappa_r: float = 1e-4
    ending: Passage | Reweighted = field(default_factory=Passage)
    resample: Resample = field(default_factory=Systematic)

    @dataclass
    class State(_sampler.State):
        """passed: the log-potentials of the coordinates at their own levels, (n,)."""

        passed: Tensor | None = None

    def __post_init__(self):
        if not self.kappa_r > 0:
            raise BadInput(f"MCGDiff: kappa_r = {self.kappa_r} should be positive, such as 1e-4")

    def _variance(self, data, kappa):
        """v of every coordinate at noise level kappa, float64 (r,), where kappa >= kappa_i."""
        own = data.deviation.double()
        return (float(kappa) ** 2 - own**2).clamp_min(0) + self.kappa_r * (1 + own**2)

    def init(self, problem, n, t, rng):
        process, data = problem.prior.process, gaussian_spectral(problem, "MCGDiff")
        kappa = float(process.kappa(t))
        u = problem.prior.initial(n, t, rng) / process.alpha(t)
        active = data.deviation <= kappa
        v = self._variance(data, kappa)
        gain, coordinates = kappa**2 / (kappa**2 + v), data.measured(u)
        # N(0, kappa^2) times the potentials: Matheron's rule with a noise draw for each coordinate
        e = v.sqrt() * rng.fork("data").normal(coordinates)
        drawn = coordinates + gain * (data.seen - coordinates - e)
        u = data.replaced(u, torch.where(active, drawn.to(u.dtype), coordinates))
        log_w = log_normal(data.seen[active], data.seen.new_zeros(1), (kappa**2 + v)[active])
        start = (log_w + density_of_coordinates(problem)).expand(n).clone()
        zero = torch.zeros(n, dtype=torch.float64, device=u.device)
        return self.State(process.alpha(t) * u, start, zero)

    def step(self, problem, state, t, s, rng):
        process, data = problem.prior.process, spectral(problem)
        x0 = problem.prior.denoise(state.x, t)
        if s == 0:
            last = self._through(problem, state, x0, t, process.time(data.deviation.min() / 2), rng)
            return self.State(x0, last.log_w + self.ending.left(problem, x0, last.passed), last.passed)
        return self._through(problem, state, x0, t, s, rng)

    def _through(self, problem, state, x0, t, s, rng):
        """The state at time s, past the data of the coordinates whose levels lie between."""
        process, data = problem.prior.process, spectral(problem)
        high, low, own = float(process.kappa(t)), float(process.kappa(s)), data.deviation.double()
        u = state.x / process.alpha(t)
        m, tau = moments(process, state.x, x0, t, s)
        z = rng.normal(u)
        after = (m + tau * z) / process.alpha(s)
        active = (own <= high).nonzero()[:, 0]
        if len(active) == 0:
            return self.State(process.alpha(s) * after, state.log_w, state.passed)
        # the level each coordinate is drawn at: s, or its own on the way; the bridge from t towards x0 in u
        own, seen = own[active], data.seen[active]
        level = own.clamp_min(low)
        x0_i, u_i = data.measured(x0)[:, active], data.measured(u)[:, active]
        share = (level / high) ** 2
        mean, spread = x0_i + share.to(x0_i.dtype.to_real()) * (u_i - x0_i), level**2 * (1 - share)
        v = (level**2 - own**2).clamp_min(0) + self.kappa_r * (1 + own**2)
        before = (high**2 - own**2) + self.kappa_r * (1 + own**2)
        log_w = state.log_w + log_normal(mean, seen, spread + v) - log_normal(u_i, seen, before)
        gain = spread / (spread + v)
        real = u.dtype.to_real()
        noise = data.measured(z)[:, active]
        there = mean + (gain.to(real) * (seen - mean)) + (gain * v).sqrt().to(real) * noise
        leaves, passed = own > low, state.passed
        if leaves.any():  # taken on from their own levels
            passed = passed + log_normal(there[:, leaves], seen[leaves], v[leaves])
            share = (low / level) ** 2  # 1 where the level is s itself
            fresh = data.measured(rng.normal(u))[:, active]
            there = x0_i + share.to(real) * (there - x0_i) + (low**2 * (1 - share)).sqrt().to(real) * fresh
        coordinates = data.measured(after)
        shift = torch.zeros_like(coordinates)
        shift[:, active] = there.to(shift.dtype) - coordinates[:, active]
        return self.State(process.alpha(s) * (after + data.V(shift)), log_w, passed)


def density_of_coordinates(problem):
    """log of p(y) over that of the coordinates seen, the constant that makes the weights average to p(y)."""
    data = spectral(problem)
    c = 2 if data.seen.is_complex() else 1
    return log_scale(problem) + (0.5 * c * torch.log(2 * pi / data.s.double() ** 2)).sum().item()
