"""Curl, circulation and the weighted Hodge split: exact on linear fields, silent on scores, and seeing a planted gauge."""

from math import pi, sqrt

import numpy as np
import pytest
import torch

from theory.diagnostics import (
    circles,
    circulation,
    conservativity,
    energy_gap,
    fourier_features,
    gradient_error,
    grid_split,
    hodge_split,
    jacobian,
    linear_split,
    path_gap,
)
from theory.distributions import Gaussian, GaussianMixture
from workbench import BadInput, Rng

f64 = dict(dtype=torch.float64)


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "conservativity").normal(torch.empty(*shape, dtype=dtype))


def turn(d=2):
    """An antisymmetric matrix with ||A||_F^2 = d."""
    A = torch.zeros(d, d, **f64)
    for i in range(0, d - 1, 2):
        A[i, i + 1], A[i + 1, i] = -1.0, 1.0
    return A


def mixture():
    means = torch.tensor([[-2.0, 0.0], [2.0, 1.0]], **f64)
    return GaussianMixture([0.3, 0.7], means, torch.tensor([0.5, 0.2], **f64))


def covariance(d=2, seed=3):
    root = normal(d, d, seed=seed)
    return root @ root.mT / d + 0.3 * torch.eye(d, **f64)


def quadratics(x):
    """The potentials x_i x_j and x_i: all gradients of linear fields."""
    i, j = torch.triu_indices(x.shape[1], x.shape[1])
    return torch.cat([x, x[:, i] * x[:, j]], 1)


def test_asymmetry_of_a_linear_field():
    M, x = normal(6, 6), normal(50, 6, seed=1)
    field = lambda x, t: x @ M.mT
    want = ((M - M.mT).square().sum() / (4 * M.square().sum())).item()
    assert torch.allclose(jacobian(field, x, 0.0), M.expand(50, 6, 6))
    assert conservativity(field, x, 0.0, probes=None).value == pytest.approx(want, rel=1e-12)
    found = conservativity(field, x, 0.0, probes=8)
    assert abs(found.value - want) < 5 * found.error < 0.2 * want
    assert conservativity(lambda x, t: x @ turn(6).mT, x, 0.0).value == pytest.approx(1.0)
    many = [conservativity(field, x[:8], 0.0, probes=4, seed=s) for s in range(60)]
    values = torch.tensor([e.value for e in many])
    assert values.std().item() == pytest.approx(np.mean([e.error for e in many]), rel=0.35)


def test_pooled_over_points_and_not_a_mean_of_ratios():
    """At (0, 1) J = 2 e_2 e_1^T - e_1 e_2^T, at (3, 1) with 3 I more."""
    x = torch.tensor([[0.0, 1.0], [3.0, 1.0]], **f64)
    field = lambda x, t: torch.stack([x[:, 0] ** 2 / 2 - x[:, 1], x[:, 0] * (x[:, 1] + 1)], 1)
    J = jacobian(field, x, 0.0)
    assert torch.allclose(J[1], torch.tensor([[3.0, -1.0], [2.0, 3.0]], **f64))
    want = (18 + 18) / (4 * (5 + 23))  # ||A||^2 = 18 at both, ||J||^2 = 5 and 23
    assert conservativity(field, x, 0.0, probes=None).value == pytest.approx(want)


def test_a_score_has_no_curl_and_a_gauge_is_seen():
    law, t = mixture(), 0.4
    x = law.at(t).sample(64, 1)
    assert conservativity(law.score, x, t).value < 1e-25
    gauge = lambda x, t: law.score(x, t) + 0.3 * law.score(x, t) @ turn().mT
    H = jacobian(law.score, x, t)
    J = (torch.eye(2, **f64) + 0.3 * turn()) @ H
    want = ((J - J.mT).square().sum() / (4 * J.square().sum())).item()
    assert conservativity(gauge, x, t, probes=None).value == pytest.approx(want, rel=1e-10)
    assert want > 0.02
    loops = circles(x, 0.5)
    assert circulation(law.score, loops, t).value < 1e-6 < 0.05 < circulation(gauge, loops, t).value
    a, b, corner = x[:20], x[20:40], x[40:60]
    assert path_gap(law.score, a, b, corner, t, nodes=64).value < 1e-6
    assert path_gap(gauge, a, b, corner, t, nodes=64).value > 0.02
    origin = torch.zeros(2, **f64)
    assert energy_gap(law.score, x, t, origin, nodes=64).value < 1e-6
    assert energy_gap(gauge, x, t, origin, nodes=64).value > 0.1


def test_circulation_of_a_rotation_is_twice_the_area():
    x, omega = normal(7, 2), 0.7
    field = lambda x, t: -x + omega * x @ turn().mT
    found = circulation(field, circles(torch.zeros(7, 2, **f64), 1.5, nodes=16), 0.0)
    assert torch.allclose(found.gamma.abs(), torch.full((7,), 2 * pi * 1.5**2 * omega, **f64))
    assert found.value == pytest.approx(
        omega / sqrt(1 + omega**2)
    )  # |s| = |x| sqrt(1 + omega^2) on these circles
    elsewhere = circulation(field, circles(x, 1.5, nodes=16), 0.0)
    assert torch.allclose(elsewhere.gamma.abs(), found.gamma.abs())
    b, corner = torch.tensor([[1.0, 0.0]], **f64), torch.tensor([[0.0, 1.0]], **f64)
    gap = path_gap(field, torch.zeros(1, 2, **f64), b, corner, 0.0)
    assert gap.gaps.item() == pytest.approx(omega)  # the triangle 0, b, corner goes round anticlockwise


def test_energy_gap_of_a_rotation():
    omega = 0.5
    field = lambda x, t: -x + omega * x @ turn(4).mT
    found = energy_gap(field, normal(30, 4), 0.0, torch.zeros(4, **f64))
    assert found.value == pytest.approx(omega / sqrt(1 + omega**2), rel=1e-10)


@pytest.mark.parametrize("hide", ["detached", "numpy"])
def test_what_cannot_be_differentiated_is_differenced(hide):
    law, t = mixture(), 0.5
    gauge = lambda x, t: law.score(x, t) + 0.3 * law.score(x, t) @ turn().mT
    x = law.at(t).sample(20, 1)
    blind = {
        "detached": lambda x, t: gauge(x, t).detach(),
        "numpy": lambda x, t: torch.from_numpy(gauge(torch.from_numpy(x.numpy()), t).numpy()),
    }[hide]
    assert torch.allclose(jacobian(blind, x, t), jacobian(gauge, x, t), atol=1e-6)
    one, two = conservativity(blind, x, t, probes=4), conservativity(gauge, x, t, probes=4)
    assert one.value == pytest.approx(two.value, rel=1e-5)
    origin = torch.zeros(2, **f64)
    one, two = energy_gap(blind, x, t, origin), energy_gap(gauge, x, t, origin)
    assert one.value == pytest.approx(two.value, rel=1e-5)


def test_a_complex_score_in_real_coordinates():
    """A circular Gaussian has a Hermitian C: symmetric in real coordinates. A phase i is antisymmetric there."""
    root = normal(3, 3, dtype=torch.complex128)
    law = Gaussian(normal(3, seed=1, dtype=torch.complex128), root @ root.mH / 3 + torch.eye(3))
    x, t = law.sample(10, 1), 0.5
    assert conservativity(law.score, x, t).value < 1e-25
    assert conservativity(lambda x, t: 1j * x, x, t).value == pytest.approx(1.0)
    assert conservativity(lambda x, t: (1 + 1j) * x, x, t).value == pytest.approx(0.5)
    assert jacobian(law.score, x, t).shape == (10, 6, 6)
    assert circulation(law.score, circles(x, 0.3), t).value < 1e-12


def test_the_linear_split_is_not_the_symmetric_part():
    C, M = covariance(4), normal(4, 4, seed=5)
    S, R = linear_split(M, C)
    assert torch.allclose(S, S.mT) and torch.allclose(S + R, M) and torch.allclose(R @ C, -(R @ C).mT)
    assert (S @ C @ R.mT).trace().abs() < 1e-12  # E[S x . R x]
    assert not torch.allclose(S, 0.5 * (M + M.mT), atol=1e-2)
    assert torch.allclose(linear_split(M, 2 * torch.eye(4, **f64)).gradient, 0.5 * (M + M.mT))
    with pytest.raises(BadInput, match="positive definite"):
        linear_split(M, -C)


def test_three_hodge_splits_agree_on_a_linear_field():
    C, M = covariance(), torch.tensor([[-1.0, 0.4], [-0.8, -0.5]], **f64)
    law = Gaussian(torch.zeros(2, **f64), C)
    S, R = linear_split(M, C)
    field = lambda x, t: x @ M.mT
    size = (M @ C @ M.mT).trace().item()
    want = (R @ C @ R.mT).trace().item() / size
    assert want > 0.05
    x = law.sample(4000, 1)
    split = hodge_split(field, x, None, quadratics)
    assert abs(split.value - want) < 5 * split.error < 0.1
    assert (split.gradient - x @ S.mT).square().mean() < 0.01 * x.square().mean()
    assert torch.einsum("nd,nd->n", split.gradient, split.gauge).mean().abs() < 1e-12
    edge = 6 * C.diagonal().sqrt()
    coarse, fine = (
        grid_split(field, lambda x, t: law.log_prob(x), None, -edge, edge, size=N) for N in (41, 81)
    )
    assert fine.gauge_share == pytest.approx(want, rel=2e-3) and fine.size == pytest.approx(size, rel=1e-2)
    assert abs(fine.gauge_share - want) < 0.35 * abs(coarse.gauge_share - want)  # second order: a quarter


def test_the_gauge_of_a_mixture_on_the_grid():
    """r = A grad log p has div(p r) = 0 for every p: its share is kappa^2 / (1 + kappa^2)."""
    law, t, kappa = mixture(), 0.5, 0.4
    gauge = lambda x, t: law.score(x, t) + kappa * law.score(x, t) @ turn().mT
    low, high = torch.tensor([-7.0, -5.0]), torch.tensor([7.0, 6.0])
    found = grid_split(gauge, law.log_prob, t, low, high, size=141)
    assert found.gauge_share == pytest.approx(kappa**2 / (1 + kappa**2), rel=0.01)
    assert grid_split(law.score, law.log_prob, t, low, high, size=141).gauge_share < 1e-3


def test_the_error_of_a_score_without_the_true_one():
    """Errors eps s and b are gradients, of size eps^2 tr C^-1 and ||b||^2; a gauge is not seen."""
    C = covariance(3)
    law, A = Gaussian(torch.zeros(3, **f64), C), turn(3)
    score = lambda x, t: law.score(x)
    x, b = law.sample(3000, 2), torch.tensor([0.3, -0.2, 0.1], **f64)
    planted = {
        0.0: score,
        0.04 * torch.linalg.inv(C).trace().item(): lambda x, t: 1.2 * score(x, t),
        b.square().sum().item(): lambda x, t: score(x, t) + b,
    }
    for want, field in planted.items():
        found = gradient_error(field, x, None, quadratics)
        assert abs(found.value - want) < 5 * found.error
        assert want == 0 or found.error < 0.25 * want
    gauged = gradient_error(lambda x, t: score(x, t) + 0.5 * score(x, t) @ A.mT, x, None, quadratics)
    assert abs(gauged.value) < 5 * gauged.error < 0.2


def test_the_split_sample_has_no_bias_and_an_honest_error():
    law = Gaussian(torch.zeros(2, **f64), 1.0)
    field, found = lambda x, t: law.score(x) + 0.1, []
    for s in range(150):
        x = law.sample(100, s)
        found.append(gradient_error(field, x, None, fourier_features(x, 12, 2.0, seed=s)))
    values = torch.tensor([e.value for e in found])
    mean, error = values.mean(), values.std() / sqrt(150)
    assert (
        -0.02 < mean < 0.02 + 5 * error
    )  # at most ||b||^2 = 0.02; the plug-in would say about 12 (1 + 2) / 100 more
    assert values.std().item() == pytest.approx(np.mean([e.error for e in found]), rel=0.5)


def test_the_error_far_from_zero():
    law, found = Gaussian(torch.zeros(2, **f64), 1.0), []
    for s in range(100):
        x = law.sample(200, s)
        found.append(gradient_error(lambda x, t: 1.5 * law.score(x), x, None, quadratics))
    values = torch.tensor([e.value for e in found])
    assert abs(values.mean() - 0.5) < 5 * values.std() / 10
    assert values.std().item() == pytest.approx(np.mean([e.error for e in found]), rel=0.3)


def test_features_know_their_derivatives():
    x = normal(5, 3)
    basis = fourier_features(x, 7, 1.3)
    plain = lambda x: basis(x)
    score = lambda x, t: -x
    one, two = gradient_error(score, x, None, basis), gradient_error(score, x, None, plain)
    assert one.value == pytest.approx(two.value) and one.error == pytest.approx(two.error)
    assert hodge_split(score, x, None, basis).value == pytest.approx(hodge_split(score, x, None, plain).value)


def test_what_they_say_and_refuse():
    x = normal(8, 2)
    field = lambda x, t: x @ turn().mT
    said = str(conservativity(field, x, 0.0))
    assert said.startswith("asymmetry index = 1 ") and "n = 8, 16 probes" in said and "\n" not in said
    with pytest.raises(BadInput, match="probes = 0"):
        conservativity(field, x, 0.0, probes=0)
    with pytest.raises(BadInput, match="one real coordinate"):
        circles(normal(4, 1), 1.0)
    with pytest.raises(BadInput, match="4 or more"):
        circulation(field, normal(2, 3, 2), 0.0)
    with pytest.raises(BadInput, match="cannot be differentiated"):
        gradient_error(field, x, 0.0, lambda x: x.detach())
