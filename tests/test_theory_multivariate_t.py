"""Student's law in d dimensions: scipy's density and entropy, adaptive quadrature, a Gibbs sampler, Cauchy's closed form."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from theory.distributions import MultivariateT
from workbench import BadInput, Rng
from workbench.diffusion import EDM, VariancePreserving
from workbench.noise import Gaussian as Noise
from workbench.operators import Dense

F64 = torch.float64
VP = VariancePreserving()


def normal(*shape, seed=0):
    return Rng(seed, "student").normal(torch.empty(*shape, dtype=F64))


@pytest.mark.parametrize("nu, d", [(1.0, 1), (2.5, 3), (5.0, 16), (60.0, 4)])
def test_density_entropy_and_covariance_of_scipy(nu, d):
    law, x = MultivariateT(nu, d), 3 * normal(6, d)
    theirs = stats.multivariate_t(np.zeros(d), np.eye(d), nu)
    assert np.allclose(law.log_prob(x).numpy(), theirs.logpdf(x.numpy()), rtol=1e-12)
    assert law.entropy() == pytest.approx(float(theirs.entropy()), rel=1e-10)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(law.log_prob(leaf).sum(), leaf)
    assert torch.allclose(g, law.score(x), rtol=1e-12)
    near = EDM().time(1e-6)  # the integral over v meets the closed form
    assert torch.allclose(law.log_prob(x, near), law.log_prob(x), rtol=1e-9)
    assert torch.allclose(law.score(x, near), law.score(x), rtol=1e-8)


@pytest.mark.parametrize("nu", [0.5, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("kappa", [0.05, 0.8, 6.0])
def test_noised_density_by_convolution(nu, kappa):
    """In one dimension p_t is a convolution, integrated adaptively over x0."""
    law, t = MultivariateT(nu, 1, process=VP), VP.time(kappa)
    a, s = VP.alpha(t).item(), VP.sigma(t).item()
    for x in (0.0, 0.7, 9.0):
        f = lambda u, x=x: stats.t(nu).pdf((x - s * u) / a) / a * stats.norm.pdf(u)  # noqa: E731
        wanted = integrate.quad(f, -12, 12, epsabs=1e-14, epsrel=1e-12, limit=800, points=[0, x / s])[0]
        got = law.log_prob(torch.tensor([[x]], dtype=F64), t).exp().item()
        assert got == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("nu, d", [(0.5, 2), (1.0, 1), (3.0, 3), (5.0, 64), (200.0, 5)])
def test_doubling_the_nodes_changes_nothing(nu, d):
    law = MultivariateT(nu, d)
    assert law.tolerance < 1e-12 and len(law.v) < 1300
    fine = law.refined()
    assert len(fine.v) > 1.9 * len(law.v)
    x, t = 8 * normal(4, d), EDM().time(2.0)
    assert torch.allclose(law.log_prob(x, t), fine.log_prob(x, t), rtol=1e-12)


def test_draws_are_students():
    x = MultivariateT(3.0, 2).sample(20000, 1)
    assert stats.kstest(x[:, 0].numpy(), stats.t(3).cdf).pvalue > 1e-4
    assert (
        stats.kstest(x.square().sum(1).numpy() / 2, stats.f(2, 3).cdf).pvalue > 1e-4
    )  # |x|^2 / d is F(d, nu)


def gibbs(nu, M, y, sigma, sweeps=6000, burn_in=200, chains=20):
    """E[x | y] with its standard error: v | x inverse gamma, x | v Gaussian (Geweke 1993)."""
    rng = np.random.default_rng(0)
    m, d = M.shape
    means = np.zeros((chains, d))
    for c in range(chains):
        x, total = rng.standard_normal(d), np.zeros(d)
        for sweep in range(burn_in + sweeps // chains):
            v = 0.5 * (nu + x @ x) / rng.gamma(0.5 * (nu + d))
            P = np.linalg.inv(np.eye(d) / v + M.T @ M / sigma**2)
            best = P @ M.T @ y / sigma**2
            x = best + np.linalg.cholesky(P) @ rng.standard_normal(d)
            total += best if sweep >= burn_in else 0
        means[c] = total / (sweeps // chains)
    return means.mean(0), means.std(0, ddof=1) / chains**0.5


@pytest.mark.parametrize("m", [1, 2, 5])
def test_posterior_against_gibbs_and_bayes(m):
    nu, sigma = 3.0, 0.4
    law, M = MultivariateT(nu, 3), normal(m, 3, seed=2)
    A, noise = Dense(M), Noise(sigma)
    y = noise.sample(A(2.5 * law.sample(1, 6)), 6)[0]
    q = law.condition(A, y, noise)
    mean, error = gibbs(nu, M.numpy(), y.numpy(), sigma)
    assert (np.abs(q.mean().numpy() - mean) < 4.5 * error + 1e-9).all()
    x = q.sample(7, 0)
    bayes = law.log_prob(x) + noise.log_likelihood(y, A(x)) - q.log_evidence
    assert torch.allclose(q.log_prob(x), bayes, rtol=0, atol=1e-9)


def test_posterior_of_a_cauchy_law():
    """nu = 1, more data than unknowns, a signal far out: nothing is lost to variances of 1e50."""
    law, noise = MultivariateT(1.0, 2), Noise(0.1)
    A = Dense(normal(4, 2, seed=3))
    x0 = torch.tensor([[300.0, -40.0]], dtype=F64)
    q = law.condition(A, A(x0)[0], noise)
    assert (q.mean() - x0[0]).abs().max() < 0.01 and torch.isfinite(q.sample(5, 0)).all()
    x = x0 + 0.05 * normal(5, 2)
    bayes = law.log_prob(x) + noise.log_likelihood(A(x0)[0], A(x)) - q.log_evidence
    assert torch.allclose(q.log_prob(x), bayes, rtol=0, atol=1e-8)


@pytest.mark.parametrize("nu", [1.0, 2.0])
def test_no_covariance_below_two(nu):
    with pytest.raises(BadInput, match="no finite variance"):
        MultivariateT(nu, 2).cov()
    assert torch.allclose(MultivariateT(4.0, 2).cov(), 2 * torch.eye(2, dtype=F64))


def test_what_cannot_be_is_said():
    for wrong in (dict(nu=0.0, d=2), dict(nu=3.0, d=0), dict(nu=float("nan"), d=2)):
        with pytest.raises(BadInput, match="MultivariateT"):
            MultivariateT(**wrong)
