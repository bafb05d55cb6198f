"""Gaussian mixtures: the published check problem, autograd, dense algebra, quadrature, and each form against the full one."""

from functools import partial
from math import log, pi

import pytest
import torch
from laws import basis, close, coordinates

from theory.distributions import Gaussian, GaussianMixture, LowRank
from theory.distributions._condition import Conditioned, matrix, whitened
from workbench import BadInput, Rng
from workbench.diffusion import EDM, Flow, SubVariancePreserving, VariancePreserving
from workbench.noise import CorrelatedGaussian
from workbench.noise import Gaussian as Noise
from workbench.operators import AsComplex, CartesianMRI, Dense, Mask
from workbench.priors._prior import Prior
from workbench.problem import Problem
from workbench.samplers import MomentMatching

f64, c128 = dict(dtype=torch.float64), dict(dtype=torch.complex128)


def tensor(*rows):
    return torch.tensor(rows, **f64)


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "mixture").normal(torch.empty(*shape, dtype=dtype))


def agrees(a, b, tol=1e-6):
    return torch.allclose(torch.as_tensor(a, **f64), torch.as_tensor(b, **f64), rtol=0, atol=tol)


# The problem with fixed numbers: three components in the plane, one measurement, seen at alpha = 0.8, sigma = 0.6.

VP = VariancePreserving()
T = VP.time(0.75)  # alpha = 0.8, sigma = 0.6
X = tensor([0.5, -0.3])


def planar(process=VP):
    covariances = tensor([[0.5, 0.2], [0.2, 0.3]], [[0.4, -0.1], [-0.1, 0.6]], [[0.3, 0], [0, 0.3]])
    return GaussianMixture([0.5, 0.3, 0.2], tensor([-2, 0], [2, 1], [0, -2]), covariances, process)


A, Y, NOISE = Dense(tensor([1, 0.5])), tensor(0.8), Noise(0.3)


def test_planar_posterior():
    q = planar().condition(A, Y, NOISE)
    assert q.log_evidence == pytest.approx(-4.068028587, abs=1e-8)
    assert agrees(q.weights, [0.134885, 0.655265, 0.209851])
    assert agrees(q.means, [[-0.057803, 1.132948], [0.898148, 0.370370], [1.161290, -1.419355]])
    assert agrees(q.mean(), [0.824426, 0.097656])
    assert agrees(q.cov(), [[0.279461, -0.393810], [-0.393810, 1.095026]])


def test_planar_prior_at_noise():
    p = planar()
    assert agrees(VP.alpha(T), 0.8, 1e-12) and agrees(VP.sigma(T), 0.6, 1e-12)
    assert p.log_prob(X, T).item() == pytest.approx(-3.772592157, abs=1e-8)
    assert agrees(p.score(X, T), [[-0.037310, -0.131777]])
    x0, cov = p.tweedie(X, T)
    assert agrees(x0, [[0.608210, -0.434300]])
    assert agrees(
        torch.cat([cov(v[None]) for v in torch.eye(2, **f64)]), [[0.941031, 0.334157], [0.334157, 0.998171]]
    )


def test_planar_conditional_at_noise():
    p = planar()
    q = p.condition(A, Y, NOISE)
    assert agrees(q.score(X, T), [[0.693583, 0.606487]])
    assert agrees(q.score(X, T) - p.score(X, T), [[0.730894, 0.738264]])
    assert agrees(q.denoise(X, T), [[0.937113, -0.102081]])
    assert agrees(q.responsibilities(X, T), [[0.046226, 0.762112, 0.191663]])
    seen = (
        q.log_evidence + q.log_prob(X, T) - p.log_prob(X, T)
    )  # Bayes: p(y | x_t) = p(y) p(x_t | y) / p(x_t)
    assert seen.item() == pytest.approx(-2.082885977, abs=1e-8)
    guidance = 0.8 / 0.6**2 * (q.denoise(X, T) - p.denoise(X, T))
    assert agrees(guidance, [[0.730894, 0.738264]])


def guided(denoised):
    """The guidance alpha / sigma^2 (E[x0 | x_t, y] - E[x0 | x_t])."""
    return 0.8 / 0.36 * (denoised - planar().denoise(X, T))


def test_planar_moment_matching():
    matched = MomentMatching(tol=1e-12).bind(Problem(planar(), A, NOISE, Y))
    assert agrees(matched.denoise(X, T), [[0.888845, -0.223277]])
    assert agrees(guided(matched.denoise(X, T)), [[0.623633, 0.468940]])


def test_planar_gradients():
    """PiGDM and DPS: gradients through the denoiser, by autograd, forward mode and the closed form."""
    p, x = planar(), X.clone().requires_grad_()
    x0 = p.denoise(x, T)
    misfit = (Y - A(x0)).norm()
    (by_norm,) = torch.autograd.grad(-misfit, x, retain_graph=True)
    (by_square,) = torch.autograd.grad(-(misfit**2) / 0.18, x, retain_graph=True)
    assert agrees(by_norm, [[2.462466, 1.851649]])
    assert agrees(by_square, [[11.188883, 8.413471]])
    r = (Y - A(x0)).detach() / (0.09 + 0.5625 / 1.5625 * 1.25)  # A A^T = 1.25
    assert agrees(torch.autograd.grad(x0, x, A.H(r))[0], [[1.864814, 1.402245]])
    assert agrees(p.denoiser_jvp(X, T, A.H(r)), [[1.864814, 1.402245]])


def test_planar_third_derivatives():
    p, x = planar(), X[0].clone().requires_grad_()
    hessian = lambda x: torch.func.jacrev(lambda v: p.score(v[None], T)[0])(x)
    (g,) = torch.autograd.grad(hessian(x).trace(), x)
    assert agrees(g, [-1.795498, 3.189583])
    (g,) = torch.autograd.grad((A.matrix @ hessian(x) @ A.matrix.mT).squeeze(), x)
    assert agrees(g, [2.202091, 4.094910])


# Every form of covariance is the full one, real and complex, at every noise level.


def forms(K=3, d=5, dtype=torch.float64):
    """(name, covariances, the same as (K, d, d))."""
    c = 0.2 + Rng(1, "mixture").uniform(K, d)
    U = torch.linalg.qr(normal(K, d, 2, seed=2, dtype=dtype)).Q
    root = normal(K, d, d, seed=3, dtype=dtype) / d**0.5
    real, eye = dtype.to_real(), torch.eye(d, dtype=dtype)
    c = c.to(real)
    lam, delta = c[:, :2], c[:, 0] / 3
    low = (U * lam[:, None, :]) @ U.mH
    full = root @ root.mH + 0.1 * eye
    return {
        "isotropic": (c[:, 0], c[:, 0, None, None] * eye),
        "diagonal": (c, torch.diag_embed(c).to(dtype)),
        "full": (full, full),
        "low-rank": (LowRank(U, lam, delta), low + delta[:, None, None] * eye),
        "thin": (LowRank(U, lam, 0.0), low),
    }


def cast(C, dtype):
    """A tensor or LowRank in the precision of `dtype`."""
    if isinstance(C, LowRank):
        return LowRank(*(cast(v, dtype) if isinstance(v, torch.Tensor) else v for v in (C.U, C.lam, C.delta)))
    return C.to(dtype if C.is_complex() else dtype.to_real())


def pair(form, dtype=torch.float64, process=None):
    """A mixture in `form`, and in full form and double precision the real one (of twice the size if complex)."""
    double = torch.complex128 if dtype.is_complex else torch.float64
    covariances, full = forms(dtype=double)[form]
    means, w = normal(3, 5, seed=4, dtype=double), [0.5, 0.3, 0.2]
    if dtype.is_complex:
        full = torch.cat([torch.cat([full.real, -full.imag], 2), torch.cat([full.imag, full.real], 2)], 1)
    twin = GaussianMixture(w, coordinates(means, 1), full, process)
    return GaussianMixture(w, means.to(dtype), cast(covariances, dtype), process), twin


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("form", ["isotropic", "diagonal", "full", "low-rank", "thin"])
def test_each_form_is_the_full_one(form, dtype):
    p, twin = pair(form, dtype)
    x, v = normal(4, 5, seed=5, dtype=dtype), normal(4, 5, seed=6, dtype=dtype)
    real = lambda u: coordinates(u, 1).double()
    tol = 1e-9 if torch.finfo(dtype).eps < 1e-10 else 2e-4
    near = lambda a, b: (a.double() - b).abs().max() < tol * (1 + b.abs().max())
    for t in (0.05, 0.7, 20.0):
        assert near(p.log_prob(x, t), twin.log_prob(real(x), t))
        assert near(real(p.score(x, t)), twin.score(real(x), t))
        assert near(real(p.denoise(x, t)), twin.denoise(real(x), t))
        assert near(real(p.denoiser_jvp(x, t, v)), twin.denoiser_jvp(real(x), t, real(v)))
        assert near(p.denoiser_jacobian(x, t), twin.denoiser_jacobian(real(x), t))
        assert near(p.responsibilities(x, t), twin.responsibilities(real(x), t))
    if form != "thin":
        assert near(p.log_prob(x), twin.log_prob(real(x)))
    assert near(real(p.mean()[None]), twin.mean()[None])


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "full", "low-rank", "thin"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_covariance_of_the_mixture(form, dtype):
    p, twin = pair(form, dtype)
    C, R = p.cov(), twin.cov()
    if dtype.is_complex:  # the Hermitian part: means need not be circular
        a, b = R[:5, :5] + R[5:, 5:], R[5:, :5] - R[:5, 5:]
        R = 0.5 * torch.complex(a, b)
    assert close(C, R)
    assert torch.allclose(C, C.mH)


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "full", "low-rank", "thin"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_draws_have_the_moments_and_component_shares(form, dtype):
    p, twin = pair(form, dtype)
    x = coordinates(p.sample(40000, 3), 1)
    error = (x.mean(0) - twin.mean()).abs() / (twin.cov().diagonal() / 40000).sqrt()
    assert error.max() < 4.5
    assert (torch.cov(x.mT) - twin.cov()).abs().max() < 0.03 * twin.cov().diagonal().max()
    k = twin.responsibilities(x, 0.01).mean(0)
    assert (k - twin.weights).abs().max() < 4.5 * (0.25 / 40000) ** 0.5
    assert close(p.sample(7, 3), p.sample(40000, 3)[:7])  # rows are keyed by their index


PROCESSES = [EDM(), VP, SubVariancePreserving(), Flow()]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_identities_at_noise(process, dtype):
    p, _ = pair("full", dtype, process)
    x, v = normal(4, 5, seed=5, dtype=dtype), normal(4, 5, seed=6, dtype=dtype)
    for kappa in (0.05, 0.8, 10.0):
        t = process.time(kappa)
        a, s = process.alpha(t), process.sigma(t)
        leaf = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(p.log_prob(leaf, t).sum(), leaf)
        assert close(p.score(x, t), g, 1e5)
        assert close(a * p.denoise(x, t), x + s**2 * p.score(x, t), 1e3)
        assert close(p.denoiser_jvp(x, t, v), torch.func.jvp(partial(p.denoise, t=t), (x,), (v,))[1], 1e5)
        noisy = p.at(t)
        assert close(noisy.log_prob(x), p.log_prob(x, t), 1e4)
        x0, cov = p.tweedie(x, t)
        assert close(x0, p.denoise(x, t)) and close(cov(v), s**2 / a * p.denoiser_jvp(x, t, v), 1e3)
        assert close(cov(v), Prior.tweedie(p, x, t)[1](v), 1e6)  # the prior's own, by reverse mode


@pytest.mark.parametrize("process", PROCESSES[1:], ids=lambda p: type(p).__name__)
def test_under_another_process_is_native_there(process):
    native, other = planar(process), planar(EDM()).under(process)
    x, v = 2 * normal(5, 2, seed=5), normal(5, 2, seed=6)
    for kappa in (0.05, 0.8, 10.0):
        t = process.time(kappa)
        assert close(other.denoise(x, t), native.denoise(x, t), 1e5)
        assert close(other.score(x, t), native.score(x, t), 1e7)
        assert close(other.tweedie(x, t)[1](v), native.tweedie(x, t)[1](v), 1e5)
    assert native.under(process) is native


def test_limits_of_the_noise():
    p, x = planar(EDM()), 2 * normal(5, 2, seed=5)
    assert agrees(p.denoise(x, 1e-9), x, 1e-12)
    assert agrees(p.denoiser_jvp(x, 1e-9, x), x, 1e-9)
    assert agrees(p.denoise(x, 1e6), p.mean().expand(5, 2), 1e-5)
    thin, _ = pair("thin")
    assert torch.isfinite(thin.score(normal(3, 5), 1e-8)).all()


@pytest.mark.parametrize("t", [None, 0.4])
def test_density_integrates_to_one(t):
    u = torch.linspace(-12, 12, 1201, **f64)
    line = GaussianMixture([0.6, 0.4], tensor([-1.0], [2.0]), tensor(0.3, 0.05))
    assert line.log_prob(u[:, None], t).exp().sum() * (u[1] - u[0]) == pytest.approx(1, abs=1e-9)
    u = torch.linspace(-8, 8, 401, **f64)
    plane = torch.cartesian_prod(u, u)
    assert planar(EDM()).log_prob(plane, t).exp().sum() * (u[1] - u[0]) ** 2 == pytest.approx(1, abs=1e-9)
    z = torch.complex(plane[:, 0], plane[:, 1])[:, None]
    disc = GaussianMixture([0.6, 0.4], torch.tensor([[-1.0], [2j]], **c128), tensor(0.3, 0.5))
    assert disc.log_prob(z, t).exp().sum() * (u[1] - u[0]) ** 2 == pytest.approx(1, abs=1e-9)


def test_entropy_of_a_gaussian_is_the_mean_of_its_log_density():
    p, _ = pair("full")
    g = Gaussian(p.means[0], p.covariances.dense()[0])
    want = -0.5 * (5 * log(2 * pi) + 5 + torch.logdet(p.covariances.dense()[0]).item())
    assert g.log_prob(g.sample(40000, 0)).mean().item() == pytest.approx(want, abs=4.5 * (2.5 / 40000) ** 0.5)


# Conditioning: by matrices, by systems of y's size, by quadrature, real, complex and mixed.


def conditioned(p, A, y, noise):
    """The posterior that only solves systems of y's size, whatever the dimension."""
    A, y, log_jacobian = whitened(p, A, y, noise)
    return Conditioned(p, *matrix(A, y), log_jacobian)


def test_against_quadrature_in_the_plane():
    p, u = planar(EDM()), torch.linspace(-8, 8, 801, **f64)
    grid, cell = torch.cartesian_prod(u, u), 0.02**2
    for A, noise in (
        (Dense(tensor([1, 0.5])), Noise(0.3)),
        (Dense(tensor([1, 0.5], [0.3, -2])), Noise(tensor(0.4, 0.9))),
    ):
        y = torch.full(A.out_shape, 0.8, **f64)
        q = p.condition(A, y, noise)
        joint = p.log_prob(grid) + noise.log_likelihood(y, A(grid))
        log_evidence = torch.logsumexp(joint, 0) + log(cell)
        assert q.log_evidence == pytest.approx(log_evidence.item(), abs=1e-8)
        weight = torch.softmax(joint, 0)
        mean = weight @ grid
        assert agrees(q.mean(), mean, 1e-8)
        assert agrees(q.cov(), (grid - mean).mT * weight @ (grid - mean), 1e-8)
        assert agrees(q.log_prob(grid[::977]), (joint - log_evidence)[::977], 1e-8)
        x, t = tensor([0.7, -1.1]), 0.8
        weight = torch.softmax(joint - 0.5 * ((x - grid) ** 2).sum(1) / t**2, 0)
        assert agrees(q.denoise(x, t), weight @ grid, 1e-8)


CASES = {
    "real": (torch.float64, lambda: Dense(normal(3, 5, seed=7)), lambda: Noise(0.3)),
    "more rows": (torch.float64, lambda: Dense(normal(8, 5, seed=7)), lambda: Noise(0.3)),
    "per entry": (torch.float64, lambda: Dense(normal(3, 5, seed=7)), lambda: Noise(tensor(0.1, 0.4, 2.0))),
    "complex": (
        torch.complex128,
        lambda: Dense(normal(3, 5, seed=7, dtype=torch.complex128)),
        lambda: Noise(0.3),
    ),
    "complex, more rows": (
        torch.complex128,
        lambda: Dense(normal(7, 5, seed=7, dtype=torch.complex128)),
        lambda: Noise(0.3),
    ),
    "complex data of a real signal": (
        torch.float64,
        lambda: Dense(normal(2, 5, seed=7, dtype=torch.complex128)) @ AsComplex((5,), torch.float64),
        lambda: Noise(0.3),
    ),
    "complex data of a real signal, more rows": (
        torch.float64,
        lambda: Dense(normal(6, 5, seed=7, dtype=torch.complex128)) @ AsComplex((5,), torch.float64),
        lambda: Noise(0.3),
    ),
    "coils": (torch.complex128, lambda: scanner(5), lambda: correlated()),
    "coils, real image": (
        torch.float64,
        lambda: scanner(5) @ AsComplex((5,), torch.float64),
        lambda: correlated(),
    ),
}


def scanner(n):
    """Two coils, three of n phase encodes: (n,) complex -> (2, 3)."""
    return CartesianMRI(normal(2, n, seed=8, dtype=torch.complex128), torch.arange(n) % 2 == 0)


def correlated():
    root = normal(2, 2, seed=9, dtype=torch.complex128)
    return CorrelatedGaussian(root @ root.mH + 0.1 * torch.eye(2, **c128))


def real_posterior(p, A, y, noise):
    """The posterior of the real law of twice the size, by dense real algebra alone."""
    M = coordinates(A(basis(A.in_shape, A.in_dtype)), len(A.out_shape)).mT
    R = coordinates(noise.cov(basis(A.out_shape, A.out_dtype)), len(A.out_shape)).mT
    y = coordinates(y[None], y.ndim)[0]
    log_w, means, covs = [], [], []
    for w, m, C in zip(p.weights, p.means, p.covariances.dense(), strict=True):
        S = M @ C @ M.mT + R
        r, K = y - M @ m, torch.linalg.solve(S, M @ C).mT
        log_w.append(w.log() + torch.distributions.MultivariateNormal(torch.zeros_like(r), S).log_prob(r))
        means.append(m + K @ r)
        covs.append(C - K @ M @ C)
    log_w = torch.stack(log_w)
    q = GaussianMixture(torch.softmax(log_w, 0), torch.stack(means), torch.stack(covs), p.process)
    return q, torch.logsumexp(log_w, 0).item()


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "full", "low-rank", "thin"])
@pytest.mark.parametrize("case", CASES)
def test_posterior_against_real_dense_algebra(case, form):
    dtype, make, noise = CASES[case]
    A, noise = make(), noise()
    p, twin = pair(form, dtype)
    y = noise.sample(A(p.sample(1, 11)[0]), 12)
    want, log_evidence = real_posterior(twin, A, y, noise)
    x, v = normal(4, 5, seed=5, dtype=dtype), normal(4, 5, seed=6, dtype=dtype)
    real = lambda u: coordinates(u, 1)
    for q in (p.condition(A, y, noise), conditioned(p, A, y, noise)):
        assert q.log_evidence == pytest.approx(log_evidence, abs=1e-9)
        assert agrees(q.weights, want.weights, 1e-10)
        assert agrees(real(q.mean()[None])[0], want.mean(), 1e-9)
        for t in (0.1, 1.0, 30.0):
            assert agrees(real(q.denoise(x, t)), want.denoise(real(x), t), 1e-8)
            assert agrees(real(q.denoiser_jvp(x, t, v)), want.denoiser_jvp(real(x), t, real(v)), 1e-7)
            assert agrees(real(q.score(x, t)), want.score(real(x), t), 1e-6)
            assert agrees(q.log_prob(x, t), want.log_prob(real(x), t), 1e-7)
            assert agrees(q.responsibilities(x, t), want.responsibilities(real(x), t), 1e-8)
        if form != "thin":  # which has no density
            assert agrees(real(q.score(x)), want.score(real(x)), 1e-6)
            assert agrees(q.log_prob(x), want.log_prob(real(x)), 1e-7)
            assert agrees(q.responsibilities(x), want.responsibilities(real(x)), 1e-8)


@pytest.mark.parametrize("case", ["real", "complex", "complex data of a real signal", "coils"])
def test_posterior_draws(case):
    dtype, make, noise = CASES[case]
    A, noise = make(), noise()
    p, twin = pair("low-rank", dtype)
    y = noise.sample(A(p.sample(1, 11)[0]), 12)
    want, _ = real_posterior(twin, A, y, noise)
    for q in (p.condition(A, y, noise), conditioned(p, A, y, noise)):
        x = coordinates(q.sample(20000, 1), 1)
        spread = want.cov().diagonal().sqrt()
        assert ((x.mean(0) - want.mean()).abs() / spread).max() < 4.5 / 20000**0.5
        gap = (torch.cov(x.mT) - want.cov()).abs() / torch.outer(spread, spread)
        assert gap.max() < 6 * 2**0.5 / 20000**0.5 * 1.5
        assert (want.responsibilities(x).mean(0) - want.weights).abs().max() < 4.5 * (0.25 / 20000) ** 0.5


@pytest.mark.parametrize(
    "d, m, whole", [(256, 3, True), (257, 3, False), (257, 200, True), (1025, 900, False)]
)
def test_covariances_are_formed_where_that_is_cheap(d, m, whole):
    p = GaussianMixture([0.5, 0.5], torch.zeros(2, d, **f64), torch.ones(2, **f64))
    q = p.condition(Mask(torch.arange(d) < m, torch.float64), torch.ones(m, **f64), Noise(1.0))
    assert isinstance(q, GaussianMixture) == whole and agrees(
        q.mean()[:m], torch.full((m,), 0.5, **f64), 1e-10
    )
    if d < 1000:
        assert agrees(q.cov().diagonal(), torch.where(torch.arange(d) < m, 0.5, 1.0), 1e-10)


def test_conditioning_twice_is_conditioning_once():
    p, _ = pair("full")
    A, y = Dense(normal(4, 5, seed=7)), normal(4, seed=8)
    once = p.condition(A, y, Noise(0.3))
    first = p.condition(Dense(A.matrix[:2]), y[:2], Noise(0.3))
    twice = first.condition(Dense(A.matrix[2:]), y[2:], Noise(0.3))
    assert first.log_evidence + twice.log_evidence == pytest.approx(once.log_evidence, abs=1e-10)
    assert agrees(twice.means, once.means, 1e-10) and agrees(twice.cov(), once.cov(), 1e-10)


def test_moment_matching_is_exact_for_a_gaussian():
    p, _ = pair("full", torch.complex128)
    g = Gaussian(p.means[0], p.covariances.dense()[0])
    A, noise, x = scanner(5), correlated(), normal(3, 5, seed=5, dtype=torch.complex128)
    y = noise.sample(A(g.sample(1, 1)[0]), 2)
    problem = Problem(g, A, noise, y)
    for t in (0.1, 2.0):
        assert close(MomentMatching(tol=1e-13).bind(problem).denoise(x, t), problem.exact.denoise(x, t), 1e6)


def test_very_many_dimensions():
    """A mixture of low-rank components in d = 10^5 and its posterior, against the algebra of the subspace."""
    d, r = 100_000, 3
    U = torch.linalg.qr(normal(2, d, r)).Q
    p = GaussianMixture(
        [0.5, 0.5], 0.01 * normal(2, d, seed=1), LowRank(U, torch.full((2, r), 4.0, **f64), 0.01)
    )
    mask = torch.zeros(d, dtype=torch.bool)
    mask[:: d // 40] = True
    A, noise = Mask(mask, torch.float64), Noise(0.05)
    truth = p.sample(1, 3)[0]
    q = p.condition(A, noise.sample(A(truth), 4), noise)
    assert isinstance(q, Conditioned) and torch.isfinite(torch.tensor(q.log_evidence))
    x = q.sample(2, 5)
    assert x.shape == (2, d) and torch.isfinite(q.denoise(x, 0.5)).all()
    # where nothing is near, the law of the measured entries alone decides: a 41-dimensional dense problem
    k, rows = q.weights.argmax(), mask.nonzero()[:, 0]
    C = (U[k, rows] * 4.0) @ U[k, rows].mT + 0.01 * torch.eye(len(rows), **f64)
    gain = torch.linalg.solve(C + noise.sigma**2 * torch.eye(len(rows), **f64), C).mT
    seen = p.means[k, rows] + gain @ (noise.sample(A(truth), 4) - p.means[k, rows])
    assert agrees(q.component_means[k, rows], seen, 1e-9)


def test_bad_input():
    p = planar(EDM())
    with pytest.raises(BadInput, match="weights"):
        GaussianMixture([1.0], p.means, tensor(1, 1, 1))
    with pytest.raises(BadInput, match=r"\(3, 3\)"):
        GaussianMixture([1, 1, 1], p.means, torch.ones(3, 3))
    with pytest.raises(BadInput, match="negative"):
        GaussianMixture([1, 1, 1], p.means, tensor(1, 1, -1))
    with pytest.raises(BadInput, match="eigenvalue"):
        GaussianMixture([1, 1, 1], p.means, torch.diag(tensor(1, -1)).expand(3, 2, 2))
    with pytest.raises(BadInput, match="orthonormality"):
        LowRank(torch.ones(3, 2, 1), torch.ones(3, 1))
    with pytest.raises(BadInput, match="agree"):
        p.condition(Dense(torch.eye(3, **f64)), torch.zeros(3, **f64), Noise(1.0))
    with pytest.raises(BadInput, match="y is"):
        p.condition(A, torch.zeros(2, **f64), Noise(1.0))
    with pytest.raises(BadInput, match="4096"):
        Gaussian(torch.zeros(4097), 1.0).denoiser_jacobian(torch.zeros(1, 4097), 1.0)
