"""Classical MRI reconstructions: the minimisers they say they are, on every scale, better than what they start from."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from laws import dense_matrix

from workbench import BadInput, Rng
from workbench.classical import CGSense, L1Wavelet, TotalVariation, ZeroFilled
from workbench.noise import CorrelatedGaussian, Gaussian
from workbench.operators import CartesianMRI, Dense, GaussianSensing, cartesian_mask, simulate_coils

SPARSE = [L1Wavelet(), TotalVariation()]


def phantom(shape):
    """Flat pieces inside an ellipse: complex64."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    image = ((x / 0.7) ** 2 + (y / 0.9) ** 2 < 1) * 0.6
    image += (((x - 0.2) / 0.3) ** 2 + (y / 0.3) ** 2 < 1) * 0.4
    image -= (((x + 0.3) / 0.1) ** 2 + ((y - 0.3) / 0.4) ** 2 < 1) * 0.3
    return image * torch.exp(1j * x)


def problem(shape=(48, 44), acceleration=2.5, sigma=0.01, scale=1.0, lines=True):
    """A CartesianMRI problem of the phantom; scale multiplies the data."""
    mask = cartesian_mask(shape, acceleration, 8)
    mask = mask if lines else mask | cartesian_mask(shape[::-1], acceleration, 8)[:, None]
    A = CartesianMRI(simulate_coils(shape, 4), mask)
    noise = Gaussian(sigma)
    clean = A(phantom(shape))
    y = scale * (clean + sigma * Rng(0, "noise").normal(clean))
    return SimpleNamespace(A=A, y=y, noise=noise, truth=phantom(shape))


def error(x, truth):
    return float((x - truth).norm() / truth.norm())


def test_zero_filled_is_the_adjoint_on_the_scale_of_the_image():
    p = problem()
    kspace = p.A.grid(p.y)
    images = torch.fft.ifftn(torch.fft.ifftshift(kspace, (-2, -1)), dim=(-2, -1), norm="ortho")
    combined = (p.A.maps.conj() * torch.fft.fftshift(images, (-2, -1))).sum(0)
    x = ZeroFilled().reconstruct(p)
    assert torch.allclose(x / x.norm(), combined / combined.norm(), atol=1e-6)
    best = p.y.norm() * (1 - 1e-4)  # any other scale fits worse
    assert (p.A(x) - p.y).norm() < best
    assert all((p.A(c * x) - p.y).norm() > (p.A(x) - p.y).norm() for c in (0.99, 1.01))
    scaled = SimpleNamespace(A=100.0 * p.A, y=100.0 * p.y)
    assert torch.allclose(ZeroFilled().reconstruct(scaled), x, atol=1e-5)


def test_cg_sense_is_the_regularised_least_squares_of_any_operator():
    A = Dense(Rng(0, "operator").normal(torch.empty(7, 5, dtype=torch.complex128)))
    y = Rng(1).normal(torch.empty(7, dtype=torch.complex128))
    lam = 0.05 * torch.linalg.matrix_norm(A.matrix, 2) ** 2
    expected = torch.linalg.solve(A.matrix.mH @ A.matrix + lam * torch.eye(5), A.matrix.mH @ y)
    found = CGSense(0.05).reconstruct(SimpleNamespace(A=A, y=y, noise=Gaussian(1.0)))
    assert torch.allclose(found, expected, atol=1e-12)


def test_cg_sense_whitens_correlated_coils():
    A = CartesianMRI(Rng(0).normal(torch.empty(3, 6, 5, dtype=torch.complex128)), torch.arange(5) % 3 != 1)
    y = Rng(1).normal(torch.empty(A.out_shape, dtype=A.out_dtype))
    noise = CorrelatedGaussian.example(Rng(2))
    found = CGSense(0.05, tol=1e-12).reconstruct(SimpleNamespace(A=A, y=y, noise=noise))
    M, weight = dense_matrix(A), torch.linalg.inv(noise.covariance).contiguous()
    white = torch.kron(weight, torch.eye(A.out_shape[1], dtype=weight.dtype))  # acts on y: (C, m), flattened
    W = torch.cat([torch.cat([white.real, -white.imag], 1), torch.cat([white.imag, white.real], 1)])
    N, flat = M.mT @ W @ M, torch.cat([y.flatten().real, y.flatten().imag])
    top = torch.linalg.eigvalsh(N)[-1]
    x = torch.linalg.solve(N + 0.05 * top * torch.eye(len(N)), M.mT @ W @ flat)
    assert torch.allclose(found.flatten(), torch.complex(*x.chunk(2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [*SPARSE, CGSense()], ids=lambda m: type(m).__name__)
def test_lam_means_the_same_on_every_scale(method):
    small, large = problem((24, 20)), problem((24, 20), scale=1e4)
    x = method.reconstruct(small)
    assert torch.allclose(method.reconstruct(large) / 1e4, x, atol=1e-3)
    louder = SimpleNamespace(A=CartesianMRI(30 * small.A.maps, small.A.mask), y=small.y, noise=small.noise)
    assert torch.allclose(30 * method.reconstruct(louder), x, atol=1e-3)
    assert x.dtype == torch.complex64 and x.shape == (24, 20)


@pytest.mark.parametrize("lines", [True, False])
def test_each_method_is_better_than_the_one_before(lines, capfd):
    p = problem(lines=lines)
    zero, cg, wavelet, tv = (
        error(m.reconstruct(p), p.truth) for m in (ZeroFilled(), CGSense(), L1Wavelet(), TotalVariation())
    )
    assert cg < 0.95 * zero and wavelet < 0.9 * cg and tv < 0.6 * wavelet and tv < 0.05
    out, err = capfd.readouterr()
    assert out == "" and err == ""  # no progress bars


def objective(p, x, lam, penalty):
    """||A x - y||^2 / 2 + lam s penalty(x), with ||A|| brought to 1, in units of s^2."""
    size = p.A.norm()
    s = p.A.H(p.y).abs().max() / size
    misfit = (p.A(x) - p.y).abs().square().sum() / 2
    return float((misfit + lam * s * size * penalty(x)) / s**2)


def variation(x):
    return (x - x.roll(1, 0)).abs().sum() + (x - x.roll(1, 1)).abs().sum()


@pytest.mark.parametrize("lam", [0.0005, 0.02])
def test_total_variation_is_converged(lam):
    """By the objective of the docstring, against 3000 steps of another algorithm (primal-dual) from zero."""
    app = pytest.importorskip("sigpy.mri.app")
    p = problem((24, 20))
    s, weights = p.A.H(p.y).abs().max(), p.A.mask.expand(24, 20).float().numpy()
    size = p.A.norm()
    theirs = app.TotalVariationRecon(
        p.A.grid(p.y / s * size).numpy(),
        p.A.maps.numpy() / size,
        lam,
        weights=weights,
        max_iter=3000,
        sigma=0.2,
        show_pbar=False,
    )
    best = torch.from_numpy(theirs.run()) * s / size**2
    ours = TotalVariation(lam).reconstruct(p)
    a, b = (objective(p, x, lam, variation) for x in (ours, best))
    assert a < b * 1.0005
    assert error(ours, best) < 0.01
    assert objective(p, CGSense(lam).reconstruct(p), lam, variation) > 1.01 * a


def test_l1_wavelet_is_converged():
    pytest.importorskip("sigpy")
    from sigpy.linop import Wavelet

    p, lam = problem((32, 32)), 0.005
    W = Wavelet((32, 32), wave_name="db4")
    ours = L1Wavelet(lam).reconstruct(p)
    with pytest.warns(UserWarning, match="stopped after 40 iterations"):
        L1Wavelet(lam, tol=0.0, iterations=40).reconstruct(p)
    with warnings.catch_warnings():  # to the last rounding, or to the last iteration, which warns
        warnings.simplefilter("ignore")
        longer = L1Wavelet(lam, tol=0.0, iterations=1000).reconstruct(p)
    a, b = (objective(p, x, lam, lambda x: np.abs(W(x.numpy())).sum()) for x in (ours, longer))
    assert a < b * 1.0005
    assert error(ours, longer) < 0.01


@pytest.mark.parametrize("method", [L1Wavelet, TotalVariation])
def test_a_run_cut_short_says_so(method):
    with pytest.warns(UserWarning, match="stopped after 2 iterations"):
        method(iterations=2).reconstruct(problem((24, 20)))


@pytest.mark.parametrize("method", SPARSE, ids=lambda m: type(m).__name__)
def test_correlated_coils_are_whitened_before_or_within(method):
    p = problem((24, 20))
    p.noise = CorrelatedGaussian.example(Rng(2), torch.complex64)
    p.A = CartesianMRI(p.A.maps[:3], p.A.mask)
    p.y = p.y[:3]
    A, y = p.noise.whiten(p.A, p.y)
    before = method.reconstruct(SimpleNamespace(A=A, y=y, noise=Gaussian(1.0)))
    assert torch.allclose(method.reconstruct(p), before, atol=2e-3)
    other = CorrelatedGaussian.example(Rng(3), torch.complex64)
    twice = SimpleNamespace(A=A, y=y, noise=other)  # mixed coils whose noise is correlated again
    mixed = CartesianMRI(torch.tensordot(A.A.matrix, p.A.maps, dims=1), p.A.mask)
    expected = method.reconstruct(SimpleNamespace(A=mixed, y=y, noise=other))
    assert torch.allclose(method.reconstruct(twice), expected, atol=2e-3)
    unwhitened = method.reconstruct(SimpleNamespace(A=p.A, y=p.y, noise=Gaussian(1.0)))
    assert not torch.allclose(unwhitened, before, atol=1e-2)


@pytest.mark.parametrize("method", [TotalVariation(), L1Wavelet()], ids=lambda m: type(m).__name__)
def test_real_images_of_any_operator(method):
    """A real, non-square image through another operator: the objective is no worse at the answer than around it."""
    truth = phantom((18, 22)).abs()
    A = GaussianSensing.draw(200, (18, 22), 0)
    noise = Gaussian(0.01)
    y = noise.sample(A(truth), 0)
    x = method.reconstruct(SimpleNamespace(A=A, y=y, noise=noise))
    assert x.dtype == torch.float32 and x.shape == (18, 22)
    assert error(x, truth) < 0.6 * error(
        CGSense(0.001).reconstruct(SimpleNamespace(A=A, y=y, noise=noise)), truth
    )


def test_bad_input_is_named():
    dark = problem((24, 20))
    dark.y = 0 * dark.y
    for method in SPARSE:
        with pytest.raises(BadInput, match="y is all zero"):
            method.reconstruct(dark)
        with pytest.raises(BadInput, match="lam = 2"):
            type(method)(lam=2)
    with pytest.raises(BadInput, match="lam = 0"):
        CGSense(lam=0)


def test_the_real_brain_end_to_end(scans):
    """ESPIRiT and CG-SENSE from the file: the head is bright, the air around it is dark, the data are explained."""
    from workbench.io import read_kspace
    from workbench.operators import calibration_region, corner_noise, espirit, noise_covariance

    scan = read_kspace(scans / "mri_brain8_sigpy" / "cartesian_ksp.npy")
    kspace = scan.data[0]
    A = CartesianMRI(espirit(calibration_region(kspace, scan.mask), kspace.shape[1:]), scan.mask)
    covariance = noise_covariance(corner_noise(kspace, scan.mask))
    sigma = covariance.diagonal().real.sqrt()
    assert (sigma > 0.009).all() and (sigma < 0.016).all()
    p = SimpleNamespace(A=A, y=A.sample(kspace), noise=CorrelatedGaussian(covariance))
    x = CGSense(tol=1e-4).reconstruct(p)
    white, data = p.noise.whiten(A, p.y)
    residual = (white(x) - data).abs().square().mean() / 2
    assert 0.3 < residual < 3.0
    assert x[100:130, 80:100].abs().mean() > 0.2 and x[:5].abs().mean() < 0.02
