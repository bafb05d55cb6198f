"""Local dimension by five roads: closed forms on a low-rank Gaussian and a sphere, and where each is known to fail."""

import pytest
import torch

from theory.diagnostics import (
    effective_rank,
    flow_jacobian,
    jacobian_spectrum,
    local_dimension,
    local_pca_dimension,
    mle_dimension,
    normal_bundle_dimension,
    participation_ratio,
    two_nn_dimension,
)
from theory.distributions import Gaussian
from workbench import BadInput, Rng
from workbench.diffusion import EDM, VariancePreserving

f64 = dict(dtype=torch.float64)


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "dimension").normal(torch.empty(*shape, dtype=dtype))


def flat(rank=4, d=12, process=None):
    """A Gaussian of variance 1 on a random subspace, 1e-12 across it."""
    Q = torch.linalg.qr(normal(d, d)).Q
    level = torch.cat([torch.ones(rank, **f64), torch.full((d - rank,), 1e-12, **f64)])
    return Gaussian(torch.zeros(d, **f64), (Q * level) @ Q.mT, process)


def sphere(n, d=3, k=3):
    """n points on the unit sphere of k dimensions, in d."""
    x = normal(n, k, seed=2)
    x = x / x.norm(dim=1, keepdim=True)
    return torch.cat([x, torch.zeros(n, d - k, **f64)], 1)


@pytest.mark.parametrize("process", [EDM(), VariancePreserving()])
@pytest.mark.parametrize("kappa", [0.05, 0.5])
def test_flipd_in_closed_form(process, kappa):
    """r - sigma^2 r / v + sigma^2 alpha^2 |P x|^2 / v^2 with v = alpha^2 + sigma^2, at a clean point x."""
    law, t = flat(process=process), process.time(kappa)
    x, (a, s) = law.sample(60, 1), (process.alpha(t).item(), process.sigma(t).item())
    found = local_dimension(law.score, x, t, process)
    v = a**2 + s**2
    want = 4 - 4 * s**2 / v + (s * a / v) ** 2 * x.square().sum(1)
    assert torch.allclose(found.dimensions, want, atol=1e-4)
    assert found.value == pytest.approx(want.mean().item(), abs=1e-4)
    probed = local_dimension(law.score, x, t, process, probes=20)
    assert abs(probed.value - want.mean().item()) < 5 * probed.error


def test_flipd_at_noised_points_is_the_ambient_dimension():
    law, t = flat(), 0.3
    found = local_dimension(law.score, law.at(t).sample(4000, 1), t, law.process)
    assert abs(found.value - 12) < 5 * found.error < 0.5
    clean = local_dimension(law.score, law.sample(100, 1), t, law.process)
    assert abs(clean.value - 4) < 0.5


def test_normal_bundle_counts_and_says_when_it_cannot():
    law = flat()
    x = law.sample(10, 1)
    found = normal_bundle_dimension(law.score, x, 0.05, law.process)
    assert (found.dimensions == 4).all() and found.gap > 3 and found.spectra.shape == (10, 12)
    blurred = normal_bundle_dimension(law.score, x, 20.0, law.process)
    assert blurred.gap < 3  # at such noise all directions look alike
    assert (
        normal_bundle_dimension(law.score, 5 + x, 0.05, law.process).value == 4
    )  # the mean score is taken off


def test_a_lying_score_changes_the_count():
    """A score that also pushes along two of the four directions of the data has dimension 2."""
    law, t = flat(), 0.05
    Q = torch.linalg.qr(normal(12, 12)).Q[:, :2]
    planted = lambda x, t: law.score(x, t) - (x @ Q) @ Q.mT / t**2
    x = law.sample(10, 1) * 0
    assert local_dimension(planted, x, t, law.process).value == pytest.approx(2, abs=0.02)
    assert (normal_bundle_dimension(planted, x, t, law.process).dimensions == 2).all()


def test_jacobian_spectrum_exact_and_randomised():
    law, t = flat(d=30), 0.3
    x = law.sample(5, 1)
    s = jacobian_spectrum(law.denoise, x, t)
    want = torch.cat([torch.full((4,), 1 / (1 + t**2), **f64), torch.zeros(26, **f64)])
    assert torch.allclose(s, want.expand(5, 30), atol=1e-8)
    assert torch.allclose(jacobian_spectrum(law.denoise, x, t, k=6), want[:6].expand(5, 6), atol=1e-8)
    assert (effective_rank(s) == 4).all() and torch.allclose(participation_ratio(s), torch.tensor(4.0, **f64))
    M = normal(30, 30, seed=4) * torch.logspace(0, -6, 30, **f64)
    field = lambda x, t: torch.tanh(x @ M.mT)  # not symmetric: J v and J^T v differ
    whole, few = jacobian_spectrum(field, x, t), jacobian_spectrum(field, x, t, k=5)
    assert torch.allclose(whole[:, :5], few, rtol=1e-3)


def test_effective_rank_thresholds_the_root():
    s = torch.tensor([10.0, 1.2, 0.5], **f64)  # energy 100, 1.44, 0.25: roots 0.9917, 0.9988, 1
    assert effective_rank(s) == 1 and effective_rank(s, 0.995) == 2 and effective_rank(s, 1.0) == 3
    assert effective_rank(torch.ones(1000, **f64)) == 981  # 990 by the energy
    assert effective_rank(s.flip(0)) == 1  # order does not matter
    assert participation_ratio(torch.ones(7, **f64)) == pytest.approx(7)


@pytest.mark.parametrize("process", [EDM(), VariancePreserving()])
def test_flow_jacobian_of_a_gaussian(process):
    """The flow maps sqrt(v_T) to sqrt(v_t0) in each direction, v = alpha^2 c + sigma^2."""
    law = flat(rank=2, d=4, process=process)
    times = process.time(torch.logspace(1, -2, 121, **f64))
    s = flow_jacobian(law.score, law.at(times[0]).sample(3, 1), process, torch.cat([times, torch.zeros(1)]))
    a, b = process.alpha(times[[0, -1]]), process.sigma(times[[0, -1]])
    on, off = ((a**2 + b**2)[1] / (a**2 + b**2)[0]).sqrt() * b[0], b[1] / b[0] * b[0]
    want = torch.stack([on, on, off, off]).expand(3, 4)
    assert torch.allclose(s, want, rtol=0.02)
    assert s[0, 1] > 10 * s[0, 2]


def test_neighbours_find_the_sphere():
    x = sphere(1500, d=8)
    mle, two, pca = mle_dimension(x), two_nn_dimension(x), local_pca_dimension(x)
    assert abs(mle.value - 2) < 0.1 and abs(two.value - 2) < 5 * two.error < 0.5
    assert abs(pca.value - 2) < 0.1
    ball = normal(1500, 4)
    assert mle_dimension(ball).value == pytest.approx(4, rel=0.12)
    assert abs(two_nn_dimension(ball).value - 4) < 5 * two_nn_dimension(ball).error


def test_the_factor_of_levina_and_bickel_is_unbiased():
    """k - 2 and not k - 1: on a line of uniform points the mean over points is 1."""
    found = [mle_dimension(Rng(s, "line").uniform(300, 1), k=5).value for s in range(40)]
    mean = torch.tensor(found)
    assert abs(mean.mean() - 1) < 5 * mean.std() / 40**0.5 < 0.1


def test_against_scikit_dimension():
    skdim = pytest.importorskip("skdim")
    x = sphere(600, d=6)
    assert mle_dimension(x).value == pytest.approx(skdim.id.MLE(K=20).fit(x.numpy()).dimension_, rel=0.1)
    assert two_nn_dimension(x).value == pytest.approx(skdim.id.TwoNN().fit(x.numpy()).dimension_, rel=0.15)


def test_complex_points_count_twice():
    law = Gaussian(torch.zeros(3, dtype=torch.complex128), 1e-10)
    found = local_dimension(law.score, law.sample(4, 1), 0.3, law.process)
    assert found.value == pytest.approx(0, abs=1e-6)
    wide = Gaussian(torch.zeros(3, dtype=torch.complex128), 1.0)
    assert local_dimension(wide.score, wide.sample(4, 1), 1e-3, wide.process).value == pytest.approx(
        6, abs=1e-3
    )
    assert jacobian_spectrum(wide.denoise, wide.sample(4, 1), 1.0).shape == (4, 6)


def test_what_they_say_and_refuse():
    x = normal(30, 2)
    assert str(mle_dimension(x)).startswith("local dimension = ")
    with pytest.raises(BadInput, match="k = 40 neighbours of 30"):
        mle_dimension(x, k=40)
    with pytest.raises(BadInput, match="coincide"):
        two_nn_dimension(x.repeat(2, 1))
    with pytest.raises(BadInput, match="one real coordinate"):
        normal_bundle_dimension(lambda x, t: -x, normal(3, 1), 0.1, EDM())
