"""Coil maps against sigpy and against the truth, noise against its covariance, and what a scan sampled."""

import numpy as np
import pytest
import torch

from workbench import BadInput, Rng
from workbench.operators import CartesianMRI, cartesian_mask
from workbench.operators.coils import (
    calibration_region,
    corner_noise,
    espirit,
    find_mask,
    noise_covariance,
    simulate_coils,
)


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


def test_cartesian_mask():
    mask = cartesian_mask((100, 321), 4, calibration=25, seed=3)
    assert mask.shape == (321,) and mask.dtype == torch.bool
    assert int(mask.sum()) == 80 and mask[160 - 12 : 160 + 13].all()
    assert torch.equal(mask, cartesian_mask((100, 321), 4, calibration=25, seed=3))
    assert not torch.equal(mask, cartesian_mask((100, 321), 4, calibration=25, seed=4))
    share = torch.stack([cartesian_mask((321,), 4, 25, seed) for seed in range(40)]).double().mean(0)
    assert share[100:140].mean() > 2 * share[:40].mean() > 0
    assert cartesian_mask((8,), 1, 4).all()
    for bad in [
        dict(acceleration=0.5),
        dict(acceleration=4, calibration=90),
        dict(acceleration=1000, calibration=0),
    ]:
        with pytest.raises(BadInput, match="acceleration = "):
            cartesian_mask((320, 320), **bad)
