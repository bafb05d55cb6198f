"""Laws on grids: against closed forms, quadrature of another library, refinement, and the symmetry of a phase."""

from math import log

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import problems
from theory.distributions import Gaussian, GaussianMixture, Grid
from theory.distributions._cells import kernel
from theory.distributions._posterior_grid import posterior
from workbench import BadInput, Rng
from workbench.diffusion import Flow, VariancePreserving
from workbench.noise import Gaussian as Noise
from workbench.noise import Laplace, Poisson
from workbench.operators import Dense, Intensity
from workbench.problem import moved

f64 = dict(dtype=torch.float64)


def time(t):
    return torch.tensor(t, **f64)


def normal(*shape, seed=0):
    return Rng(seed, "grid").normal(torch.empty(*shape, **f64))


def agrees(a, b, tol):
    return (torch.as_tensor(a, **f64) - torch.as_tensor(b, **f64)).abs().max().item() < tol


# --- kernels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [0.004, 0.05, 0.099, 0.101, 0.3, 20.0])
@pytest.mark.parametrize("c", [-0.31, 0.0, 0.25, 0.97])
def test_moments_of_a_kernel_in_a_cell(c, s):
    """Integrals of N(c; z, s^2) (z - ref)^p by adaptive quadrature; ten cells of 0.1."""
    edges = torch.linspace(0, 1, 11, **f64)
    moments, ref, top = kernel(time([c]), edges, s)
    for cell in range(10):
        a, b = 0.1 * cell, 0.1 * (cell + 1)
        for p, got in enumerate(moments):
            scale = np.exp(top.item())
            f = lambda z, p=p: stats.norm.pdf(c, z, s) * (z - ref.item()) ** p
            want = integrate.quad(f, a, b, points=[c] if a < c < b else None, epsabs=0, epsrel=1e-12)[0]
            size = moments[0].max().item() * scale * max(s, 0.1) ** p
            assert abs(got[0, cell].item() * scale - want) < 1e-9 * size + 1e-300


def test_the_two_forms_of_a_kernel_meet():
    edges, c = torch.linspace(-1, 1, 21, **f64), normal(50)
    (a, _, top), (b, _, bottom) = kernel(c, edges, 0.1 * 0.999999), kernel(c, edges, 0.1 * 1.000001)
    for u, v in zip(a, b, strict=True):
        assert agrees(u * top.exp()[:, None], v * bottom.exp()[:, None], 2e-5 * u.max().item())


# --- the law itself -------------------------------------------------------------------------------------------------


def line(process=None):
    """Three cells on a line."""
    return Grid(time([0.0]), time([3.0]), time([0.2, 0.5, 0.3]).log(), process=process)


@pytest.mark.parametrize("process", [None, VariancePreserving(), Flow()], ids=["EDM", "VP", "flow"])
@pytest.mark.parametrize("kappa", [0.05, 0.6, 4.0])
def test_a_line_of_three_cells_by_quadrature(process, kappa):
    law, w = line(process), [0.2, 0.5, 0.3]
    t = law.process.time(kappa)
    a, s = law.process.alpha(t).item(), law.process.sigma(t).item()
    for x in (-0.4, 0.7, 1.9):
        f = lambda z, p: w[min(int(z), 2)] * stats.norm.pdf(x, a * z, s) * z**p  # noqa: B023
        ends = sorted({0.0, 1.0, 2.0, 3.0, *np.clip(x / a + s / a * np.arange(-12, 13), 0, 3)})
        pieces = list(zip(ends[:-1], ends[1:], strict=True))
        m = [sum(integrate.quad(f, *piece, args=(p,), epsabs=0)[0] for piece in pieces) for p in range(3)]
        X = time([[x]])
        assert law.log_prob(X, t).item() == pytest.approx(log(m[0]), abs=1e-7)
        assert law.denoise(X, t).item() == pytest.approx(m[1] / m[0], abs=1e-7)
        want = a / s**2 * (m[2] / m[0] - (m[1] / m[0]) ** 2)
        assert law.denoiser_jvp(X, t, torch.ones(1, 1, **f64)).item() == pytest.approx(want, abs=1e-6)


def test_draws_moments_and_cells():
    law = line()
    x = law.sample(20000, 0)
    assert law.mean().item() == pytest.approx(1.6) and law.log_evidence == pytest.approx(0.0, abs=1e-12)
    assert law.cov().item() == pytest.approx(0.2 * 0.25 + 0.5 * 2.25 + 0.3 * 6.25 - 1.6**2 + 1 / 12)
    edges = [0, 0.5, 1, 1.5, 2, 2.5, 3]
    counts = np.histogram(x.numpy(), edges)[0]
    assert stats.chisquare(counts, 20000 * np.repeat([0.1, 0.25, 0.15], 2)).pvalue > 1e-4
    assert law.log_prob(time([[0.5], [1.5], [3.5]])).exp().tolist() == pytest.approx([0.2, 0.5, 0.0])


@pytest.mark.parametrize("x", [(1e3, -2e3), (0.0, 0.0), (5.0, 0.01)])
@pytest.mark.parametrize("t", [1e-6, 1e-3, 1.0, 1e4])
def test_far_and_sharp(x, t):
    """Far outside the box, and where the density is 0 inside it, at any noise level: finite and in the box."""
    law = Grid.example(Rng(3, "example"))
    v, t = time([[1.0, 2.0]]), time(t)
    d = law.denoise(time([x]), t)
    assert (d >= law.low - 1e-9).all() and (d <= law.high + 1e-9).all()
    assert torch.isfinite(law.denoiser_jvp(time([x]), t, v)).all() and torch.isfinite(
        law.log_prob(time([x]), t)
    )


def test_single_precision_and_devices():
    law = Grid.example(Rng(3, "example"), torch.float32)
    assert law.sample(3, 0).dtype == law.mean().dtype == law.cov().dtype == torch.float32
    assert moved(law, "cpu").sample(3, 0).equal(law.sample(3, 0))


def test_refusals():
    with pytest.raises(BadInput, match="corners"):
        Grid(time([0.0, 0.0]), time([1.0, -1.0]), torch.zeros(3, 3))
    with pytest.raises(BadInput, match="corners"):
        Grid(torch.zeros(3), torch.ones(3), torch.zeros(3, 3, 3))
    with pytest.raises(BadInput, match="axes"):
        Grid(torch.zeros(2), torch.ones(2), torch.zeros(3))
    with pytest.raises(BadInput, match="time t > 0"):
        line().score(time([[1.0]]))
    with pytest.raises(BadInput, match="agree"):
        line().condition(Dense(torch.ones(1, 2, **f64)), time([0.0]), Noise(1.0))


# --- posteriors -----------------------------------------------------------------------------------------------------


def test_linear_gaussian_posteriors_are_those_in_closed_form():
    p = problems.load("toy/g2")
    q = p.exact
    g = posterior(p.prior, p.A, p.y, p.noise, *p.prior._box())
    assert g.tolerance < 2e-4 and (torch.tensor(g.log_weights.shape) >= 400).all()
    assert agrees(g.log_evidence, q.log_evidence, 1e-9) and agrees(g.mean(), q.mean(), 1e-9)
    assert agrees(g.cov(), q.cov(), 1e-4)
    x = q.sample(300, 0)
    assert agrees(g.log_prob(x), q.log_prob(x), 1e-8) and agrees(g.score(x), q.score(x), 1e-9)
    assert agrees(g.log_prob(x).exp(), Grid.log_prob(q_without_density(g), x).exp(), 0.02)
    for t in map(time, (0.02, 0.1, 1.0, 10.0)):
        noisy, v = x + t * normal(300, 2), normal(300, 2, seed=1)
        assert agrees(g.denoise(noisy, t), q.denoise(noisy, t), 5e-4)
        assert agrees(t**2 * g.denoiser_jvp(noisy, t, v), t**2 * q.denoiser_jvp(noisy, t, v), 5e-4)
        assert agrees(t * g.score(noisy, t), t * q.score(noisy, t), 1e-2)
        assert agrees(g.log_prob(noisy, t), q.log_prob(noisy, t), 2e-3)
    draws = g.sample(20000, 1)
    assert ((draws.mean(0) - q.mean()).abs() < 4.5 * (q.cov().diagonal() / 20000).sqrt()).all()
    assert (q.responsibilities(draws).mean(0) - q.weights).abs().max() < 4.5 * (0.25 / 20000) ** 0.5


def q_without_density(g):
    return Grid(g.low, g.high, g.log_weights)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 30.0])
def test_the_box_finds_narrow_and_displaced_posteriors(sigma):
    """A datum ten prior deviations away, and noise a hundredth of the prior's: where a coarse first grid sees nothing."""
    prior = Gaussian(time([1.0, -2.0]), time([[0.5, 0.1], [0.1, 2.0]]))
    A, noise, y = Dense(time([[1.0, 0.5], [0.3, -1.0]])), Noise(sigma), time([9.0, 2.0])
    q, g = prior.condition(A, y, noise), posterior(prior, A, y, noise, *prior._box())
    s = q.cov().diagonal().sqrt()
    assert agrees(g.log_evidence, q.log_evidence, 1e-8) and agrees(g.mean() / s, q.mean() / s, 1e-7)
    assert agrees(g.cov() / torch.outer(s, s), q.cov() / torch.outer(s, s), 1e-3)


def test_one_dimension_and_another_noise():
    prior = GaussianMixture([0.4, 0.6], time([[-1.0], [2.0]]), time([0.3, 0.5]))
    noise, y = Laplace(0.4), time([0.7])
    q = prior.condition(Dense(time([[1.5]])), y, noise)
    joint = lambda x, p: (
        x**p
        * (0.4 * stats.norm.pdf(x, -1, 0.3**0.5) + 0.6 * stats.norm.pdf(x, 2, 0.5**0.5))
        * np.exp(noise.log_likelihood(y, time([1.5 * x])).item())
    )
    Z, first, second = (
        integrate.quad(joint, -8, 8, args=(p,), points=[0.7 / 1.5], limit=300)[0] for p in range(3)
    )
    assert q.log_evidence == pytest.approx(log(Z), abs=1e-5)
    assert q.mean().item() == pytest.approx(first / Z, abs=1e-5)
    assert q.cov().item() == pytest.approx(second / Z - (first / Z) ** 2, abs=1e-4)


def test_counts_by_quadrature():
    p = problems.load("toy/poisson", seed=2)
    q = p.exact

    def joint(v, u, power):
        x = time([u, v])
        log_p = p.prior.log_prob(x[None]) + p.noise.log_likelihood(p.y, p.A(x[None]))
        return np.exp(log_p.item()) * u**power

    u, v = (np.linspace(*ends, 161) for ends in ((0.5, 7.0), (0.0, 7.5)))
    points = torch.cartesian_prod(torch.from_numpy(u), torch.from_numpy(v))
    density = (
        (p.prior.log_prob(points) + p.noise.log_likelihood(p.y, p.A(points))).exp().numpy().reshape(161, 161)
    )
    rule = lambda f: integrate.simpson(integrate.simpson(f, x=v), x=u)
    Z = rule(density)
    assert q.log_evidence == pytest.approx(log(Z), abs=1e-6)
    assert q.mean()[0].item() == pytest.approx(rule(density * u[:, None]) / Z, abs=1e-6)
    assert q.mean()[1].item() == pytest.approx(rule(density * v) / Z, abs=1e-6)
    assert joint(2.0, 4.0, 0) == pytest.approx(Z * q.log_prob(time([[4.0, 2.0]])).exp().item(), rel=1e-6)


def test_signs_of_a_phase_are_equally_likely():
    q = problems.load("toy/phase", seed=1).exact
    x = q.sample(4000, 0)
    assert q.mean().abs().max() < 1e-9
    assert abs((x[:, 0] > 0).double().mean() - 0.5) < 4.5 * (0.25 / 4000) ** 0.5
    t = time(0.7)
    assert agrees(q.denoise(-x[:50], t), -q.denoise(x[:50], t), 1e-9)
    assert agrees(q.log_prob(-x, t), q.log_prob(x, t), 1e-9) and agrees(q.score(-x), -q.score(x), 1e-9)


def test_conditioning_a_grid_is_conditioning_its_law():
    """On the same cells, and twice is once."""
    p = problems.load("toy/phase", seed=1)
    prior, noise = p.prior, Noise(0.4)
    A, B = p.A, Dense(time([[0.2, 1.0]]))
    first = prior.condition(A, p.y, noise)
    both = first.condition(B, time([0.8]), noise)
    linear = prior.condition(B, time([0.8]), noise)
    other = linear.condition(A, p.y, noise)
    assert agrees(both.mean(), other.mean(), 1e-4) and agrees(both.cov(), other.cov(), 5e-4)
    total = linear.log_evidence + other.log_evidence
    assert first.log_evidence + both.log_evidence == pytest.approx(total, abs=1e-6)
    x = other.sample(5, 0)
    assert agrees(both.log_prob(x), other.log_prob(x), 1e-6) and agrees(both.score(x), other.score(x), 1e-9)


def test_noise_too_small_for_a_grid_is_said():
    p = problems.load("toy/phase")
    assert p.prior.condition(p.A, p.y, Noise(0.05)).tolerance < 1e-2
    with pytest.raises(BadInput, match="too small"):
        p.prior.condition(p.A, p.y, Noise(1e-4))


def test_where_there_is_no_grid():
    three = Gaussian(torch.zeros(3, **f64), 1.0)
    with pytest.raises(BadInput, match="not linear"):
        three.condition(Intensity((3,), torch.float64), torch.ones(3, **f64), Noise(1.0))
    with pytest.raises(BadInput, match="not Gaussian"):
        three.condition(Dense(torch.eye(3, **f64)), torch.ones(3, **f64), Poisson(1.0))
