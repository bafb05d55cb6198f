"""Residuals: nothing on exact laws under four processes, and the size that was worked out by hand on planted errors."""

import pytest
import torch

from theory.diagnostics import (
    continuity_residual,
    divergence,
    fokker_planck_residual,
    log_density_residual,
    residual_square,
)
from theory.distributions import Gaussian, GaussianMixture
from workbench import BadInput, Rng
from workbench.diffusion import EDM, Flow, OrnsteinUhlenbeck, PoissonFlow, VariancePreserving

f64 = dict(dtype=torch.float64)
TIMES = [(EDM(), 0.6), (VariancePreserving(), 0.3), (Flow(), 0.4), (OrnsteinUhlenbeck(), 0.5)]


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "fokker-planck").normal(torch.empty(*shape, dtype=dtype))


def mixture(process=None):
    means = torch.tensor([[-2.0, 0.0], [2.0, 1.0]], **f64)
    forms = torch.stack([torch.tensor([[0.5, 0.2], [0.2, 0.4]], **f64), 0.3 * torch.eye(2, **f64)])
    return GaussianMixture([0.3, 0.7], means, forms, process)


def velocity(law):
    process = law.process
    return lambda x, t: process.f(t) * x - 0.5 * process.g2(t) * law.score(x, t)


@pytest.mark.parametrize("process, t", TIMES)
def test_exact_laws_leave_nothing(process, t):
    law = mixture(process)
    x = law.at(t).sample(40, 1)
    found = fokker_planck_residual(law.score, x, t, process)
    assert found.relative < 1e-8 and found.vectors.shape == x.shape
    found = log_density_residual(law.log_prob, x, t, process)
    assert found.value < 1e-16 and abs(found.mean) < 1e-8
    found = continuity_residual(velocity(law), law.log_prob, x, t)
    assert found.value < 1e-16 and abs(found.mean) < 1e-8


@pytest.mark.parametrize("process, t", TIMES)
def test_each_term_of_the_drift_counts(process, t):
    """The score of another process at the same time: what a sign, a factor 2 or sigma for sigma^2 would do."""
    law, other = mixture(process), mixture(process)
    x = law.at(t).sample(40, 1)
    stretched = lambda x, s: other.score(x, 1.1 * s)
    assert fokker_planck_residual(stretched, x, t, process).relative > 0.01
    assert log_density_residual(lambda x, s: other.log_prob(x, 1.1 * s), x, t, process).value > 1e-4


def test_a_scaled_score_of_a_gaussian():
    """(1 + e) s with p_t = N(0, v), v = w + t^2: r = -g^2 (1 + e) e x / v^2, relative 2 e sigma^2 / v."""
    w, t, e, d = 0.7, 0.8, 0.2, 3
    law = Gaussian(torch.zeros(d, **f64), w)
    x, v = law.at(t).sample(500, 1), w + t**2
    found = fokker_planck_residual(lambda x, t: (1 + e) * law.score(x, t), x, t, law.process)
    assert torch.allclose(found.vectors, -2 * t * (1 + e) * e * x / v**2, atol=1e-10)
    assert found.relative == pytest.approx(2 * e * t**2 / v, rel=1e-8)
    assert found.relative_error < 1e-6  # r is a multiple of s: nothing of it depends on the points
    want = d * (2 * t * (1 + e) * e) ** 2 / v**3
    assert abs(found.value - want) < 5 * found.error < want
    assert found.weighted == pytest.approx(t**4 * found.value)


def test_the_error_of_the_relative_residual():
    law, t = mixture(), 0.6
    wrong = lambda x, t: law.score(x, t) + 0.5 * torch.sin(x)
    found = [fokker_planck_residual(wrong, law.at(t).sample(80, s), t, law.process) for s in range(60)]
    spread = torch.tensor([f.relative for f in found]).std().item()
    assert sum(f.relative_error for f in found) / 60 == pytest.approx(spread, rel=0.3)


def test_a_consistent_score_may_be_wrong():
    """The exact score of another Gaussian has no residual: it certifies consistency, not accuracy."""
    law, other = Gaussian(torch.zeros(2, **f64), 1.0), Gaussian(torch.zeros(2, **f64), 0.7)
    x, t = law.at(0.5).sample(30, 1), 0.5
    assert fokker_planck_residual(other.score, x, t, law.process).relative < 1e-8
    assert (other.score(x, t) / law.score(x, t) - 1).abs().min() > 0.3


def test_a_field_that_is_no_gradient():
    """s = M x: r = -g^2 M^T M x + f (M + M^T) x, with M^T M and not M M where M is not symmetric."""
    M, x, process, t = normal(3, 3), normal(6, 3, seed=1), OrnsteinUhlenbeck(1.5, 0.8), 0.4
    found = fokker_planck_residual(lambda x, t: x @ M.mT, x, t, process)
    f, g2 = process.f(t), process.g2(t)
    assert torch.allclose(found.vectors, x @ (-g2 * M.mT @ M + f * (M + M.mT)), atol=1e-9)


def test_probes_are_unbiased_for_the_vector():
    law, t = mixture(), 0.6
    x = law.at(t).sample(5, 1)
    cubic = lambda x, t: law.score(x, t) - 0.1 * x**3 + x.roll(1, 1) ** 2 * x
    want = fokker_planck_residual(cubic, x, t, law.process).vectors
    draws = torch.stack(
        [fokker_planck_residual(cubic, x, t, law.process, probes=1, seed=s).vectors for s in range(200)]
    )
    spread = draws.std(0) / 200**0.5
    assert ((draws.mean(0) - want).abs() < 5 * spread + 1e-9).all() and spread.max() > 0


def quadratic(P, c=0.0):
    return lambda x, t: -0.5 * ((x @ P) * x).sum(1) + c * t


def test_the_residual_of_a_quadratic_potential():
    """u = -x P x / 2 + c t: R = c + f (d - x P x) + g^2 / 2 (tr P - ||P x||^2)."""
    root, x, process, t = normal(3, 3), normal(50, 3, seed=1), OrnsteinUhlenbeck(), 0.3
    P = root @ root.mT
    f, g2 = process.f(t).item(), process.g2(t).item()
    R = f * (3 - ((x @ P) * x).sum(1)) + 0.5 * g2 * (P.trace() - (x @ P).square().sum(1))
    for c in (0.0, 2.0):
        found = log_density_residual(quadratic(P, c), x, t, process)
        assert torch.allclose(found.residuals, R + c, atol=1e-8)
        assert found.value == pytest.approx(R.var().item()) and found.mean == pytest.approx(
            R.mean().item() + c
        )


def test_two_probes_are_unbiased_and_one_is_not():
    process, t, P = OrnsteinUhlenbeck(1.0, 1.0), 0.3, 0.7 + 0.3 * torch.eye(8, **f64)
    x = 0.2 * normal(4000, 8, seed=1)
    exact = log_density_residual(quadratic(P), x, t, process)
    off = P.square().sum() - P.diagonal().square().sum()
    bias = (process.g2(t) ** 2 / 4 * 2 * off).item()
    for probes in (1, 3):
        found = residual_square(quadratic(P), x, t, process, probes=probes, seed=probes)
        assert abs(found.value - exact.value) < 5 * found.error
        assert abs(found.plug_in - exact.value - bias / probes) < 5 * found.error < bias / probes


def test_continuity_holds_with_a_gauge_and_breaks_without_the_half():
    law, t = mixture(VariancePreserving()), 0.3
    process, x = law.process, law.at(0.3).sample(60, 1)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], **f64)
    gauged = lambda x, t: velocity(law)(x, t) + 2 * law.score(x, t) @ turn.mT
    assert continuity_residual(gauged, law.log_prob, x, t).value < 1e-14
    whole = lambda x, t: process.f(t) * x - process.g2(t) * law.score(x, t)
    assert continuity_residual(whole, law.log_prob, x, t).value > 0.1
    turned = lambda x, t: velocity(law)(x, t) + x @ turn.mT  # no gauge: the law is not symmetric about 0
    want = ((x @ turn.mT) * law.score(x, t)).sum(1).var().item()
    assert continuity_residual(turned, law.log_prob, x, t).value == pytest.approx(want, rel=1e-6)


def test_divergence_and_the_variance_of_a_probe():
    M, x = normal(5, 5), normal(3000, 5, seed=1)
    assert torch.allclose(divergence(lambda x: x @ M.mT, x), M.trace().expand(3000))
    assert torch.allclose(divergence(lambda x, t: t * x**2, x, t=0.5), x.sum(1))
    one = divergence(lambda x: x @ M.mT, x, probes=1)
    want = (0.5 * (M + M.mT).square().sum() - 2 * M.diagonal().square().sum()).item()
    assert abs(one.mean() - M.trace()) < 5 * (want / 3000) ** 0.5
    assert one.var().item() == pytest.approx(want, rel=0.15)
    assert torch.allclose(
        divergence(lambda x: (x**3).detach(), x), 3 * x.square().sum(1), rtol=1e-5, atol=1e-5
    )


def test_what_cannot_be_differentiated_is_differenced():
    law, t = mixture(VariancePreserving()), 0.3
    x = law.at(t).sample(10, 1)
    wrong = lambda x, t: 1.1 * law.score(x, t)
    blind = lambda x, t: wrong(x, t).detach()
    one, two = (fokker_planck_residual(f, x, t, law.process) for f in (blind, wrong))
    assert torch.allclose(one.vectors, two.vectors, atol=1e-4)
    log_p = lambda x, t: 1.1 * law.log_prob(x, t).detach()
    one, two = (
        log_density_residual(f, x, t, law.process) for f in (log_p, lambda x, t: 1.1 * law.log_prob(x, t))
    )
    assert torch.allclose(one.residuals, two.residuals, atol=1e-4)


def test_complex_laws_count_two_coordinates_an_entry():
    root = normal(2, 2, dtype=torch.complex128)
    C = root @ root.mH + torch.eye(2)
    law = Gaussian(normal(2, seed=1, dtype=torch.complex128), C, VariancePreserving())
    x, t = law.sample(20, 1), 0.2
    assert fokker_planck_residual(law.score, x, t, law.process).relative < 1e-8
    found = log_density_residual(law.log_prob, x, t, law.process)
    assert found.value < 1e-16 and abs(found.mean) < 1e-8
    assert torch.allclose(divergence(lambda x: x, x), torch.full((20,), 4.0, **f64))


def test_single_precision():
    law = Gaussian(torch.zeros(3), 0.5)
    x, t = law.at(0.7).sample(50, 1), 0.7
    assert fokker_planck_residual(law.score, x, t, law.process).relative < 1e-3


def test_what_they_say_and_refuse():
    law, t = mixture(), 0.6
    x = law.at(t).sample(20, 1)
    said = str(fokker_planck_residual(law.score, x, t, law.process))
    assert said.startswith("Fokker-Planck residual = ") and "relative" in said and "\n" not in said
    with pytest.raises(BadInput, match="PoissonFlow has no drift"):
        fokker_planck_residual(law.score, x, t, PoissonFlow(2))
    with pytest.raises(BadInput, match="object has no drift"):
        log_density_residual(law.log_prob, x, t, object())
