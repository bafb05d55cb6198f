"""STSL: second-order Tweedie from a surrogate loss."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from workbench.noise.gaussian import Gaussian
from workbench.operators._linear import Linear
from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import not_negative, positive, whole
from workbench.samplers._likelihood import gradient, log_likelihood, steepness
from workbench.samplers._reals import as_reals, rows
from workbench.samplers._sampler import Sampler, State


def inner(u, v):
    """Re<u, v> of each row: (n,)."""
    u, v = (torch.view_as_real(z) if z.is_complex() else z for z in (u, v))
    return (u * v).flatten(1).sum(1)


def bend(prior, x, x0, t, v, delta):
    """v^T J v of each row, J the denoiser's Jacobian, by the difference of x0 over `delta` of v: (n,)."""
    ahead = prior.denoise(x + rows(delta, x) * v, t)
    return inner(v, ahead - x0) / delta


@dataclass(frozen=True)
class OperatorTrace:
    """tr(Sigma_y^{-1} A Cov[x0 | x_t] A^H) / 2 by one random vector z of the measurements: the exact Jensen penalty.

    E[v^H Cov v] with v = A^H Sigma_y^{-1/2} z, z of independent signs; Cov v by the difference of the denoiser over
    `delta` sigma_t along v, without a product with its Jacobian.
    """

    delta: float = 0.1

    def penalty(self, problem, x, x0, t, rng):
        process = problem.prior.process
        W = whitened_at(problem, x0)
        z = rng.normal(torch.empty(len(x), *W.out_shape, dtype=W.out_dtype, device=x.device))
        v = W.H(signs(z)).detach()
        size = inner(v, v).sqrt().clamp_min(torch.finfo(v.dtype.to_real()).tiny)
        scale = 0.5 * process.sigma(t) ** 2 / process.alpha(t)
        return scale * bend(problem.prior, x, x0, t, v, self.delta * process.sigma(t) / size)


@dataclass(frozen=True)
class IdentityTrace:
    """The paper's stand-in, tr(Cov[x0 | x_t]) for tr(A Cov A^H), by one random vector of the signal.

    eta: the paper's, with (eta / d) eps^T (s(x + eps) - s(x)), eps ~ N(0, I), at every noise level (0.02 published),
    d the real numbers of a signal. None takes likelihood units, ||A||^2 / (2 sigma_y^2) tr Cov, an upper bound of the
    exact penalty, and a difference over `delta` sigma_t in place of 1.
    """

    eta: float | None = None
    delta: float = 0.1

    def __post_init__(self):
        not_negative("IdentityTrace", eta=self.eta)
        positive("IdentityTrace", delta=self.delta)

    def penalty(self, problem, x, x0, t, rng):
        process, v = problem.prior.process, rng.normal(x)
        alpha, sigma = process.alpha(t), process.sigma(t)
        if self.eta is not None:
            ones = torch.ones(len(x), dtype=x.dtype.to_real(), device=x.device)
            curved = alpha * bend(problem.prior, x, x0, t, v, ones) - inner(
                v, v
            )  # sigma^2 v^T grad^2 log p v
            return self.eta / as_reals(x[:1]).numel() / sigma**2 * curved
        v = signs(v)
        delta = self.delta * sigma / inner(v, v).sqrt()
        sharp = torch.as_tensor(steepness(problem, x0.detach()), device=x.device).flatten()
        return 0.5 * sharp * sigma**2 / alpha * bend(problem.prior, x, x0, t, v, delta)


def signs(z):
    """+-1 in each real component."""
    if z.is_complex():
        return torch.complex(signs(z.real), signs(z.imag))
    return torch.where(z < 0, -1.0, 1.0).to(z.dtype)


def whitened_at(problem, x0):
    """Sigma_y^{-1/2} H, for independent Gaussian noise: the whitened operator, linearised at x0 where it is not linear."""
    if isinstance(problem.A, Linear):
        return problem.white[0]
    twin = problem.gaussian
    return twin.noise.whiten(twin.A.linearize(x0.detach()), twin.y)[0]


@dataclass(frozen=True)
class STSL(Sampler):
    """`inner` steps up the Jensen bound E[log p(y | x0) | x_t] >= log p(y | xhat) - tr(A Cov A^H) / (2 sigma_y^2), then DDIM.

    The trace keeps the second order of Tweedie's formula: OperatorTrace() is the exact penalty, IdentityTrace() the
    paper's. Biased: the bound's gradient differs from that of log p(y | x_t) unless A Cov A^H is far below Sigma_y.

    lam: the paper's, a constant weight of ||y - A xhat||^2 with steps of size 1. None takes likelihood units: the
    `inner` steps share the push that the guidance gives a DDIM step, (sigma_t^2 / alpha_t) (alpha_s - alpha_t sigma_s /
    sigma_t), each no longer than what is stable, alpha^2 / ||Sigma_y^{-1/2} A||^2.
    inversion: DDIM steps that take A^H y / ||A||^2 up to the first noise level, where the paper starts (50); 0 starts
    from noise. y is that of the Gaussian stand-in; where A is not linear it is one step from the prior's mean.
    Pixel form of Rout et al. 2024, Alg. 1 (no public code; its inner update is our reading).
    """

    card = dict(kind="sampler", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="K (2 NFE + 2 VJP) + 1 NFE, K inner (5)", source="Rout et al. 2024")  # fmt: skip
    published = dict(paper=dict(lam=1.0, inner=5, inversion=50, trace=IdentityTrace(eta=0.02)))

    inner: int = 5
    lam: float | None = None
    inversion: int = 0
    trace: Any = field(default_factory=IdentityTrace)

    def __post_init__(self):
        whole("STSL", inner=self.inner)
        whole("STSL", least=0, inversion=self.inversion)
        not_negative("STSL", lam=self.lam)

    def init(self, problem, n, t, rng):
        if self.inversion == 0:
            return super().init(problem, n, t, rng)
        x = back_projection(problem, t)
        return State(invert(problem.prior, x, t, self.inversion).expand(n, *x.shape[1:]).clone())

    def bound(self, problem, x, t, rng):
        """The surrogate of log p(y | x_t = x), to be climbed: (n,)."""
        x0 = problem.prior.denoise(x, t)
        if self.lam is None:
            fit = log_likelihood(problem, x0)
        else:
            r = problem.noise.residual(problem.y, problem.A(x0))
            fit = -self.lam * inner(r, r)
        return fit - self.trace.penalty(problem, x, x0, t, rng), x0

    def climb(self, problem, x, t, rng):
        """The gradient of the bound, and E[x0 | x_t]."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value, x0 = self.bound(problem, x, t, rng)
            (up,) = torch.autograd.grad(value.sum(), x)
        return up, x0.detach()

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x
        for k in range(self.inner):
            up, x0 = self.climb(problem, x, t, rng.fork(f"inner {k}"))
            x = x + self._length(problem, process, x0, t, s) * up
        return State(ancestral(process, x, problem.prior.denoise(x, t), t, s, rng, eta=0.0))

    def _length(self, problem, process, x0, t, s):
        """Of an inner step."""
        if self.lam is not None:
            return 1.0
        alpha, sigma = process.alpha(t), process.sigma(t)
        push = sigma**2 / alpha * (process.alpha(s) - alpha * process.sigma(s) / sigma)
        stable = alpha**2 / torch.as_tensor(steepness(problem, x0))
        return torch.minimum(push / self.inner, stable).to(x0.dtype.to_real())


def back_projection(problem, t):
    """A^H y / ||A||^2 of a linear A; of others x + H^H (y - A(x)) / ||H||^2, x the prior's mean and H A's Jacobian there."""
    prior, twin = problem.prior, replace(problem.gaussian, noise=Gaussian(1.0))
    x = torch.zeros(1, *prior.shape, dtype=prior.dtype, device=problem.y.device)
    if not isinstance(problem.A, Linear):
        x = prior.denoise(x, t)
    size = torch.as_tensor(steepness(twin, x), device=x.device).clamp_min(1e-30)
    return x + gradient(twin, x) / size.to(x.dtype.to_real())


def invert(prior, x, t, steps):
    """x carried from the lowest noise level up to time t by the deterministic DDIM steps, backwards."""
    low = prior.process.time(torch.as_tensor(prior.noise_range[0], dtype=torch.float64))
    times = torch.flip(prior.grid(steps)[:-1], [0])
    times = torch.cat([torch.stack([low]), times[(times > low) & (times < t)], t.reshape(1)])
    process = prior.process
    x = process.alpha(low) * x
    for a, b in zip(times[:-1], times[1:], strict=True):
        x0 = prior.denoise(x, a)
        x = process.alpha(b) * x0 + process.sigma(b) / process.sigma(a) * (x - process.alpha(a) * x0)
    return x
