"""Problems whose posterior is known: against formulas written again in numpy, against brute force, and calibrated."""

import numpy as np
import pytest
import torch

import problems
from theory.distributions._condition import Conditioned
from workbench import BadInput

f64 = dict(dtype=torch.float64)


def time(t):
    return torch.tensor(t, **f64)


# --- the lattice of twenty-five Gaussians ---------------------------------------------------------------------------


def lattice_posterior(A, y, sigma, weights, d):
    """Weights, means, the common covariance and log p(y), by the formulas of linear regression in numpy."""
    means = np.array([[-8.0 * i, -8.0 * j] * (d // 2) for i in range(-2, 3) for j in range(-2, 3)])
    S = A @ A.T + sigma**2 * np.eye(len(A))
    C = np.linalg.inv(np.eye(d) + A.T @ A / sigma**2)
    r = y - means @ A.T
    log_w = np.log(weights) - 0.5 * np.einsum("km,mn,kn->k", r, np.linalg.inv(S), r)
    log_w -= 0.5 * np.linalg.slogdet(2 * np.pi * S)[1]
    log_evidence = np.logaddexp.reduce(log_w)
    return np.exp(log_w - log_evidence), means + r @ A @ C / sigma**2, C, log_evidence


@pytest.mark.parametrize("size, measurements", [(2, 1), (8, 1), (8, 4), (80, 2)])
def test_gmm_25_by_numpy(size, measurements):
    p = problems.load("mixture/gmm-25", seed=4, size=size, measurements=measurements)
    q, A = p.exact, p.A.matrix.numpy()
    s = np.linalg.svd(A)[1]
    assert (s < 1).all() and 1e-3 * s[0] <= p.noise.sigma < s[0]
    w, means, C, log_evidence = lattice_posterior(
        A, p.y.numpy(), p.noise.sigma, p.prior.weights.numpy(), size
    )
    assert q.log_evidence == pytest.approx(log_evidence, abs=1e-8)
    assert np.abs(q.weights.numpy() - w).max() < 1e-8
    assert np.abs(q.mean().numpy() - w @ means).max() < 1e-7
    centred = means - w @ means
    assert np.abs(q.cov().numpy() - C - (w * centred.T) @ centred).max() < 1e-6
    x = q.sample(4, 0)
    precise = np.linalg.inv(C)
    d = x.numpy()[:, None] - means
    log_k = np.log(w) - 0.5 * np.einsum("nkd,de,nke->nk", d, precise, d)
    rho = np.exp(log_k - np.logaddexp.reduce(log_k, 1, keepdims=True))
    assert np.abs(q.responsibilities(x).numpy() - rho).max() < 1e-7
    assert np.abs(q.score(x, None).numpy() + np.einsum("nk,nkd,de->ne", rho, d, precise)).max() < 1e-5


def test_gmm_25_of_800_entries():
    """Weights and mean again, by a law that forms no matrix of 800 x 800."""
    p = problems.load("mixture/gmm-25", seed=1, size=800, measurements=4)
    q = p.exact
    assert isinstance(q, Conditioned)
    w, means, _, log_evidence = lattice_posterior(
        p.A.matrix.numpy(), p.y.numpy(), p.noise.sigma, p.prior.weights.numpy(), 800
    )
    assert q.log_evidence == pytest.approx(log_evidence, abs=1e-7)
    assert np.abs(q.weights.numpy() - w).max() < 1e-8 and np.abs(q.mean().numpy() - w @ means).max() < 1e-6
    x = q.sample(3, 0)
    assert torch.isfinite(q.denoise(x, time(0.5))).all() and torch.isfinite(q.log_prob(x)).all()


def test_gmm_25_refuses():
    with pytest.raises(BadInput, match="size = 7 should be even"):
        problems.load("mixture/gmm-25", size=7)
    with pytest.raises(BadInput, match="measurements = 9"):
        problems.load("mixture/gmm-25", measurements=9)
