"""Colours and holes: what a grey image, a mosaic and a mask show."""

import numpy as np
import pytest
import torch
from laws import close, dense_matrix, signals

from workbench import BadInput, Rng
from workbench.operators import BayerMosaic, Grayscale, Mask, box_mask, dot_test, random_mask

f64, c128 = torch.float64, torch.complex128


def noise(*shape, dtype=f64, seed=0):
    return Rng(seed, "test").normal(torch.empty(1, *shape, dtype=dtype))[0]


def test_grayscale_is_the_luma_of_pillow():
    Image = pytest.importorskip("PIL.Image")
    x = (Rng(0, "test").uniform(3, 7, 9) * 255).round()
    grey = Image.fromarray(x.permute(1, 2, 0).numpy().astype(np.uint8)).convert("L")
    assert (
        np.abs(Grayscale((7, 9), dtype=f64)(x).numpy() - np.array(grey)).max() <= 1.0
    )  # theirs is rounded to integers


@pytest.mark.parametrize("shape", [(3, 5), (4,), (2, 3, 4)])
@pytest.mark.parametrize("weights", [(0.299, 0.587, 0.114), (0.5, 0.0, -2.0, 1.0)])
def test_grayscale_of_any_shape_and_weights(shape, weights):
    A = Grayscale(shape, weights, f64)
    x = signals(A, 2)
    assert (
        close(A(x), torch.einsum("c,nc...->n...", torch.tensor(weights, dtype=f64), x))
        and dot_test(A) < 1e-14
    )
    assert close(A(torch.ones(A.in_shape, dtype=f64)), torch.full(shape, sum(weights), dtype=f64))
    M = dense_matrix(A)
    want = torch.linalg.solve(M.mT @ M + 0.1 * torch.eye(M.shape[1], dtype=f64), x.flatten(1).mT).mT
    assert close(A.solve(x, 0.1).flatten(1), want, 1e4)
    assert A.norm() == pytest.approx(np.linalg.norm(weights))
    with pytest.raises(BadInput, match="rho = 0"):
        A.solve(x, 0)


def test_one_channel_is_solved_without_a_ridge():
    A = Grayscale((3, 4), (0.5,), f64)
    x = signals(A, 2)
    assert close(A.solve(A.H(A(x)), 0), x)


@pytest.mark.parametrize("shape", [(4, 6), (5, 7), (1, 3)])
@pytest.mark.parametrize("pattern", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_a_mosaic_keeps_one_colour_a_pixel(shape, pattern):
    A, x = BayerMosaic(shape, pattern, f64), noise(2, 3, *shape)
    y = A(x)
    for i in range(shape[0]):
        for j in range(shape[1]):
            assert torch.equal(y[:, i, j], x[:, "RGB".index(pattern[2 * (i % 2) + j % 2]), i, j])
    assert dot_test(A) < 1e-15 and A.norm() == 1
    assert close(A.solve(x, 0.5), x / (A.H(torch.ones(shape, dtype=f64)) + 0.5))


def test_patterns_are_shifts_of_one_sensor():
    x = noise(3, 7, 8)
    whole = BayerMosaic((7, 8), "RGGB", f64)(x)
    for pattern, i, j in [("GRBG", 0, 1), ("GBRG", 1, 0), ("BGGR", 1, 1)]:
        shifted = BayerMosaic((7 - i, 8 - j), pattern, f64)(x[:, i:, j:])
        assert torch.equal(shifted, whole[i:, j:])


@pytest.mark.parametrize("shape, keep", [((9, 8), 0.3), ((3, 5, 7), 0.92), ((11,), 1.0), ((6, 6), 0.02)])
def test_random_mask_keeps_the_share(shape, keep):
    mask = random_mask(shape, keep, seed=2)
    assert mask.shape == shape and mask.sum() == round(keep * mask.numel())
    assert torch.equal(mask, random_mask(shape, keep, seed=2))
    assert keep == 1 or not torch.equal(mask, random_mask(shape, keep, seed=3))
    x = noise(*shape)
    assert torch.equal(Mask(mask, f64).H(Mask(mask, f64)(x)), x * mask)


def test_random_mask_has_no_favourite_place():
    """400 masks that keep a half: each place is seen 200 +- 10 times; six of these is not exceeded by chance."""
    seen = sum(random_mask((5, 6), 0.5, seed=s).to(f64) for s in range(400))
    assert ((seen - 200).abs() < 60).all() and seen.std() > 3


def test_box_mask_is_a_hole():
    mask = box_mask((3, 6, 7), (1, 2), (4, 3))
    want = torch.ones(3, 6, 7, dtype=torch.bool)
    want[:, 1:5, 2:5] = False
    assert torch.equal(mask, want)
    assert torch.equal(box_mask((6, 7), (0, 6), (6, 1)), torch.arange(7).expand(6, 7) < 6)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: random_mask((3, 4), 0.0), "keep = 0.0"),
        (lambda: random_mask((3, 4), 1.5), "keep = 1.5"),
        (lambda: random_mask((3, 4), 0.01), "leaves 0 of 12"),
        (lambda: box_mask((3, 4), (1, 1), (3, 1)), "should lie inside"),
        (lambda: box_mask((3, 4), (-1, 1), (1, 1)), "corner = .*inside"),
        (lambda: BayerMosaic((3, 4, 4)), r"shape = \(3, 4, 4\)"),
        (lambda: BayerMosaic((4, 4), "RGBX"), "pattern = 'RGBX'"),
        (lambda: BayerMosaic((4, 4), "RGB"), "four letters"),
        (lambda: Grayscale((4, 4), (0.0, 0.0)), "weights = "),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(BadInput, match=words):
        make()
