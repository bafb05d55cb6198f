"""Lower resolution: resampling against Pillow, scikit-image and polynomials; pixel centres; super-resolution solved."""

import numpy as np
import pytest
import torch
from laws import close, dense_matrix, signals

from workbench import BadInput, Rng
from workbench.operators import (
    BlurDownsample,
    CircularBlur,
    Downsample,
    Kronecker,
    Resize,
    box,
    dot_test,
    embed,
    gaussian_kernel,
    keys_cubic,
    lanczos3,
    super_resolution,
    triangle,
    uniform_super_resolution,
)

f64, c128 = torch.float64, torch.complex128
SIZES = [((16, 15), (7, 30)), ((9, 20), (9, 5)), ((31, 8), (10, 13)), ((12, 5), (48, 1))]
sizes = pytest.mark.parametrize("shape, resized", SIZES)
FILTERS = {"BICUBIC": keys_cubic, "BILINEAR": triangle, "LANCZOS": lanczos3, "BOX": box}


def noise(*shape, dtype=f64, seed=0):
    return Rng(seed, "test").normal(torch.empty(1, *shape, dtype=dtype))[0]


def ramp(n):
    return torch.arange(n, dtype=f64)


@sizes
@pytest.mark.parametrize("name", FILTERS)
def test_resize_is_pillows(name, shape, resized):
    Image = pytest.importorskip("PIL.Image")
    x = noise(*shape).to(torch.float32)
    picture = Image.fromarray(x.numpy()).resize(resized[::-1], getattr(Image.Resampling, name))
    got = Resize(shape, resized, FILTERS[name])(x)
    assert torch.allclose(got, torch.from_numpy(np.array(picture)), atol=3e-6)


def test_resize_without_antialias_is_skimages_when_enlarging():
    transform = pytest.importorskip("skimage.transform")
    x = noise(9, 7)
    want = transform.resize(x.numpy(), (18, 21), order=1, mode="edge", anti_aliasing=False)
    assert torch.allclose(Resize((9, 7), (18, 21), triangle, f64)(x), torch.from_numpy(want), atol=1e-12)


@sizes
@pytest.mark.parametrize("filter", FILTERS.values())
def test_resize_keeps_constants(filter, shape, resized):
    A = Resize(shape, resized, filter, f64)
    assert close(A(torch.ones(shape, dtype=f64)), torch.ones(resized, dtype=f64))
    assert dot_test(A) < 1e-14


@pytest.mark.parametrize("n, m", [(40, 10), (39, 13), (40, 20), (33, 70), (30, 90)])
@pytest.mark.parametrize("filter, support, degree", [(triangle, 1, 1), (keys_cubic, 2, 2)])
def test_resize_keeps_polynomials_in_the_interior(filter, support, degree, n, m):
    """Pixel u of m stands at (u + 1/2) n / m - 1/2 of n; enlarging keeps what the filter reproduces. A widened
    filter keeps the line where its samples are symmetric, which is at whole ratios."""
    at = (ramp(m) + 0.5) * n / m - 0.5
    inside = (at >= support * max(n / m, 1)) & (at <= n - 1 - support * max(n / m, 1))
    A = Resize((n,), (m,), filter, f64)
    for power in range(degree + 1 if m >= n else 2):
        gap = (A(ramp(n) ** power) - at**power)[inside].abs().max()
        assert gap < 1e-11 * n**power
    off = A(ramp(n)) - (at + 0.5)
    assert off[inside].abs().min() > 0.4  # the control: corners aligned instead of edges


@pytest.mark.parametrize(
    "filter, shape, resized",
    [(f, (40, 41), to) for f in (keys_cubic, triangle, lanczos3) for to in [(20, 23), (53, 80), (41, 30)]]
    + [(box, (36, 36), (9, 12)), (box, (36, 36), (108, 12))],  # the mean over pixels, so whole ratios
)
def test_a_blob_stays_where_it_is(filter, shape, resized):
    """Positions in a field of view of 1: pixel u of m covers [u / m, (u + 1) / m]."""
    centres = [[(ramp(n) + 0.5) / n for n in s] for s in (shape, resized)]
    blob = lambda at: torch.exp(-0.5 * (((at[0][:, None] - 0.47) / 0.08) ** 2 + ((at[1] - 0.53) / 0.08) ** 2))
    y = Resize(shape, resized, filter, f64)(blob(centres[0]))
    for axis, (at, want) in enumerate(zip(centres[1], (0.47, 0.53), strict=True)):
        along = y.sum(1 - axis)
        assert ((at * along).sum() / along.sum() - want).abs() < 0.01 / resized[axis]


def test_a_half_pixel_shift_would_be_seen():
    """The control of the blob: keeping every second pixel moves it by half an input pixel, a quarter output pixel."""
    x = torch.exp(-0.5 * ((ramp(40) - 18.3) / 3) ** 2)
    y = Downsample((40,), (2,), dtype=f64)(x)
    place = lambda v: ((ramp(len(v)) + 0.5) / len(v) * v).sum() / v.sum()
    assert (place(y) - place(x)).abs() * 20 == pytest.approx(0.25, abs=1e-3)
    y = Downsample((40,), (5,), (2,), f64)(x)  # an odd factor, at its middle: not moved
    assert (place(y) - place(x)).abs() < 1e-3


@pytest.mark.parametrize(
    "filter, near", [(keys_cubic, 0.5625), (triangle, 0.5), (lanczos3, 0.6079), (box, None)]
)
def test_filters_interpolate(filter, near):
    t = torch.arange(-4, 5, dtype=f64)
    assert torch.allclose(filter(t), (t == 0).to(f64), atol=1e-15)
    if near is not None:
        assert filter(torch.tensor(0.5, dtype=f64)).item() == pytest.approx(near, abs=1e-4)
        assert filter(torch.tensor([-0.7, 1.3, 3.2], dtype=f64)).tolist() == pytest.approx(
            filter(torch.tensor([0.7, -1.3, -3.2], dtype=f64)).tolist()
        )


@pytest.mark.parametrize("dtype", [f64, c128])
def test_kronecker_is_numpys(dtype):
    M = tuple(noise(m, n, dtype=dtype, seed=m) for m, n in [(3, 4), (5, 2), (1, 3)])
    A = Kronecker(M)
    x = signals(A, 2)
    want = np.kron(np.kron(M[0], M[1]), M[2]) @ x.flatten(1).numpy().T
    assert close(A(x).flatten(1).T, torch.from_numpy(want))
    assert A.norm() == pytest.approx(np.linalg.norm(np.kron(np.kron(M[0], M[1]), M[2]), 2))


@pytest.mark.parametrize("rows", [(6, 5), (3, 5), (6, 2)])
def test_kronecker_solves_tall_and_wide(rows):
    A = Kronecker((noise(rows[0], 4), noise(rows[1], 3, seed=1)))
    b, M = signals(A, 2), dense_matrix(A)
    want = torch.linalg.solve(M.mT @ M + 0.3 * torch.eye(12, dtype=f64), b.flatten(1).mT).mT.reshape(b.shape)
    assert close(A.solve(b, 0.3), want, 1e5)
    if rows == (6, 5):
        want = torch.linalg.solve(M.mT @ M, b.flatten(1).mT).mT.reshape(b.shape)
        assert close(A.solve(b, 0.0), want, 1e6)
    else:
        with pytest.raises(BadInput, match="null space"):
            A.solve(b, 0.0)


@pytest.mark.parametrize(
    "shape, factor, offset", [((7, 9), (2, 3), (1, 2)), ((8, 5), (3, 1), None), ((4, 6), (4, 5), (3, 0))]
)
def test_downsample_keeps_every_fth(shape, factor, offset):
    x, A = noise(2, *shape), Downsample(shape, factor, offset, f64)
    first = offset or (0, 0)
    want = x.numpy()[:, first[0] :: factor[0], first[1] :: factor[1]]
    assert A.out_shape == want.shape[1:] and np.array_equal(A(x).numpy(), want)
    assert close(A(A.H(A(x))), A(x))


@pytest.mark.parametrize(
    "shape, factor", [((6, 8), (3, 2)), ((5, 9), (1, 3)), ((4, 6, 5), (2, 3, 5)), ((12,), (4,))]
)
@pytest.mark.parametrize("dtype", [f64, c128])
def test_blur_downsample_is_its_two_parts(shape, factor, dtype):
    kernel = noise(*shape, dtype=dtype)
    A, parts = BlurDownsample(kernel, factor), Downsample(shape, factor, dtype=dtype) @ CircularBlur(kernel)
    x = signals(A, 2)
    assert A.out_shape == parts.out_shape and close(A(x), parts(x)) and close(A.H(A(x)), parts.H(parts(x)))
    rho = torch.tensor([0.02, 3.0], dtype=f64)
    assert close(A.solve(x, rho), parts.solve(x, rho), 1e6)
    assert A.norm() == pytest.approx(torch.linalg.matrix_norm(dense_matrix(A), 2).item(), rel=1e-12)


def test_blur_downsample_has_singular_values_where_the_kernel_has_none():
    """A kernel that removes a whole class of aliases: the singular value is 0, U and V stay orthonormal."""
    A = BlurDownsample(embed(torch.ones(2, dtype=f64), (8,), centre=(0,)) * 0.5, (2,))
    B = BlurDownsample(embed(torch.tensor([1.0, 0, 1.0], dtype=f64), (8,)), (2,))
    for C in (A, B):
        U, s, V = C.svd()
        eye = torch.eye(4, dtype=f64)
        assert close(U.H(U(eye)), eye) and close(V.H(V(eye)), eye)
        assert close(U(s * V.H(signals(C, 3))), C(signals(C, 3)))
        assert close(s.sort().values, torch.linalg.svdvals(dense_matrix(C)).sort().values, 1e8)
    assert B.svd()[1].min() < 1e-12


@pytest.mark.parametrize("shape, factor", [((8, 6), (2, 3)), ((9, 8), (3, 4)), ((5, 4), (5, 1))])
def test_uniform_super_resolution_takes_the_mean_of_blocks(shape, factor):
    x = noise(2, *shape)
    want = x.unflatten(1, (-1, factor[0])).unflatten(3, (-1, factor[1])).mean((2, 4))
    assert close(uniform_super_resolution(shape, factor, f64)(x), want)


def test_super_resolution_of_a_colour_image_blurs_no_colour():
    psf = torch.fft.fftshift(gaussian_kernel((5, 5), 0.8, f64))
    A, one = super_resolution(psf[None], (3, 8, 6), (1, 2, 2)), super_resolution(psf, (8, 6), (2, 2))
    x = signals(A, 2)
    assert A.out_shape == (3, 4, 3) and close(A(x), one(x))


def test_super_resolution_does_not_move_the_signal():
    """With a centred PSF, output i is centred on input f i."""
    psf = torch.fft.fftshift(gaussian_kernel((7,), 1.0, f64))
    x = torch.exp(-0.5 * ((ramp(60) - 28) / 6) ** 2)
    y = super_resolution(psf, (60,), (3,))(x)
    assert (3 * ramp(20) * y).sum() / y.sum() == pytest.approx(28, abs=1e-3)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Downsample((4, 5), 2), "factor = 2.*tuples"),
        (lambda: Downsample((4, 5), (2, 2), (2, 0)), "offset = "),
        (lambda: Downsample((4, 5), (0, 1)), "factor = .*at least 1"),
        (lambda: BlurDownsample(torch.ones(4, 5), (2, 2)), "should divide"),
        (lambda: BlurDownsample([1.0], (1,)), "kernel should be a tensor"),
        (lambda: Resize((4, 5), (2,)), "as many axes"),
        (lambda: Resize((4, 5), (2, 0)), "at least 1 pixel"),
        (lambda: Kronecker((torch.ones(2, 2), torch.ones(3))), "2-D tensors"),
        (lambda: Kronecker((torch.ones(2, 2), torch.ones(2, 2, dtype=f64))), "one dtype"),
        (lambda: uniform_super_resolution((4, 4), (2, 2)).solve(torch.ones(4, 4), 0), "rho = 0"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(BadInput, match=words):
        make()


def test_one_factor_for_every_axis():
    psf, x = torch.rand(3, 5), torch.rand(8, 12)
    A, B = (super_resolution(psf, (8, 12), factor) for factor in (4, (4, 4)))
    assert torch.equal(A(x), B(x))
    assert uniform_super_resolution((8, 12), 2)(x).shape == (4, 6)
