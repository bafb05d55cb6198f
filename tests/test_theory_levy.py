"""Levy processes: against closed forms, messages passed on a grid, quadrature in the plane, and calibrated."""

import numpy as np
import pytest
import torch
from scipy import stats

import problems
from theory.distributions import (
    BernoulliLaplace,
    Gauss,
    Gaussian,
    Laplace,
    Levy,
    StudentT,
    _gibbs,
)
from theory.distributions.levy import seeds
from workbench import BadInput, Rng
from workbench.diffusion import VariancePreserving
from workbench.noise import Gaussian as Noise
from workbench.noise import Poisson
from workbench.operators import Dense, Intensity

f64 = dict(dtype=torch.float64)
LAWS = {
    "gauss": (Gauss(0.25), stats.norm(0, 0.5).pdf, 0.0),
    "laplace": (Laplace(0.8), stats.laplace(0, 0.8).pdf, 0.0),
    "bernoulli-laplace": (BernoulliLaplace(0.3, 1.2), stats.laplace(0, 1.2).pdf, 0.7),
    "cauchy": (StudentT(1.0, 0.5), stats.t(1, 0, 0.5).pdf, 0.0),
    "student": (StudentT(3.0, 0.6), stats.t(3, 0, 0.6).pdf, 0.0),
}
laws = pytest.mark.parametrize("name", LAWS)


def time(t):
    return torch.tensor(t, **f64)


def step(name, d, h):
    """The probability of a step d on a grid of spacing h: its density, and what is exactly 0."""
    _, pdf, zero = LAWS[name]
    return (1 - zero) * pdf(d) * h + zero * (np.abs(d) < h / 2)


def messages(name, q, b, reach=20.0, h=0.02):
    """Means and variances of x_i given exp(-q x^2 / 2 + b x) at each point, forward and backward on a grid of x."""
    x = h * np.arange(-round(reach / h), round(reach / h) + 1)
    T = step(name, x[:, None] - x[None, :], h)
    logs = -0.5 * q[:, None] * x**2 + b[:, None] * x
    seen = np.exp(logs - logs.max(1, keepdims=True))
    ahead, back = [step(name, x, h) * seen[0]], [np.ones_like(x)]
    for e in seen[1:]:
        ahead.append((T @ ahead[-1]) * e)
        ahead[-1] /= ahead[-1].sum()
    for e in seen[:0:-1]:
        back.append(T @ (back[-1] * e))
        back[-1] /= back[-1].sum()
    both = np.array(ahead) * np.array(back[::-1])
    both /= both.sum(1, keepdims=True)
    mean = both @ x
    return mean, both @ x**2 - mean**2


def averages(kernel, name, *data, rows=300, draws=150):
    """Means, variances and the standard errors of the means over identical rows, each a chain of its own."""
    law = LAWS[name][0]
    many = [np.tile(d, (rows, 1)) for d in data]
    K = many[:0]
    mean, cov, last = kernel(
        seeds(Rng(5, "test"), rows), law.code, law.parameters, *K, *many, 100, draws, True
    )
    total = cov.mean(0) + np.cov(mean.T, bias=True).reshape(cov.shape[1:])
    return mean.mean(0), np.diag(total), mean.std(0, ddof=1) / rows**0.5, last


DATA = {
    1: (np.array([2.0]), np.array([1.5])),
    2: (np.array([4.0, 1.0]), np.array([2.0, -1.0])),
    8: (np.array([4, 0, 4, 0, 0, 4, 4, 1.0]), np.array([1, 0, 9, 0, 0, -3, 8, 2.0])),
}


def settled(name, L):
    """Where the variance has no tail that neither the grid nor a few thousand sweeps reach: between Cauchy steps the
    density of a point that was not seen falls as x^-4."""
    return DATA[L][0] > 0 if name == "cauchy" else slice(None)


@pytest.mark.parametrize("L", DATA)
@laws
def test_point_by_point_against_messages_on_a_grid(name, L):
    mean, variance = messages(name, *DATA[L])
    got, spread, error, last = averages(_gibbs.walk, name, *DATA[L])
    assert (np.abs(got - mean) < 4.5 * error + 2e-3).all()
    assert np.abs(spread / variance - 1)[settled(name, L)].max() < 0.05
    assert (np.abs(last.mean(0) - mean) < 4.5 * (variance / len(last)) ** 0.5).all()  # of draws


@pytest.mark.parametrize("L", DATA)
@laws
def test_the_kernel_for_any_data_against_messages_on_a_grid(name, L):
    q, b = DATA[L]
    mean, variance = messages(name, q, b)
    S, law = np.tril(np.ones((L, L))), LAWS[name][0]
    rows = 300
    means, covs, last = _gibbs.linear(
        seeds(Rng(6, "test"), rows),
        law.code,
        law.parameters,
        S.T @ np.diag(q) @ S,
        np.tile(b @ S, (rows, 1)),
        100,
        150,
        True,
    )
    x = means @ S.T
    total = S @ (covs.mean(0) + np.cov(means.T, bias=True).reshape(L, L)) @ S.T
    assert (np.abs(x.mean(0) - mean) < 4.5 * x.std(0, ddof=1) / rows**0.5 + 2e-3).all()
    assert np.abs(np.diag(total) / variance - 1)[settled(name, L)].max() < 0.05
    assert (np.abs((last @ S.T).mean(0) - mean) < 4.5 * (variance / rows) ** 0.5).all()


@laws
def test_two_samples_and_one_number_by_quadrature(name):
    """y = x_1 / 2 + x_2 + n: the data couple what the process does not; posterior, and the denoiser given y and x_t."""
    A, y, noise, h = Dense(torch.tensor([[0.5, 1.0]], **f64)), torch.tensor([1.3], **f64), Noise(0.4), 0.02
    g = h * np.arange(-750, 751)
    joint = step(name, g, h)[:, None] * step(name, g[None, :] - g[:, None], h)
    joint = joint * stats.norm.pdf(1.3, 0.5 * g[:, None] + g[None, :], 0.4)

    def moments(p):
        p = p / p.sum()
        m = np.array([p.sum(1) @ g, p.sum(0) @ g])
        second = np.array([[p.sum(1) @ g**2, g @ p @ g], [g @ p @ g, p.sum(0) @ g**2]])
        return m, second - np.outer(m, m)

    mean, cov = moments(joint)
    prior = Levy(2, LAWS[name][0], draws=300)
    q = prior.condition(A, y, noise)
    sd = np.sqrt(np.diag(cov))
    heavy = 4 if name == "cauchy" else 1
    assert (np.abs(q.mean().numpy() - mean) / sd < heavy * 0.03).all() and q.tolerance < heavy * 0.03
    assert (np.abs(q.cov().numpy() - cov) / np.outer(sd, sd)).max() < heavy * 0.06
    if name != "cauchy":
        draws = q.sample(4000, 0).numpy()
        assert (np.abs(draws.mean(0) - mean) < 4.5 * sd / 4000**0.5).all()
    x, t = torch.tensor([[0.4, 1.1]], **f64), time(0.8)
    seen = stats.norm.pdf(g[:, None], 0.4, 0.8) * stats.norm.pdf(g[None, :], 1.1, 0.8)
    mean, cov = moments(joint * seen)
    many = x.expand(200, 2)
    assert np.abs(q.denoise(many, t).mean(0).numpy() - mean).max() < 0.01
    v = torch.tensor([1.0, -0.5], **f64)
    assert np.abs(q.tweedie(many, t)[1](v.expand(200, 2)).mean(0).numpy() - cov @ v.numpy()).max() < 0.02


@pytest.mark.parametrize("process", [None, VariancePreserving()], ids=["EDM", "VP"])
def test_gaussian_increments_are_a_gaussian(process):
    """Denoiser, covariance, posterior and its denoiser in closed form, to rounding."""
    L, S = 9, torch.tril(torch.ones(9, 9, **f64))
    p, twin = Levy(L, Gauss(0.25), process), Gaussian(torch.zeros(L, **f64), 0.25 * S @ S.mT, process)
    A, noise = Dense(Rng(0, "test").normal(torch.empty(4, L, **f64))), Noise(0.3)
    y = noise.sample(A(p.sample(1, 0)[0]), 1)
    x, v = Rng(1, "test").normal(torch.empty(3, L, **f64)), Rng(2, "test").normal(torch.empty(3, L, **f64))
    q, exact = p.condition(A, y, noise), twin.condition(A, y, noise)
    for law, other in ((p, twin), (q, exact)):
        for kappa in (0.05, 0.7, 10.0):
            t = twin.process.time(kappa)
            assert torch.allclose(law.denoise(x, t), other.denoise(x, t), atol=1e-8)
            assert torch.allclose(law.denoiser_jvp(x, t, v), other.denoiser_jvp(x, t, v), atol=1e-7)
            assert torch.allclose(law.score(x, t), other.score(x, t), atol=1e-5)
    assert torch.allclose(q.mean(), exact.mean(), atol=1e-9) and torch.allclose(
        q.cov(), exact.cov(), atol=1e-9
    )
    assert torch.allclose(p.log_prob(x), twin.log_prob(x), atol=1e-8)
    draws = q.sample(4000, 3)
    assert ((draws.mean(0) - exact.mean()).abs() < 4.5 * (exact.cov().diagonal() / 4000).sqrt()).all()


@laws
def test_draws_of_the_prior_have_their_increments(name):
    law, _, zero = LAWS[name]
    u = torch.diff(Levy(5, law).sample(2000, 0), dim=1, prepend=torch.zeros(2000, 1, **f64)).flatten().numpy()
    jumps = u[np.abs(u) > 1e-12]
    cdf = {
        "gauss": stats.norm(0, 0.5),
        "laplace": stats.laplace(0, 0.8),
        "bernoulli-laplace": stats.laplace(0, 1.2),
        "cauchy": stats.t(1, 0, 0.5),
        "student": stats.t(3, 0, 0.6),
    }[name].cdf
    assert stats.kstest(jumps, cdf).pvalue > 1e-4
    assert abs(len(jumps) / len(u) - (1 - zero)) < 4.5 * (0.25 / len(u)) ** 0.5
    if zero == 0:
        x = Levy(5, law).sample(3, 0)
        steps = torch.diff(x, dim=1, prepend=torch.zeros(3, 1, **f64)).numpy()
        assert np.allclose(Levy(5, law).log_prob(x).numpy(), np.log(LAWS[name][1](steps)).sum(1))


def test_the_denoiser_is_a_function_with_a_derivative():
    p, t = Levy(6, Laplace(0.8)), time(0.5)
    x = (p.sample(3, 0) + 0.3).requires_grad_()
    assert torch.equal(p.denoise(x, t), p.denoise(x, t)) and torch.equal(
        p.denoise(x[:2], t), p.denoise(x, t)[:2]
    )
    v = Rng(1, "test").normal(torch.empty(3, 6, **f64))
    (g,) = torch.autograd.grad((p.denoise(x, t) * v).sum(), x)
    assert torch.allclose(g, p.denoiser_jvp(x.detach(), t, v)) and torch.isfinite(g).all()
    other = Levy(6, Laplace(0.8), seed=1)
    assert not torch.equal(other.denoise(x, t), p.denoise(x, t))


def test_draws_of_the_posterior_are_keyed_by_row():
    q = problems.load("levy/deconvolve", size=20).exact
    assert torch.equal(q.sample(5, 3)[2:], q.sample(3, 3, first=2)) and not torch.equal(
        q.sample(2, 3), q.sample(2, 4)
    )


def test_extremes_stay_finite():
    """Noise far below and far above the increments, and data that no increment explains."""
    for law, _, _ in LAWS.values():
        p = Levy(16, law)
        for t in (1e-6, 1e5):
            x = 1e3 * Rng(0, "test").normal(torch.empty(2, 16, **f64))
            assert (
                torch.isfinite(p.denoise(x, time(t))).all()
                and torch.isfinite(p.tweedie(x, time(t))[1](x)).all()
            )
        assert torch.allclose(p.denoise(x / 1e3, time(1e-6)), x / 1e3, atol=1e-4)


def test_refusals():
    with pytest.raises(BadInput, match="L = 0"):
        Levy(0)
    with pytest.raises(BadInput, match="b = -1"):
        Laplace(-1.0)
    with pytest.raises(BadInput, match="use Laplace"):
        BernoulliLaplace(1.0)
    with pytest.raises(BadInput, match="no density"):
        Levy(3, BernoulliLaplace()).log_prob(torch.zeros(1, 3, **f64))
    with pytest.raises(BadInput, match="not linear"):
        Levy(3).condition(Intensity((3,), torch.float64), torch.ones(3, **f64), Noise(1.0))
    with pytest.raises(BadInput, match="not Gaussian"):
        Levy(3).condition(Dense(torch.eye(3, **f64)), torch.ones(3, **f64), Poisson(1.0))


# --- the problems ---------------------------------------------------------------------------------------------------

NAMES = ["levy/deconvolve", "levy/denoise", "levy/fourier", "levy/impute"]


@pytest.mark.slow
@pytest.mark.parametrize("increments", [Laplace(1.0), BernoulliLaplace(0.1, 1.0), StudentT(1.0)], ids=repr)
@pytest.mark.parametrize("problem", NAMES)
def test_the_truth_is_one_more_draw_of_the_posterior(problem, increments):
    """Over 100 seeds the rank of the step in the middle, and of a random direction, among 9 draws is uniform."""
    ranks = []
    for seed in range(100):
        p = problems.load(problem, seed=seed, increments=increments, size=20)
        u = Rng(seed, "direction").normal(torch.empty(20, **f64))
        x = torch.cat([p.truth[None], p.exact.sample(9, seed)])
        for f in (x @ u, x.diff(dim=1)[:, 9]):
            below, same = (f[1:] < f[0] - 1e-9).sum(), ((f[1:] - f[0]).abs() <= 1e-9).sum().item()
            ranks.append(below.item() + int(Rng(seed, "ties").uniform(1).item() * (same + 1)))
    for some in (ranks[::2], ranks[1::2]):
        counts = np.bincount(some, minlength=10)
        assert ((counts - 10) ** 2 / 10).sum() < 33  # chi-square with 9 degrees of freedom: once in 10000


@pytest.mark.parametrize("problem", NAMES)
def test_noise_is_25_decibels_below_the_median_power(problem):
    p = problems.load(problem, seed=2)
    power = p.A(p.prior.sample(2001, 7)).abs().square().mean(1).median().item()
    components = 2 if p.y.is_complex() else 1
    assert abs(10 * np.log10(power / (components * p.noise.sigma**2)) - 25) < 1
    assert p.truth.shape == (64,) and p.exact.mean().shape == (64,)
    gap = (p.exact.mean() - p.truth).square().mean().sqrt()
    assert gap < 3 * p.exact.cov().diagonal().mean().sqrt()
