"""Diffusion spectral entropy: Mehler's eigenvalues, clusters, limits of the width, and labels that tell nothing."""

from math import log2

import pytest
import torch

from theory.diagnostics import diffusion_spectral_entropy, spectral_mutual_information
from workbench import BadInput, Rng


def normal(*shape, seed=0):
    return Rng(seed, "entropy").normal(torch.empty(*shape, dtype=torch.float64))


def clusters(m, each=30, d=5):
    labels = torch.arange(m).repeat_interleave(each)
    return 100 * normal(m, d, seed=9)[labels] + 1e-3 * normal(m * each, d), labels


def geometric(rho):
    """Entropy in bits of p_k = (1 - rho) rho^k."""
    return -log2(1 - rho) - rho / (1 - rho) * log2(rho)


@pytest.mark.parametrize("t, width", [(1, 1.0), (2, 1.0), (1, 2.0)])
def test_a_normal_cloud_has_geometric_eigenvalues(t, width):
    """The diffusion y | x ~ N(x / (1 + w^2), w^2 / (1 + w^2)) of N(0, 1) has eigenvalues rho^k, rho = 1 / (1 + w^2)."""
    found = diffusion_spectral_entropy(normal(800, 1), t, width)
    assert abs(found.value - geometric((1 + width**2) ** -t)) < 5 * found.error < 0.6
    values = [
        diffusion_spectral_entropy(normal(400, 1, seed=s), t, width, repeats=2).value for s in range(12)
    ]
    values = torch.tensor(values)
    assert abs(values.mean() - geometric((1 + width**2) ** -t)) < 5 * values.std() / 12**0.5
    assert 0.2 < found.error / values.std() < 2  # of half as many points


@pytest.mark.parametrize("m", [1, 4, 7])
def test_tight_clusters_count(m):
    x, _ = clusters(m)
    assert diffusion_spectral_entropy(x).value == pytest.approx(log2(m), abs=1e-3)
    assert diffusion_spectral_entropy(x.reshape(-1, 5, 1)).value == pytest.approx(log2(m), abs=1e-3)


def test_limits_of_the_width():
    x = normal(64, 4)
    assert diffusion_spectral_entropy(x, width=1e3).value < 1e-3
    assert diffusion_spectral_entropy(x, width=1e-3).value == pytest.approx(log2(64))
    assert diffusion_spectral_entropy(x, width=1e-3).most == pytest.approx(6)


def test_it_grows_with_dimension_and_time_suppresses_noise():
    at = [diffusion_spectral_entropy(normal(200, d)).value for d in (1, 2, 4, 8)]
    assert at == sorted(at)
    x, _ = clusters(2)
    noisy = x + 0.5 * normal(
        60, 5, seed=1
    )  # within a cluster the eigenvalues are below 1, and their powers vanish
    excess = [diffusion_spectral_entropy(noisy, t).value - 1 for t in (1, 4, 16)]
    assert excess[0] > 0.5 and excess[0] > 3 * excess[1] > 30 * excess[2] >= 0


def test_what_labels_tell():
    x, labels = clusters(4, each=40)
    told = spectral_mutual_information(x, labels)
    assert told.value == pytest.approx(2, abs=1e-3)
    shuffled = labels[Rng(0, "shuffle").uniform(160).argsort()]
    assert abs(spectral_mutual_information(x, shuffled).value) < 0.02
    assert spectral_mutual_information(x, labels // 2).value == pytest.approx(1, abs=1e-3)


def test_what_they_say_and_refuse():
    x, labels = clusters(3)
    assert str(diffusion_spectral_entropy(x)).startswith("diffusion spectral entropy = 1.585 ")
    with pytest.raises(BadInput, match="width = 0"):
        diffusion_spectral_entropy(x, width=0)
    with pytest.raises(BadInput, match="labels has shape"):
        spectral_mutual_information(x, labels[:5])
