"""AFDPS: weighted particles on the path p_t(x) p(y | x)^a, the likelihood taken at the noisy state."""

from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.samplers import _sampler
from workbench.samplers._ancestral import moments
from workbench.samplers._checks import whole, within
from workbench.samplers._likelihood import gradient, log_likelihood, relaxed, steepness
from workbench.samplers._reals import squares
from workbench.samplers._sampler import Sampler
from workbench.samplers._spectral import log_scale, spectral
from workbench.samplers.resampling import Resample, Systematic

# Both forms work on u = x / alpha, whose noise level is kappa = sigma / alpha, so that A sees signal units at every time.


@dataclass(frozen=True)
class _AFDPS(Sampler):
    """What the two forms share: a(t), the start and the state.

    a(t) = 1 / (1 + (kappa / knee)^2 ||Sigma_y^{-1/2} A||^2), so that the likelihood is as wide as the noise of the
    state makes the data (knee near 1), and whole at the end. knee: None takes 8 where Langevin steps can follow (the
    ODE form, linear A) and else 0.5; inf takes all of it from the start, as the paper does (linear A), where the
    weights of the SDE form are of very large variance. For a nonlinear A the norm is the mean over the particles of
    its Jacobian's.
    """

    couples = True

    knee: float | None = None
    resample: Resample = field(default_factory=Systematic)

    def __post_init__(self):
        if self.knee is not None and not self.knee > 0:
            raise BadInput(f"{type(self).__name__}: knee = {self.knee} should be positive, or inf")

    @dataclass
    class State(_sampler.State):
        """a: a(t), fit: log p(y | x / alpha), (n,) float64."""

        a: Tensor | None = None
        fit: Tensor | None = None

    def _knee(self, problem):
        """The default."""
        return 0.5

    def power(self, problem, u, t):
        """a(t) for particles about u: a number."""
        knee = self._knee(problem) if self.knee is None else self.knee
        if t == 0 or knee == inf:
            return 1.0
        sharp = torch.as_tensor(steepness(problem, u), dtype=torch.float64).mean()
        return float(1 / (1 + sharp.cpu() * (problem.prior.process.kappa(t) / knee) ** 2))

    def init(self, problem, n, t, rng):
        process = problem.prior.process
        u = problem.prior.initial(n, t, rng) / process.alpha(t)
        if self.knee == inf and not isinstance(problem.A, Linear):
            raise BadInput(f"{type(self).__name__}: knee = inf needs a linear operator; use knee=0.5")
        if self.knee == inf:
            u, log_w = product_start(problem, u, process.kappa(t), rng)
            fit = relaxed(problem, u)
        else:
            fit = relaxed(problem, u)
            log_w = self.power(problem, u, t) * fit
        return self.State(process.alpha(t) * u, log_w, column(self.power(problem, u, t), fit), fit)


def column(number, like):
    """The number in every row."""
    return torch.full_like(like, number)


def product_start(problem, u, kappa, rng):
    """Draws of N(0, kappa^2 I) p(y | u), from draws u of N(0, kappa^2 I), and the log of its integral where it is known."""
    W, w = problem.white
    e = rng.fork("data").normal(torch.empty(len(u), *w.shape, dtype=w.dtype, device=w.device))
    u = u + W.solve(W.H(w - W(u) - e), 1 / float(kappa) ** 2)  # Matheron's rule
    try:
        data = spectral(problem)
    except BadInput:  # no singular values: the evidence is then relative to the first noise level
        return u, torch.zeros(len(u), dtype=torch.float64, device=u.device)
    spread = 1 + (float(kappa) * data.s.double()) ** 2
    c = 2 if w.is_complex() else 1
    value = (
        log_scale(problem)
        - 0.5 * c * spread.log().sum()
        - 0.5 * squares((data.s * data.seen)[None] / spread.sqrt())
    )
    return u, value.expand(len(u)).clone()


@dataclass(frozen=True)
class AFDPSODE(_AFDPS):
    """Particles follow the probability-flow ODE; log w gains a_s log p(y | x_s) - a_t log p(y | x_t); Langevin steps mix them.

    That increment is the paper's rate -H . grad mu integrated exactly along the flow, for any likelihood, without its
    gradient. Each of the `corrections` takes, for the target p_s(u) p(y | u)^a and M = (a A^H Sigma_y^{-1} A + I /
    kappa^2)^{-1}, u + delta M grad log + sqrt(2 delta - delta^2 / 4) M^{1/2} z, whose law is off by delta / 3 of a
    variance at most; M is a number for a nonlinear A. Needed: without it every particle ends in the mode where it
    began. Exact as n grows and steps and delta shrink. Chen, Ren, Min, Ying, Izzo 2025, the ODE form.
    """

    card = dict(name="afdps-ode", kind="sampler", exactness="E1", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="(2 + K) NFE", source="Chen et al. 2025")  # fmt: skip

    corrections: int = 4
    delta: float = 0.4

    def __post_init__(self):
        super().__post_init__()
        whole("AFDPSODE", least=0, corrections=self.corrections)
        within("AFDPSODE", 1e-6, 1, delta=self.delta)

    def _knee(self, problem):
        return 8.0 if isinstance(problem.A, Linear) else 0.5

    def step(self, problem, state, t, s, rng):
        alpha = problem.prior.process.alpha(s)
        u = self._flow(problem.prior, state.x, t, s)
        fit = (relaxed if s > 0 else log_likelihood)(problem, u)
        a = self.power(problem, u, s)
        log_w = state.log_w + a * fit - state.a * state.fit
        if s > 0:
            for k in range(self.corrections):
                u = self._corrected(problem, u, s, a, rng.fork(f"correction {k}"))
            fit = relaxed(problem, u)
        return self.State(alpha * u, log_w, column(a, fit), fit)

    @staticmethod
    def _flow(prior, x, t, s):
        """Heun's step of the probability-flow ODE, in u."""
        process = prior.process
        u, high, low = x / process.alpha(t), process.kappa(t), process.kappa(s)
        slope = (u - prior.denoise(x, t)) / high
        ahead = u + (low - high) * slope
        if s == 0:
            return ahead
        slope = 0.5 * (slope + (ahead - prior.denoise(process.alpha(s) * ahead, s)) / low)
        return u + (low - high) * slope

    def _corrected(self, problem, u, s, a, rng):
        """One preconditioned Langevin step at time s."""
        process = problem.prior.process
        alpha, kappa, d, a = process.alpha(s), float(process.kappa(s)), self.delta, float(a)
        up = (problem.prior.denoise(alpha * u, s) - u) / kappa**2 + a * gradient(problem, u)
        z, spread = rng.normal(u) / kappa, (2 * d - 0.25 * d**2) ** 0.5
        if not isinstance(problem.A, Linear):
            M = 1 / (a * steepness(problem, u) + 1 / kappa**2)
            return u + d * M * up + spread * M**0.5 * kappa * z
        W = problem.sharp
        e = rng.normal(torch.empty(len(u), *W.out_shape, dtype=W.out_dtype, device=u.device))
        b = d * up + spread * (a**0.5 * W.H(e) + z)  # its second part has covariance spread^2 M^{-1}
        return u + W.solve(b, 1 / (a * kappa**2)) / a


@dataclass(frozen=True)
class AFDPSSDE(_AFDPS):
    """Particles follow the reverse SDE under the pull of the likelihood, weighted so that they stay on p_t(x) p(y | x)^a.

    The conjugate discrete form: x_s is drawn from the DDPM kernel N(m, tau^2) times p(y | x_s)^a, in the singular
    vectors of A, and the weight gains the integral of that product over p(y | x_t)^a. It has no step to be stable for,
    where Euler's method needs V^2 dt ||A||^2 / sigma_y^2 < 2. A nonlinear A takes N(m + shift, tau^2) with the shift
    tau^2 a grad log p(y | m), damped to what its curvature allows, and the ratio of densities as the weight.
    Exact for the discretised prior as n grows; its weights vary more than those of the ODE form.
    Chen, Ren, Min, Ying, Izzo 2025, the SDE form.
    """

    card = dict(name="afdps-sde", kind="sampler", exactness="E1", needs="svd", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE", source="Chen et al. 2025")  # fmt: skip

    def step(self, problem, state, t, s, rng):
        process = problem.prior.process
        m, tau = moments(process, state.x, problem.prior.denoise(state.x, t), t, s)
        u, m, tau = state.x / process.alpha(t), m / process.alpha(s), tau / process.alpha(s)
        conjugate = isinstance(problem.A, Linear)
        move = self._conjugate if conjugate else self._shifted
        a, before = self.power(problem, u if s == 0 else m, s), float(state.a[0])
        u, gain = move(problem, u, m, tau, a, before, rng.normal(u))
        if (
            s == 0 and conjugate and problem.gaussian is not problem
        ):  # the likelihood itself has the last word
            gain = gain + log_likelihood(problem, u) - log_likelihood(problem.gaussian, u)
        return self.State(process.alpha(s) * u, state.log_w + gain, column(a, gain))

    @staticmethod
    def _conjugate(problem, u, m, tau, a, before, z):
        """The draw from N(m, tau^2) p(y | .)^a, and the log-weight it gains."""
        data = spectral(problem)
        s2, c = data.s**2, 2 if m.is_complex() else 1
        mean, noise = data.measured(m), tau * data.measured(z)
        left = data.seen - mean
        spread = 1 + a * (tau**2 * s2).double()
        here = (
            -0.5 * squares(left * (a**0.5 * data.s / spread.sqrt()).to(s2.dtype))
            - 0.5 * c * spread.log().sum()
        )
        there = -0.5 * before * squares(data.s * (data.seen - data.measured(u)))
        share = (a * tau**2 * s2 / spread).to(s2.dtype)
        shift = (
            share * left + noise / spread.sqrt().to(s2.dtype) - noise
        )  # of the measured coordinates of m + tau z
        return m + tau * z + data.V(shift), here - there + (a - before) * log_scale(problem)

    @staticmethod
    def _shifted(problem, u, m, tau, a, before, z):
        """The draw from N(m + shift, tau^2), and the log-weight it gains."""
        shift = a * tau**2 / (1 + a * tau**2 * steepness(problem, m)) * gradient(problem, m)
        after = m + shift + tau * z
        ratio = 0.5 * squares(z) - 0.5 * squares(z + shift / tau) if tau > 0 else 0.0
        there = (relaxed if tau > 0 else log_likelihood)(problem, after)
        gain = a * there - before * relaxed(problem, u)
        return after, gain + ratio
