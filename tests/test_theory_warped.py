"""Funnel and banana: adaptive quadrature over z, closed moments, Bayes' rule, weighted draws, little noise."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from theory.distributions import Banana, Funnel
from workbench import BadInput, Rng
from workbench.diffusion import VariancePreserving
from workbench.noise import Gaussian as Noise
from workbench.operators import Dense

F64 = torch.float64
VP = VariancePreserving()


def normal(*shape, seed=0):
    return Rng(seed, "warped").normal(torch.empty(*shape, dtype=F64))


# law, and the mean and variance of r given z written out again
LAWS = {
    "neal": (Funnel(process=VP), lambda z: (0.0, np.exp(z))),
    "mild": (Funnel(3, 0.8, process=VP), lambda z: (0.0, np.exp(z))),
    "banana": (Banana(1.3, 0.2, 1.1, process=VP), lambda z: (1.3 * (z**2 - 1.21), 0.04)),
}
laws = pytest.mark.parametrize("law, rest", LAWS.values(), ids=LAWS)


def by_quadrature(law, rest, row, a, s):
    """log p_t, E[z | x] and E[x_d | x] at one x, by adaptive quadrature over z."""

    def log_joint(z):
        m, V = rest(z)
        tail = stats.norm.logpdf(row[1:, None], a * m, (a**2 * V + s**2) ** 0.5).sum(0)
        return stats.norm.logpdf(z, 0, law.a) + stats.norm.logpdf(row[0], a * z, s) + tail

    def last(z):
        m, V = rest(z)
        return m + a * V / (a**2 * V + s**2) * (row[-1] - a * m)

    grid = np.linspace(-9 * law.a, 9 * law.a, 20001)
    log_p = log_joint(grid)
    best, top, inside = grid[log_p.argmax()], log_p.max(), grid[log_p > log_p.max() - 60]
    low, high = inside[0] - 2e-3 * law.a, inside[-1] + 2e-3 * law.a

    def moment(h):
        f = lambda z: float(np.squeeze(h(z) * np.exp(log_joint(z) - top)))  # noqa: E731
        return integrate.quad(f, low, high, epsrel=1e-11, limit=400, points=[best])[0]

    total = moment(lambda z: 1.0)
    return top + np.log(total), moment(lambda z: z) / total, moment(last) / total


@laws
@pytest.mark.parametrize("kappa", [0.01, 0.5, 5.0])
def test_density_and_denoiser_by_quadrature(law, rest, kappa):
    t = VP.time(kappa)
    a, s = VP.alpha(t).item(), VP.sigma(t).item()
    x = a * law.sample(3, 1) + s * normal(3, law.dimension)
    for row, log_p, x0 in zip(x.numpy(), law.log_prob(x, t).tolist(), law.denoise(x, t), strict=True):
        wanted = by_quadrature(law, rest, row, a, s)
        assert [log_p, x0[0].item(), x0[-1].item()] == pytest.approx(wanted, rel=1e-8, abs=1e-9)


def test_closed_moments():
    law = Funnel(4, 1.5)
    assert torch.allclose(law.cov().diagonal()[1:], torch.full((3,), np.exp(1.125), dtype=F64), rtol=1e-10)
    assert law.cov()[0, 0].item() == pytest.approx(2.25, rel=1e-12) and law.mean().abs().max() < 1e-12
    bent = Banana(1.3, 0.2, 1.1)
    wanted = torch.tensor([1.21, 2 * 1.3**2 * 1.1**4 + 0.04], dtype=F64)
    assert (
        torch.allclose(bent.cov(), wanted.diag(), rtol=1e-10, atol=1e-10) and bent.mean().abs().max() < 1e-10
    )


@laws
def test_little_noise_meets_the_law_itself(law, rest):
    x, t = law.sample(5, 3), VP.time(1e-7)
    assert torch.allclose(law.log_prob(x, t), law.log_prob(x), rtol=1e-6, atol=1e-5)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(law.log_prob(leaf).sum(), leaf)
    assert torch.allclose(law.score(x), g)
    z, r = x[:, 0].numpy(), x[:, 1:].numpy()
    m, V = rest(z)
    wanted = stats.norm.logpdf(z, 0, law.a) + stats.norm.logpdf(
        r, np.reshape(m, (-1, 1)) * np.ones_like(r), np.reshape(V, (-1, 1)) ** 0.5 * np.ones_like(r)
    ).sum(1)
    assert np.allclose(law.log_prob(x).numpy(), wanted, rtol=1e-12)


@laws
@pytest.mark.parametrize("m, sigma", [(1, 0.5), (2, 0.1), (12, 1.0)])
def test_posterior_is_bayes(law, rest, m, sigma):
    A, noise = Dense(normal(m, law.dimension, seed=m)), Noise(sigma)
    y = noise.sample(A(law.sample(1, 11)), 11)[0]
    q = law.condition(A, y, noise)
    assert q.tolerance < 1e-8
    x = q.sample(40, 0)
    bayes = law.log_prob(x) + noise.log_likelihood(y, A(x)) - q.log_evidence
    assert torch.allclose(q.log_prob(x), bayes, rtol=0, atol=1e-9)
    near = VP.time(1e-7)
    assert torch.allclose(q.log_prob(x, near), bayes, rtol=1e-5, atol=1e-4)
    draws = q.sample(4000, 1)
    z = (draws.mean(0) - q.mean()) / (draws.std(0) / 4000**0.5)
    assert z.abs().max() < 4.5
    assert len(draws[:, 0].unique()) == len(draws)
    products = (draws - q.mean())[:, :, None] * (draws - q.mean())[:, None] - q.cov()
    assert (products.mean(0) / (products.std(0) / 4000**0.5)).abs().max() < 4.8
    weights = torch.exp(noise.log_likelihood(y, A(law.sample(200000 // law.dimension, 12))))
    if weights.mean() > 5 * weights.std() / len(weights) ** 0.5:
        gap = weights.mean() - np.exp(q.log_evidence)
        assert abs(gap) < 4.5 * weights.std() / len(weights) ** 0.5


def test_two_narrow_peaks_are_found():
    """y = x_2 of a banana with next to no noise: z = +- 1.5, equally likely."""
    law = Banana(1.0, 0.05, 1.0)
    A = Dense(torch.tensor([[0.0, 1.0]], dtype=F64))
    q = law.condition(A, torch.tensor([1.25], dtype=F64), Noise(0.03))
    z = q.sample(4000, 3)[:, 0]
    assert abs((z > 0).double().mean() - 0.5) < 4.5 * 0.5 / 4000**0.5
    assert (z.abs() - 1.5).abs().max() < 0.12 and q.cov()[0, 0].item() == pytest.approx(2.25, rel=0.01)
    A = Dense(
        torch.tensor([[0.3, 1.0]], dtype=F64)
    )  # peaks of unequal distance to the first nodes: neither is lost
    with pytest.raises(BadInput, match="too little noise"):
        Banana(1.0, 1e-3).condition(A, torch.tensor([1.25], dtype=F64), Noise(1e-3))


def test_doubling_the_nodes_changes_nothing():
    for law, _ in LAWS.values():
        assert law.tolerance < 1e-11
        x = law.sample(50, 2)
        for kappa in (1e-4, 0.1, 1.0, 30.0):  # at 30 these x pull z far beyond the prior
            a, b = (twin.denoise(x, VP.time(kappa)) for twin in (law, law.refined()))
            assert (a - b).norm() < 1e-11 * b.norm()


def test_what_cannot_be_is_said():
    for wrong in (lambda: Funnel(1), lambda: Funnel(3, 0.0), lambda: Banana(c=0.0), lambda: Banana(a=-1.0)):
        with pytest.raises(BadInput):
            wrong()
    law, y = Funnel(2, 1.0), torch.zeros(1, dtype=F64)
    A = Dense(torch.ones(1, 2, dtype=F64))
    with pytest.raises(BadInput, match="already"):
        law.condition(A, y, Noise(1.0)).condition(A, y, Noise(1.0))
