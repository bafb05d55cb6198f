"""Subspaces: scipy's angles, known rotations, and clusters that are found or refused."""

from math import pi, sin, sqrt

import numpy as np
import pytest
import scipy.linalg
import torch

from theory.diagnostics import (
    chordal_distance,
    clustering_accuracy,
    geodesic_distance,
    k_subspaces,
    principal_angles,
    spectral_labels,
    subspace_error,
)
from workbench import BadInput, Rng

f64 = dict(dtype=torch.float64)


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "subspaces").normal(torch.empty(*shape, dtype=dtype))


@pytest.mark.parametrize(
    "r, q, dtype", [(3, 3, torch.float64), (2, 4, torch.float64), (2, 3, torch.complex128)]
)
def test_angles_against_scipy(r, q, dtype):
    U, V = normal(8, r, dtype=dtype), normal(8, q, seed=1, dtype=dtype)
    want = np.sort(scipy.linalg.subspace_angles(U.numpy(), V.numpy()))
    assert np.allclose(principal_angles(U, V).numpy(), want)
    assert torch.allclose(principal_angles(U, V), principal_angles(V, U))
    P, Q = (B @ torch.linalg.pinv(B) for B in (U, V))
    assert chordal_distance(U, V) == pytest.approx((P - Q).norm().item())


@pytest.mark.parametrize("angle", [1e-10, 0.3, pi / 2])
def test_a_known_rotation(angle):
    U = torch.eye(4, 2, **f64)
    V = U.clone()
    V[:, 1] = torch.tensor([0.0, np.cos(angle), 0.0, np.sin(angle)], **f64)
    assert torch.allclose(principal_angles(U, V), torch.tensor([0.0, angle], **f64), rtol=1e-6, atol=1e-15)
    assert geodesic_distance(U, V) == pytest.approx(angle)
    assert chordal_distance(U, V) == pytest.approx(sqrt(2) * sin(angle))
    assert geodesic_distance(U, U @ normal(2, 2)) < 1e-14  # a subspace, not a basis


def union(n=60, d=10, K=3, r=2, noise=0.01):
    bases = torch.linalg.qr(normal(K, d, r)).Q
    labels = torch.arange(n * K) % K
    x = torch.einsum("ndr,nr->nd", bases[labels], normal(n * K, r, seed=1)) + noise * normal(n * K, d, seed=2)
    return x, labels, bases


def test_k_subspaces_finds_what_was_planted():
    x, labels, bases = union()
    found = k_subspaces(x, 3, 2, restarts=5)
    assert clustering_accuracy(found.labels, labels) > 0.98
    assert (
        subspace_error(found.bases, bases)
        < 0.03
        < subspace_error(torch.linalg.qr(normal(3, 10, 2, seed=9)).Q, bases)
    )
    truth = torch.stack([bases[k] @ bases[k].mT @ v for v, k in zip(x, labels, strict=True)])
    assert found.residual <= ((x - truth).square().sum() / x.square().sum()).item()  # as fitted, so no worse
    assert clustering_accuracy(spectral_labels(x, 3), labels) > 0.9


def test_k_subspaces_from_random_starts_alone(monkeypatch):
    x, labels, _ = union()
    monkeypatch.setattr(
        "theory.diagnostics.subspaces.spectral_labels", lambda x, K: torch.zeros(len(x)).long()
    )
    found = k_subspaces(x, 3, 2, restarts=50)
    assert found.start >= 0 and clustering_accuracy(found.labels, labels) > 0.98


def test_without_structure_much_is_left():
    found = k_subspaces(normal(180, 10), 3, 2, restarts=5)
    assert found.residual > 0.5 and k_subspaces(union()[0], 3, 2, restarts=0).residual < 1e-2


def test_accuracy_up_to_names():
    true = torch.tensor([0, 0, 1, 1, 2, 2])
    assert clustering_accuracy(torch.tensor([2, 2, 0, 0, 1, 1]), true) == 1
    assert clustering_accuracy(torch.tensor([2, 2, 0, 1, 1, 1]), true) == pytest.approx(5 / 6)
    assert clustering_accuracy(torch.zeros(6).long(), true) == pytest.approx(1 / 3)
    assert clustering_accuracy(torch.arange(6), true) == pytest.approx(3 / 6)


def test_what_they_say_and_refuse():
    x, _, bases = union()
    assert "3 subspaces leave" in str(k_subspaces(x, 3, 2, restarts=0))
    assert subspace_error(bases.flip(0), bases) == pytest.approx(0, abs=1e-7)
    with pytest.raises(BadInput, match="r = 10 do not suit"):
        k_subspaces(x, 3, 10)
    with pytest.raises(BadInput, match="U has shape"):
        principal_angles(torch.ones(2, 3), bases[0])
    with pytest.raises(BadInput, match="alike"):
        clustering_accuracy(torch.zeros(3).long(), torch.zeros(4).long())
