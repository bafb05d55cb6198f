"""Masks of k-space: their positions by hand, their counts, their probabilities, their distances."""

from functools import partial
from math import prod

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.spatial import cKDTree

from workbench import BadInput, Rng
from workbench.operators import (
    acceleration,
    caipirinha,
    cartesian_mask,
    ellipse,
    epi_lines,
    equispaced_lines,
    gaussian_lines,
    partial_fourier,
    poisson_disc,
    random_lines,
    variable_density,
)
from workbench.operators.sampling import _drawn

SIZES = [16, 45, 68, 127, 320, 321, 372]
DRAWN = [
    cartesian_mask,
    random_lines,
    equispaced_lines,
    gaussian_lines,
    variable_density,
    partial(poisson_disc, calibration=6),
]


def middle_of(n, side):
    return slice(n // 2 - side // 2, n // 2 - side // 2 + side)


@pytest.mark.parametrize("draw", DRAWN)
def test_a_mask_is_a_pure_function_of_its_seed(draw):
    torch.manual_seed(0)
    first = draw((60, 96), 3, seed=5)
    torch.manual_seed(1)
    assert first.dtype == torch.bool and first.shape[-1] == 96
    assert torch.equal(first, draw((60, 96), 3, seed=5))
    assert any(not torch.equal(first, draw((60, 96), 3, seed=seed)) for seed in (6, 7))


@pytest.mark.parametrize("W", SIZES)
def test_random_lines_have_fastmris_middle_and_probability(W):
    for R, fraction in [(4, 0.08), (8, 0.04), (3.3, 0.1)]:
        low = round(W * fraction)
        p = (W / R - low) / (W - low)
        masks = torch.stack([random_lines((5, W), R, fraction, seed) for seed in range(200)])
        start = (W - low + 1) // 2
        assert masks[:, start : start + low].all()
        outside = torch.cat([masks[:, :start], masks[:, start + low :]], dim=1).double()
        assert abs(outside.mean() - p) < 5 * (p * (1 - p) / outside.numel()) ** 0.5
        assert abs(masks.sum(1).double().mean() - W / R) < 5 * (W * p / 200) ** 0.5
        assert (outside.mean(0) - p).abs().max() < 5 * (p * (1 - p) / 200) ** 0.5


def test_the_middle_of_fastmri_for_every_parity():
    for W, low, first in [
        (16, 4, 6),
        (16, 3, 7),
        (15, 3, 6),
        (15, 4, 6),
    ]:  # centred but for odd W and even low
        mask = equispaced_lines((W,), 3, low / W)
        others = [torch.nonzero(~equispaced_lines((W,), 3, low / W, s)).flatten().tolist() for s in range(40)]
        assert mask[first : first + low].all()
        assert {i for missing in others for i in missing} >= {first - 1, first + low}


def test_equispaced_lines_by_hand():
    """16 columns, R = 4, 2 in the middle (7, 8): spacing 4 (2 - 16) / (8 - 16) = 7, offsets 0 to 6, below column 15."""
    lines = [{0, 7, 14}, {1, 8}, {2, 9}, {3, 10}, {4, 11}, {5, 12}, {6, 13}]
    expected = {frozenset(some | {7, 8}) for some in lines}
    found = {
        frozenset(equispaced_lines((16,), 4, 2 / 16, seed).nonzero()[:, 0].tolist()) for seed in range(80)
    }
    assert found == expected


@pytest.mark.parametrize("W", SIZES)
def test_equispaced_lines_are_fastmris(W):
    for R, fraction in [(4, 0.08), (8, 0.04), (3, 0.1)]:
        low = int(round(W * fraction))
        spacing = (R * (low - W)) / (low * R - W)
        known = []
        for offset in range(round(spacing)):
            mask = np.zeros(W, dtype=bool)
            mask[np.around(np.arange(offset, W - 1, spacing)).astype(int)] = True
            mask[(W - low + 1) // 2 : (W - low + 1) // 2 + low] = True
            known.append(mask.tolist())
        found = [equispaced_lines((W,), R, fraction, seed).tolist() for seed in range(20 * round(spacing))]
        assert {known.index(mask) for mask in found} == set(range(round(spacing)))
        counts = np.array(known).sum(1)
        assert abs(counts.mean() - W / R) < 2


@pytest.mark.parametrize("W, R, c", [(64, 4, 8), (101, 3, 7), (320, 8, 24), (40, 1.5, 0), (33, 33, 1)])
def test_gaussian_lines_have_their_probabilities(W, R, c):
    k = (np.arange(W) - W // 2) / (W / 2)
    weight, keep = np.exp(-(k**2) / (2 * 0.3**2)), round(W / R)

    def chance(log_a):
        p = np.minimum(1, np.exp(log_a) * weight)
        p[middle_of(W, c)] = 1
        return p

    p = chance(brentq(lambda a: chance(a).sum() - keep, -40, 40)) if keep > c else chance(-99)
    masks = torch.stack([gaussian_lines((9, W), R, 0.3, c, seed) for seed in range(400)])
    assert (masks.sum(1) == keep).all() and masks[:, middle_of(W, c)].all()
    assert (np.abs(masks.double().mean(0).numpy() - p) <= 5 * np.sqrt(p * (1 - p) / 400) + 1e-6).all()


@pytest.mark.parametrize(
    "shape, R, c, power",
    [((64,), 4, 8, 3), ((33, 20), 6, 5, 2), ((16, 41), 2.5, (4, 6), 5), ((8, 9, 10), 5, 3, 1)],
)
def test_variable_density_has_its_probabilities(shape, R, c, power):
    axes = np.meshgrid(*[(np.arange(n) - n // 2) / (n / 2) for n in shape], indexing="ij")
    r, keep = np.sqrt(sum(a**2 for a in axes) / len(shape)), round(prod(shape) / R)
    sides = (c,) * len(shape) if isinstance(c, int) else c
    box = tuple(middle_of(n, side) for n, side in zip(shape, sides, strict=True))

    def chance(offset):
        p = np.clip((1 - r) ** power + offset, 0, 1)
        p[box] = 1
        return p

    p = chance(brentq(lambda offset: chance(offset).sum() - keep, -1, 1))
    masks = torch.stack([variable_density(shape, R, power, c, seed) for seed in range(400)])
    assert (masks.flatten(1).sum(1) == keep).all() and masks[(slice(None), *box)].all()
    assert (np.abs(masks.double().mean(0).numpy() - p) <= 5.5 * np.sqrt(p * (1 - p) / 400) + 1e-6).all()
    assert acceleration(masks[0]) == pytest.approx(prod(shape) / keep)


def test_systematic_sampling_has_the_probabilities_it_is_given():
    """Two entries tell a random start from a fixed one."""
    p = torch.tensor([0.2, 0.8], dtype=torch.float64)
    drawn = torch.stack([_drawn(p, Rng(seed, "mask")) for seed in range(400)])
    assert (drawn.sum(1) == 1).all() and abs(drawn[:, 0].double().mean() - 0.2) < 0.1


def test_points_of_a_variable_density_do_not_avoid_each_other():
    masks = torch.stack([variable_density((200,), 4, 1, 0, seed) for seed in range(200)]).double()
    p = masks.mean(0)
    assert (masks[:, 1:] * masks[:, :-1]).mean() > 0.9 * (p[1:] * p[:-1]).mean()


def spacing(shape, calibration):
    """r of the docstring, and the coordinates of the points in steps of the longer axis."""
    r = 0
    for axis, n in enumerate(shape):
        beyond = np.maximum(np.abs(np.arange(n) - n // 2) - calibration / 2, 0)
        r = r + (beyond / beyond.max()).reshape([-1 if a == axis else 1 for a in (0, 1)]) ** 2
    return np.sqrt(r), [max(shape) / n for n in shape]


@pytest.mark.parametrize(
    "shape, R, c, seed",
    [
        ((96, 96), 8, 10, 0),
        ((61, 88), 5, 9, 1),
        ((120, 41), 12, 6, 2),
        ((64, 65), 3, 0, 3),
        ((60, 60), 1.5, 0, 3),
    ],
)
def test_poisson_disc_packs_and_covers(shape, R, c, seed):
    mask = poisson_disc(shape, R, c, seed).numpy()
    assert mask.sum() == round(prod(shape) / R)
    box = tuple(middle_of(n, c) for n in shape)
    assert mask[box].all()
    mask[box] = False
    r, scale = spacing(shape, c)
    where = np.argwhere(mask)
    points, near = where * scale, r[mask]
    pairs = cKDTree(points).query_pairs(30, output_type="ndarray")
    gap = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    least = np.minimum(near[pairs[:, 0]], near[pairs[:, 1]])
    slope = ((gap - 0.85)[least > 0] / least[least > 0]).min()  # the largest slope whose discs are kept apart
    assert slope > 0.1 * R
    # with that slope next to nothing more fits in
    free = np.ones(shape, dtype=bool)
    free[box] = False
    every = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1) * scale
    for p, d in zip(points, 0.85 + slope * near, strict=True):
        free &= np.linalg.norm(every - p, axis=-1) >= d
    added = 0
    while free.any():
        q = tuple(np.argwhere(free)[0])
        free &= np.linalg.norm(every - every[q], axis=-1) >= 0.85 + slope * r[q]
        added += 1
    assert added <= 0.03 * len(points) + 2


def test_poisson_disc_has_the_density_of_sigpys():
    poisson = pytest.importorskip("sigpy.mri").poisson
    r, _ = spacing((128, 128), 16)
    ring = np.minimum((6 * r).astype(int), 6)
    ours = np.mean([poisson_disc((128, 128), 8, 16, seed).numpy() for seed in range(3)], axis=0)
    theirs = [poisson((128, 128), 8, (16, 16), crop_corner=False, seed=seed).real for seed in range(3)]
    shares = [(ours[ring == i].mean(), np.mean(theirs, axis=0)[ring == i].mean()) for i in range(7)]
    assert all(abs(a / b - 1) < 0.2 for a, b in shares), shares


def test_poisson_disc_stays_in_its_region():
    region = ellipse((50, 72))
    mask = poisson_disc((50, 72), 6, 8, seed=1, region=region)
    assert not (mask & ~region).any() and acceleration(mask) == pytest.approx(6)
    assert not region[0, 0] and region[0, 36] and region[25, 0] and region[25, 71]
    assert abs(region.double().mean() - np.pi / 4) < 0.01


@pytest.mark.parametrize("R", [1, 1.1, 1.5, 2, 2.5, 20])
def test_poisson_disc_reaches_every_acceleration(R):
    for shape, c in [((40, 40), 4), ((24, 100), 3), ((1, 30), 1)]:
        mask = poisson_disc(shape, R, c)
        assert int(mask.sum()) == round(prod(shape) / R)
        assert R < 4 or mask.shape[0] == 1 or mask[:, -1].double().mean() < 0.8 / R  # thinner at the edge


@pytest.mark.parametrize("W", [8, 9, 320, 321])
@pytest.mark.parametrize("fraction", [5 / 8, 3 / 4, 7 / 8, 1])
def test_partial_fourier_has_a_symmetric_core(W, fraction):
    mask = partial_fourier((3, W), fraction)
    n = round(fraction * W)
    assert int(mask.sum()) == n and mask[W - n :].all()
    core = min(n - (W + 1) // 2, (W - 1) // 2)
    assert mask[W // 2 - core : W // 2 + core + 1].all() and core >= 0
    assert n == W or not mask[W // 2 - core - 1]


@pytest.mark.parametrize(
    "W, R, fraction, shots", [(64, 2, 1, 1), (65, 3, 0.75, 4), (320, 4, 5 / 8, 3), (31, 1, 0.9, 5)]
)
def test_epi_lines(W, R, fraction, shots):
    masks = epi_lines((7, W), R, fraction, shots)
    assert masks.shape == (shots, W) and (masks.sum(0) <= 1).all()
    scan = masks.any(0)
    lines = [i for i in range(W - round(fraction * W), W) if (i - W // 2) % R == 0]
    assert scan.nonzero()[:, 0].tolist() == lines and scan[W // 2]
    for j, shot in enumerate(masks):
        assert shot.nonzero()[:, 0].tolist() == lines[j::shots]


def test_caipirinha_is_a_lattice():
    shape = (24, 31)
    for steps, shift in [((1, 4), 2), ((2, 2), 1), ((2, 3), 0), ((3, 4), 3)]:
        mask = caipirinha(shape, steps, shift)
        k1, k2 = (a - n // 2 for a, n in zip(mask.nonzero(as_tuple=True), shape, strict=True))
        lattice = {(steps[0] * a, steps[1] * b + shift * a) for a in range(-40, 41) for b in range(-80, 81)}
        inside = {(p, q) for p, q in lattice if -12 <= p < 12 and -15 <= q < 16}
        assert set(zip(k1.tolist(), k2.tolist(), strict=True)) == inside
        assert acceleration(mask) == pytest.approx(prod(steps), rel=0.1)
    boxed = caipirinha(shape, (2, 2), 1, (6, 4))
    assert boxed[middle_of(24, 6), middle_of(31, 4)].all() and boxed.sum() > mask.sum()


def test_cartesian_mask():
    mask = cartesian_mask((100, 321), 4, calibration=25, seed=3)
    assert mask.shape == (321,) and mask.dtype == torch.bool
    assert int(mask.sum()) == 80 and mask[160 - 12 : 160 + 13].all()
    assert torch.equal(mask, cartesian_mask((100, 321), 4, calibration=25, seed=3))
    assert not torch.equal(mask, cartesian_mask((100, 321), 4, calibration=25, seed=4))
    share = torch.stack([cartesian_mask((321,), 4, 25, seed) for seed in range(40)]).double().mean(0)
    assert share[100:140].mean() > 2 * share[:40].mean() > 0
    assert cartesian_mask((8,), 1, 4).all()


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: cartesian_mask((320, 320), 0.5), "acceleration = 0.5"),
        (lambda: cartesian_mask((320, 320), 4, 90), "acceleration = 4"),
        (lambda: cartesian_mask((320, 320), 1000, 0), "acceleration = 1000"),
        (lambda: random_lines((320,), 4, 0.3), "center_fraction = 0.3"),
        (lambda: random_lines((320,), 0.5), "acceleration = 0.5"),
        (lambda: equispaced_lines((320,), 4, 0.25), "below 1 / acceleration"),
        (lambda: gaussian_lines((320,), 40), "from 1 to 13.33 for 320 points, 24 of them"),
        (lambda: gaussian_lines((320,), 4, sigma=0), "sigma = 0"),
        (lambda: variable_density((64, 64), 0.9), "acceleration = 0.9"),
        (lambda: variable_density((64, 64), 4, calibration=(3, 4, 5)), r"calibration = \(3, 4, 5\)"),
        (lambda: poisson_disc((64, 64), 4, 40), "acceleration = 4 should be from 1 to 2.56"),
        (lambda: poisson_disc((64, 64), 1.1, 4, region=ellipse((64, 64))), "from 1.2"),
        (lambda: poisson_disc((64, 64), 4, region=ellipse((64, 65))), r"region is torch.bool \(64, 65\)"),
        (lambda: poisson_disc((64,), 4), r"shape = \(64,\)"),
        (lambda: partial_fourier((64,), 0.5), "fraction = 0.5"),
        (lambda: partial_fourier((64,), 1.1), "fraction = 1.1"),
        (lambda: random_lines((17,), 8, 0, 15), "seed = 15 draws none of 17 columns at acceleration = 8"),
        (lambda: equispaced_lines((16,), 16, 0, 17), "seed = 17 draws none of 16 columns"),
        (lambda: epi_lines((64,), 2.5), "acceleration = 2.5"),
        (lambda: epi_lines((64,), 32, shots=3), "shots = 3 should be from 1 to 2"),
        (lambda: caipirinha((64, 64), (2, 2), 2), "shift = 2"),
        (lambda: acceleration(torch.zeros(4) > 0), "no True entry"),
    ],
)
def test_bad_masks_are_named(make, says):
    with pytest.raises(BadInput, match=says):
        make()
