"""Moment-matched sequential Monte Carlo: the workbench's own sampler."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._solve import cg
from workbench.samplers import _sampler
from workbench.samplers._checks import positive, whole
from workbench.samplers._closure import Closure, close, coordinates, orthonormal, square_root
from workbench.samplers._closure import whole as every_direction
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._reals import as_reals, from_reals
from workbench.samplers._sampler import Sampler
from workbench.samplers._seen import seen
from workbench.samplers._spectral import spectral
from workbench.samplers.resampling import Resample, Systematic

PILOT_ROWS, PILOT_STEPS = 4, 8  # of the short run that tells whether a sketch of the covariance will do


@dataclass(frozen=True)
class MomentMatchedSMC(Sampler):
    """Particles whose kernel, proposal and twist all match the mean and covariance of p(x0 | x_t).

    The closure c_t = N(xhat, Sigma), Sigma = (sigma^2 / alpha) J, stands for p(x0 | x_t). With u = x / alpha, kappa =
    sigma / alpha and r = (kappa_s / kappa_t)^2 a step draws x0' from c_t given y and bridges to it,

        u_s = r u_t + (1 - r) x0' + kappa_s sqrt(1 - r) z,

    which is the kernel of the prior under the closure, conditioned on the data in closed form. What the closure has
    foreseen at u_s, p(y | u_s, u_t) with x0 ~ c_t, is then weighed against what the closure there says:

        log w += log N(y; A xhat_s, R + A Sigma_s A^H) - log p(y | u_s, u_t).

    The weights are even for every Gaussian prior, whatever the number of steps; for others they carry the modes, since
    only the change of the closure from step to step is weighed. Exact as n and the steps grow: the kernel is the
    closure's, so that few steps leave log p(y) too large (0.09 of 50 steps on toy/g2, second order). The last step draws from the closure given y; data
    that are not linear and Gaussian enter as their regression on the closure's points, or linearised, with the plug-in
    of their noise, and exactly in the last weight.

    dense: signals of so many real numbers have J whole. Larger ones have a sketch of Sigma as v I plus rank `rank`,
    along the measured directions, those of the step before and random ones. Where a short run of 4 particles finds the
    sketch off by more than `tol`, or the operator has no singular vectors, Sigma is applied as it is (Lanczos,
    conjugate gradients) and the particles stay unweighted, which `log_weights` None tells: exact for Gaussian priors up to
    the solver's tolerance, else biased as moment matching is. n: particles. Twisting: Wu et al. 2023; moments: Rozet et al. 2024; the rest is the workbench's own.
    """

    card = dict(name="moment-matched-smc", kind="sampler", exactness="E1", needs="gradient", complex=True, nonlinear=True,
                poisson=True, cost="1 NFE + rank VJP", source="this workbench")  # fmt: skip

    couples = apart = True
    dense: int = 64
    rank: int = 16
    tol: float = 0.1
    resample: Resample = field(default_factory=Systematic)

    def __post_init__(self):
        whole("MomentMatchedSMC", least=0, dense=self.dense)
        whole("MomentMatchedSMC", least=2, rank=self.rank)
        positive("MomentMatchedSMC", tol=self.tol)

    @dataclass
    class State(_sampler.State):
        """The closure at x (mean, v, Q, D), and psi = log p(y | x_t) under it; None where particles are unweighted."""

        mean: Tensor | None = None
        v: Tensor | None = None
        Q: Tensor | None = None
        D: Tensor | None = None
        psi: Tensor | None = None

    def init(self, problem, n, t, rng):
        if not problem.prior.process.alpha(t) > 0:
            raise BadInput(
                f"MomentMatchedSMC: alpha is 0 at the first time {float(t):g}; start a little later"
            )
        x = problem.prior.initial(n, t, rng)
        if not self._sketched(problem, t, rng.rows(0).fork("pilot")):
            return self.State(x)
        closure = close(problem.prior, x, t, self._directions(problem, None, rng))
        psi = self._psi(problem, closure)
        return self.State(x, psi, closure.mean, closure.v, closure.Q, closure.D, psi)

    def step(self, problem, state, t, s, rng):
        if state.log_w is None:
            return self.State(self._unweighted(problem, state.x, t, s, rng))
        prior, closure = problem.prior, Closure(state.mean, state.v, state.Q, state.D)
        x0, data, H = self._conditioned(problem, closure, rng)
        like = state.x[0]
        if s == 0:
            return self.State(from_reals(x0, like), state.log_w + self._last(problem, closure, data, x0))
        u = as_reals(state.x).double() / prior.process.alpha(t)
        bridged, r, level = bridge(prior.process, u, x0, t, s, rng)
        x = from_reals(prior.process.alpha(s) * bridged, like)
        foreseen = closure.given((bridged - r * u) / (1 - r), (1 - r) / level**2)
        moved = data.misfit - data.forward(foreseen.mean - closure.mean)
        foretold = data.spread(foreseen, H).log_normal(moved) + data.top
        closure = close(prior, x, s, self._directions(problem, state.Q, rng))
        psi = self._psi(problem, closure)
        return self.State(x, state.log_w + psi - foretold, closure.mean, closure.v, closure.Q, closure.D, psi)

    def _psi(self, problem, closure):
        """log p(y | x_t) under the closure."""
        data = seen(problem, closure)
        return data.spread(closure, data.along(closure.Q)).log_normal(data.misfit) + data.top

    def _conditioned(self, problem, closure, rng):
        """A draw of x0 from the closure given y (Matheron), the data about it and H = W Q."""
        data = seen(problem, closure)
        H = data.along(closure.Q)
        z = closure.draw(rng)
        missing = data.misfit - data.forward(z) - data.noise(rng)
        pull = data.backward(data.spread(closure, H).solve(missing))
        return closure.mean + z + closure.apply(lambda c: c, pull), data, H

    def _last(self, problem, closure, data, x0):
        """log p(y | x0) less what the linearised data say, zero where they say it all."""
        if isinstance(problem.A, Linear) and problem.gaussian is problem:
            return 0.0
        told = data.about().log_normal(data.misfit - data.forward(x0 - closure.mean)) + data.top
        like = torch.empty(problem.prior.shape, dtype=problem.prior.dtype, device=x0.device)
        return log_likelihood(problem, from_reals(x0, like)) - told

    # --- along which directions -----------------------------------------------------------------------------------

    def _whole(self, problem):
        """Whether the Jacobian is taken whole."""
        return reals(problem.prior) <= max(self.dense, self.rank)

    def _directions(self, problem, before, rng):
        """Orthonormal rows (1 or n, r, d): all; or the measured ones while they are few, some of the step before, and
        random ones, the same for all particles."""
        like = torch.empty(problem.prior.shape, dtype=problem.prior.dtype, device=problem.y.device)
        if self._whole(problem):
            return every_direction(like)
        measured = self._measured(problem, like)
        kept = 0 if before is None else (self.rank - len(measured)) // 2
        fresh = rng.rows(0).fork("directions")
        random = fresh.normal(
            torch.empty(self.rank - len(measured) - kept, reals(problem.prior), dtype=torch.float64)
        )
        rows = torch.cat([measured, random.to(like.device)])[None]
        if kept == 0:
            return orthonormal(rows)
        return orthonormal(torch.cat([rows.expand(len(before), -1, -1), before[:, -kept:]], 1))

    def _measured(self, problem, like):
        """The directions that a linear A sees, as rows, where they are at most half the rank; else none."""
        data = spectral(problem) if isinstance(problem.A, Linear) else None
        if data is None or 2 * as_reals(data.seen[None]).numel() > self.rank:
            return torch.zeros(0, reals(problem.prior), dtype=torch.float64, device=like.device)
        return coordinates(data.V, like)

    def _sketched(self, problem, t, rng):
        """Whether a sketch will do: where it holds all measured directions, or a short run of a few particles says so."""
        if self._whole(problem):
            return True
        try:
            like = torch.empty(problem.prior.shape, dtype=problem.prior.dtype, device=problem.y.device)
            return len(self._measured(problem, like)) > 0 or self._pilot(problem, t, rng) <= self.tol
        except BadInput:
            return False

    def _pilot(self, problem, t, rng):
        """The largest relative residual of S u = e, S = I + W Sigma W^H, solved with the sketch, over levels from t down."""
        prior, worst, before = problem.prior, 0.0, None
        x = prior.initial(PILOT_ROWS, t, rng)
        low, high = prior.noise_range[0], float(prior.process.kappa(t))
        levels = [high * (low / high) ** (i / PILOT_STEPS) for i in range(PILOT_STEPS + 1)]
        for i, kappa in enumerate(levels[1:], start=1):
            step, s = rng.at(i), prior.process.time(kappa)
            closure = close(prior, x, t, self._directions(problem, before, step))
            x0, data, H = self._conditioned(problem, closure, step)
            worst = max(worst, residual(prior, x, t, closure, data, H, step.fork("probe")))
            u, _, _ = bridge(prior.process, as_reals(x).double() / prior.process.alpha(t), x0, t, s, step)
            x, t, before = from_reals(prior.process.alpha(s) * u, x[0]), s, closure.Q
        return worst

    # --- the covariance as it is -------------------------------------------------------------------------------------

    def _unweighted(self, problem, x, t, s, rng):
        """The same step with products of Sigma alone."""
        process = problem.prior.process
        x0, covariance = problem.prior.tweedie(x, t)
        gaussian = problem.gaussian
        W, misfit = gaussian.noise.whiten(gaussian.A.linearize(x0), gaussian.y - gaussian.A(x0))
        z = square_root(covariance, rng.normal(x))
        spread = lambda v: v + W(covariance(W.H(v)))  # noqa: E731
        missing = misfit - W(z) - rng.normal(misfit)
        x0 = x0 + z + covariance(W.H(cg(spread, missing, misfit.ndim - 1, tol=1e-3, iterations=100)))
        if s == 0:
            return x0
        u, _, _ = bridge(process, as_reals(x).double() / process.alpha(t), as_reals(x0).double(), t, s, rng)
        return from_reals(process.alpha(s) * u, x[0])


def bridge(process, u, x0, t, s, rng):
    """u_s given u_t = u and x0, the ratio r = (kappa_s / kappa_t)^2, and kappa_s."""
    level = process.kappa(s).item()
    r = (level / process.kappa(t).item()) ** 2
    return r * u + (1 - r) * x0 + level * (1 - r) ** 0.5 * rng.normal(u), r, level


def residual(prior, x, t, closure, data, H, rng):
    """|e - S u| / |e| where u solves S u = e with the closure in place of Sigma, for random e, the mean over rows."""
    e = rng.normal(data.misfit)
    u = data.backward(data.spread(closure, H).solve(e))
    wrong = closure.apply(lambda c: c, u) - as_reals(prior.tweedie(x, t)[1](from_reals(u, x[0]))).double()
    return (data.forward(wrong).norm(dim=1) / e.norm(dim=1)).mean().item()


def reals(prior):
    """How many real numbers a signal has."""
    return torch.Size(prior.shape).numel() * (2 if prior.dtype.is_complex else 1)
