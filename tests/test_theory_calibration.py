"""Calibration: exact conjugate posteriors pass as often as promised; narrow, wide, shifted and decorrelated ones do not."""

from math import sqrt

import pytest
import torch

from theory.diagnostics import coverage, expected_calibration_error, hpd_coverage, sbc, sbc_ranks, tarp
from workbench import BadInput, Rng

f64 = dict(dtype=torch.float64)


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "calibration").normal(torch.empty(*shape, dtype=dtype))


def posteriors(N=400, n=60, d=2, narrow=1.0, shift=0.0, seed=0, dtype=torch.float64):
    """x ~ N(0, I), y = x + N(0, 1/4): x | y ~ N(0.8 y, 0.2); what is drawn has its spread and mean changed."""
    x = normal(N, d, seed=3 * seed, dtype=dtype)
    y = x + 0.5 * normal(N, d, seed=3 * seed + 1, dtype=dtype)
    z = normal(N, n * d, seed=3 * seed + 2, dtype=dtype).reshape(N, n, d)
    return 0.8 * y[:, None] + shift + narrow * sqrt(0.2) * z, x


@pytest.mark.parametrize("n, level", [(9, 0.8), (60, 0.9)])
def test_coverage_of_exact_draws_is_what_n_allows(n, level):
    found = coverage(*posteriors(2000, n), level)
    assert abs(found.z) < 5 and found.error < 0.02 and abs(found.expected - level) < 1 / (n + 1)
    skewed = coverage(*(v.exp() for v in posteriors(2000, n)), level)
    assert skewed.value == pytest.approx(found.value)  # ranks do not know the scale


def test_coverage_of_wrong_draws():
    narrow = coverage(*posteriors(2000, narrow=0.5))
    want = 2 * torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(0.5 * 1.645)).item() - 1
    assert narrow.z < -5 and narrow.value == pytest.approx(want, abs=0.03)
    assert coverage(*posteriors(2000, narrow=2.0)).z > 5 and coverage(*posteriors(2000, shift=0.5)).z < -5


def test_regions_of_highest_density():
    draws, truths = posteriors(3000, 99)
    density = lambda x, y: -(x - y).square().sum(-1)
    for narrow, wrong in ((1.0, False), (0.7, True)):
        draws, truths = posteriors(3000, 99, narrow=narrow)
        centre = draws.mean(1)  # nearly 0.8 y; the density of draws and truth alike
        found = hpd_coverage(density(draws, centre[:, None]), density(truths, centre), 0.9)
        assert found.expected == pytest.approx(0.9)
        # in two dimensions 1 - (1 - level)^(narrow^2) is what a narrow normal law covers
        assert found.value == pytest.approx(1 - 0.1 ** (narrow**2), abs=5 * found.error + 0.02)
        assert (found.z < -5) == wrong


def test_sbc_passes_nineteen_times_in_twenty():
    found = [sbc(*posteriors(150, 19, seed=s)) for s in range(60)]
    assert sum(f.calibrated for f in found) >= 51  # at least 57 expected
    assert sum(f.chi2_p_value > 0.05 for f in found) >= 51
    assert all((f.p_value > 0.05) == f.calibrated for f in found)


@pytest.mark.parametrize("plant", [dict(narrow=0.6), dict(narrow=1.7), dict(shift=0.25)])
def test_sbc_sees_what_was_planted(plant):
    found = sbc(*posteriors(**plant))
    assert not found.calibrated and found.p_value < 1e-3 and found.chi2_p_value < 1e-3
    mean, spread = found.positions.mean().item(), found.positions.var().item()
    if "shift" in plant:
        assert mean < 0.45  # draws lie too high, truths low among them
    else:
        assert (spread > 1 / 12) == (plant["narrow"] < 1)


def test_positions_and_counts():
    draws, truths = posteriors(100, 19)
    found = sbc(draws, truths, bins=10)
    ranks = (draws < truths[:, None]).sum(1)
    assert torch.equal((found.positions * 20).floor().long(), ranks)
    assert found.counts.shape == (2, 10) and (found.counts.sum(1) == 100).all()
    again = sbc_ranks(ranks, 19, bins=10)
    assert again.value == found.value and again.chi2_p_value == found.chi2_p_value
    assert sbc_ranks(torch.zeros(100).long(), 19).p_value < 1e-10
    same = sbc(torch.zeros(400, 9), torch.zeros(400))  # all tie: ranks are drawn
    assert same.p_value > 1e-4


def test_sbc_of_numbers_and_of_complex_signals():
    draws, truths = posteriors(d=1)
    assert sbc(draws[..., 0], truths[:, 0]).value == sbc(draws, truths).value
    found = sbc(*posteriors(d=2, dtype=torch.complex128))
    assert found.positions.shape == (400, 4) and found.calibrated


def test_tarp_passes_and_sees_a_lost_correlation():
    passed = sum(tarp(*posteriors(150, 40, seed=s)).calibrated for s in range(40))
    assert passed >= 33  # 38 expected
    assert not tarp(*posteriors(narrow=0.6)).calibrated
    L = torch.tensor([[1.0, 0.0], [0.95, 0.312]], **f64)
    x = normal(1500, 2, seed=90) @ L.mT
    exact = normal(1500, 120, seed=91).reshape(1500, 60, 2) @ L.mT
    lost = normal(1500, 120, seed=91).reshape(1500, 60, 2)  # the right law in each entry alone
    corner = torch.tensor([3.0, -3.0], **f64).expand(1500, 2)
    assert tarp(exact, x, corner).calibrated and not tarp(lost, x, corner).calibrated
    assert sbc(lost, x).calibrated
    curve = tarp(exact, x, corner).curve(torch.linspace(0.1, 0.9, 9, **f64))
    assert (curve - torch.linspace(0.1, 0.9, 9, **f64)).abs().max() < 0.05


def test_calibration_of_a_classifier():
    logits = 2 * normal(4000, 3)
    p = torch.softmax(logits, 1)
    labels = (Rng(5, "labels").uniform(4000, 1) > p.cumsum(1)).sum(1)
    fair = expected_calibration_error(p, labels)
    assert abs(fair.value - fair.floor) < 4 * fair.error
    sure = expected_calibration_error(torch.softmax(3 * logits, 1), labels)
    assert not sure.at_floor and sure.value > 0.08
    by_hand = torch.tensor([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10, **f64)
    labels = torch.tensor([0] * 8 + [1] * 2 + [0] * 10)
    found = expected_calibration_error(by_hand, labels, bins=2)
    assert found.value == pytest.approx(0.5 * 0.1 + 0.5 * 0.4)


def test_what_they_say_and_refuse():
    draws, truths = posteriors()
    assert str(coverage(draws, truths)).startswith("coverage = 0.") and "expected" in str(
        coverage(draws, truths)
    )
    with pytest.raises(BadInput, match="draws are"):
        sbc(draws, truths[:, :1])
    with pytest.raises(BadInput, match="level = 2"):
        coverage(draws, truths, 2)
    with pytest.raises(BadInput, match="from 0 to n = 5"):
        sbc_ranks(torch.arange(10), 5)
    with pytest.raises(BadInput, match="sum to 1"):
        expected_calibration_error(torch.ones(4, 2), torch.zeros(4).long())
