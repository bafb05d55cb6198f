"""Stationary Gaussian fields against dense Gaussians, and the empirical-Bayes fit against fields of a known spectrum."""

import pytest
import torch
from laws import basis, close, coordinates

from theory.distributions import Gaussian, GaussianField, fit_field, power_law
from theory.distributions._condition import condition, whitened
from theory.distributions.field_fit import Rings
from theory.distributions.gaussian_field import FieldPosterior, flipped, radius
from workbench import BadInput, Rng
from workbench.diffusion import EDM, Flow
from workbench.noise import CorrelatedGaussian
from workbench.noise import Gaussian as Noise
from workbench.operators import (
    AsComplex,
    CartesianMRI,
    CircularBlur,
    Dense,
    Mask,
    ParallelBeam,
    gaussian_kernel,
    simulate_coils,
)

f64, c128 = torch.float64, torch.complex128
EXACT = 1e-10


def normal(*shape, seed=0, dtype=f64):
    return Rng(seed, "field test").normal(torch.empty(*shape, dtype=dtype))


def field(shape=(16, 16), dtype=f64, process=None):
    """A field with a mean; the spectrum of a complex one is not even."""
    P = power_law(shape, 1.2, dtype=dtype.to_real())
    if dtype.is_complex:
        P = P * (0.5 + Rng(1, "field test").uniform(*shape)).to(P)
    return GaussianField(P, 0.3 * normal(*shape, seed=2, dtype=dtype), dtype, process)


def dense_covariance(prior):
    """C = F^H diag(P) F, column by column with torch.fft alone."""
    axes = tuple(range(-len(prior.shape), 0))
    e = torch.eye(prior.dimension, dtype=c128).reshape(-1, *prior.shape)
    C = torch.fft.ifftn(prior.spectrum * torch.fft.fftn(e, dim=axes), dim=axes).flatten(1).mT
    return C if prior.dtype.is_complex else C.real


def dense(prior):
    """The same law as a Gaussian with a full covariance."""
    return Gaussian(prior.means[0], dense_covariance(prior), prior.process)


FIELDS = pytest.mark.parametrize("shape", [(16, 16), (7, 10), (5, 4, 3), (9,)], ids=str)
DTYPES = pytest.mark.parametrize("dtype", [f64, c128], ids=str)


@FIELDS
@DTYPES
@pytest.mark.parametrize("process", [EDM(), Flow()], ids=lambda p: type(p).__name__)
def test_a_field_is_a_gaussian_with_a_circulant_covariance(shape, dtype, process):
    p = field(shape, dtype, process)
    g = dense(p)
    x, v = normal(3, *shape, seed=3, dtype=dtype), normal(3, *shape, seed=4, dtype=dtype)
    assert close(p.cov(), dense_covariance(p)) and close(p.mean(), g.mean())
    assert close(p.log_prob(x), g.log_prob(x), 1e5)
    for kappa in (0.1, 3.0):
        t = process.time(kappa)
        assert close(p.log_prob(x, t), g.log_prob(x, t), 1e5)
        assert close(p.score(x, t), g.score(x, t), 1e5)
        assert close(p.denoise(x, t), g.denoise(x, t), 1e5)
        assert close(p.denoiser_jvp(x, t, v), g.denoiser_jvp(x, t, v), 1e5)
        assert close(p.at(t).log_prob(x), p.log_prob(x, t), 1e5)


@FIELDS
@DTYPES
def test_draws_have_the_spectrum(shape, dtype):
    p = field(shape, dtype)
    axes = tuple(range(-len(shape), 0))
    x = p.sample(4000, 1) - p.means[0]
    c = 2 if dtype.is_complex else 1
    power = torch.fft.fftn(x, dim=axes, norm="ortho").abs().square() / c
    error = (power.mean(0) - p.spectrum).abs() / (power.std(0) / 4000**0.5)
    assert error.max() < 5
    if dtype.is_complex:
        assert (x * x).mean(0).abs().max() < 6 * p.spectrum.mean() * 2**1.5 / 4000**0.5


def test_power_law():
    P, r = power_law((32, 48), 1.5, scale=3.0, dtype=f64), radius((32, 48))
    assert P.mean().item() == pytest.approx(9)
    assert (P[0, 2] / P[0, 4]).item() == pytest.approx(((4**2 + 1) / (2**2 + 1)) ** 1.5)
    assert r[0, 5].item() == pytest.approx(5 / 48) and r[31, 0].item() == pytest.approx(1 / 32)
    assert close(P, flipped(P))


# Conditioning, with the tolerance set so low that only algebra is left.

PROBLEMS = {
    "mask": (f64, lambda s: Mask(Rng(5, "field test").uniform(*s) < 0.4, f64), lambda: Noise(0.2)),
    "matrix": (f64, lambda s: Dense(normal(20, s.numel(), seed=5), s), lambda: Noise(0.5)),
    "per-entry noise": (
        f64,
        lambda s: Dense(normal(20, s.numel(), seed=5), s),
        lambda: Noise(torch.linspace(0.1, 2, 20, dtype=f64)),
    ),
    "blur with uneven noise": (
        f64,
        lambda s: CircularBlur(gaussian_kernel(s, 1.0, f64)),
        lambda: Noise(torch.linspace(0.1, 0.5, 16, dtype=f64)),
    ),
    "MRI": (c128, lambda s: scanner(s), lambda: Noise(0.1)),
    "MRI with correlated coils": (c128, lambda s: scanner(s), lambda: coils()),
    "MRI of a real image": (f64, lambda s: scanner(s) @ AsComplex(s, f64), lambda: coils()),
    "CT": (
        f64,
        lambda s: ParallelBeam(torch.linspace(0, 3, 9, dtype=f64), tuple(s), 2 * max(s), dtype=f64),
        lambda: Noise(0.5),
    ),
}


def scanner(shape):
    mask = torch.arange(shape[-1]) % 3 != 1
    return CartesianMRI(simulate_coils(tuple(shape), 3, c128), mask)


def coils():
    root = 0.2 * normal(3, 3, seed=6, dtype=c128)
    return CorrelatedGaussian(root @ root.mH + 0.01 * torch.eye(3, dtype=c128))


@pytest.mark.parametrize("shape", [(16, 16), (9, 16)], ids=str)
@pytest.mark.parametrize("name", PROBLEMS)
def test_posterior_is_that_of_the_dense_gaussian(name, shape):
    dtype, make, noise = PROBLEMS[name]
    shape = torch.Size(shape)
    p, A, noise = field(tuple(shape), dtype), make(shape), noise()
    y = noise.sample(A(p.sample(1, 7)[0]), 8)
    q, want = p.condition(A, y, noise, tol=EXACT), dense(p).condition(A, y, noise)
    x, v = normal(2, *shape, seed=3, dtype=dtype), normal(2, *shape, seed=4, dtype=dtype)
    near = lambda a, b: (a - b).abs().max() < 1e-6 * b.abs().max()
    assert isinstance(q, FieldPosterior)
    assert near(q.mean(), want.mean())
    for t in (0.05, 1.0, 20.0):
        assert near(q.denoise(x, t), want.denoise(x, t))
        assert near(q.denoiser_jvp(x, t, v), want.denoiser_jvp(x, t, v))
    assert near(q.score(x, 1.0), want.score(x, 1.0))


class Fixed:
    """In place of random numbers: rows that are given, in order."""

    def __init__(self, *rows):
        self.rows = list(rows)

    def normal(self, like):
        return self.rows.pop(0).to(like).reshape(like.shape)


@pytest.mark.parametrize("name", ["mask", "MRI", "MRI of a real image"])
def test_draws_have_exactly_the_posterior_covariance(name):
    """A draw is affine in its random numbers, x = m + B (w, e): so B is known from unit vectors, and B B^T = Cov."""
    dtype, make, noise = PROBLEMS[name]
    shape = torch.Size((5, 6))
    p, A, noise = field(tuple(shape), dtype), make(shape), noise()
    y = noise.sample(A(p.sample(1, 7)[0]), 8)
    q = p.condition(A, y, noise, tol=EXACT)
    w, e = basis(p.shape, dtype), basis(A.out_shape, A.out_dtype)
    zero = lambda like, n: like.new_zeros(n, *like.shape[1:])
    rng = Fixed(torch.cat([w, zero(w, len(e) + 1)]), torch.cat([zero(e, len(w)), e, zero(e, 1)]))
    x = coordinates(q.draws(rng, len(w) + len(e) + 1)[0], 2)
    B = (x[:-1] - x[-1]).mT
    want = dense(p).condition(A, y, noise)
    columns = [
        want.denoiser_jvp(u[None], 1e6, 1e12 * u[None]) for u in w
    ]  # Cov = sigma^2 J where noise says nothing
    C = coordinates(torch.cat(columns), 2).mT
    assert (B @ B.mT - C).abs().max() < 1e-6 * C.abs().max()
    assert (x[-1] - coordinates(want.mean()[None], 2)[0]).abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(16, 16), (9, 14)], ids=str)
@DTYPES
def test_wiener_filter_is_the_general_posterior(shape, dtype):
    p = field(shape, dtype)
    kernel = gaussian_kernel(shape, 1.3, f64).to(dtype)
    kernel = kernel.roll((1, 2), (0, 1)) * (1j if dtype.is_complex else 1)  # not its own adjoint
    A, noise = CircularBlur(kernel), Noise(0.2)
    y = noise.sample(A(p.sample(1, 7)[0]), 8)
    wiener = p.condition(A, y, noise)
    general = FieldPosterior(p, *whitened(p, A, y, noise)[:2], tol=EXACT)
    x, v = normal(2, *shape, seed=3, dtype=dtype), normal(2, *shape, seed=4, dtype=dtype)
    assert isinstance(wiener, GaussianField)
    assert close(wiener.mean(), general.mean(), 1e8)
    for t in (0.05, 2.0):
        assert close(wiener.denoise(x, t), general.denoise(x, t), 1e8)
        assert close(wiener.denoiser_jvp(x, t, v), general.denoiser_jvp(x, t, v), 1e8)
    assert close(wiener.log_prob(x), dense(p).condition(A, y, noise).log_prob(x), 1e8)


@pytest.mark.parametrize("dtype", [torch.complex64, c128], ids=str)
def test_default_tolerance_is_a_few_percent_of_the_posterior_spread(dtype):
    """At every frequency, measured or not: the mean against the exact one, and draws against the exact map."""
    shape = (32, 24)
    p = GaussianField(power_law(shape, 1.2, dtype=dtype.to_real()), dtype=dtype)
    mask = torch.arange(24) % 4 == 0
    A, noise = CartesianMRI(simulate_coils(shape, 4, dtype), mask), Noise(0.02)
    y = noise.sample(A(p.sample(1, 7)[0]), 8)
    loose = p.condition(A, y, noise)
    tight = FieldPosterior(p, loose.A, loose.y, tol=EXACT if dtype == c128 else 1e-5)
    F = lambda x: torch.fft.fftn(x, dim=(-2, -1), norm="ortho")
    draws = tight.sample(64, 1)
    spread = (F(draws) - F(draws).mean(0)).abs().square().mean(0).sqrt()
    gap = (F(loose.sample(64, 1)) - F(draws)).abs().square().mean(0).sqrt()
    assert (gap / spread).square().mean().sqrt() < 0.05
    assert (gap.square().sum() / spread.square().sum()).sqrt() < 0.1
    assert (F(loose.mean() - tight.mean()).abs() / spread).square().mean().sqrt() < 0.02
    unseen = spread > 0.9 * (2 * p.spectrum).sqrt()
    assert unseen.sum() > 20 and (gap / spread)[unseen].square().mean().sqrt() < 0.03
    # control: the tolerance is what makes it so
    rough = FieldPosterior(p, loose.A, loose.y, tol=0.3)
    assert (
        (F(rough.sample(64, 1)) - F(draws)).abs().square().mean(0).sqrt() / spread
    ).square().mean().sqrt() > 0.2


def test_a_nearby_start_gives_the_same_draws():
    p, A, noise = field((12, 12), c128), scanner(torch.Size((12, 12))), Noise(0.1)
    y = noise.sample(A(p.sample(1, 7)[0]), 8)
    q = p.condition(A, y, noise, tol=EXACT)
    x, correction = q.draws(Rng(1, "draws"), 3)
    again, _ = q.draws(Rng(1, "draws"), 3, start=correction + 0.1)
    assert close(x, again, 1e8)


# The fit.


def scan(seed, shape=(32, 32), sigma=0.1, exponent=1.5):
    """The spectrum, the operator, a field drawn from it, and its measurement with 4 coils, every second line."""
    P = power_law(shape, exponent, dtype=f64)
    mask = (torch.arange(shape[1]) % 2 == 0) | ((torch.arange(shape[1]) - shape[1] // 2).abs() < 4)
    A = CartesianMRI(simulate_coils(shape, 4, c128), mask)
    x = GaussianField(P, dtype=c128).sample(1, seed)[0]
    return P, A, x, Noise(sigma).sample(A(x), seed)


def log_error(fit, P):
    """The mean over rings, weighted by their size, of log(fitted / true spectrum), and its rms."""
    ratio = (fit.prior.spectrum / P).log()
    return ratio.mean().item(), ratio.square().mean().sqrt().item()


@pytest.mark.parametrize("sigma", [0.05, 0.2])
@pytest.mark.parametrize("seed", [0, 1])
def test_fit_recovers_the_noise_and_the_spectrum(seed, sigma):
    P, A, _, y = scan(seed, sigma=sigma)
    for guess in (0.3, 3.0):
        fit = fit_field(A, y, guess * sigma)
        bias, rms = log_error(fit, P)
        assert fit.noise.sigma == pytest.approx(sigma, rel=0.04)
        assert abs(bias) < 0.25 and rms < 0.4
    assert fit.history[-1]["sigma"] == fit.noise.sigma and len(fit.history) <= 30


@pytest.mark.parametrize("seed", [0, 1])
def test_fit_of_a_real_image_from_half_its_pixels(seed):
    P = power_law((40, 32), 2.5, scale=5.0, dtype=f64)  # smooth enough to be told from white noise
    A = Mask(Rng(5, "field test").uniform(40, 32) < 0.5, f64)
    x = GaussianField(P).sample(1, seed)[0]
    fit = fit_field(A, Noise(0.3).sample(A(x), seed), 1.0, iterations=100)
    assert fit.noise.sigma == pytest.approx(0.3, rel=0.15)
    assert fit.prior.spectrum.mean().sqrt().item() == pytest.approx(x.square().mean().sqrt().item(), rel=0.1)


def squared_z(fit, A, x, y):
    """mean |x - E[x | y]|^2 / Var[x | y] over frequencies: 1 where the posterior is right."""
    q = FieldPosterior(fit.prior, *whitened(fit.prior, A, y, fit.noise)[:2])
    F = lambda v: torch.fft.fftn(v, dim=(-2, -1), norm="ortho")
    variance = F(q.sample(64, 1) - q.mean()).abs().square().mean(0)
    return (F(x - q.mean()).abs().square() / variance).mean().item()


def test_a_fitted_posterior_is_calibrated_and_one_with_wrong_noise_is_not():
    P, A, x, y = scan(0)
    right = fit_field(A, y, 0.1)
    assert squared_z(right, A, x, y) == pytest.approx(1, abs=0.2)
    low, high = fit_field(A, y, 0.03, fit_noise=False), fit_field(A, y, 0.3, fit_noise=False)
    assert low.noise.sigma == 0.03 and high.noise.sigma == 0.3
    assert squared_z(low, A, x, y) > 1.5 and squared_z(high, A, x, y) > 1.5


def residual(fit, A, y):
    """||y - A x||^2 / sigma^2 over its number of real components, at the posterior mean: at most 1 if sigma is right."""
    q = FieldPosterior(fit.prior, *whitened(fit.prior, A, y, fit.noise)[:2])
    return (y - A(q.mean())).abs().square().sum().item() / fit.noise.sigma**2 / (2 * y.numel())


def test_noise_that_is_too_large_or_too_small_is_seen_in_the_residual():
    P, A, x, y = scan(0)
    right = fit_field(A, y, 0.1)
    low, high = fit_field(A, y, 0.03, fit_noise=False), fit_field(A, y, 0.3, fit_noise=False)
    assert residual(high, A, y) < 0.3 < 0.6 < residual(right, A, y) < 1.02
    assert residual(low, A, y) > 1.5


def test_an_m_step_without_the_posterior_variance_is_seen(monkeypatch):
    """Control: maximising at the posterior mean instead of over the posterior loses what was not measured."""
    P, A, _, y = scan(0)
    good = log_error(fit_field(A, y, 0.1), P)

    def means(self, rng, n, start=None):
        return self.mean().expand(n, *self.shape), None

    monkeypatch.setattr(FieldPosterior, "draws", means)
    bad = log_error(fit_field(A, y, 0.1), P)
    assert bad[1] > 2 * good[1] and bad[0] < -0.5


@pytest.mark.parametrize("shape", [(32, 32), (15, 22), (7, 8, 9)], ids=str)
def test_rings_cover_the_frequencies(shape):
    rings = Rings(shape, 8)
    assert rings.size.sum() == torch.Size(shape).numel() and rings.size[0] == 1
    assert close(rings.mean(torch.full(shape, 3.0, dtype=f64)), torch.full_like(rings.size, 3.0))
    line = rings.spectrum(torch.exp(-2 * rings.centre))  # a power law is log-linear: interpolation is exact
    inside = (rings.log_radius > rings.centre[1]) & (rings.log_radius < rings.centre[-1])
    assert close(line[inside], torch.exp(-2 * rings.log_radius)[inside], 1e3)
    assert close(line, flipped(line))


def test_bad_input():
    P = power_law((6, 5), dtype=f64)
    with pytest.raises(BadInput, match="variance > 0"):
        GaussianField(P - P.min())
    with pytest.raises(BadInput, match="P\\(-k\\)"):
        GaussianField(P * (1 + Rng(0, "field test").uniform(6, 5)))
    with pytest.raises(BadInput, match="agree"):
        GaussianField(P).condition(
            Mask(torch.ones(5, 5, dtype=torch.bool), f64), torch.zeros(25, dtype=f64), Noise(1.0)
        )
    blur = CircularBlur(gaussian_kernel((6, 5), 1.0, f64))
    with pytest.raises(BadInput, match="y is"):
        GaussianField(P).condition(blur, torch.zeros(5, dtype=f64), Noise(1.0))
    with pytest.raises(BadInput, match="agree"):
        GaussianField(P).condition(
            CircularBlur(blur.kernel.to(c128)), torch.zeros(6, 5, dtype=c128), Noise(1.0)
        )
    with pytest.raises(BadInput, match="zeros"):
        fit_field(Mask(torch.ones(5, 5, dtype=torch.bool), f64), torch.zeros(25, dtype=f64), 1.0)


def test_what_the_fit_returns_has_been_through_the_map(monkeypatch):
    """The last iteration is not an extrapolation that nothing has checked."""
    from theory.distributions import field_fit

    called = []
    monkeypatch.setattr(field_fit, "aitken", lambda a, b, c: called.append(1) or c)
    p, A, noise = field((12, 12), c128), scanner(torch.Size((12, 12))), Noise(0.1)
    y = noise.sample(A(p.sample(1, 7)[0]), 8)
    fit_field(A, y, 0.1, iterations=3, tol=0)
    assert called == []
    fit_field(A, y, 0.1, iterations=4, tol=0)
    assert called == [1]


@pytest.mark.parametrize("kind", ["prior", "matrices", "systems", "field"])
def test_draws_are_keyed_by_row(kind):
    """Rows 3 to 7 of a seed are the same, drawn with the others or alone: of a law, and of each form of posterior."""
    p, A, noise = field((6, 5), c128), scanner(torch.Size((6, 5))), Noise(0.1)
    y = noise.sample(A(p.sample(1, 7)[0]), 8)
    twin = dense(p)
    law = {
        "prior": lambda: p,
        "matrices": lambda: twin.condition(A, y, noise),
        "systems": lambda: condition(twin, A, y, noise),
        "field": lambda: p.condition(A, y, noise, tol=EXACT),
    }[kind]()
    whole = law.sample(20, 3)
    assert close(law.sample(5, 3, first=3), whole[3:8], 1e6)
    assert close(law.sample(4, 3, first=16), whole[16:], 1e6)
    assert not torch.allclose(whole[3:8], whole[:5])
