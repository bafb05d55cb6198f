"""The laws of noise over its catalogue, and each density against scipy's."""

from math import log, pi

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from laws import close

from workbench import BadInput, Rng
from workbench.catalogue import entries, load
from workbench.noise import (
    ColouredGaussian,
    CorrelatedGaussian,
    Gaussian,
    Laplace,
    LogPoisson,
    Poisson,
    PoissonGaussian,
    Quantised,
    Rician,
)
from workbench.operators import AsComplex, Dense, Reshape

REAL = ("poisson", "poisson-gaussian", "log-poisson", "rician")  # whose y is real
NAMES = [entry.name for entry in entries("noise")]
GAUSSIAN = [entry.name for entry in entries("noise") if entry.card["family"] == "Gaussian"]


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "noise test").normal(torch.empty(*shape, dtype=dtype))


def clean(n=None, dtype=torch.float64):
    """What each noise can follow: (3, 4) coils and samples, positive where it is real."""
    x = normal(3, 4, dtype=dtype)
    x = x if dtype.is_complex else x.abs() + 0.1
    return x if n is None else x.expand(n, 3, 4)


def kinds(names, dtypes=(torch.float64, torch.float32, torch.complex128)):
    """(noise, dtype) for those that know signals of that dtype."""
    found = []
    for name in names:
        for dtype in dtypes:
            kind, known = load("noise", name), not (name in REAL and dtype.is_complex)
            own_dtype = dict(dtype=dtype) if kind is ColouredGaussian else {}
            noise = kind.example(Rng(3, "example"), **own_dtype)
            complex_only = isinstance(noise, CorrelatedGaussian) and noise.covariance.is_complex()
            if known and complex_only <= dtype.is_complex:
                found.append(pytest.param(noise, dtype, id=f"{name}-{str(dtype).removeprefix('torch.')}"))
    real = CorrelatedGaussian(normal(3, 3) @ normal(3, 3).mT + torch.eye(3, dtype=torch.float64))
    ramp = Gaussian(torch.linspace(0.1, 2, 4, dtype=torch.float64))
    if "gaussian" in names:
        found += [pytest.param(ramp, dtype, id=f"per-entry-{dtype}") for dtype in dtypes]
        found.append(pytest.param(real, torch.float64, id="correlated-real"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_noise_has_an_example_and_says_its_family(name):
    first, second = (load("noise", name).example(Rng(3, "example")) for _ in range(2))
    x = clean(dtype=torch.complex128 if name == "correlated-gaussian" else torch.float64)
    assert {"family", "source"} <= set(type(first).card)
    assert torch.equal(first.sample(x, 0), second.sample(x, 0))


@pytest.mark.parametrize("noise, dtype", kinds(NAMES))
def test_draws_follow_the_seed_and_the_stream(noise, dtype):
    x = clean(dtype=dtype)
    y = noise.sample(x, 1)
    assert y.shape == x.shape and y.dtype == dtype
    assert torch.equal(y, noise.sample(x, 1))
    assert not torch.equal(y, noise.sample(x, 2)) and not torch.equal(y, noise.sample(x, 1, stream="other"))


@pytest.mark.parametrize("noise, dtype", kinds(NAMES))
def test_draws_have_the_mean(noise, dtype):
    x = clean(20000, dtype)
    y, mean = noise.sample(x, 1), noise.mean(x[0])
    parts = torch.view_as_real(y) if dtype.is_complex else y
    wanted = torch.view_as_real(mean) if dtype.is_complex else mean
    assert ((parts.mean(0) - wanted).abs() / (parts.std(0) / 20000**0.5)).max() < 4.5


@pytest.mark.parametrize("noise, dtype", kinds(GAUSSIAN))
def test_draws_have_the_covariance(noise, dtype):
    """E[n n^H] = c cov with c real components an entry, and n is circular: E[n n^T] = 0."""
    x = clean(20000, dtype)
    n = (noise.sample(x, 1) - x).flatten(1)
    c = 2 if dtype.is_complex else 1
    eye = torch.eye(12, dtype=dtype).reshape(12, 3, 4)
    C = noise.cov(eye).reshape(12, 12).mT
    size = C.diagonal().real.sqrt()
    scale = torch.outer(size, size)
    assert ((n.mT @ n.conj() / 20000 / c - C).abs() / scale).max() < 6 * 2**0.5 / 20000**0.5
    if dtype.is_complex:
        assert ((n.mT @ n).abs() / 20000 / scale).max() < 6 * 2 / 20000**0.5


@pytest.mark.parametrize("noise, dtype", kinds(GAUSSIAN))
def test_likelihood_is_the_normal_density_of_the_real_components(noise, dtype):
    x = clean(5, dtype) + 0.1 * normal(5, 3, 4, seed=2, dtype=dtype)
    y = noise.sample(x[0], 1)
    eye = torch.eye(12, dtype=dtype).reshape(12, 3, 4)
    C = noise.cov(eye).reshape(12, 12).mT
    r = (y - x).flatten(1)
    if dtype.is_complex:
        C = torch.cat([torch.cat([C.real, -C.imag], 1), torch.cat([C.imag, C.real], 1)])
        r = torch.cat([r.real, r.imag], 1)
    want = scipy.stats.multivariate_normal(np.zeros(len(C)), C.double().numpy()).logpdf(r.double().numpy())
    got = noise.log_likelihood(y, x)
    assert got.dtype == torch.float64
    single = torch.finfo(dtype).eps > 1e-10
    assert np.allclose(got.numpy(), want, rtol=1e-5 if single else 1e-10, atol=1e-5 if single else 1e-9)
    assert noise.log_likelihood(y, x[0]).shape == ()


@pytest.mark.parametrize("noise, dtype", kinds(GAUSSIAN))
def test_whitened_data_have_unit_noise_and_the_same_likelihood_up_to_the_jacobian(noise, dtype):
    A = Reshape((12,), (3, 4), dtype) @ Dense(normal(12, 5, seed=4, dtype=dtype))
    x = normal(4, 5, seed=5, dtype=dtype)
    y = noise.sample(A(x[0]), 1)
    W, w = noise.whiten(A, y)
    shift = noise.log_likelihood(y, A(x)) - Gaussian(1.0).log_likelihood(w, W(x))
    C = noise.cov(torch.eye(12, dtype=dtype).reshape(12, 3, 4)).reshape(12, 12).mT
    log_det = torch.logdet(C).real.item() * (2 if dtype.is_complex else 1)
    assert shift.numpy() == pytest.approx(
        -0.5 * log_det, abs=1e-8 if torch.finfo(dtype).eps < 1e-10 else 1e-2
    )
    back = torch.linalg.solve(C, y.flatten()).reshape(3, 4)  # A^H C^{-1} y, either way
    assert close(W.H(w), A.H(back), 1e4)


def test_complex_noise_has_sigma_in_each_component():
    n = Gaussian(0.5).sample(torch.zeros(40000, dtype=torch.complex64), 0)
    assert n.real.std().item() == pytest.approx(0.5, rel=0.02) == pytest.approx(n.imag.std().item(), rel=0.02)
    y = torch.tensor([1 + 2j])
    want = scipy.stats.norm(0, 0.5).logpdf([1, 2]).sum()
    assert Gaussian(0.5).log_likelihood(y, 0 * y).item() == pytest.approx(want, rel=1e-6)
    assert Gaussian(0.5).cov(y).item() == 0.25 * (1 + 2j)


def test_density_of_complex_noise_integrates_to_one():
    u = torch.linspace(-4, 4, 161, dtype=torch.float64)
    z = torch.complex(*torch.meshgrid(u, u, indexing="ij")).reshape(-1, 1)
    density = Gaussian(0.6).log_likelihood(torch.zeros(1, dtype=z.dtype), z).exp()
    assert density.sum().item() * (u[1] - u[0]).item() ** 2 == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("axis, shape", [(-2, (3, 7)), (-1, (7, 3)), (-3, (3, 2, 5))])
def test_the_coil_axis_is_counted_from_the_end(axis, shape):
    root = normal(3, 3, seed=1, dtype=torch.complex128)
    C = root @ root.mH + torch.eye(3)
    noise = CorrelatedGaussian(C, axis)
    v = normal(2, *shape, dtype=torch.complex128)
    want = torch.movedim(torch.einsum("cd,d...->c...", C, torch.movedim(v, axis, 0)), 0, axis)
    assert close(noise.cov(v), want)
    alone = CorrelatedGaussian(C, -2)
    move = lambda u: torch.movedim(u, axis, 0).flatten(1)
    got = noise.log_likelihood(v[0], v[1])
    assert got.item() == pytest.approx(alone.log_likelihood(move(v[0]), move(v[1])).item(), rel=1e-12)


def test_poisson_counts():
    noise, x = Poisson(gain=20.0, background=0.5), clean(20000)
    y = noise.sample(x, 1)
    rate = 20 * x[0] + 0.5
    assert torch.equal(y, y.round()) and (y >= 0).all()
    assert ((y.var(0) - rate).abs() / (rate * (2 / 20000) ** 0.5 * 1.3)).max() < 5
    low = Poisson(1.0, 0.0).sample(torch.full((20000,), 0.3, dtype=torch.float64), 0)
    share = [(low == k).double().mean().item() for k in range(4)]
    assert np.allclose(share, scipy.stats.poisson(0.3).pmf(range(4)), atol=4.5 * 0.5 / 20000**0.5)


def test_poisson_likelihood():
    noise = Poisson(gain=torch.tensor([3.0, 20.0]), background=0.5)
    y, x = torch.tensor([2.0, 31.0]), torch.tensor([[0.4, 1.2], [0.1, 2.0], [0.0, 0.0]])
    rate = (noise.gain * x + 0.5).double().numpy()
    want = scipy.stats.poisson(rate).logpmf(y.numpy()).sum(1)
    assert np.allclose(noise.log_likelihood(y, x).numpy(), want, rtol=1e-6)
    mass = sum(Poisson(3.0, 0.5).log_likelihood(k[None], x[:1, :1]).exp().item() for k in torch.arange(100.0))
    assert mass == pytest.approx(1, abs=1e-9)


def test_poisson_without_signal_or_light():
    y = torch.tensor([0.0, 3.0])
    assert Poisson(1.0, 0.0).log_likelihood(y, torch.zeros(1, 2)).isfinite().all()
    assert Poisson(1.0, 0.0).sample(torch.zeros(5), 0).tolist() == [0] * 5
    with pytest.raises(BadInput, match="rate is -1"):
        Poisson(1.0).sample(torch.tensor([-1.0]), 0)
    with pytest.raises(BadInput, match="complex"):
        Poisson(1.0).sample(torch.zeros(1, dtype=torch.complex64), 0)


def test_plug_in_gaussian_of_counts():
    noise, x = Poisson(gain=50.0, background=10.0), torch.full((20000,), 4.0, dtype=torch.float64)
    y = noise.sample(x, 0)
    scaled = (y - 10) / 50
    assert scaled.mean().item() == pytest.approx(4, abs=0.01)
    assert scaled.std().item() == pytest.approx(
        noise.gaussian(y).sigma.square().mean().sqrt().item(), rel=0.02
    )
    assert Poisson(2.0).gaussian(torch.zeros(3)).sigma.tolist() == [0.5] * 3


def test_whitening_of_complex_data_of_a_real_signal():
    A = Dense(normal(3, 4, dtype=torch.complex128)) @ AsComplex((4,), torch.float64)
    y = normal(3, seed=1, dtype=torch.complex128)
    W, w = Gaussian(torch.tensor([0.5, 1.0, 2.0])).whiten(A, y)
    x = normal(4, seed=2)
    assert close(W(x), A(x) / torch.tensor([0.5, 1.0, 2.0])) and close(w, y / torch.tensor([0.5, 1.0, 2.0]))


def test_bad_input():
    for sigma in (0, -1.0, float("nan"), torch.tensor([1.0, 0.0]), 1j):
        with pytest.raises(BadInput, match="sigma"):
            Gaussian(sigma)
    with pytest.raises(BadInput, match="Hermitian"):
        CorrelatedGaussian(torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    hermitian = CorrelatedGaussian(torch.tensor([[2, 0.5j], [-0.5j, 1]], dtype=torch.complex128))
    real = torch.zeros(2, 3, dtype=torch.float64)
    for use in (hermitian.cov, lambda y: hermitian.sample(y, 0), lambda y: hermitian.whiten(None, y)):
        with pytest.raises(BadInput, match="covariance.real"):
            use(real)
    with pytest.raises(BadInput, match="positive definite"):
        CorrelatedGaussian(torch.ones(2, 2))
    with pytest.raises(BadInput, match="gain"):
        Poisson(gain=0.0)
    with pytest.raises(BadInput, match="background"):
        Poisson(background=-1.0)
    with pytest.raises(BadInput, match="whitened"):
        Poisson().whiten(None, None)


def test_entropy_is_the_mean_of_the_log_likelihood():
    sigma = 0.7
    x = torch.zeros(20000, 1, dtype=torch.complex128)
    y = Gaussian(sigma).sample(x, 0)
    mean = torch.stack([Gaussian(sigma).log_likelihood(v, v * 0) for v in y[:2000]]).mean().item()
    assert mean == pytest.approx(-log(2 * pi * sigma**2) - 1, abs=4.5 / 2000**0.5)


# --- every law: normalised, its mean, its gradient, against scipy ---------------------------------------------------


@pytest.mark.parametrize("noise, dtype", kinds(NAMES, (torch.float64, torch.complex128)))
def test_gradient_is_that_of_the_likelihood(noise, dtype):
    x, v = clean(3, dtype) + 0.05 * normal(3, 3, 4, seed=2, dtype=dtype), normal(3, 3, 4, seed=3, dtype=dtype)
    y, h = noise.sample(clean(dtype=dtype), 1), 1e-6
    g = noise.gradient(y, x)
    assert g.shape == x.shape and g.dtype == dtype and not g.requires_grad
    slope = (noise.log_likelihood(y, x + h * v) - noise.log_likelihood(y, x - h * v)) / (2 * h)
    inner = (g.conj() * v).real.flatten(1).sum(1)
    assert torch.allclose(inner, slope, rtol=1e-5, atol=1e-5 * g.abs().max().item())


@pytest.mark.parametrize("noise, dtype", kinds(NAMES, (torch.float64, torch.float32)))
def test_likelihood_of_a_batch_is_that_of_its_rows(noise, dtype):
    x = clean(2, dtype).reshape(2, 1, 3, 4) * torch.tensor([1.0, 1.1], dtype=dtype).reshape(1, 2, 1, 1)
    y = noise.sample(clean(dtype=dtype), 1)
    found = noise.log_likelihood(y, x)
    assert found.shape == (2, 2) and found.dtype == torch.float64
    assert found[1, 1].item() == pytest.approx(noise.log_likelihood(y, x[1, 1]).item(), rel=1e-6)
    assert found[0, 0] != found[0, 1]


LINE = torch.linspace(-20, 40, 3001, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(
    "noise, y, values",
    [
        (Laplace(0.4), LINE, 2.0),
        (Laplace(1.3), LINE, -2.0),
        (Rician(0.5), LINE[LINE > 0][:, None], 0.0),
        (Rician(0.5), LINE[LINE > 0][:, None], 3.0),
        (PoissonGaussian(3.0, 0.8, 0.5), LINE, 2.0),
        (PoissonGaussian(3.0, 2.5, 0.0), LINE, 0.0),
        (PoissonGaussian(1.0, 0.3, 0.0), LINE, 7.0),
    ],
)
def test_densities_integrate_to_one_and_have_the_mean(noise, y, values):
    c = torch.full((1,), values, dtype=torch.float64)
    y = y[::8] if isinstance(noise, PoissonGaussian) else y  # a smooth density needs few points
    density = torch.stack([noise.log_likelihood(v, c) for v in y]).exp()
    width = y[1, 0] - y[0, 0]
    assert (density.sum() * width).item() == pytest.approx(1, abs=1e-3)
    assert ((y[:, 0] * density).sum() * width).item() == pytest.approx(noise.mean(c).item(), abs=2e-3)


@pytest.mark.parametrize("c", [0.0, 0.4, 2.7])
@pytest.mark.parametrize(
    "noise",
    [
        Quantised(0.3, 0.5),
        Quantised(2.0, 1.0, 0.25),
        Quantised(1.1, 2, 1, -1, 1),
        Quantised(0.7, 0.5, 0, -1, 2),
    ],
)
def test_probabilities_of_the_levels_sum_to_one(noise, c):
    levels = torch.arange(-60, 61, dtype=torch.float64) * noise.step + noise.offset
    levels = levels[(levels >= noise.low) & (levels <= noise.high)]
    clean = torch.tensor([c], dtype=torch.float64)
    mass = torch.stack([noise.log_likelihood(v[None], clean) for v in levels]).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-12)
    y = noise.sample(clean.expand(40000), 0)
    share = torch.stack([(y == v).double().mean() for v in levels])
    assert ((share - mass).abs() <= 5 * (mass / 40000).sqrt() + 1e-9).all()


def test_one_bit_is_the_sign():
    noise, x = Quantised(1e-9, step=2, offset=1, low=-1, high=1), normal(50)
    assert torch.equal(noise.sample(x, 0), x.sign())
    far = Quantised(1.0, step=2, offset=1, low=-1, high=1)
    y, c = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([30.0], dtype=torch.float64)
    assert far.log_likelihood(y, c).item() == pytest.approx(scipy.stats.norm.logcdf(-30), rel=1e-12)
    assert far.gradient(y, c).item() == pytest.approx(-30, rel=0.01)  # no underflow, far in the tail


def test_quantised_tail_against_quadrature():
    noise = Quantised(0.5, 0.1)
    y, c = torch.tensor([8.0], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    cells = np.linspace(7.95, 8.05, 2001)
    want = (
        np.log(np.trapezoid(np.exp(-(cells**2 - 64) / 0.5), cells)) - 64 / 0.5 - np.log(0.5 * (2 * pi) ** 0.5)
    )
    assert noise.log_likelihood(y, c).item() == pytest.approx(want, rel=1e-6)
    assert noise.log_likelihood(-y, c).item() == pytest.approx(want, rel=1e-6)


def test_laplace_rice_and_counts_are_scipys():
    y, x = normal(4, seed=1), normal(3, 4, seed=2)
    want = scipy.stats.laplace(x.numpy(), 0.7).logpdf(y.numpy()).sum(1)
    assert np.allclose(Laplace(0.7).log_likelihood(y, x).numpy(), want, rtol=1e-12)
    want = scipy.stats.rice(x.abs().numpy() / 0.7, scale=0.7).logpdf(y.abs().numpy()).sum(1)
    assert np.allclose(Rician(0.7).log_likelihood(y.abs(), x).numpy(), want, rtol=1e-10)
    z = x * torch.exp(torch.tensor(0.4j))
    assert np.allclose(Rician(0.7).log_likelihood(y.abs(), z).numpy(), want, rtol=1e-6)
    assert np.allclose(Rician(0.7).mean(x).numpy(), scipy.stats.rice(x.abs().numpy() / 0.7, scale=0.7).mean())
    strong = torch.tensor([4000.0], dtype=torch.float64)
    assert Rician(1.0).log_likelihood(strong, strong).item() == pytest.approx(-0.919, abs=1e-3)  # no overflow


@pytest.mark.parametrize(
    "y, rate, sigma", [(0.0, 1000.0, 1.0), (50.0, 2.0, 3.0), (-9.0, 0.0, 2.0), (1e5, 1.1e5, 20.0)]
)
def test_counts_and_read_out_noise_far_from_the_mean(y, rate, sigma):
    """The window of the sum follows the largest term: against every count there is."""
    noise = PoissonGaussian(1.0, sigma)
    k = np.arange(200000)
    with np.errstate(divide="ignore"):
        terms = scipy.stats.poisson(max(rate, 1e-12)).logpmf(k) + scipy.stats.norm(k, sigma).logpdf(y)
    found = noise.log_likelihood(
        torch.tensor([y], dtype=torch.float64), torch.tensor([rate], dtype=torch.float64)
    )
    assert found.item() == pytest.approx(scipy.special.logsumexp(terms), rel=1e-10)


@pytest.mark.parametrize("floor", [0.1, 1.0, 2.5])
@pytest.mark.parametrize("c", [0.5, 3.0, 8.0])
def test_log_poisson_counts(floor, c):
    noise, clean = LogPoisson(photons=60.0, floor=floor, scale=0.8), torch.tensor([c], dtype=torch.float64)
    k = np.unique(np.maximum(np.arange(200), floor))
    y = torch.from_numpy(-np.log(k / 60) / 0.8)
    mass = torch.stack([noise.log_likelihood(v[None], clean) for v in y]).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-12)
    assert (mass * y).sum().item() == pytest.approx(noise.mean(clean).item(), abs=1e-10)
    draws = noise.sample(clean.expand(20000), 0)
    assert draws.mean().item() == pytest.approx(
        noise.mean(clean).item(), abs=5 * draws.std().item() / 20000**0.5 + 1e-12
    )


@pytest.mark.parametrize("c", [-9.0, 0.0, 9.0, 9.3, 1e4])
def test_log_poisson_stays_finite_behind_any_object(c):
    noise, clean = LogPoisson(scale=81.35858), torch.tensor([c, 0.05], dtype=torch.float64)
    for y in (
        torch.tensor([0.05, 0.05], dtype=torch.float64),
        noise.sample(torch.full((2,), 9.0), 0).double(),
    ):
        assert noise.log_likelihood(y, clean).isfinite() and noise.gradient(y, clean).isfinite().all()


def test_log_poisson_mean_of_many_counts_follows_that_of_few():
    """The sum over counts and the series meet where one takes over from the other; few bytes for many entries."""
    noise = LogPoisson(photons=1e5)
    rates = torch.tensor([1990.0, 1999.9, 2000.1, 2010.0], dtype=torch.float64)
    bias = noise.mean((1e5 / rates).log()) - (1e5 / rates).log()  # 1 / (2 rate) and smaller
    assert torch.allclose(bias, 1 / (2 * rates) + 5 / (12 * rates**2), atol=1e-9)
    assert noise.mean(torch.zeros(0)).shape == (0,) and noise.mean(torch.tensor([float("nan")])).isnan()


def test_log_poisson_weights_are_those_of_the_counts():
    noise = LogPoisson(photons=1e5)
    y = noise.sample(torch.full((20000,), 2.0, dtype=torch.float64), 0)
    assert y.std().item() == pytest.approx(noise.gaussian(y).sigma.mean().item(), rel=0.02)


def test_the_sum_of_independent_entries_of_complex_laplace_noise():
    y, x = normal(4, seed=1, dtype=torch.complex128), normal(2, 4, seed=2, dtype=torch.complex128)
    parts = [Laplace(0.7).log_likelihood(a, b) for a, b in ((y.real, x.real), (y.imag, x.imag))]
    assert torch.allclose(Laplace(0.7).log_likelihood(y, x), sum(parts))
    n = Laplace(0.5).sample(torch.zeros(40000, dtype=torch.complex64), 0)
    assert n.imag.abs().mean().item() == pytest.approx(0.5, rel=0.02) and abs((n.real * n.imag).mean()) < 0.02


def test_coloured_noise_has_the_spectrum_of_its_kernel():
    noise = ColouredGaussian.example(Rng(0), torch.complex128)
    n = noise.sample(torch.zeros(20000, 3, 4, dtype=torch.complex128)[0], 0)
    assert n.shape == (3, 4)
    draws = torch.stack([noise.sample(torch.zeros(3, 4, dtype=torch.complex128), s) for s in range(3000)])
    power = torch.fft.fft2(draws, norm="ortho").abs().square().mean(0) / 2
    assert torch.allclose(power, noise.factor.transfer.abs() ** 2, rtol=0.12)
    with pytest.raises(BadInput, match=r"float32, the factor maps \(3, 4\) torch.complex128"):
        noise.sample(torch.zeros(3, 4), 0)


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: Laplace(0.0), "scale"),
        (lambda: Rician(-1.0), "sigma"),
        (lambda: PoissonGaussian(1.0, 0.0), "sigma"),
        (lambda: PoissonGaussian(-1.0, 1.0), "gain"),
        (lambda: LogPoisson(floor=0.0), "floor"),
        (lambda: LogPoisson(photons=float("nan")), "photons"),
        (lambda: Quantised(1.0, step=0.0), "step"),
        (lambda: Quantised(1.0, low=1.0, high=1.0), "low"),
        (lambda: ColouredGaussian(Dense(normal(3, 4))), "square"),
        (lambda: PoissonGaussian().sample(torch.zeros(2, dtype=torch.complex64), 0), "complex"),
        (lambda: LogPoisson().sample(torch.zeros(2, dtype=torch.complex64), 0), "complex"),
        (lambda: PoissonGaussian().whiten(None, None), "gaussian"),
        (lambda: LogPoisson().whiten(None, None), "gaussian"),
    ],
)
def test_what_no_noise_can_be(make, word):
    with pytest.raises(BadInput, match=word):
        make()
