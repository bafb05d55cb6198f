"""Coil maps against sigpy and the truth, noise against its covariance, compression against singular values."""

from functools import partial

import numpy as np
import pretend
import pytest
import torch

from workbench import BadInput, Rng
from workbench.noise import CorrelatedGaussian
from workbench.operators import (
    CartesianMRI,
    SoftSENSE,
    calibration_region,
    cartesian_mask,
    compress_coils,
    compress_coils_along,
    corner_noise,
    espirit,
    find_mask,
    from_function,
    low_resolution_maps,
    noise_covariance,
    prewhiten,
    simulate_coils,
    virtual_coils,
    virtual_coils_along,
    virtual_images_along,
)
from workbench.operators._kspace import to_image, to_kspace


def ellipse(shape, phase=0.0):
    """A smooth object in the middle, with structure inside, zero outside: complex64."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape[-2:]], indexing="ij")
    inside = ((x / 0.7) ** 2 + (y / 0.85) ** 2 < 1).float()
    image = inside * (1 + 0.5 * torch.sin(9 * x + 3) * torch.cos(7 * y))
    return (image * torch.exp(1j * phase * x)).to(torch.complex64)


def scan(shape, coils, sigma=0.0, seed=0):
    """(k-space, maps) of a fully sampled phantom."""
    maps = simulate_coils(shape, coils)
    A = CartesianMRI(maps, torch.ones(shape[-1], dtype=torch.bool))
    clean = A.grid(A(ellipse(shape, phase=2.0)))
    return clean + sigma * Rng(seed, "noise").normal(clean), maps


def test_espirit_is_sigpys():
    app = pytest.importorskip("sigpy.mri.app")
    kspace, _ = scan((32, 40), 5, sigma=0.002)
    ours = espirit(calibration_region(kspace, torch.ones(32, 40) > 0), (32, 40)).numpy()
    # the power method of sigpy needs many steps near the crop, so the eigenvalues are compared away from it
    theirs, value = app.EspiritCalib(
        kspace.numpy(), output_eigenvalue=True, max_iter=1000, show_pbar=False
    ).run()
    clear = np.abs(value[0] - 0.95) > 1e-3
    assert ours.shape == (5, 32, 40) and ours.dtype == np.complex64
    assert np.array_equal(ours.any(0)[clear], theirs.any(0)[clear])
    inside = ellipse((32, 40)).numpy() != 0
    assert ours.any(0)[inside].mean() > 0.99
    assert np.abs(ours - theirs)[:, inside & clear].max() < 2e-3


def test_espirit_finds_the_true_maps():
    kspace, maps = scan((33, 40), 5)
    inside = ellipse((33, 40)).abs() > 0
    truth = maps * maps[:1].conj() / maps[:1].abs()  # coil 0 real and positive
    found = espirit(calibration_region(kspace, torch.ones(40) > 0), (33, 40))
    assert ((found - truth)[:, inside].abs().square().sum(0).sqrt()).quantile(0.95) < 0.03
    assert found[0].imag.abs().max() < 1e-6
    norm = found.abs().square().sum(0)
    assert torch.allclose(norm[norm > 0], torch.ones(()), atol=1e-5)


def test_espirit_turns_coil_0_real_whatever_the_eigensolver(monkeypatch):
    kspace, _ = scan((24, 24), 3)
    eigh, block = torch.linalg.eigh, calibration_region(kspace, torch.ones(24) > 0)
    expected = espirit(block, (24, 24))
    monkeypatch.setattr(torch.linalg, "eigh", lambda M: (eigh(M)[0], eigh(M)[1] * (0.6 + 0.8j)))
    assert torch.allclose(espirit(block, (24, 24)), expected, atol=1e-5)


def test_espirit_of_a_volume():
    line = torch.linspace(0.5, 1, 12).to(torch.complex64)
    kspace, maps = scan((24, 24), 4)
    image = torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(line), norm="ortho"))
    found = espirit(
        calibration_region(kspace[:, None] * image[:, None, None], torch.ones(1) > 0, 4, 12), (12, 24, 24), 4
    )
    truth = maps * maps[:1].conj() / maps[:1].abs()
    inside = ellipse((24, 24)).abs() > 0
    error = (found[:, 6] - truth)[:, inside].abs().square().sum(0).sqrt()
    assert found.shape == (4, 12, 24, 24) and error.quantile(0.9) < 0.1


def test_espirit_of_the_real_brain_is_sigpys(scans):
    app = pytest.importorskip("sigpy.mri.app")
    kspace = np.load(scans / "mri_brain8_sigpy" / "cartesian_ksp.npy", allow_pickle=False)
    ours = espirit(torch.from_numpy(kspace[:, 103:127, 78:102]), (230, 180)).numpy()
    theirs = app.EspiritCalib(kspace, show_pbar=False).run()
    assert np.array_equal(ours.any(0), theirs.any(0))
    assert np.abs(ours - theirs).max() < 2e-4


@pytest.mark.parametrize(
    "calibration, shape, says",
    [
        (torch.ones(2, 8, 8), (16, 16), "torch.float32"),
        (torch.ones(2, 8, 8) * 1j, (16, 16, 16), "3 axes after the coils"),
        (torch.ones(2, 8, 5) * 1j, (16, 16), "smaller than kernel = 6"),
        (torch.zeros(2, 8, 8) * 1j, (16, 16), "all zero"),
    ],
)
def test_espirit_names_what_it_cannot_use(calibration, shape, says):
    with pytest.raises(BadInput, match=says):
        espirit(calibration, shape)


def test_calibration_region_is_the_middle():
    kspace = torch.arange(2 * 30 * 41).reshape(2, 30, 41) * (1 + 0j)
    mask = torch.zeros(41, dtype=torch.bool)
    mask[20 - 4 : 20 - 4 + 9] = True
    mask[::5] = True
    block = calibration_region(kspace, mask)
    assert block.shape == (2, 24, 11)  # with two columns of every fifth
    assert torch.equal(block, kspace[:, 3:27, 15:26])
    points = torch.zeros(30, 41, dtype=torch.bool)
    points[11:20, 17:24] = True
    assert torch.equal(calibration_region(kspace, points), kspace[:, 11:20, 17:24])
    with pytest.raises(BadInput, match=r"middle of \(9, 7\) points, at least 8"):
        calibration_region(kspace, points, kernel=8)
    with pytest.raises(BadInput, match=r"middle of \(0, 0\) points"):
        calibration_region(kspace, ~points)
    with pytest.raises(BadInput, match=r"mask has shape \(30,\)"):
        calibration_region(kspace, torch.ones(30) > 0)


def test_noise_covariance_is_per_real_component():
    L = torch.tensor([[1.0, 0, 0], [0.5 + 0.2j, 0.8, 0], [0.1j, -0.3, 0.6]])
    samples = L @ Rng(0, "noise").normal(torch.empty(3, 40000, dtype=torch.complex64))
    sigma = noise_covariance(samples)
    assert (sigma - L @ L.mH).abs().max() < 0.02
    assert torch.equal(sigma, sigma.mH)


def test_noise_covariance_of_few_samples_is_invertible():
    sigma = noise_covariance(Rng(0, "noise").normal(torch.empty(8, 3, dtype=torch.complex64)))
    assert torch.linalg.cond(sigma) < 100
    assert torch.linalg.cholesky_ex(sigma).info == 0
    with pytest.raises(BadInput, match=r"coils \[1\]"):
        noise_covariance(torch.tensor([[1.0 + 1j, 2], [0, 0]]))
    with pytest.raises(BadInput, match="float32"):
        noise_covariance(torch.ones(2, 3))


@pytest.mark.parametrize("lines", [True, False])
def test_corner_noise_finds_sigma(lines):
    kspace, _ = scan((96, 80), 4, sigma=0.05)
    mask = cartesian_mask((96, 80), 3, 16)
    mask = mask if lines else torch.rand(96, 80, generator=torch.Generator().manual_seed(0)) < 0.4
    samples = corner_noise(kspace * mask, mask)
    assert samples.shape[0] == 4 and samples.all()
    found = noise_covariance(samples).diagonal().real.sqrt()
    assert (found > 0.045).all() and (
        found < 0.0625
    ).all()  # an estimate from above: the phantom has sharp edges


def test_corner_noise_leaves_signal_out():
    noise = Rng(1, "noise").normal(torch.empty(4, 64, 64, dtype=torch.complex64))
    noise[:, ::8, 1] = 30.0  # a line of bright points at the edge
    found = noise_covariance(corner_noise(noise, torch.ones(64) > 0)).diagonal().real.sqrt()
    assert ((found - 1).abs() < 0.15).all()
    with pytest.raises(BadInput, match="64 sampled points"):
        corner_noise(noise[:, :8, :8], torch.ones(8) > 0)


def test_find_mask_drops_axes_that_do_not_matter():
    kspace = torch.ones(2, 3, 6, 5) * 1j
    kspace[..., 1] = 0
    kspace[:, 0, 2, 2] = 0  # one coil alone: still measured
    assert find_mask(kspace).tolist() == [True, False, True, True, True]
    kspace[1, :, 2, 2] = 0  # in one slice alone: not measured in every slice
    assert find_mask(kspace).shape == (6, 5) and not find_mask(kspace)[2, 2]
    with pytest.raises(BadInput, match="every slice"):
        find_mask(0 * kspace)


@pytest.mark.parametrize("shape", [(32, 24), (5, 16, 16)])
@pytest.mark.parametrize("n", [1, 2, 8])
def test_simulated_coils(shape, n):
    maps = simulate_coils(shape, n)
    assert maps.shape == (n, *shape)
    assert torch.allclose(maps.abs().square().sum(0), torch.ones(()), atol=1e-5)
    if n > 2:  # each is strongest on its own side of the object, and smooth
        middle = maps.reshape(n, -1, *shape[-2:])[:, maps[0].ndim - 2 and shape[0] // 2]
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, s) for s in shape[-2:]], indexing="ij")
        power = middle.abs().square()
        angle = torch.atan2((power * y).sum((1, 2)), (power * x).sum((1, 2)))
        turn = torch.exp(1j * (angle - 2 * torch.pi * torch.arange(n) / n))
        assert (turn.angle().abs() < 0.2).all()
        assert (middle.diff(dim=-1).abs() < 0.35).all()
        # in the middle the field points to the loop, at angle phi: B_x - i B_y has the phase -phi
        centre = middle[:, shape[-2] // 2, shape[-1] // 2]
        turn = centre / centre[0] * torch.exp(2j * torch.pi * torch.arange(n) / n)
        assert (turn.angle().abs() < 0.1).all()


def test_a_loop_has_the_field_of_biot_and_savart():
    """On its axis, at distance z, a loop of radius a has the field 2 pi a^2 / (a^2 + z^2)^(3/2) along the axis."""
    from workbench.operators.coils import _loop

    field = _loop(torch.tensor([[0.0, 0, 0], [1.0, 0, 0]], dtype=torch.float64), 0.0, 1.5, 0.7)
    expected = 2 * torch.pi * 0.49 / (0.49 + torch.tensor([1.5, 0.5], dtype=torch.float64) ** 2) ** 1.5
    assert torch.allclose(field[:, 0].abs(), expected, rtol=1e-9)
    assert field[:, 1:].abs().max() < 1e-12


def folded(shape, period, coils, seed=0):
    """(k-space, unfolded maps and image) of an object wider than the field of view: columns `period` apart add up."""
    wide = simulate_coils(shape, coils).to(torch.complex128)
    image = ellipse(shape, phase=1.0).to(torch.complex128)
    pixel = torch.arange(shape[-1]) - shape[-1] // 2
    seen = wide.new_zeros(coils, shape[0], period)
    seen.index_add_(2, (pixel + period // 2) % period, wide * image)
    return to_kspace(seen, (1, 2)), seen


def residual(A, kspace):
    """What the least-squares image leaves of full data, relative."""
    y = A.sample(kspace)
    x = A.solve(A.H(y), 1e-9, tol=1e-10)
    return (torch.linalg.vector_norm(A(x) - y) / torch.linalg.vector_norm(y)).item(), x


@pytest.mark.parametrize("shape, period", [((40, 64), 34), ((33, 51), 27)])
def test_a_field_of_view_smaller_than_the_object_needs_two_sets(shape, period):
    kspace, seen = folded(shape, period, 6)
    every, size = torch.ones(period, dtype=torch.bool), (shape[0], period)
    maps = espirit(calibration_region(kspace, every), size, sets=2)
    assert maps.shape == (2, 6, *size)
    two, x = residual(SoftSENSE(maps, every), kspace)
    one, _ = residual(CartesianMRI(maps[0].contiguous(), every), kspace)
    assert one > 0.05 and two < 0.01
    # the second set is there where the object folds, and hardly elsewhere
    pixel = torch.arange(shape[-1]) - shape[-1] // 2
    layers = torch.zeros(size)
    layers.index_add_(1, (pixel + period // 2) % period, (ellipse(shape) != 0).float())
    second = maps[1].abs().sum(0) > 0
    assert second[layers == 2].double().mean() > 0.9 and second[layers == 1].double().mean() < 0.2
    # the combined coil images are what was seen
    images = (maps * x[:, None]).sum(0)
    assert torch.linalg.vector_norm(images - seen) < 1.1 * two * torch.linalg.vector_norm(seen)


def test_sets_are_eigenvectors_in_falling_order():
    kspace, _ = folded((40, 64), 44, 5)
    block = calibration_region(kspace, torch.ones(44) > 0)
    one, three = espirit(block, (40, 44)), espirit(block, (40, 44), sets=3)
    assert torch.equal(three[0], one)
    seen = three.abs().sum(1) > 0
    assert not (seen[1] & ~seen[0]).any() and not (seen[2] & ~seen[1]).any()
    gram = torch.einsum("schw,tchw->sthw", three.conj(), three)
    assert torch.allclose(gram, torch.eye(3)[:, :, None, None].to(gram) * seen[:, None], atol=1e-10)
    assert (three[:, 0].imag.abs() < 1e-12).all() and (three[:, 0].real >= 0).all()
    for sets in (0, 6):
        with pytest.raises(BadInput, match=f"sets = {sets} should be from 1 to 5"):
            espirit(block, (40, 44), sets=sets)


@pytest.mark.parametrize("shape", [(40, 33), (10, 24, 21)])
def test_low_resolution_maps(shape):
    maps = simulate_coils(shape, 4).to(torch.complex128)
    axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape]
    r2 = sum(a**2 for a in torch.meshgrid(*axes, indexing="ij"))
    phase = torch.polar(torch.ones_like(r2), 0.5 * r2)
    kspace = to_kspace(maps * torch.exp(-4 * r2) * phase, tuple(range(1, len(shape) + 1)))
    block = calibration_region(kspace, torch.ones(1) > 0, kernel=3, most=9)
    found = low_resolution_maps(block, shape)
    assert found.shape == maps.shape and found.dtype == maps.dtype
    assert torch.allclose(found.abs().square().sum(0), torch.ones((), dtype=torch.float64))
    inside = r2 < 0.7
    assert (found - maps * phase)[:, inside].abs().max() < 0.12  # the phase of the image is in the maps
    # by its definition, from sums over the block
    k = [torch.arange(n, dtype=torch.float64) - n // 2 for n in block.shape[1:]]
    v = block
    for n, j in zip(shape, k, strict=True):
        x = torch.arange(n, dtype=torch.float64) - n // 2
        waves = torch.exp(2j * torch.pi * torch.outer(x, j) / n) * torch.cos(torch.pi * j / (len(j) + 1)) ** 2
        v = torch.tensordot(v, waves, dims=([1], [1]))
    assert torch.allclose(found, v / v.abs().square().sum(0).sqrt(), atol=1e-10)


def test_low_resolution_maps_name_what_they_cannot_use():
    with pytest.raises(BadInput, match="low_resolution_maps: calibration is torch.float32"):
        low_resolution_maps(torch.ones(2, 8, 8), (16, 16))
    with pytest.raises(BadInput, match=r"shape = \(16, 6\) is smaller than the block \(8, 8\)"):
        low_resolution_maps(torch.ones(2, 8, 8) * 1j, (16, 6))
    with pytest.raises(BadInput, match="all zero"):
        low_resolution_maps(torch.zeros(2, 8, 8) * 1j, (16, 16))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_prewhitened_noise_is_white_with_unit_real_and_imaginary_parts(axis):
    L = torch.tensor([[3.0, 0, 0], [0.5 + 2j, 0.8, 0], [0.1j, -0.3, 0.06]], dtype=torch.complex128)
    noise = (L @ Rng(0, "noise").normal(torch.empty(3, 60000, dtype=torch.complex128))).reshape(3, 30, 2000)
    white = prewhiten(noise.movedim(0, axis), L @ L.mH, axis).movedim(axis, 0).reshape(3, -1)
    real = torch.cat([white.real, white.imag])
    assert ((real @ real.mT / 60000 - torch.eye(6)).abs() < 0.03).all()
    y = noise.reshape(3, -1)
    A = from_function(lambda x: x, (3, 60000), (3, 60000), torch.complex128)
    assert torch.allclose(CorrelatedGaussian(L @ L.mH).whiten(A, y)[1], prewhiten(y, L @ L.mH), atol=1e-9)


def test_prewhitening_keeps_the_image():
    kspace, maps = scan((24, 20), 3)
    covariance = torch.tensor([[2.0, 0.3j, 0], [-0.3j, 1, 0.2], [0, 0.2, 0.5]])
    every = torch.ones(20, dtype=torch.bool)
    A = CartesianMRI(prewhiten(maps, covariance), every)
    x = A.solve(A.H(A.sample(prewhiten(kspace, covariance))), 1e-7)
    assert torch.allclose(x, ellipse((24, 20), phase=2.0), atol=1e-3)
    with pytest.raises(BadInput, match=r"covariance has shape \(3, 3\), it should be \(24, 24\)"):
        prewhiten(kspace, covariance, axis=1)
    with pytest.raises(BadInput, match="not positive definite"):
        prewhiten(kspace, -covariance)


def orthonormal(matrix):
    eye = torch.eye(matrix.shape[-2], dtype=matrix.dtype)
    return torch.allclose(matrix @ matrix.mH, eye.expand_as(matrix @ matrix.mH), atol=1e-5)


@pytest.mark.parametrize("shape", [(33, 28), (6, 12, 15)])
def test_compressed_coils_lose_the_energy_they_say(shape):
    kspace = scan_of(shape, 7)
    s = np.linalg.svd(kspace.flatten(1).to(torch.complex128).numpy(), compute_uv=False)
    for n in (1, 3, 7):
        matrix, kept = compress_coils(kspace, n)
        virtual = virtual_coils(kspace, matrix)
        assert matrix.shape == (n, 7) and matrix.dtype == kspace.dtype and orthonormal(matrix)
        assert kept == pytest.approx((s[:n] ** 2).sum() / (s**2).sum(), rel=1e-6)
        lost = torch.linalg.vector_norm(kspace - virtual_coils(virtual, matrix.mH)) ** 2
        assert lost.item() == pytest.approx((s[n:] ** 2).sum(), rel=1e-3, abs=1e-5 * (s**2).sum())
        power = virtual.flatten(1).abs().square().sum(1)
        assert np.allclose(power, s[:n] ** 2, rtol=1e-3)


def scan_of(shape, coils):
    """Full k-space, complex64, of an object that has structure along every axis."""
    maps = simulate_coils(shape, coils)
    image = ellipse(shape, phase=2.0) * torch.linspace(0.3, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return to_kspace(maps * image, tuple(range(1, len(shape) + 1)))


def test_the_image_of_compressed_coils_is_that_of_all_but_for_the_discarded_energy():
    shape = (32, 30)
    maps, truth = simulate_coils(shape, 8).to(torch.complex128), ellipse(shape, 2.0).to(torch.complex128)
    mask = cartesian_mask(shape, 2, 8)
    full = CartesianMRI(maps, mask)
    y = full(truth)
    for n, close_to in [(8, 1e-8), (6, 0.02), (2, 0.5)]:
        matrix, kept = compress_coils(full.grid(y), n)
        small = CartesianMRI(virtual_coils(maps, matrix), mask)
        z = virtual_coils(y, matrix)
        assert torch.allclose(small(truth), z, atol=1e-10)  # the model holds for the virtual coils
        misfit = (
            torch.linalg.vector_norm(y - virtual_coils(z, matrix.mH)) ** 2 / torch.linalg.vector_norm(y) ** 2
        )
        assert misfit.item() == pytest.approx(1 - kept, abs=1e-10)
        error = torch.linalg.vector_norm(
            small.solve(small.H(z), 1e-3) - full.solve(full.H(y), 1e-3)
        ) / torch.linalg.vector_norm(truth)
        assert error < close_to


@pytest.mark.parametrize("shape, axis", [((40, 31), 0), ((31, 40), 1), ((5, 30, 12), 1)])
def test_compression_along_the_readout_keeps_more_and_is_aligned(shape, axis):
    kspace, n = scan_of(shape, 8), 3
    matrices, kept = compress_coils_along(kspace, n, axis)
    assert matrices.shape == (shape[axis], n, 8) and matrices.dtype == kspace.dtype and orthonormal(matrices)
    virtual = virtual_coils_along(kspace, matrices, axis)
    power = lambda k: torch.linalg.vector_norm(k) ** 2
    assert (power(virtual) / power(kspace)).item() == pytest.approx(kept, rel=1e-5)
    assert 1 - kept < 0.8 * (1 - compress_coils(kspace, n)[1])
    # each keeps what the leading singular vectors of its place keep
    places = to_image(kspace, (axis + 1,)).movedim(axis + 1, 0).flatten(2)
    s = torch.linalg.svdvals(places)
    assert kept == pytest.approx(((s[:, :n] ** 2).sum() / (s**2).sum()).item(), rel=1e-5)
    # neighbours are as near as bases of their spaces can be: A_x A_(x-1)^H is Hermitian and positive semidefinite,
    step = matrices[1:] @ matrices[:-1].mH
    assert torch.allclose(step, step.mH, atol=1e-4) and torch.linalg.eigvalsh(step).min() > -1e-4
    # which bases straight from the decomposition are not
    raw = torch.linalg.svd(places)[0][..., :n].mH
    assert matrices.diff(dim=0).abs().square().mean() < 0.5 * raw.diff(dim=0).abs().square().mean()


def test_virtual_maps_along_the_readout_are_smooth_and_explain_the_data():
    shape, n = (36, 28), 4
    maps, image = simulate_coils(shape, 8).to(torch.complex128), ellipse(shape, 2.0).to(torch.complex128)
    kspace = to_kspace(maps * image, (1, 2))
    matrices, _ = compress_coils_along(kspace[..., 8:20], n, 0)
    virtual = virtual_images_along(maps, matrices, 0)
    assert torch.allclose(
        virtual_coils_along(kspace, matrices, 0), to_kspace(virtual * image, (1, 2)), atol=1e-10
    )
    inside = (image.abs() > 0).any(1)
    steps = torch.linalg.vector_norm(virtual.diff(dim=1), dim=0)[inside[1:] & inside[:-1]]
    assert steps.max() < 3 * torch.linalg.vector_norm(maps.diff(dim=1), dim=0).max()
    with pytest.raises(BadInput, match=r"matrices has shape \(36, 4, 8\)"):
        virtual_coils_along(kspace, matrices, 1)


def test_the_readout_counts_from_either_end_and_is_not_the_coils():
    kspace = scan_of((8, 9), 3)
    matrices, kept = compress_coils_along(kspace, 2, 1)
    again, same = compress_coils_along(kspace, 2, -1)
    assert torch.equal(matrices, again) and kept == same
    for apply in (virtual_coils_along, virtual_images_along):
        assert torch.equal(apply(kspace, matrices, -1), apply(kspace, matrices, 1))
    for axis in (-3, 2, 1.0):
        for make in (compress_coils_along, virtual_coils_along, virtual_images_along):
            with pytest.raises(BadInput, match=f"axis = {axis} should be a whole number from -2 to 1"):
                make(kspace, 2 if make is compress_coils_along else matrices, axis)


@pytest.mark.parametrize("compress", [compress_coils, partial(compress_coils_along, axis=0)])
def test_compression_names_what_it_cannot_use(compress):
    kspace = scan_of((8, 9), 3)
    for n in (0, 4, 2.5):
        with pytest.raises(BadInput, match=f"n = {n} virtual coils, it should be a whole number from 1 to 3"):
            compress(kspace, n)
    with pytest.raises(BadInput, match="kspace is torch.float32"):
        compress(kspace.real, 2)
    with pytest.raises(BadInput, match="all zero"):
        compress(0 * kspace, 2)


def test_all_of_it_stays_on_the_device_of_the_data():
    kspace = scan_of((20, 18), 4)
    block, covariance = kspace[:, 4:16, 3:15], noise_covariance(kspace.flatten(1))
    along = compress_coils_along(kspace, 2, 1)[0]
    results = {
        "sets": lambda k, b, c, m: espirit(b, (20, 18), sets=2).abs(),
        "low": lambda k, b, c, m: low_resolution_maps(b, (20, 18)),
        "white": lambda k, b, c, m: prewhiten(k, c),
        "virtual": lambda k, b, c, m: virtual_coils(k, compress_coils(k, 2)[0]).abs(),
        "aligned": lambda k, b, c, m: virtual_coils_along(k, compress_coils_along(k, 2, 1)[0], 1).norm(dim=0),
        "along": lambda k, b, c, m: virtual_images_along(k, m, 1),
    }
    with pretend.pretended() as device:
        there = [v.to(device) for v in (kspace, block, covariance, along)]
        for name, make in results.items():
            found, expected = make(*there), make(kspace, block, covariance, along)
            assert isinstance(found, pretend.Elsewhere), f"{name} is on the CPU"
            assert torch.allclose(found.cpu(), expected, atol=1e-4 * expected.abs().max().item()), name
