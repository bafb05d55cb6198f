"""Problems whose posterior is known: against formulas written again in numpy, against brute force, and calibrated."""

import numpy as np
import pytest
import torch
from scipy import stats

import problems
from theory.distributions._condition import Conditioned
from workbench import BadInput, Rng

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


# --- other mixtures -------------------------------------------------------------------------------------------------


def test_low_rank_by_numpy():
    """Evidence, weights and mean with the covariances formed."""
    p = problems.load("mixture/low-rank", seed=2, size=12, components=3, rank=4)
    q, seen = p.exact, p.A.mask.flatten().numpy()
    C, m = p.prior.covariances.dense().numpy(), p.prior.means.flatten(1).numpy()
    y, s2, log_w, means = p.y.flatten().numpy(), p.noise.sigma**2, [], []
    for k in range(3):
        S, r = C[k][np.ix_(seen, seen)] + s2 * np.eye(seen.sum()), y - m[k][seen]
        log_w.append(np.log(p.prior.weights[k].item()) + stats.multivariate_normal(cov=S).logpdf(r))
        means.append(m[k] + C[k][:, seen] @ np.linalg.solve(S, r))
    log_evidence = np.logaddexp.reduce(log_w)
    w = np.exp(log_w - log_evidence)
    assert q.log_evidence == pytest.approx(log_evidence, abs=1e-8)
    assert np.abs(q.weights.numpy() - w).max() < 1e-8
    assert np.abs(q.mean().flatten().numpy() - w @ np.array(means)).max() < 1e-8


@pytest.mark.parametrize("size", [16, 64])
def test_low_rank_leaves_the_component_in_doubt(size):
    """On average over seeds two components or more are likely, and they are smooth pictures of about unit variance."""
    many = [problems.load("mixture/low-rank", seed=s, size=size) for s in range(10)]
    entropy = [-torch.xlogy(p.exact.weights, p.exact.weights).sum().item() for p in many]
    assert np.exp(np.mean(entropy)) > 2 and sum(e > 0.3 for e in entropy) >= 7
    assert 0.7 < np.mean([p.truth.square().mean().item() for p in many]) ** 0.5 < 1.4
    if size == 64:
        assert isinstance(many[0].exact, Conditioned)


def test_the_trap_is_as_published():
    shrunk, stretched = (
        problems.load("mixture/accuracy-trap"),
        problems.load("mixture/accuracy-trap", stretched=1),
    )
    unit = torch.eye(16, **f64)
    assert shrunk.A(unit).diagonal().tolist() == pytest.approx([1, 1, *np.arange(0.10, 0.76, 0.05)])
    assert stretched.A(unit).diagonal().tolist() == [3] * 4 + [1] * 12
    one, two = shrunk.prior.cov(), 0.8 + 0.2 * 2 + 0.8 * 0.2 * 9
    assert one[0, 0].item() == pytest.approx(two) and one[0, 1].item() == pytest.approx(0.8 * 0.2 * 9)
    assert shrunk.truth[:4].tolist() == [3, 2, 0.5, -0.5] and len(shrunk.truth) == 16
    assert not torch.equal(shrunk.y, problems.load("mixture/accuracy-trap", seed=1).y)
    with pytest.raises(BadInput, match="stretched = 2"):
        problems.load("mixture/accuracy-trap", stretched=2)


# --- calibration ----------------------------------------------------------------------------------------------------

CALIBRATED = {
    "mixture/gmm-25": {},
    "mixture/low-rank": dict(size=10),
    "toy/ring": {},
    "toy/phase": {},
    "toy/poisson": {},
    "toy/saturation": {},
    "field/mri": dict(size=16),
    "field/ct": dict(size=12, views=8),
    "field/blur": dict(size=12),
    "field/compressed-sensing": dict(size=12),
}


def reals(x):
    return torch.view_as_real(x).flatten() if x.is_complex() else x.flatten()


GRIDS = ("toy/phase", "toy/poisson", "toy/saturation")  # 0.2 s each


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in GRIDS else ()) for n in CALIBRATED]
)
def test_the_truth_is_one_more_draw_of_the_posterior(name):
    """Over 60 seeds the rank of <u, truth> among 9 draws is uniform, u a random direction and u each time another."""
    ranks = []
    for seed in range(60):
        p = problems.load(name, seed=seed, **CALIBRATED[name])
        u = Rng(seed, "direction").normal(reals(p.truth)[None])[0]
        draws = torch.stack([reals(x) for x in p.exact.sample(9, seed)])
        ranks.append((draws @ u < reals(p.truth) @ u).sum().item())
    counts = np.bincount(ranks, minlength=10)
    assert ((counts - 6) ** 2 / 6).sum() < 33  # chi-square with 9 degrees of freedom: once in 10000
    assert abs(np.mean(ranks) - 4.5) < 4.5 * (8.25 / 60) ** 0.5
