"""Dynamic and volume Cartesian MRI: frames one by one, shots that add up, volumes with masks of two axes."""

import numpy as np
import pytest
import torch
from laws import close, measurements, signals

from workbench import BadInput, Rng
from workbench.operators import (
    CartesianMRI,
    DynamicMRI,
    caipirinha,
    dot_test,
    epi_lines,
    poisson_disc,
    simulate_coils,
    variable_density,
)
from workbench.operators._kspace import to_kspace

# axes of the image, and of a frame's mask
SHAPES = [
    ((6, 5), (5,)),
    ((5, 6), (5, 6)),
    ((5, 7), (5, 1)),
    ((7,), (7,)),
    ((4, 5, 6), (5, 6)),
    ((6, 5), (1,)),
]


def operator(shape, columns, frames=4, coils=3):
    rng = Rng(1, "example")
    masks = rng.uniform(frames, *columns) < 0.5
    masks.view(frames, -1)[:, 0] = True
    return DynamicMRI(rng.normal(torch.empty(coils, *shape, dtype=torch.complex128)), masks)


@pytest.mark.parametrize("shape, columns", SHAPES)
def test_frames_one_after_the_other(shape, columns):
    A = operator(shape, columns)
    x, y = signals(A, 4).unflatten(0, (2, 2)), measurements(A, 4).unflatten(0, (2, 2))
    axes = tuple(range(-len(shape), 0))
    kspace = to_kspace(A.maps * x.unsqueeze(-len(shape) - 1), axes)  # (2, 2, T, C, *shape)
    frames = kspace.unbind(-len(shape) - 2)
    seen = [k[..., mask.broadcast_to(shape)] for k, mask in zip(frames, A.masks, strict=True)]
    assert x.shape == (2, 2, 4, *shape) and y.shape == (2, 2, 3, sum(part.shape[-1] for part in seen))
    assert close(A(x), torch.cat(seen, dim=-1)) and close(A.sample(kspace), A(x))
    assert all(close(part, got) for part, got in zip(A.split(A(x)), seen, strict=True))
    whole = A.masks.reshape(4, 1, *[1] * (len(shape) - len(columns)), *columns).expand(4, 1, *shape)
    assert torch.equal(A.grid(A.sample(kspace)), kspace * whole)
    assert close(A.H(y), torch.stack([B.H(part) for B, part in zip(A.frames, A.split(y), strict=True)], 2))
    assert dot_test(A) < 1e-15 and close(A.normal(x), A.H(A(x)))
    assert A.acceleration == pytest.approx(4 * np.prod(shape) / int(whole.sum()))


def test_frames_share_what_was_prepared_of_the_maps():
    A = operator((6, 5), (5,))
    assert all(B._coils is A.frames[0]._coils for B in A.frames)
    other = A.frames[0].with_mask(torch.ones(6, 5) > 0)  # another axis: prepared anew
    assert other._coils is not A.frames[0]._coils
    x = signals(other, 1)
    assert close(other(x), CartesianMRI(A.maps, other.mask)(x))


def test_solve_is_that_of_each_frame():
    A = operator((6, 5), (5,))
    b, rho = signals(A, 3), torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    x = A.solve(b, rho)
    assert torch.allclose(A.normal(x) + rho[:, None, None, None] * x, b, atol=1e-10)
    again = A.solve(b, rho, x0=x, tol=1e-6)
    assert torch.allclose(again, x, atol=1e-9)
    assert A.norm() == pytest.approx(max(B.norm() for B in A.frames))
    with pytest.raises(BadInput, match="DynamicMRI.solve: x has shape"):
        A.solve(b[:, 0], 1.0)


def test_gram_spectrum_of_space_and_of_time():
    A = operator((6, 5), (5,))
    exact = torch.stack([B.gram_spectrum((0, 1)) for B in A.frames])
    assert torch.equal(A.gram_spectrum((1, 2)), exact) and torch.equal(A.gram_spectrum((-1, -2)), exact)
    B = DynamicMRI(
        A.maps, torch.tensor([[True] * 5, *[[False] * 4 + [True]] * 3])
    )  # 1 frame of 4 has nearly all
    mean = torch.stack([frame.gram_spectrum((0, 1)) for frame in B.frames]).mean(0)
    assert (B.gram_spectrum((0, 1, 2), 512) / mean - 1).abs().mean() < 0.2  # along time: the frames' mean


def test_gradients_to_the_frames_and_the_maps():
    A = operator((4, 3), (3,), frames=2, coils=2)
    maps, x = A.maps.clone().requires_grad_(), signals(A, 1)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda maps, x: DynamicMRI(maps, A.masks)(x), (maps, x))


def test_shots_of_one_image_are_its_scan():
    maps = simulate_coils((12, 16), 3).to(torch.complex128)
    shots = epi_lines((12, 16), 2, 0.75, shots=3)
    A, scan = DynamicMRI(maps, shots), CartesianMRI(maps, shots.any(0))
    x = signals(scan, 1)[0]
    y = A(x.expand(3, 12, 16))
    assert close(A.grid(y).sum(0), scan.grid(scan(x)))
    assert close(A.H(y).sum(0), scan.normal(x))


@pytest.mark.parametrize(
    "masks, says",
    [
        (torch.ones(5) > 0, r"masks is torch.bool of shape \(5,\)"),
        (torch.ones(0, 5) > 0, r"masks is torch.bool of shape \(0, 5\)"),
        (None, "masks is a NoneType"),
        (torch.ones(2, 5), "frame 0: mask is torch.float32"),
        (torch.ones(2, 6) > 0, r"frame 0: mask has shape \(6,\)"),
        (torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]) > 0, "frame 1: mask has no True entry"),
    ],
)
def test_bad_input_is_named(masks, says):
    with pytest.raises(BadInput, match=f"DynamicMRI: {says}"):
        DynamicMRI(torch.ones(3, 6, 5) * 1j, masks)
    with pytest.raises(BadInput, match="DynamicMRI: maps is torch.float32"):
        DynamicMRI(torch.ones(3, 6, 5), masks)


@pytest.mark.parametrize("make", [poisson_disc, variable_density])
def test_a_volume_with_a_mask_of_two_axes(make):
    """Phase encodes of two axes, readouts along the first: the columns that are measured, in full."""
    shape = (5, 14, 11)
    maps = simulate_coils(shape, 4).to(torch.complex128)
    mask = make(shape[1:], 3, calibration=4)
    A = CartesianMRI(maps, mask)
    x = signals(A, 2)
    kspace = to_kspace(maps * x[:, None], (2, 3, 4))
    assert A.out_shape == (4, 5 * int(mask.sum())) and A.acceleration == pytest.approx(154 / round(154 / 3))
    assert close(A(x), kspace[..., mask.expand(shape)]) and dot_test(A) < 1e-15
    assert close(A.normal(x), A.H(A(x)))


def test_a_volume_against_sigpy():
    sense = pytest.importorskip("sigpy.mri.linop").Sense
    shape = (6, 9, 8)
    maps, mask = simulate_coils(shape, 3), caipirinha((9, 8), (1, 2), 1, calibration=2)
    A = CartesianMRI(maps, mask)
    theirs = sense(maps.numpy(), weights=mask.expand(shape).numpy().astype(np.float32))
    x = signals(A, 1)[0]
    assert np.allclose(A.grid(A(x)).numpy(), theirs(x.numpy()), atol=1e-5)
    assert np.allclose(A.H(A(x)).numpy(), theirs.H(theirs(x.numpy())), atol=1e-5)
