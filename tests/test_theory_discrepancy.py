"""Kernel and classifier distances: closed forms, no bias, silence on equal laws, and a planted error that is seen."""

from math import sqrt

import pytest
import torch

from theory.diagnostics import c2st, energy_distance, mmd
from theory.distributions import Gaussian, GaussianMixture
from workbench import BadInput, Rng

f64 = dict(dtype=torch.float64)


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "discrepancy").normal(torch.empty(*shape, dtype=dtype))


def exact_mmd(mu, width, d):
    """MMD^2 of N(0, I) and N(mu, I): 2 (w^2 / (w^2 + 2))^(d/2) (1 - exp(-||mu||^2 / (2 (w^2 + 2))))."""
    c = (width**2 / (width**2 + 2)) ** (d / 2)
    return 2 * c * (1 - torch.exp(-mu.square().sum() / (2 * (width**2 + 2)))).item()


def test_mmd_against_its_closed_form_and_unbiased():
    mu = torch.tensor([0.5, -0.3, 0.0], **f64)
    for shift in (mu, 0 * mu):
        squares = torch.tensor(
            [
                mmd(normal(40, 3, seed=2 * s), normal(30, 3, seed=2 * s + 1) + shift, 1.3, repeats=2).square
                for s in range(200)
            ]
        )
        want = exact_mmd(shift, 1.3, 3)
        assert abs(squares.mean() - want) < 5 * squares.std() / 200**0.5 < 0.01
    assert squares.min() < 0  # unbiased at zero: of both signs


def test_energy_distance_against_a_closed_form():
    """Of N(0, 1) and N(a, 1): 2 E|x - y| = 2 (2 sqrt(2) phi(a / sqrt 2) + a (2 Phi(a / sqrt 2) - 1)), minus 4 / sqrt(pi)."""
    a = 0.8
    z = torch.distributions.Normal(0.0, 1.0)
    u = torch.tensor(a / sqrt(2), **f64)
    want = 2 * (2 * sqrt(2) * z.log_prob(u).exp() + a * (2 * z.cdf(u) - 1)).item() - 4 / sqrt(torch.pi)
    squares = torch.tensor(
        [
            energy_distance(normal(150, 1, seed=2 * s), normal(200, 1, seed=2 * s + 1) + a, repeats=2).square
            for s in range(200)
        ]
    )
    assert abs(squares.mean() - want) < 5 * squares.std() / 200**0.5 < 0.1 * want


DISTANCES = [mmd, energy_distance, c2st]


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_laws_are_at_the_floor_nineteen_times_in_twenty(distance):
    found = [
        distance(normal(60, 2, seed=2 * s), normal(60, 2, seed=2 * s + 1), seed=s).at_floor for s in range(60)
    ]
    assert sum(found) >= 49  # 57 expected; fewer once in a thousand


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("plant", ["shift", "narrow", "modes"])
def test_planted_errors_are_seen(distance, plant):
    x, y = normal(300, 2), normal(300, 2, seed=1)
    modes = GaussianMixture(
        [0.5, 0.5], torch.tensor([[-1.0, 0.0], [1.0, 0.0]], **f64) * 0.95, torch.tensor([0.1, 0.1], **f64)
    )
    x = {"shift": x + 0.6, "narrow": 0.5 * x, "modes": modes.sample(300, 2)}[plant]
    gap = distance(x, y)
    assert not gap.at_floor and gap.interval[0] > 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_complex_draws_and_a_seed(distance):
    z, v = normal(40, 2, dtype=torch.complex128), 1 + normal(50, 2, seed=1, dtype=torch.complex128)
    real = lambda u: torch.view_as_real(u).flatten(1)
    assert distance(z, v) == distance(real(z), real(v)) and distance(z, v).dimension == 4


def test_the_accuracy_is_that_of_the_best_classifier():
    """N(0, I) against N(mu, I): Phi(||mu|| / 2) at most; a quadratic law would be Bayes, features cost a little."""
    mu = torch.tensor([1.0, 1.0], **f64)
    gap = c2st(normal(1500, 2), normal(1500, 2, seed=1) + mu)
    want = torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(sqrt(2) / 2)).item()
    assert want - 0.04 < gap.value < want + 0.03
    assert gap.interval[0] < want < gap.interval[1] + 0.02
    rotated = c2st(normal(600, 2), normal(600, 2, seed=1) * torch.tensor([1.5, 0.4]))
    assert rotated.value > 0.65  # equal means: only products tell them apart


def test_the_interval_holds_the_distance_between_the_laws():
    mu, hits = torch.tensor([0.6, 0.0], **f64), 0
    for s in range(60):
        low, high = mmd(
            normal(80, 2, seed=2 * s), normal(80, 2, seed=2 * s + 1) + mu, 1.0, repeats=10
        ).interval
        hits += low <= sqrt(exact_mmd(mu, 1.0, 2)) <= high
    assert hits >= 50


@pytest.mark.parametrize("distance", [mmd, energy_distance])
def test_the_width_of_the_interval(distance):
    found = [
        distance(normal(250, 2, seed=2 * s), normal(250, 2, seed=2 * s + 1) + 1.0, repeats=3)
        for s in range(100)
    ]
    spread = torch.tensor([gap.square for gap in found]).std().item()
    widths = [(gap.interval[1] ** 2 - gap.interval[0] ** 2) / 3.92 for gap in found]
    assert sum(widths) / 100 == pytest.approx(spread, rel=0.2)


def test_held_out_means_held_out():
    gaps = [c2st(normal(40, 6, seed=2 * s), normal(40, 6, seed=2 * s + 1), repeats=5) for s in range(40)]
    values = torch.tensor([gap.value for gap in gaps])
    assert abs(values.mean() - 0.5) < 5 * values.std() / 40**0.5 < 0.08


def test_a_law_gives_the_floor():
    law = Gaussian(torch.zeros(2, **f64), 1.0)
    x, y = law.sample(80, 1, stream="x"), law.sample(80, 2, stream="y")
    one, two = mmd(x, y, 1.0, law=law), mmd(x, y, 1.0)
    assert (
        one.value == two.value and one.floor == pytest.approx(two.floor, rel=0.6) and one.floor != two.floor
    )


def test_what_they_say_and_refuse():
    x = normal(40, 2)
    assert "at the floor" in str(energy_distance(x, normal(40, 2, seed=3))) and "times" in str(c2st(x, x + 3))
    with pytest.raises(BadInput, match="width = 0"):
        mmd(x, x, width=0.0)
    with pytest.raises(BadInput, match="alike"):
        c2st(x, normal(40, 3))
