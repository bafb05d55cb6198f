"""Blurs with every boundary against scipy, kernels against their moments and areas, and where each may not be used."""

import numpy as np
import pytest
import torch
from laws import close, signals
from scipy import ndimage
from scipy.signal import convolve2d

from workbench import BadInput, Rng
from workbench.operators import (
    CircularBlur,
    Crop,
    Reflect,
    Replicate,
    SpaceVaryingBlur,
    bilinear_weights,
    defocus_kernel,
    dot_test,
    embed,
    gaussian_kernel,
    motion_kernel,
    reflect_blur,
    replicate_blur,
    uniform_kernel,
    valid_blur,
)

f64 = torch.float64
CASES = [
    ((9, 8), (3, 4)),
    ((7, 12), (5, 1)),
    ((6, 6), (2, 6)),
    ((11, 5), (4, 5)),
    ((4, 5), (4, 5)),
    ((13, 1), (2, 1)),
]
shapes = pytest.mark.parametrize("shape, size", CASES)
BOUNDARIES = {"reflect": reflect_blur, "nearest": replicate_blur}


def noise(*shape, dtype=f64, seed=0):
    return Rng(seed, "test").normal(torch.empty(1, *shape, dtype=dtype))[0]


def periodic_blur(psf, shape):
    return CircularBlur(embed(psf, shape))


@shapes
@pytest.mark.parametrize(
    "mode, blur", [("wrap", periodic_blur), ("reflect", reflect_blur), ("nearest", replicate_blur)]
)
def test_blur_is_scipys_convolution(mode, blur, shape, size):
    psf, x = noise(*size), noise(*shape, seed=1)
    A = blur(psf, shape)
    assert A.in_shape == A.out_shape == shape
    assert close(A(x), torch.from_numpy(ndimage.convolve(x.numpy(), psf.numpy(), mode=mode)))
    assert dot_test(A) < 1e-14
    flipped = torch.from_numpy(ndimage.correlate(x.numpy(), psf.numpy(), mode=mode))
    assert psf.numel() < 3 or not close(A(x), flipped, 1e12)  # a correlation would be another operator


@shapes
def test_valid_blur_is_scipys(shape, size):
    psf, x = noise(*size), noise(*shape, seed=1)
    A = valid_blur(psf, shape)
    assert close(A(x), torch.from_numpy(convolve2d(x.numpy(), psf.numpy(), mode="valid")))
    assert A.out_shape == tuple(n - k + 1 for n, k in zip(shape, size, strict=True)) and dot_test(A) < 1e-14


@pytest.mark.parametrize("mode, blur", [("reflect", reflect_blur), ("nearest", replicate_blur)])
def test_a_stated_centre_is_scipys_origin(mode, blur):
    psf, x = noise(5, 4), noise(8, 9, seed=1)
    want = ndimage.convolve(x.numpy(), psf.numpy(), mode=mode, origin=(-1, 1))
    assert close(blur(psf, (8, 9), centre=(1, 3))(x), torch.from_numpy(want))
    assert not close(blur(psf, (8, 9))(x), torch.from_numpy(want), 1e12)


def test_blur_of_a_volume_and_of_a_complex_signal():
    psf, x = noise(3, 2, 5), noise(5, 6, 7, seed=1)
    want = ndimage.convolve(x.numpy(), psf.numpy(), mode="reflect")
    assert close(reflect_blur(psf, (5, 6, 7))(x), torch.from_numpy(want))
    psf, x = noise(3, 2, dtype=torch.complex128), noise(5, 6, dtype=torch.complex128, seed=1)
    want = convolve2d(x.numpy(), psf.numpy(), mode="valid")
    assert close(valid_blur(psf, (5, 6))(x), torch.from_numpy(want))
    assert dot_test(replicate_blur(psf, (5, 6))) < 1e-14


@pytest.mark.parametrize(
    "small, big, offset", [((5, 4), (9, 7), (3, 0)), ((2, 3), (11, 12), (4, 8)), ((1, 6), (4, 6), (3, 0))]
)
@pytest.mark.parametrize("kind, mode", [(Reflect, "symmetric"), (Replicate, "edge")])
def test_extension_is_numpys_padding(kind, mode, small, big, offset):
    x = noise(3, *small)
    pads = [(o, b - o - s) for s, b, o in zip(small, big, offset, strict=True)]
    A = kind(small, big, offset, f64)
    assert torch.equal(A(x), torch.from_numpy(np.pad(x.numpy(), [(0, 0), *pads], mode=mode)))
    assert torch.equal(Crop(big, small, offset, f64)(A(x)), x)


@pytest.mark.parametrize("big, small", [((8, 7), (5, 4)), ((9, 6), (4, 6)), ((7, 4), (1, 3))])
def test_the_middle_stays_the_middle(big, small):
    x = torch.zeros(big, dtype=f64)
    x[tuple(n // 2 for n in big)] = 1
    y = Crop(big, small, dtype=f64)(x)
    assert y[tuple(n // 2 for n in small)] == 1
    assert torch.equal(Crop(big, small, dtype=f64).H(y), x)
    for kind in (Reflect, Replicate):
        assert torch.equal(Crop(big, small, dtype=f64)(kind(small, big, dtype=f64)(y)), y)


KERNELS = [
    lambda shape, dtype: gaussian_kernel(shape, (0.9, 0.6), dtype),
    lambda shape, dtype: gaussian_kernel(shape, (0.9, 0.5), dtype, angle=0.6),
    lambda shape, dtype: uniform_kernel(shape, 3, dtype),
    lambda shape, dtype: uniform_kernel(shape, (2, 3.4), dtype),
    lambda shape, dtype: uniform_kernel(shape, 0.7, dtype),
    lambda shape, dtype: motion_kernel(shape, 6.3, 0.8, dtype),
    lambda shape, dtype: motion_kernel(shape, 0.4, -2.0, dtype),
    lambda shape, dtype: defocus_kernel(shape, 2.7, dtype),
    lambda shape, dtype: defocus_kernel(shape, 0.3, dtype),
]


def moments(kernel):
    """(mean, covariance) of a kernel as a density over (down, right), in pixels."""
    where = torch.stack(
        torch.meshgrid(*[torch.fft.fftfreq(n, 1 / n, dtype=f64) for n in kernel.shape], indexing="ij")
    )
    mean = (where * kernel).sum((1, 2))
    return mean, torch.einsum("aij,bij,ij->ab", where, where, kernel) - mean[:, None] * mean


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("shape", [(15, 14), (12, 17)])
def test_kernels_sum_to_one_and_move_nothing(make, shape):
    k = make(shape, f64)
    assert k.shape == shape and k.dtype == f64 and (k >= 0).all() and k.sum() == pytest.approx(1, abs=1e-14)
    mean, _ = moments(k)
    assert mean.abs().max() < 1e-9
    assert make(shape, torch.float32).dtype == torch.float32


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, np.pi / 2, 2.5, -0.7])
def test_motion_has_the_moments_of_its_line(angle):
    """Linear interpolation adds the mean of t (1 - t) to each variance, t the fractional part of that coordinate."""
    length = 9.7
    _, cov = moments(motion_kernel((25, 24), length, angle, f64))
    along = torch.linspace(-0.5, 0.5, 200001, dtype=f64) * length
    direction = torch.tensor([-np.sin(angle), np.cos(angle)], dtype=f64)
    frac = (along[:, None] * direction).frac().abs()
    want = length**2 / 12 * direction[:, None] * direction + torch.diag((frac * (1 - frac)).mean(0))
    assert torch.allclose(cov, want, atol=2e-4)
    mirrored = moments(motion_kernel((25, 24), length, -angle, f64))[1]
    assert abs(np.sin(2 * angle)) < 0.1 or not torch.allclose(mirrored, want, atol=0.1)


def test_motion_along_an_axis_by_hand():
    k = motion_kernel((5, 8), 2.0, 0.0, f64)
    assert torch.allclose(k[0], torch.tensor([2, 1, 0, 0, 0, 0, 0, 1], dtype=f64) / 4)
    assert k[1:].abs().max() < 1e-15
    assert torch.allclose(motion_kernel((8, 5), 2.0, np.pi / 2, f64), k.T, atol=1e-15)


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.0, 2.7, 4.95])
def test_defocus_has_the_area_of_its_disc_in_every_pixel(radius):
    k = defocus_kernel((13, 12), radius, f64)
    t = (torch.arange(13 * 64, dtype=f64) + 0.5) / 64 - 6.5
    disc = (
        (t[:, None] ** 2 + t**2 <= radius**2)
        .to(f64)
        .unflatten(0, (13, 64))
        .unflatten(2, (13, 64))
        .mean((1, 3))
    )
    k = torch.fft.fftshift(k)  # the middle is at (6, 6) of both
    assert torch.allclose(k * np.pi * radius**2, disc[:, :12], atol=6e-3)
    assert k[6, 6] == pytest.approx(min(1, np.pi * radius**2) / (np.pi * radius**2), abs=1e-3) or radius < 0.8
    assert torch.allclose(k, k.flip(0), atol=1e-15) and torch.allclose(k[1:12, 1:], k[1:12, 1:].T, atol=1e-15)


def test_uniform_covers_pixels_by_their_share():
    assert torch.allclose(uniform_kernel((7,), 2, f64), torch.tensor([2, 1, 0, 0, 0, 0, 1], dtype=f64) / 4)
    assert torch.allclose(uniform_kernel((6,), 3, f64), torch.tensor([1, 1, 0, 0, 0, 1], dtype=f64) / 3)
    assert torch.allclose(uniform_kernel((6,), 3.5, f64), torch.tensor([4, 4, 1, 0, 1, 4], dtype=f64) / 14)


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2, -1.1])
def test_gaussian_turns_anticlockwise(angle):
    _, cov = moments(gaussian_kernel((41, 40), (1.5, 3.0), f64, angle=angle))
    right, up = (
        np.array([0, 1]),
        np.array([-1, 0]),
    )  # as displayed, row 0 on top; sigma 3 is along the last axis
    long, short = np.cos(angle) * right + np.sin(angle) * up, np.cos(angle) * up - np.sin(angle) * right
    want = 9.0 * np.outer(long, long) + 2.25 * np.outer(short, short)
    assert np.allclose(cov.numpy(), want, atol=2e-3)


def test_embed_puts_the_centre_at_zero():
    psf = torch.arange(1.0, 7.0).reshape(2, 3)
    k = embed(psf, (4, 5))
    assert k[0, 0] == psf[1, 1] and k[-1, 0] == psf[0, 1] and k[0, 1] == psf[1, 2] and k.sum() == psf.sum()
    assert embed(psf, (4, 5), centre=(0, 2))[0, 0] == psf[0, 2]
    k = gaussian_kernel((6, 7), 1.1, f64)
    assert torch.equal(embed(torch.fft.fftshift(k), (6, 7)), k)


def test_space_varying_blur_is_a_sum_of_blurred_parts():
    kernels, weights = noise(3, 6, 5), noise(3, 6, 5, seed=1)
    A = SpaceVaryingBlur(kernels, weights)
    x = signals(A, 2)
    assert close(A(x), sum(CircularBlur(k)(w * x) for k, w in zip(kernels, weights, strict=True)))
    same = SpaceVaryingBlur(kernels[:1].expand(3, 6, 5), bilinear_weights((6, 5), (3, 1), f64))
    assert close(same(x), CircularBlur(kernels[0])(x))


def test_space_varying_blur_has_the_kernel_of_each_place():
    """A delta at node k of the grid is blurred by kernel k alone, one halfway between two by their mean."""
    weights = bilinear_weights((9, 5), (3, 1), f64)
    kernels = noise(3, 9, 5)
    A = SpaceVaryingBlur(kernels, weights)
    x = torch.zeros(3, 9, 5, dtype=f64)
    x[0, 0, 2] = x[1, 4, 2] = x[2, 2, 2] = 1
    want = torch.stack(
        [
            kernels[0].roll(2, 1),
            kernels[1].roll((4, 2), (0, 1)),
            ((kernels[0] + kernels[1]) / 2).roll((2, 2), (0, 1)),
        ]
    )
    assert close(A(x), want)


@pytest.mark.parametrize(
    "shape, grid", [((9, 8), (3, 4)), ((5, 7, 4), (2, 1, 4)), ((6,), (6,)), ((1, 5), (1, 2))]
)
def test_bilinear_weights_are_a_partition_of_unity(shape, grid):
    w = bilinear_weights(shape, grid, f64)
    assert w.shape == (np.prod(grid), *shape) and (w >= 0).all()
    assert close(w.sum(0), torch.ones(shape, dtype=f64))
    assert (w.flatten(1).max(1).values > 0.5).all()


def test_blind_gradient_reaches_the_kernel():
    k = noise(4, 5).requires_grad_()
    x, v = noise(4, 5, seed=1), noise(4, 5, seed=2)
    (g,) = torch.autograd.grad((CircularBlur(k)(x) * v).sum(), k)
    h = 1e-6
    for i in [(0, 0), (3, 2)]:
        step = torch.zeros(4, 5, dtype=f64)
        step[i] = h
        up, down = [((CircularBlur(k.detach() + s)(x) * v).sum()).item() for s in (step, -step)]
        assert g[i].item() == pytest.approx((up - down) / (2 * h), rel=1e-6)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Crop((4, 5), (5, 5)), "small = .*inside big"),
        (lambda: Crop((4, 5), (2, 2), (3, 0)), "offset = .*inside big"),
        (lambda: Crop((4, 5), (2,)), "as many axes"),
        (lambda: Reflect((4, 5), (3, 9)), "Reflect.*inside big"),
        (lambda: Replicate((4,), (8,), (5,)), "Replicate.*inside big"),
        (lambda: valid_blur(torch.ones(3, 3), (2, 5)), "psf has shape"),
        (lambda: embed(torch.ones(3), (4, 4)), "psf has shape"),
        (lambda: gaussian_kernel((5, 5), -1.0), "sigma = -1.0"),
        (lambda: gaussian_kernel((5, 5), (1.0,)), "sigma = .*each axis"),
        (lambda: gaussian_kernel((5, 5, 5), 1.0, angle=0.1), r"\(H, W\)"),
        (lambda: uniform_kernel((5, 5), 5), "size = 5 does not fit"),
        (lambda: motion_kernel((5, 9), 0), "length = 0"),
        (lambda: motion_kernel((5, 9), 6, np.pi / 2), "length = 6 does not fit"),
        (lambda: defocus_kernel((9, 5), 2.5), "radius = 2.5 does not fit"),
        (lambda: SpaceVaryingBlur(torch.ones(3, 4, 4), torch.ones(2, 4, 4)), "weights"),
        (lambda: bilinear_weights((4, 4), (5, 1)), "grid"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(BadInput, match=words):
        make()
