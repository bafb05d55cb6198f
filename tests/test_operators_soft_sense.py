"""Soft SENSE: the plain formula, its dense matrix, CartesianMRI for one set, and images that two sets tell apart."""

import numpy as np
import pytest
import torch
from laws import basis, close, measurements, signals

from workbench import BadInput, Rng
from workbench.operators import CartesianMRI, SoftSENSE, dot_test
from workbench.operators._kspace import to_kspace

# masks that vary along the last axis, the last two, all, or only a leading one; odd and even, 1 to 3 axes
SHAPES = [
    ((6, 5), (5,)),
    ((5, 6), (5, 6)),
    ((5, 7), (5, 1)),
    ((7,), (7,)),
    ((4, 5, 6), (5, 6)),
    ((5, 4, 3), (5, 1, 3)),
    ((6, 5), (1,)),
]


def operator(shape, columns, sets=2, coils=3, dtype=torch.complex128):
    rng = Rng(1, "example")
    mask = rng.uniform(*columns) < 0.6
    mask.view(-1)[0] = True
    return SoftSENSE(rng.normal(torch.empty(sets, coils, *shape, dtype=dtype)), mask)


@pytest.mark.parametrize("shape, columns", SHAPES)
@pytest.mark.parametrize("sets", [1, 2, 3])
def test_the_formula(shape, columns, sets):
    A = operator(shape, columns, sets)
    x, axes = signals(A, 4).unflatten(0, (2, 2)), tuple(range(-len(shape), 0))
    kspace = to_kspace((A.maps * x.unsqueeze(-len(shape) - 1)).sum(-len(shape) - 2), axes)
    assert x.shape == (2, 2, sets, *shape)
    assert close(A(x), kspace[..., A.mask.broadcast_to(shape)]) and close(A.sample(kspace), A(x))
    assert torch.equal(A.grid(A.sample(kspace)), kspace * A.mask)
    assert dot_test(A) < 1e-15 and close(A.normal(x), A.H(A(x)))
    assert A.acceleration == pytest.approx(np.prod(shape) / int(A.mask.broadcast_to(shape).sum()))


@pytest.mark.parametrize("shape, columns", SHAPES)
def test_one_set_is_cartesian_mri_and_sets_add_up(shape, columns):
    A = operator(shape, columns)
    one = [CartesianMRI(maps, A.mask) for maps in A.maps]
    x, y = signals(A, 2), measurements(A, 2)
    assert close(A(x), one[0](x[:, 0]) + one[1](x[:, 1]))
    assert close(A.H(y), torch.stack([B.H(y) for B in one], dim=1))
    alone = SoftSENSE(A.maps[:1], A.mask)
    assert torch.equal(alone(x[:, :1]), one[0](x[:, 0]))
    axes = tuple(range(1, len(shape) + 1))
    waves = torch.fft.ifftn(
        basis(A.in_shape, torch.float64) + 0j, dim=tuple(a + 1 for a in axes), norm="ortho"
    )
    exact = A(waves).abs().square().sum((-2, -1)).reshape(A.in_shape)
    assert torch.allclose(A.gram_spectrum(axes), exact, atol=1e-12)
    first, last = A.gram_spectrum((0,), 16), A.gram_spectrum((-len(A.in_shape),), 16)
    assert torch.equal(first, last)  # axes count from the front or from the end of the signal


def test_coils_in_groups_and_large_batches_are_the_same_numbers(monkeypatch):
    from workbench.operators import cartesian_mri

    A = operator((6, 5), (5,), coils=7)
    x, y = signals(A, 9), measurements(A, 9)
    full = A(x), A.H(y), A.normal(x)
    monkeypatch.setattr(cartesian_mri, "CHUNK", 60)  # two coils and one image at a time
    B = SoftSENSE(A.maps, A.mask)
    assert all(close(part, all_) for part, all_ in zip((B(x), B.H(y), B.normal(x)), full, strict=True))
    assert len(B._coils) == 4


def test_two_images_on_top_of_each_other_come_apart():
    """Two far slices, excited at once, are seen through two sets of maps."""
    A = operator((12, 9), (9,), coils=6)
    x = signals(A, 1)
    assert torch.allclose(A.solve(A.H(A(x)), 1e-10), x, atol=1e-5)
    b = signals(A, 2)
    v = A.solve(b, 0.3)
    assert torch.allclose(A.normal(v) + 0.3 * v, b, atol=1e-9)


def test_gradients_to_the_images_and_the_maps():
    A = operator((4, 5), (5,), coils=2)
    maps, x = A.maps.clone().requires_grad_(), signals(A, 1)[0].requires_grad_()
    y = measurements(A, 1)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda maps, x: SoftSENSE(maps, A.mask)(x), (maps, x))
    assert torch.autograd.gradcheck(lambda maps, y: SoftSENSE(maps, A.mask).H(y), (maps, y))
    assert torch.autograd.gradcheck(lambda maps, x: SoftSENSE(maps, A.mask).normal(x), (maps, x))


@pytest.mark.parametrize(
    "maps, mask, says",
    [
        (
            torch.ones(3, 5) * 1j,
            torch.ones(5) > 0,
            r"maps is torch.complex64 of shape \(3, 5\).*maps\[None\]",
        ),
        (torch.ones(2, 3, 6, 5), torch.ones(5) > 0, "maps is torch.float32"),
        (torch.full((2, 3, 6, 5), float("inf")) * 1j, torch.ones(5) > 0, "maps has NaN"),
        (torch.ones(2, 3, 6, 5) * 1j, torch.ones(6) > 0, r"mask has shape \(6,\).*\(6, 5\)"),
        (torch.ones(2, 3, 6, 5) * 1j, torch.ones(3, 6, 5) > 0, r"mask has shape \(3, 6, 5\)"),
        (torch.ones(2, 3, 6, 5) * 1j, torch.ones(5), "mask is torch.float32"),
        (torch.ones(2, 3, 6, 5) * 1j, torch.ones(5) < 0, "mask has no True entry"),
    ],
)
def test_bad_input_is_named(maps, mask, says):
    with pytest.raises(BadInput, match=f"SoftSENSE: {says}"):
        SoftSENSE(maps, mask)
