"""Transforms against scipy and PyWavelets, and the closed forms they bring."""

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from laws import close, dense_matrix, measurements, signals

from workbench import BadInput, Rng
from workbench.operators import (
    DCT,
    Diagonal,
    FiniteDifference,
    Hadamard,
    Patches,
    Wavelet,
    dot_test,
    sequency_order,
)

f64, c128 = torch.float64, torch.complex128
pywt = pytest.importorskip("pywt")


def noise(*shape, dtype=f64, seed=0):
    return Rng(seed, "test").normal(torch.empty(1, *shape, dtype=dtype))[0]


@pytest.mark.parametrize(
    "shape, axes", [((7,), None), ((8, 5), None), ((4, 1, 9), (0, -1)), ((2, 6, 5), (1,)), ((1,), None)]
)
@pytest.mark.parametrize("dtype", [f64, c128])
def test_dct_is_scipys(shape, axes, dtype):
    A, x = DCT(shape, axes, dtype), noise(2, *shape, dtype=dtype)
    where = [1 + a % len(shape) for a in (axes if axes is not None else range(len(shape)))]
    want = scipy.fft.dctn(x.numpy(), axes=where, norm="ortho")
    assert close(A(x), torch.from_numpy(want))
    assert close(A.H(A(x)), x) and close(A(A.H(x)), x)


def test_dct_is_accurate_in_single_precision():
    x = noise(257, 320)
    gap = DCT((257, 320))(x.float()) - DCT((257, 320), dtype=f64)(x)
    assert gap.norm() < 1e-6 * x.norm()


@pytest.mark.parametrize("shape", [(1,), (2,), (16,), (4, 8), (2, 64, 2), (512,), (32, 32)])
def test_hadamard_is_sylvesters_matrix(shape):
    n = int(np.prod(shape))
    x = noise(3, *shape)
    want = x.flatten(1) @ torch.from_numpy(scipy.linalg.hadamard(n) / n**0.5)
    A = Hadamard(shape, f64)
    assert close(A(x).flatten(1), want) and close(A(A(x)), x)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 64])
def test_sequency_order_counts_sign_changes(n):
    H = dense_matrix(Hadamard((n,), f64))[sequency_order(n)].sign()
    assert (H.diff(dim=1).abs() / 2).sum(1).tolist() == list(range(n))


WAVELETS = ["haar", "db4", "sym5", "coif1", "bior2.2", "bior4.4", "rbio1.3", "dmey"]
SHAPES = [((32, 16), 3), ((9, 14), 2), ((5, 3), 2), ((7, 2), 4), ((1, 6), 1)]


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("shape, levels", SHAPES)
@pytest.mark.filterwarnings("ignore:Level value")
def test_wavelet_has_the_coefficients_of_pywt(wavelet, shape, levels):
    x, A = noise(2, *shape), Wavelet(shape, wavelet, levels, dtype=f64)
    got = A.split(A(x))
    low, *details = pywt.wavedec2(x.numpy(), wavelet, "periodization", levels)
    assert close(got[0], torch.from_numpy(low))
    for bands, want in zip(got[1:], details, strict=True):
        for name, band in zip(("da", "ad", "dd"), want, strict=True):  # pywt: horizontal, vertical, diagonal
            assert torch.allclose(bands[name], torch.from_numpy(band), rtol=0, atol=1e-12 * x.abs().max())
    back = pywt.waverec2([low, *details], wavelet, "periodization")
    assert torch.allclose(A.inverse(A(x)), torch.from_numpy(back[:, : shape[0], : shape[1]]), atol=1e-11)
    assert wavelet == "dmey" or torch.allclose(A.inverse(A(x)), x, atol=1e-11)  # dmey is cut to 62 taps
    assert dot_test(A) < 1e-14


@pytest.mark.parametrize(
    "shape, levels, axes",
    [((12, 8, 6), 1, None), ((6, 11), 2, (1,)), ((13,), 3, None), ((4, 9, 5), 2, (-1, 0))],
)
@pytest.mark.filterwarnings("ignore:Level value")
def test_wavelet_in_any_number_of_axes(shape, levels, axes):
    x, A = noise(*shape), Wavelet(shape, "bior2.2", levels, axes, f64)
    order = sorted(a % len(shape) for a in (axes if axes is not None else range(len(shape))))
    A = Wavelet(shape, "bior2.2", levels, tuple(order), f64)
    want = pywt.wavedecn(x.numpy(), "bior2.2", "periodization", levels, axes=order)
    assert close(A(x), torch.from_numpy(pywt.ravel_coeffs(want, axes=order)[0]))
    assert close(A.inverse(A(x)), x, 1e4) and dot_test(A) < 1e-14


def test_wavelet_of_a_complex_signal():
    x = noise(8, 6, dtype=c128)
    A, real = Wavelet((8, 6), "db2", 1, dtype=c128), Wavelet((8, 6), "db2", 1, dtype=f64)
    assert close(A(x), torch.complex(real(x.real), real(x.imag))) and close(A.H(A(x)), x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_digits_of_a_wavelet_decide_whether_it_is_orthonormal(dtype):
    for name in pywt.wavelist(kind="discrete"):  # "dmey" is orthonormal to 2e-3, "sym20" to 1e-11
        A = Wavelet((16,), name, 2, None, dtype)
        x = signals(A, 2)
        assert close(A.normal(x), A.H(A(x)), 1000), name
        assert A.isometry is False or pywt.Wavelet(name).orthogonal, name
    assert (
        Wavelet((16,), "db4", 2, None, dtype).isometry and not Wavelet((16,), "dmey", 2, None, dtype).isometry
    )


@pytest.mark.parametrize(
    "wavelet, shape, isometry", [("db4", (16, 8), True), ("db4", (12, 8), False), ("bior4.4", (16, 8), False)]
)
def test_where_the_adjoint_is_the_inverse(wavelet, shape, isometry):
    A = Wavelet(shape, wavelet, 3, dtype=f64)
    x, y = signals(A, 2), measurements(A, 2)
    M = dense_matrix(A)
    assert close(A.H(y).flatten(1), y @ M)
    assert A.isometry is isometry and close(A.H(A(x)), x) is isometry and close(A.normal(x), x) is isometry
    assert torch.allclose(A.inverse(A(x)), x, atol=1e-11)
    assert A.norm() == pytest.approx(torch.linalg.matrix_norm(M, 2).item(), rel=1e-3)
    want = torch.linalg.solve(M.mT @ M + 0.7 * torch.eye(M.shape[1], dtype=f64), x.flatten(1).mT).mT
    assert close(A.solve(x, 0.7).flatten(1), want, 1e5)


@pytest.mark.parametrize("shape, axes", [((6, 7), None), ((5, 4, 3), (0, -1)), ((8,), None), ((1, 5), None)])
def test_differences_are_numpys_with_nothing_through_the_border(shape, axes):
    x, A = noise(2, *shape), FiniteDifference(shape, axes, f64)
    where = [a % len(shape) for a in (axes if axes is not None else range(len(shape)))]
    y = A(x)
    for i, a in enumerate(where):
        want = np.diff(x.numpy(), axis=1 + a, append=x.numpy().take([-1], axis=1 + a))
        assert np.array_equal(y[:, i].numpy(), want)
    M = dense_matrix(A)
    assert A.norm() == pytest.approx(torch.linalg.matrix_norm(M, 2).item(), rel=1e-12)
    b = signals(A, 2)
    want = torch.linalg.solve(M.mT @ M + 0.01 * torch.eye(M.shape[1], dtype=f64), b.flatten(1).mT).mT
    assert close(A.solve(b, 0.01).flatten(1), want, 1e5)
    _, s, _ = A.svd()
    assert len(s) == torch.linalg.matrix_rank(M)
    with pytest.raises(BadInput, match="rho = 0"):
        A.solve(b, 0)


@pytest.mark.parametrize(
    "shape, size, stride",
    [
        ((7, 9), (3, 2), (2, 3)),
        ((6,), (6,), (1,)),
        ((4, 5, 6), (2, 3, 2), (1, 2, 4)),
        ((8, 8), (2, 2), (4, 4)),
    ],
)
def test_patches_are_windows_and_their_adjoint_counts(shape, size, stride):
    A, x = Patches(shape, size, stride, f64), noise(*shape)
    windows = np.lib.stride_tricks.sliding_window_view(x.numpy(), size)
    want = windows[tuple(slice(None, None, s) for s in stride)]
    assert A.out_shape == want.shape and np.array_equal(A(x).numpy(), want)
    counts = torch.zeros(shape, dtype=f64)
    for start in np.ndindex(*A.grid):
        counts[tuple(slice(g * s, g * s + k) for g, s, k in zip(start, stride, size, strict=True))] += 1
    assert torch.equal(A.H(torch.ones(A.out_shape, dtype=f64)), counts) and close(A.normal(x), counts * x)
    assert A.norm() == pytest.approx(counts.max().sqrt().item())


def test_patches_averaged_give_the_image_back():
    A = Patches((7, 9), (3, 3), (2, 1), f64)
    x = signals(A, 2)
    assert close(A.solve(A.H(A(x)), 0), x)
    with pytest.raises(BadInput, match="not measured"):
        Patches((8,), (3,), (2,), f64).solve(noise(8), 0)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: DCT((4, 5), (0, -2)), "different axes"),
        (lambda: DCT((4, 5), (2,)), "axes = .*shape"),
        (lambda: Hadamard((3, 4)), "12 entries.*power of two"),
        (lambda: Wavelet((8, 8), "db44"), "wavelet 'db44' is not known"),
        (lambda: Wavelet((8, 8), "haar", 0), "levels = 0"),
        (lambda: Wavelet((8, 8), "haar", 1).inverse(torch.zeros(63)), "shape"),
        (lambda: FiniteDifference((4,), (1,)), "FiniteDifference: axes"),
        (lambda: Patches((4, 5), 2, 1), "tuples of 2"),
        (lambda: Patches((4, 5), (5, 2), (1, 1)), "size = "),
        (lambda: Patches((4, 5), (2, 2), (0, 1)), "stride = "),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(BadInput, match=words):
        make()


def test_axes_of_a_gram_spectrum_may_be_counted_from_either_end():
    A = FiniteDifference((4, 5), None, f64) @ Diagonal(noise(4, 5), f64)
    assert torch.equal(A.gram_spectrum((0, 1)), A.gram_spectrum((-2, -1)))
    assert torch.equal(A.gram_spectrum((1,)), A.gram_spectrum((-1,)))
