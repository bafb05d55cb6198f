"""Memorisation: copies are found beyond the share that fresh draws show, and halves agree where one law was learned."""

import pytest
import torch

from theory.diagnostics import halves_similarity, memorised, nearest_ratio
from workbench import BadInput, Rng

f64 = dict(dtype=torch.float64)


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "memorisation").normal(torch.empty(*shape, dtype=dtype))


def test_the_ratio_by_hand():
    train = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 30.0]], **f64)
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 5.0]], **f64)
    assert torch.allclose(nearest_ratio(x, train), torch.tensor([1 / 3, 0.0, 1.0], **f64))
    complex_ratio = nearest_ratio(torch.view_as_complex(x)[:, None], torch.view_as_complex(train)[:, None])
    assert torch.allclose(complex_ratio, nearest_ratio(x, train))


def test_one_fresh_draw_in_nine_looks_memorised_in_the_plane():
    """d_1^2 / d_2^2 is uniform where the density is flat, so that P(d_1 < d_2 / 3) = 3^-d."""
    train = Rng(0, "train").uniform(4000, 2)
    fresh = 0.1 + 0.8 * Rng(1, "fresh").uniform(2000, 2)
    found = memorised(fresh, train, 0.1 + 0.8 * Rng(2, "fresh").uniform(2000, 2))
    assert abs(found.value - 1 / 9) < 5 * found.error < 0.05
    assert abs(found.fresh - 1 / 9) < 5 * found.error and not found.found and abs(found.z) < 4


def test_copies_are_found():
    train, fresh = normal(500, 3), normal(400, 3, seed=1)
    x = normal(400, 3, seed=2)
    x[:100] = train[:100] + 1e-3 * normal(100, 3, seed=3)
    found = memorised(x, train, fresh)
    want = found.fresh + 0.25 * (1 - found.fresh)
    assert found.found and abs(found.value - want) < 5 * (found.error + 0.01)
    assert found.excess == pytest.approx(found.value - found.fresh)
    assert not memorised(normal(400, 3, seed=4), train, fresh).found
    assert memorised(train, train, fresh).value == 1


def test_two_halves():
    d, law = 40, normal(200, 40)
    same = halves_similarity(law, law + 0.1 * normal(200, d, seed=1))
    want = 1 / (1 + 0.01) ** 0.5
    assert abs(same.value - want) < 5 * same.error < 0.01 and abs(same.shuffled) < 0.02
    A, B = normal(50, d, seed=2), normal(50, d, seed=3)  # two models that give back their own data
    picked = torch.arange(200) % 50
    copies = halves_similarity(A[picked], B[picked], train=torch.cat([A, B]))
    assert abs(copies.value) < 5 * copies.error < 0.2 and copies.nearest == pytest.approx(1)
    learned = halves_similarity(law, law, train=torch.cat([A, B]))
    assert learned.value == pytest.approx(1) and learned.nearest < 0.7


def test_the_mean_signal_is_taken_off():
    c = 10 * torch.ones(40, **f64)
    a, b = c + normal(100, 40), c + normal(100, 40, seed=1)
    assert halves_similarity(a, b).value > 0.9 > 0.2 > abs(halves_similarity(a, b, centre=c).value)


def test_what_they_say_and_refuse():
    x = normal(20, 2)
    assert str(memorised(x, normal(9, 2, seed=1), x)).startswith("memorised share = ")
    with pytest.raises(BadInput, match="train is"):
        nearest_ratio(x, normal(9, 3))
    with pytest.raises(BadInput, match="alike"):
        halves_similarity(x, x[:5])
