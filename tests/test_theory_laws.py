"""The laws of analytic distributions, over their catalogue: a new one is held to them by being there."""

from functools import cache

import pytest
import torch
from laws import close

from theory.distributions._analytic import Analytic
from theory.distributions.mixture import Gaussian
from workbench import BadInput, Rng
from workbench.catalogue import entries, load
from workbench.noise import Gaussian as Noise
from workbench.operators import Dense
from workbench.operators.adjointness import inner
from workbench.priors._prior import Prior

CARDS = {entry.name: entry.card for entry in entries("distributions")}
DTYPES = (torch.float64, torch.complex128)
DRAWS = 8000
KAPPAS = (0.1, 0.7, 5.0)


@cache
def example(name, dtype):
    """The example of a distribution in `dtype`; None where it has no such signals, or is no prior."""
    try:
        law = load("distributions", name).example(Rng(3, "example"), dtype)
    except BadInput:
        return None
    return law if isinstance(law, Analytic) and law.dtype == dtype else None


laws = pytest.mark.parametrize(
    "name, dtype",
    [
        pytest.param(name, dtype, id=f"{name}-{str(dtype).removeprefix('torch.')}")
        for name in CARDS
        for dtype in DTYPES
        if example(name, dtype) is not None
    ],
)


def vectors(law, n, seed):
    return Rng(seed, "vectors").normal(torch.empty(n, *law.shape, dtype=law.dtype))


def noised(law, n, kappa, seed=0):
    """(x0, x_t, t): draws of the law and of its noised version."""
    t = law.process.time(kappa)
    x0 = law.sample(n, seed)
    return x0, law.process.alpha(t) * x0 + law.process.sigma(t) * vectors(law, n, seed), t


def density(law, x, t=None):
    """log p_t(x), or a skip where there is no closed form."""
    try:
        return law.log_prob(x, t)
    except BadInput:
        pytest.skip("no closed-form density")


def z(values):
    """The mean of independent rows in standard errors, the largest over entries."""
    values = torch.view_as_real(values) if values.is_complex() else values
    return (values.mean(0).abs() / (values.std(0) / len(values) ** 0.5).clamp_min(1e-300)).max().item()


def test_something_is_catalogued():
    assert {"gaussian", "gaussian-mixture", "gaussian-field"} <= set(CARDS)


@laws
def test_interface(name, dtype):
    law = example(name, dtype)
    low, high = law.noise_range
    grid = law.grid(5)
    x = law.sample(3, 0)
    assert 0 < low < high and len(grid) == 6 and grid[-1] == 0 and grid.dtype == torch.float64
    assert x.shape == (3, *law.shape) and x.dtype == dtype and law.mean().shape == law.shape
    assert close(law.sample(3, 0), x) and not close(law.sample(3, 1), x)
    assert close(law.sample(3, 0, stream="prior"), x) and not close(law.sample(3, 0, stream="other"), x)
    assert close(law.sample(5, 0)[:3], x, 1e4)  # a draw does not depend on how many follow it


@laws
@pytest.mark.parametrize("kappa", KAPPAS)
def test_tweedie(name, dtype, kappa):
    law = example(name, dtype)
    _, x, t = noised(law, 4, kappa)
    a, s = law.process.alpha(t), law.process.sigma(t)
    tol = 1e4 + law.tolerance / 1e-16
    assert close(a * law.denoise(x, t), x + s**2 * law.score(x, t), tol)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(density(law, leaf, t).sum(), leaf)
    assert close(law.score(x, t), g, 1e6 + law.tolerance / 1e-16)


@laws
@pytest.mark.parametrize("kappa", KAPPAS)
def test_jacobian_products(name, dtype, kappa):
    """J v is the derivative of the denoiser, symmetric in Re<u, v>, not negative; tweedie is made of it."""
    law = example(name, dtype)
    _, x, t = noised(law, 4, kappa)
    u, v = vectors(law, 4, 1), vectors(law, 4, 2)
    Jv, h = law.denoiser_jvp(x, t, v), 1e-5
    assert (
        torch.linalg.vector_norm((law.denoise(x + h * v, t) - law.denoise(x - h * v, t)) / (2 * h) - Jv)
        < 1e-6 * Jv.norm()
    )
    assert inner(u, Jv).item() == pytest.approx(
        inner(law.denoiser_jvp(x, t, u), v).item(), rel=1e-7, abs=1e-9
    )
    assert all(inner(b, w).item() > -1e-9 for b, w in zip(v, Jv, strict=True))
    x0, cov = law.tweedie(x, t)
    assert close(x0, law.denoise(x, t), 1e3) and close(cov(v), Prior.tweedie(law, x, t)[1](v), 1e7)
    columns = law.denoiser_jacobian(x, t) @ coordinates_of(v)[..., None]
    assert close(columns[..., 0], coordinates_of(Jv), 1e5)


def coordinates_of(v):
    v = v.flatten(1)
    return torch.cat([v.real, v.imag], 1) if v.is_complex() else v


@laws
def test_draws_have_the_mean_of_the_law(name, dtype):
    law = example(name, dtype)
    assert z(law.sample(DRAWS, 1) - law.mean()) < 4.5
    far = law.process.time(1e5)
    noise = law.process.sigma(far) * vectors(law, 2, 0)
    size = law.sample(200, 1).abs().max()
    assert (law.denoise(noise, far) - law.mean()).abs().max() < 1e-3 * size  # nothing is left but the mean


@laws
@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_denoiser_is_the_conditional_mean_of_the_draws(name, dtype, kappa):
    """E (x0 - D(x_t)) h(x_t) = 0 for every h, and E |x0 - D|^2 is the trace of the covariance that J says."""
    law = example(name, dtype)
    x0, x, t = noised(law, DRAWS, kappa, 2)
    error = x0 - law.denoise(x, t)
    pairs = lambda h: (coordinates_of(error)[:, :, None] * coordinates_of(h)[:, None, :]).flatten(1)
    assert z(error) < 4.5
    size = coordinates_of(x).square().sum(1, keepdim=True).sqrt()
    for h in (x, x / (1 + size.reshape(-1, *[1] * (x.ndim - 1)))):
        assert z(pairs(h)) < 5.2  # the largest of at most a few thousand
    v = vectors(law, DRAWS, 5)
    _, cov = law.tweedie(x, t)
    trace = (v.conj() * cov(v)).real.flatten(1).sum(1)  # Hutchinson
    assert z((error.abs() ** 2).flatten(1).sum(1) - trace) < 4.5


@laws
def test_density_and_draws_belong_together(name, dtype):
    """E_p f = E_q (p / q) f: the score has mean zero, and Stein's identity E <score, x> = -d holds."""
    law = example(name, dtype)
    for kappa in KAPPAS:
        _, x, t = noised(law, DRAWS, kappa, 3)
        score = law.score(x, t)
        assert z(score) < 4.5
        stein = (score.conj() * x).real.flatten(1).sum(1)
        assert z(stein + (2 if dtype.is_complex else 1) * score[0].numel()) < 4.5


@laws
def test_the_noised_law_is_a_law(name, dtype):
    law = example(name, dtype)
    if not hasattr(law, "at"):
        pytest.skip("not closed under noise")
    _, x, t = noised(law, 5, 0.7)
    assert close(law.at(t).log_prob(x), law.log_prob(x, t), 1e5)
    assert z(law.at(t).sample(DRAWS, 1) - law.process.alpha(t) * law.mean()) < 4.5


def measured(law, n, seed=0, sigma=0.5):
    """A map to three numbers, its noise, and n pairs of a draw x0 and its data y; a skip where nothing is exact."""
    if not CARDS_OF[type(law).__name__].get("exact") or not hasattr(law, "condition"):
        pytest.skip("no exact posterior")
    d = torch.Size(law.shape).numel()
    A = Dense(Rng(7, "laws").normal(torch.empty(3, d, dtype=law.dtype)) / d**0.5, law.shape)
    x0 = law.sample(n, seed)
    return A, Noise(sigma), x0, Noise(sigma).sample(A(x0), seed)


CARDS_OF = {entry.attribute: entry.card for entry in entries("distributions")}


def exact_posterior(law, A, y, noise):
    return (
        law.condition(A, y, noise, tol=1e-9)
        if "tol" in law.condition.__code__.co_varnames
        else law.condition(A, y, noise)
    )


@laws
def test_posteriors_are_calibrated(name, dtype):
    """Over pairs (x0, y): E (x0 - E[x | y]) = 0, also times y, and the rank of x0 among 9 posterior draws is uniform."""
    law = example(name, dtype)
    A, noise, x0, ys = measured(law, 120)
    means, ranks = [], []
    direction = vectors(law, 1, 9)
    project = lambda v: (direction.conj() * v).real.flatten(1).sum(1)
    for i, (x, y) in enumerate(zip(x0, ys, strict=True)):
        q = exact_posterior(law, A, y, noise)
        means.append(q.mean())
        ranks.append((project(q.sample(9, i)) < project(x[None])).sum().item())
    error = coordinates_of(x0 - torch.stack(means))
    assert z(error) < 4.5
    assert z((error[:, :, None] * coordinates_of(ys)[:, None, :]).flatten(1)) < 5
    counts = torch.bincount(torch.tensor(ranks), minlength=10).double()
    chi2 = ((counts - 12) ** 2 / 12).sum().item()
    assert chi2 < 33  # chi-square with 9 degrees of freedom: once in 10000
    wrong = ((x0 - law.mean()).flatten(1).abs().square().sum() - error.square().sum()).item()
    assert wrong > 0  # the data did say something


@laws
def test_posterior_laws_are_laws(name, dtype):
    """Tweedie, Jacobian products and draws hold for the posterior too, and data without information change nothing."""
    law = example(name, dtype)
    A, noise, _, ys = measured(law, 1)
    q = exact_posterior(law, A, ys[0], noise)
    for kappa in KAPPAS:
        x0, x, t = noised(q, 800, kappa, 4)
        error = x0 - q.denoise(x, t)
        assert z(error) < 4.5
        assert z((error.conj() * x).real.flatten(1).sum(1)) < 4.5
        x, v = x[:3], vectors(law, 3, 2)
        Jv, h = q.denoiser_jvp(x, t, v), 1e-4
        slope = (q.denoise(x + h * v, t) - q.denoise(x - h * v, t)) / (2 * h)
        assert torch.linalg.vector_norm(slope - Jv) < 1e-4 * Jv.norm()
    assert z(q.sample(2000, 1) - q.mean()) < 4.5
    silent = exact_posterior(law, A, ys[0], Noise(1e7))
    _, x, t = noised(law, 4, 0.7)
    assert close(silent.denoise(x, t), law.denoise(x, t), 1e7)


@laws
def test_exact_guidance(name, dtype):
    """grad log p(y | x_t) by Bayes' rule is (alpha / sigma^2)(E[x0 | x_t, y] - E[x0 | x_t])."""
    law = example(name, dtype)
    A, noise, _, ys = measured(law, 1)
    q = exact_posterior(law, A, ys[0], noise)
    _, x, t = noised(law, 3, 0.7)
    leaf = x.clone().requires_grad_()
    try:
        logs = q.log_prob(leaf, t) - law.log_prob(leaf, t)
    except BadInput:  # no closed-form density: the dense Gaussian of the same moments has one
        twin = Gaussian(law.mean(), law.cov())
        q2 = exact_posterior(twin, A, ys[0], noise)
        logs = q2.log_prob(leaf, t) - twin.log_prob(leaf, t)
    (g,) = torch.autograd.grad(logs.sum(), leaf)
    scale = law.process.alpha(t) / law.process.sigma(t) ** 2
    assert close(g, scale * (q.denoise(x, t) - law.denoise(x, t)), 1e7)


@pytest.mark.parametrize("name", CARDS)
def test_single_precision(name):
    """float32 in, float32 out, and the numbers of float64."""
    double = example(name, torch.float64)
    if double is None:
        pytest.skip("no real signals")
    single = load("distributions", name).example(Rng(3, "example"), torch.float32)
    x = double.sample(4, 1)
    for kappa in KAPPAS:
        t = double.process.time(kappa)
        for f in ("denoise", "score"):
            a, b = getattr(single, f)(x.float(), t), getattr(double, f)(x, t)
            assert a.dtype == torch.float32 and (a - b).abs().max() < 1e-3 * (1 + b.abs().max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@laws
def test_cuda(name, dtype):
    from workbench.problem import moved

    law = example(name, dtype)
    twin = moved(law, "cuda")
    _, x, t = noised(law, 4, 0.7)
    assert close(twin.denoise(x.cuda(), t).cpu(), law.denoise(x, t), 1e5)
    assert close(twin.sample(4, 1).cpu(), law.sample(4, 1), 1e5)
