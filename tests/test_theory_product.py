"""Laws with independent coordinates in a basis: against erfcx, log_ndtr and adaptive quadrature, and conditioned."""

from functools import partial
from math import log, sqrt

import numpy as np
import pytest
import torch
from laws import close
from scipy.integrate import quad
from scipy.special import erfcx, log_ndtr
from test_theory_laws import noised, vectors, z

from theory.distributions._analytic import Analytic
from theory.distributions.boxes import Boxes, Checkerboard
from theory.distributions.independent_laplace import IndependentLaplace, SpikedLaplace
from theory.distributions.wavelet_sparse import WaveletSparse
from workbench import BadInput, Rng
from workbench.diffusion.variance_preserving import VariancePreserving as VP
from workbench.noise import Gaussian as Noise
from workbench.operators import Dense
from workbench.operators.mask import Mask

F64 = torch.float64


def residual_of_the_log_density_equation(law, t, n=4, h=1e-5):
    """max |d_t log p + div f + f . s - g^2 / 2 (div s + |s|^2)| over the size of its terms, by central differences."""
    _, x, t = noised(law, n, law.process.kappa(t).item())
    f, g2, s = law.process.f(t) * x, law.process.g2(t), law.score(x, t)
    d = x[0].numel()
    J = law.denoiser_jacobian(x, t).diagonal(dim1=1, dim2=2).sum(1)
    div_s = (law.process.alpha(t) * J - d) / law.process.sigma(t) ** 2
    rate = (law.log_prob(x, t + h) - law.log_prob(x, t - h)) / (2 * h)
    terms = [
        d * law.process.f(t),
        (f * s).flatten(1).sum(1),
        -0.5 * g2 * (div_s + s.flatten(1).square().sum(1)),
    ]
    return ((rate + sum(terms)).abs().max() / sum(a.abs().max() for a in (rate, *terms))).item()


def hold_the_posterior(law, A, sigma=0.5):
    """Calibration over pairs, Tweedie, products, density, draws and guidance of the posterior, and silent data."""
    x0 = law.sample(150, 0)
    ys = Noise(sigma).sample(A(x0), 0)
    posteriors = [law.condition(A, y, Noise(sigma)) for y in ys]
    error = (x0 - torch.stack([q.mean() for q in posteriors])).flatten(1)
    assert z(error) < 4.5 and z((error[:, :, None] * ys[:, None]).flatten(1)) < 5
    w = vectors(law, 1, 9)
    ranks = [
        ((q.sample(9, i) - x) * w).flatten(1).sum(1).lt(0).sum()
        for i, (q, x) in enumerate(zip(posteriors, x0, strict=True))
    ]
    counts = torch.bincount(torch.stack(ranks), minlength=10).double()
    assert ((counts - 15) ** 2 / 15).sum() < 33  # chi-square with 9 degrees of freedom: once in 10000
    q = posteriors[0]
    draws = q.sample(4000, 1)
    assert z(draws - q.mean()) < 4.5
    off = (draws - q.mean()).flatten(1)
    assert z(off[:, :, None] * off[:, None] - q.cov()) < 5
    for kappa in (0.1, 0.7, 5.0):
        x0, x, t = noised(q, 1500, kappa, 4)
        error = x0 - q.denoise(x, t)
        assert z(error) < 4.5 and z((error * x).flatten(1).sum(1)) < 4.5
        x, v = x[:3], vectors(law, 3, 2)
        slope = (q.denoise(x + 1e-5 * v, t) - q.denoise(x - 1e-5 * v, t)) / 2e-5
        assert torch.linalg.vector_norm(slope - q.denoiser_jvp(x, t, v)) < 1e-6 * slope.norm()
        leaf = x.clone().requires_grad_()
        (g,) = torch.autograd.grad((q.log_prob(leaf, t) - law.log_prob(leaf, t)).sum(), leaf)
        scale = law.process.alpha(t) / law.process.sigma(t) ** 2
        assert close(g, scale * (q.denoise(x, t) - law.denoise(x, t)), 1e6)
        silent = law.condition(A, ys[0], Noise(1e7))
        assert close(silent.denoise(x, t), law.denoise(x, t), 1e6)


def evidence_by_draws(law, A, y, sigma, n=200_000):
    """log p(y) as the average likelihood of draws, and its standard error."""
    w = Noise(sigma).log_likelihood(y, A(law.sample(n, 5)))
    p = (w - w.max()).exp()
    return (w.max() + p.mean().log()).item(), (p.std() / p.mean() / n**0.5).item()


def laplace_log_density(x, alpha, sigma, b):
    """Row 11 of the catalogue, in scipy."""
    y, s = x / alpha, sigma / alpha
    both = erfcx((s / b - y / s) / sqrt(2)) + erfcx((s / b + y / s) / sqrt(2))
    return -(y**2) / (2 * s**2) + np.log(both / (4 * b)) - log(alpha)


@pytest.mark.parametrize("t", [0.01, 0.3, 0.9])
def test_laplace_is_the_formula_with_erfcx(t):
    law = IndependentLaplace(0.7, (1,), process=VP())
    t = torch.tensor(t, dtype=F64)
    a, s = law.process.alpha(t).item(), law.process.sigma(t).item()
    x = torch.linspace(-4, 4, 41, dtype=F64)[:, None]
    y, k = x[:, 0].numpy() / a, s / a
    first, second = (erfcx((k / 0.7 - sign * y / k) / sqrt(2)) for sign in (1, -1))
    ok = np.isfinite(first + second)  # erfcx itself overflows from -26
    assert ok.sum() > 10
    want = laplace_log_density(x[:, 0].numpy(), a, s, 0.7)
    np.testing.assert_allclose(law.log_prob(x, t).numpy()[ok], want[ok], rtol=1e-12, atol=1e-12)
    score = (1 - 2 * first[ok] / (first + second)[ok]) / (0.7 * a)
    np.testing.assert_allclose(law.score(x, t)[:, 0].numpy()[ok], score, rtol=1e-9, atol=1e-11)


def test_laplace_far_in_its_tail_shrinks_by_sigma_squared_over_b():
    law = IndependentLaplace(0.5, (1,))
    t = law.process.time(0.01)
    x = torch.tensor([[60.0], [-60.0], [1000.0]], dtype=F64)
    want = x - x.sign() * 0.01**2 / 0.5  # J to 1e-10: nodes at 1000 are rounded to 1e-11 sigma
    assert close(law.denoise(x, t), want, 10) and close(
        law.denoiser_jvp(x, t, torch.ones_like(x)), torch.ones_like(x), 1e6
    )


def _laplace_moment(x, y, m):
    return y**m * 0.3 * np.exp(-abs(y) / 0.8) / 1.6 * np.exp(-0.5 * ((x - y) / 0.6) ** 2)


def test_a_spike_against_adaptive_quadrature():
    law, x = SpikedLaplace(0.3, 0.8, (1,)), torch.tensor([[-1.3], [0.2], [3.0]], dtype=F64)
    t = law.process.time(0.6)
    for row, got, log_p in zip(x, law.denoise(x, t), law.log_prob(x, t), strict=True):
        slab = partial(_laplace_moment, row.item())
        mass, first = (
            sum(quad(slab, *ends, (m,), epsabs=1e-13)[0] for ends in ((-20, 0), (0, 20))) for m in (0, 1)
        )
        mass += 0.7 * np.exp(-0.5 * (row.item() / 0.6) ** 2)
        assert got.item() == pytest.approx(first / mass, abs=1e-10)
        assert log_p.item() == pytest.approx(log(mass / 0.6 / sqrt(2 * np.pi)), abs=1e-10)


@pytest.mark.parametrize("kappa", [1e-3, 0.1, 2.0, 1e3])
def test_boxes_are_differences_of_normal_distribution_functions(kappa):
    law = Boxes.example(None)
    t, p = law.process.time(kappa), law.pieces
    x = torch.tensor([[0.1, 0.3], [1.9, -0.8], [3.0, 2.0], [-40.0, 7.0]], dtype=F64)
    lower, upper = ((x[:, None] - e[..., 0]).numpy() / kappa for e in (p.low, p.high))
    flip = lower + upper > 0  # from the nearer tail
    big, small = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    slabs = log_ndtr(big) + np.log(-np.expm1(log_ndtr(small) - log_ndtr(big)))
    log_k = p.log_w.numpy() + (slabs - np.log((p.high - p.low)[..., 0].numpy())).sum(2)
    want = torch.logsumexp(torch.from_numpy(log_k), 1)
    assert torch.allclose(law.log_prob(x, t), want, rtol=1e-10, atol=1e-9)
    inside = x[-1:]  # far from all boxes the denoiser stays on their hull
    assert (law.denoise(inside, t) <= 2.0).all() and (law.denoise(inside, t) >= -1.0).all()


def test_the_checkerboard_has_every_second_square():
    law = Checkerboard(4, 2.0)
    x = law.sample(4000, 0)
    parity = (x.floor().sum(1) % 2).unique()
    assert len(law.pieces.log_w) == 8 and parity.tolist() == [0.0]
    centre, other = torch.tensor([[0.5, 0.5]], dtype=F64), torch.tensor([[-0.5, 0.5]], dtype=F64)
    assert law.log_prob(centre).item() == pytest.approx(-log(8)) and law.log_prob(other).item() == -torch.inf
    assert z(x) < 4.5 and law.cov().diagonal().tolist() == pytest.approx([4 / 3, 4 / 3])


CASES = {
    "laplace": lambda p: IndependentLaplace(torch.tensor([0.5, 1.0, 1.5]), (3,), process=p),
    "spiked": lambda p: SpikedLaplace(0.4, 0.8, (2,), process=p),
    "boxes": lambda p: Boxes(*_corners(), [0.5, 0.3, 0.2], process=p),
    "wavelet": lambda p: WaveletSparse((4, 4), 2, 0.7, 1.0, 0.5, "db2", process=p),
}
cases = pytest.mark.parametrize("name", CASES)


def _corners():
    law = Boxes.example(None)
    return law.pieces.low[..., 0], law.pieces.high[..., 0]


@cases
@pytest.mark.parametrize("t", [0.1, 0.5])
def test_the_log_density_obeys_its_equation(name, t):
    law = CASES[name](VP())
    assert residual_of_the_log_density_equation(law, torch.tensor(t, dtype=F64)) < 1e-6


@cases
def test_draws_have_the_covariance_of_the_law(name):
    law = CASES[name](None)
    off = (law.sample(20_000, 3) - law.mean()).flatten(1)
    assert z(off[:, :, None] * off[:, None] - law.cov()) < 5


@pytest.mark.parametrize("name", ["laplace", "spiked", "boxes"])
def test_posteriors_under_masks(name):
    law = CASES[name](VP())
    seen = torch.tensor([True, False, True])[: law.shape[0]]
    hold_the_posterior(law, Mask(seen, F64))


def test_posteriors_of_wavelet_signals_seen_whole():
    law = WaveletSparse((2, 4), 1, 0.7, 1.0, 0.5)
    hold_the_posterior(law, Mask(torch.ones(2, 4, dtype=torch.bool), F64))


@pytest.mark.parametrize("name", ["spiked", "boxes"])
def test_the_evidence_is_the_mean_likelihood_of_draws(name):
    law = CASES[name](None)
    A = Mask(torch.ones(2, dtype=torch.bool), F64)
    for y in ([0.3, -0.4], [1.2, 0.5]):
        y = torch.tensor(y, dtype=F64)
        got = law.condition(A, y, Noise(0.6)).log_evidence
        want, error = evidence_by_draws(law, A, y, 0.6)
        assert abs(got - want) < 4.5 * error and error < 0.01


def test_conditioning_twice_is_conditioning_on_both():
    law, A = IndependentLaplace(0.9, (2,)), Mask(torch.tensor([True, True]), F64)
    y = torch.tensor([0.4, -1.0], dtype=F64)
    once = law.condition(A, y, Noise(0.5))
    twice = law.condition(A, y, Noise(0.5 * sqrt(2))).condition(A, y, Noise(0.5 * sqrt(2)))
    assert close(once.mean(), twice.mean(), 1e3) and close(once.cov(), twice.cov(), 1e3)


def test_wavelet_jacobians_have_the_slopes_of_the_shrinkage():
    law = CASES["wavelet"](None)
    t = law.process.time(0.3)
    x = law.sample(2, 0)
    eye = torch.eye(16, dtype=F64).reshape(16, 4, 4)
    W = law.basis(eye).mT
    assert close(W @ W.mT, torch.eye(16, dtype=F64), 1e3)
    turned = W @ law.denoiser_jacobian(x, t) @ W.mT
    assert (turned - torch.diag_embed(turned.diagonal(dim1=1, dim2=2))).abs().max() < 1e-12
    coarse = SpikedLaplace(1.0, 1.0, (1,))
    u = law.basis(x)[:, :1]
    assert close(law.basis(law.denoise(x, t))[:, :1], coarse.denoise(u, t), 1e3)
    fine = SpikedLaplace(0.7, 2.0**-0.5, (1,))
    assert close(law.basis(law.denoise(x, t))[:, -1:], fine.denoise(law.basis(x)[:, -1:], t), 1e3)


def test_entropy_of_laplace_coordinates():
    law = IndependentLaplace.example(Rng(0), F64)
    assert z(law.log_prob(law.sample(20_000, 0)) + law.entropy()) < 4.5


def test_what_is_refused():
    law = CASES["laplace"](None)
    A = Dense(Rng(0).normal(torch.empty(2, 3, dtype=F64)), (3,))
    with pytest.raises(BadInput, match="mixes the 3 coordinates"):
        law.condition(A, torch.zeros(2, dtype=F64), Noise(1.0))
    with pytest.raises(BadInput, match="lam = 0"):
        SpikedLaplace(0.0, 1.0, (2,))
    with pytest.raises(BadInput, match="b = "):
        IndependentLaplace(-1.0, (2,))
    with pytest.raises(BadInput, match="below high"):
        Boxes(torch.ones(1, 2), torch.zeros(1, 2))
    with pytest.raises(BadInput, match="not orthonormal"):
        WaveletSparse((6, 6), 2)
    with pytest.raises(BadInput, match="no density"):
        SpikedLaplace(0.5, 1.0, (2,)).log_prob(torch.zeros(1, 2, dtype=F64))
    assert isinstance(law, Analytic)
