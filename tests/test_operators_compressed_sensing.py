"""Compressed sensing: matrices known from their definition, energy kept on average, and fast forms solved exactly."""

import numpy as np
import pytest
import scipy.linalg
import torch
from laws import close, dense_matrix, measurements, signals

from workbench import BadInput, Rng
from workbench.operators import (
    CACTI,
    CASSI,
    DCT,
    CircularBlur,
    GaussianSensing,
    Hadamard,
    RademacherSensing,
    RandomConvolution,
    SinglePixel,
    StructuredRandom,
    dot_test,
    subsampled_dct,
    subsampled_hadamard,
)

f64, c128 = torch.float64, torch.complex128
DRAWS = {
    "gaussian": GaussianSensing.draw,
    "rademacher": RademacherSensing.draw,
    "hadamard": subsampled_hadamard,
    "dct": subsampled_dct,
    "convolution": RandomConvolution.draw,
}
draws = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


def noise(*shape, dtype=f64, seed=0):
    return Rng(seed, "test").normal(torch.empty(1, *shape, dtype=dtype))[0]


def solved(A, b, rho):
    """(A^T A + rho I)^{-1} b by the dense matrix, for a real operator."""
    M = dense_matrix(A)
    eye = torch.eye(M.shape[1], dtype=f64)
    return torch.linalg.solve(M.mT @ M + rho * eye, b.flatten(1).mT).mT.reshape(b.shape)


@draws
@pytest.mark.parametrize("dtype", [f64, c128])
def test_energy_is_kept_on_average(draw, dtype):
    """E ||A x||^2 = ||x||^2 for one x over 300 matrices; the mean lies within five standard errors, and not far off."""
    x = noise(4, 8, dtype=dtype)
    ratio = torch.stack([(draw(9, (4, 8), seed, dtype)(x).abs() ** 2).sum() for seed in range(300)])
    ratio = ratio / (x.abs() ** 2).sum()
    error = ratio.std() / 300**0.5
    assert (ratio.mean() - 1).abs() < 5 * error < 0.15


@draws
def test_a_draw_is_a_function_of_its_seed(draw):
    A, B, C = draw(5, (4, 4), 1, f64), draw(5, (4, 4), 1, f64), draw(5, (4, 4), 2, f64)
    assert torch.equal(dense_matrix(A), dense_matrix(B)) and not torch.equal(dense_matrix(A), dense_matrix(C))
    x = noise(4, 4)
    assert torch.allclose(draw(5, (4, 4), 1, torch.float32)(x.float()), A(x).float(), atol=1e-6)


@pytest.mark.parametrize("dtype", [f64, c128])
def test_rademacher_entries(dtype):
    M = RademacherSensing.draw(40, (5, 5), 3, dtype).matrix
    parts = torch.view_as_real(M) if dtype.is_complex else M
    size = (80 if dtype.is_complex else 40) ** -0.5
    assert close(parts.abs(), torch.full_like(parts, size))
    assert parts.mean().abs() < 5 * size / parts.numel() ** 0.5
    assert close(torch.linalg.vector_norm(M, dim=0), torch.ones(25, dtype=f64))


@pytest.mark.parametrize("shape, m", [((16,), 5), ((4, 8), 32), ((2, 2, 4), 1)])
@pytest.mark.parametrize("kind", ["hadamard", "dct"])
def test_structured_random_is_its_definition(kind, shape, m):
    A = DRAWS[kind](m, shape, 4, f64)
    n = int(np.prod(shape))
    T = (
        scipy.linalg.hadamard(n) / n**0.5
        if kind == "hadamard"
        else dense_matrix(DCT(shape, None, f64)).numpy()
    )
    want = (n / m) ** 0.5 * (T * A.signs.flatten().numpy())[A.rows.numpy()]
    assert close(dense_matrix(A), torch.from_numpy(want)) and set(A.signs.unique().tolist()) <= {-1.0, 1.0}
    assert close(dense_matrix(A @ A.H), n / m * torch.eye(m, dtype=f64))
    assert A.norm() == pytest.approx((n / m) ** 0.5)


@pytest.mark.parametrize("shape", [(12,), (5, 7), (6, 4)])
def test_dct_takes_any_size(shape):
    A = subsampled_dct(4, shape, 0, f64)
    assert A.in_shape == shape and dot_test(A) < 1e-14


@pytest.mark.parametrize(
    "draw", [subsampled_hadamard, RandomConvolution.draw], ids=["hadamard", "convolution"]
)
def test_solve_with_few_and_with_all_rows(draw):
    b = noise(3, 4, 4)
    for m, rho in [(6, 0.3), (16, 0.3), (16, 0.0)]:
        A = draw(m, (4, 4), 7, f64)
        assert close(A.solve(b, rho), solved(A, b, rho), 1e5)
    with pytest.raises(BadInput, match="rho = 0"):
        draw(6, (4, 4), 7, f64).solve(b, 0.0)


@pytest.mark.parametrize("shape", [(9,), (4, 6), (5, 3)])
@pytest.mark.parametrize("dtype", [f64, c128])
def test_random_convolution_is_a_convolution_at_random_places(shape, dtype):
    n = int(np.prod(shape))
    A = RandomConvolution.draw(6, shape, 1, dtype)
    x = signals(A, 2)
    assert close(torch.fft.fftn(A.kernel).abs(), torch.ones(shape, dtype=f64)) and A.kernel.dtype == dtype
    assert close(A(x), (n / 6) ** 0.5 * CircularBlur(A.kernel)(x).flatten(1)[:, A.rows])
    assert len(A.rows.unique()) == 6


def test_random_convolution_has_uniform_phases():
    """The resultant of 2000 independent uniform phases, and of their doubles, is below 0.1 but for one in 10^8."""
    phase = torch.fft.fft(RandomConvolution.draw(1, (4000,), 5, f64).kernel)[1:2000]
    assert phase.mean().abs() < 0.1 and (phase**2).mean().abs() < 0.1


@pytest.mark.parametrize("shape, m", [((8,), 3), ((4, 4), 16), ((2, 8), 1), ((16, 4), 20)])
def test_single_pixel_shows_patterns_of_zeros_and_ones(shape, m):
    A, n = SinglePixel.draw(m, shape, 2, f64), int(np.prod(shape))
    patterns = A.patterns()
    assert set(patterns.unique().tolist()) <= {0.0, 1.0} and patterns.shape == (m, *shape)
    assert close(dense_matrix(A), patterns.flatten(1))
    assert (patterns[0] == 1).all() and (patterns[1:].flatten(1).sum(1) == n / 2).all()
    x = signals(A, 2)
    rows = torch.from_numpy(scipy.linalg.hadamard(n)).to(f64)[A.rows]
    y = A(x)
    assert close(2 * y - y[:, :1], x.flatten(1)[:, A.scramble] @ rows.mT)  # the +-1 coefficients


@pytest.mark.parametrize(
    "shape, rows",
    [((4, 4), [0, 3, 5, 9]), ((4, 4), [7, 2, 15]), ((8,), list(range(8))), ((8,), [0]), ((2, 4), [4])],
)
def test_single_pixel_in_closed_form(shape, rows):
    n = int(np.prod(shape))
    A = SinglePixel(shape, torch.tensor(rows), Rng(0, "test").uniform(1, n)[0].argsort(), f64)
    M, b = dense_matrix(A), noise(2, *shape)
    assert A.norm() == pytest.approx(torch.linalg.matrix_norm(M, 2).item(), rel=1e-12)
    assert close(A.solve(b, 0.2), solved(A, b, 0.2), 1e5)
    assert close(A.solve(b, torch.tensor([0.2, 5.0], dtype=f64))[1:], solved(A, b[1:], 5.0), 1e5)
    if len(rows) == n:
        assert close(A.solve(b, 0.0), solved(A, b, 0.0), 1e5)
    else:
        with pytest.raises(BadInput, match="rho = 0"):
            A.solve(b, 0.0)


@pytest.mark.parametrize("frames, shape", [(1, (3, 4)), (5, (4, 3)), (3, (2, 3, 4))])
def test_cacti_adds_coded_frames(frames, shape):
    A = CACTI.draw(frames, shape, 1, f64)
    x = signals(A, 2)
    assert set(A.masks.unique().tolist()) <= {0.0, 1.0}
    assert close(A(x), torch.from_numpy(np.einsum("t...,nt...->n...", A.masks.numpy(), x.numpy())))
    assert close(A.H(measurements(A, 1)), measurements(A, 1).unsqueeze(1) * A.masks)
    assert close(A.solve(x, 0.2), solved(A, x, 0.2), 1e4)


@pytest.mark.parametrize(
    "shape, bands, step", [((3, 4), 1, 1), ((4, 3), 5, 1), ((2, 6), 3, 2), ((3, 3), 4, 0), ((1, 2), 3, 5)]
)
def test_cassi_shears_and_adds(shape, bands, step):
    A = CASSI(noise(*shape), bands, step)
    x = signals(A, 2)
    want = torch.zeros(2, shape[0], shape[1] + step * (bands - 1), dtype=f64)
    for l in range(bands):
        for j in range(shape[1]):
            want[:, :, j + step * l] += A.mask[:, j] * x[:, l, :, j]
    assert A.out_shape == want.shape[1:] and close(A(x), want) and dot_test(A) < 1e-14
    assert close(A.solve(x, 0.2), solved(A, x, 0.2), 1e5)
    assert A.norm() == pytest.approx(torch.linalg.matrix_norm(dense_matrix(A), 2).item(), rel=1e-12)


def test_a_closed_mask_hides_pixels_and_leaves_fewer_singular_values():
    mask = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=f64)
    A = CASSI(mask, 2)
    U, s, V = A.svd()
    assert len(s) == torch.linalg.matrix_rank(dense_matrix(A)) == 6 < torch.Size(A.out_shape).numel()
    eye, x = torch.eye(len(s), dtype=f64), signals(A, 2)
    assert close(U.H(U(eye)), eye) and close(V.H(V(eye)), eye) and close(U(s * V.H(x)), A(x))


def test_gradients_reach_the_coded_aperture():
    masks = noise(3, 4, 5).requires_grad_()
    x, v = noise(3, 4, 5, seed=1), noise(4, 5, seed=2)
    (g,) = torch.autograd.grad((CACTI(masks)(x) * v).sum(), masks)
    assert close(g, x * v)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: RademacherSensing.draw(0, (3,)), "m = 0"),
        (lambda: subsampled_hadamard(5, (2, 2)), "m = 5 should be from 1 to 4"),
        (lambda: subsampled_hadamard(3, (3, 5)), "power of two"),
        (lambda: subsampled_dct(0, (3, 5)), "m = 0"),
        (lambda: StructuredRandom(Hadamard((4,)), torch.ones(3), torch.tensor([0])), "signs has shape"),
        (
            lambda: StructuredRandom(Hadamard((4,)), torch.ones(4, dtype=f64), torch.tensor([0])),
            r"signs is torch.float64, .* use .to\(torch.float32\)",
        ),
        (lambda: StructuredRandom(Hadamard((4,)), [1.0] * 4, torch.tensor([0])), "signs is list"),
        (
            lambda: StructuredRandom(Hadamard((4,)), torch.ones(4), torch.tensor([1, 1])),
            "rows should be different",
        ),
        (lambda: StructuredRandom(Hadamard((4,)), torch.ones(4), [1, 2]), "rows should be a tensor"),
        (lambda: RandomConvolution(torch.ones(4), torch.tensor([0])), "gains from"),
        (lambda: RandomConvolution([1.0], torch.tensor([0])), "kernel should be a tensor"),
        (lambda: SinglePixel((3,), torch.tensor([0]), torch.arange(3)), "power of two"),
        (
            lambda: SinglePixel((4,), torch.tensor([4]), torch.arange(4)),
            "rows should be different integers from 0 to 3",
        ),
        (lambda: SinglePixel((4,), torch.tensor([0]), torch.arange(3)), "permute 4 pixels"),
        (
            lambda: SinglePixel((4,), torch.tensor([0]), torch.tensor([0, 1, 2, 2])),
            "scramble should be different",
        ),
        (lambda: CACTI(torch.zeros(2, 3, 3)), "not all 0"),
        (lambda: CACTI(torch.ones(2, 3, 3, dtype=torch.int64)), "real or complex"),
        (lambda: CASSI(torch.ones(3, 3), 0), "bands = 0"),
        (lambda: CASSI(torch.ones(3, 3), 2, -1), "step = -1"),
        (lambda: CASSI(torch.zeros(3, 3), 2), "not all 0"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(BadInput, match=words):
        make()
