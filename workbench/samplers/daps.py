"""Decoupled annealing: a draw of x0 given x_t and y, noised afresh to the next level."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from workbench.noise.gaussian import Gaussian
from workbench.operators._solve import cg
from workbench.samplers._checks import positive, whole
from workbench.samplers._reals import as_reals, from_reals
from workbench.samplers._sampler import Sampler, State
from workbench.samplers.pnp_dm import Langevin, draw_given


@dataclass(frozen=True)
class Endpoint:
    """p(x0 | x_t) taken as N(x', kappa^2 I), x' the end of the probability-flow ODE from x_t by `steps` Euler steps.

    The published surrogate; x' is itself nearly a draw, so noise of size kappa beside it disperses too much. The steps
    follow Karras et al. 2022 from kappa to `smallest` (default: the prior's smallest noise level).
    """

    steps: int = 5
    smallest: float | None = None

    def __post_init__(self):
        whole("Endpoint", steps=self.steps)
        positive("Endpoint", smallest=self.smallest)

    def draw(self, problem, x, t, inner, rng):
        end, kappa = flow_end(problem.prior, x, t, self.steps, self.smallest), problem.prior.process.kappa(t)
        return draw_given(problem, inner, end, kappa, rng)


def flow_end(prior, x, t, steps, smallest=None):
    """The end of the probability-flow ODE from x at time t, by `steps` Euler steps in kappa, in the signal's units."""
    process, x = prior.process, x / prior.process.alpha(t)
    kappa = process.kappa(t).item()
    low = min(prior.noise_range[0] if smallest is None else smallest, kappa)
    levels = torch.linspace(kappa ** (1 / 7), low ** (1 / 7), steps + 1, dtype=torch.float64) ** 7
    for here, there in zip(levels[:-1], levels[1:], strict=True):
        u = process.time(here)
        x = x + (there - here) * (x - prior.denoise(process.alpha(u) * x, u)) / here
    return x


@dataclass(frozen=True)
class TweedieSurrogate:
    """p(x0 | x_t) taken as N(E[x0 | x_t], Cov[x0 | x_t]), drawn given y: u + C A^H (Sigma_y + A C A^H)^{-1} (y - A u - n).

    u ~ N(xhat, C) by Lanczos' method with `steps` products with C, the system by conjugate gradients to `tol`: exact
    for Gaussian priors. A nonlinear A is linearised at xhat, Poisson noise is its plug-in; `inner` is not used.
    """

    steps: int = 20
    iterations: int = 100
    tol: float = 1e-6

    def __post_init__(self):
        whole("TweedieSurrogate", steps=self.steps, iterations=self.iterations)
        positive("TweedieSurrogate", tol=self.tol)

    def draw(self, problem, x, t, inner, rng):
        x0, covariance = problem.prior.tweedie(x, t)
        problem = problem.gaussian
        y, A = problem.y, problem.A.linearize(x0)
        shift = root(covariance, rng.normal(x0), self.steps)
        n = problem.noise.draw(y.new_zeros(len(x), *y.shape), _Batch(rng))
        r = y - problem.A(x0) - A(shift) - n

        def seen(v):
            return problem.noise.cov(v) + A(covariance(A.H(v)))

        return x0 + shift + covariance(A.H(cg(seen, r, y.ndim, tol=self.tol, iterations=self.iterations)))


@dataclass
class _Batch:
    """The draws of all rows at once, for a noise that draws one signal at a time."""

    rng: Any

    def normal(self, like):
        return self.rng.normal(like[0])[None]


def root(apply, z, steps):
    """apply^{1/2} z for a symmetric positive map of each row, from the Krylov space of `steps` products (Lanczos)."""
    like, v = z[0], as_reals(z)
    size = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    basis, diagonal, beside = [v / size.clamp_min(torch.finfo(v.dtype).tiny)], [], []
    count = min(steps, v.shape[1])
    for k in range(count):
        w = as_reals(apply(from_reals(basis[-1], like)))
        diagonal.append((w * basis[-1]).sum(1))
        for _ in range(2):  # orthogonal to all before, twice
            for b in basis:
                w = w - (w * b).sum(1, keepdim=True) * b
        length = torch.linalg.vector_norm(w, dim=1, keepdim=True)
        small = length <= 1e-6 * diagonal[0].abs()[:, None]
        length = torch.where(small, 0.0, length)
        if k + 1 < count:
            beside.append(length[:, 0])
            basis.append(torch.where(small, 0.0, w / torch.where(small, 1.0, length)))
    T = torch.diag_embed(torch.stack(diagonal, 1))
    if beside:
        off = torch.diag_embed(torch.stack(beside, 1), offset=1)
        T = T + off + off.mT
    values, vectors = torch.linalg.eigh(T.double())
    coefficients = (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors[:, 0][..., None]
    mixed = (torch.stack(basis, 2) @ coefficients.to(v.dtype))[..., 0]
    return from_reals(size * mixed, like)


@dataclass(frozen=True)
class DAPS(Sampler):
    """x0 ~ N(x0; x', kappa_t^2) exp(-||y - A(x0)||^2 / 2 beta^2), x' from an ODE; then x_s = alpha_s x0 + sigma_s z.

    With exact draws of p(x0 | x_t, y) every marginal is exact; the surrogate disperses too much and misplaces modes.
    surrogate: Endpoint() (published) or TweedieSurrogate().  inner: Conjugate() or Langevin() (default: the first for
    linear A with Gaussian noise).  beta: the deviation of the noise used (default: the problem's own); another is
    another posterior. Published: 200 levels from 100 to 0.1, beta = 0.01 at noise 0.05, the inner step falling to a
    hundredth over the levels. Zhang et al. 2025, Alg. 1.
    """

    card = dict(kind="sampler", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="K NFE, K steps of the surrogate (5)", source="Zhang et al. 2025")  # fmt: skip
    published = dict(
        inpainting=dict(beta=0.01, surrogate=Endpoint(5, 0.01), inner=Langevin(100, 1e-4, 0.01)),
        box_inpainting=dict(beta=0.01, surrogate=Endpoint(5, 0.01), inner=Langevin(100, 5e-5, 0.01)),
        motion_blur=dict(beta=0.01, surrogate=Endpoint(5, 0.01), inner=Langevin(100, 5e-5, 0.01)),
        phase_retrieval=dict(beta=0.01, surrogate=Endpoint(5, 0.01), inner=Langevin(100, 5e-5, 0.01)),
        high_dynamic_range=dict(beta=0.01, surrogate=Endpoint(5, 0.01), inner=Langevin(100, 2e-5, 0.01)),
        nonlinear_blur=dict(beta=0.01, surrogate=Endpoint(5, 0.01), inner=Langevin(200, 1e-5, 0.01)),
    )

    beta: float | None = None
    surrogate: Any = field(default_factory=Endpoint)
    inner: Any = None

    def __post_init__(self):
        positive("DAPS", beta=self.beta)

    def step(self, problem, state, t, s, rng):
        process = problem.prior.process
        x0 = self.surrogate.draw(with_deviation(problem, self.beta), state.x, t, self.inner, rng)
        return State(x0 if s == 0 else process.alpha(s) * x0 + process.sigma(s) * rng.normal(x0))


def with_deviation(problem, beta):
    """The problem as if its noise were Gaussian of deviation beta, made once; None leaves it as it is."""
    if beta is None:
        return problem
    made = problem.__dict__.setdefault("_deviations", {})
    if beta not in made:
        made[beta] = replace(problem.gaussian, noise=Gaussian(beta))
    return made[beta]
