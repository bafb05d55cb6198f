"""Metrics against formulas, scikit-image, and the coverage that exact draws have."""

import numpy as np
import pytest
import torch

from workbench import BadInput, Rng
from workbench.catalogue import entries, load
from workbench.metrics import coverage, expected_coverage, interval_width, nrmse, psnr, ssim
from workbench.posterior import Posterior


def image(*shape, dtype=torch.float64, seed=0):
    return Rng(seed, "metrics").normal(torch.empty(*shape, dtype=dtype))


def test_psnr_of_a_known_error():
    truth = torch.tensor([[0.0, 2.0], [1.0, -4.0]])
    x = truth + torch.tensor([[0.1, -0.1], [0.1, -0.1]])
    assert psnr(x, truth).item() == pytest.approx(20 * np.log10(4 / 0.1), abs=1e-4)
    assert psnr(x, truth, peak=1.0).item() == pytest.approx(20.0, abs=1e-4)
    inside = torch.tensor([[True, True], [False, False]])
    x = x + torch.where(inside, 0.0, 9.0)
    assert psnr(x, truth, mask=inside).item() == pytest.approx(20 * np.log10(2 / 0.1), abs=1e-4)


def test_psnr_counts_the_complex_error():
    truth = image(5, 7, dtype=torch.complex64)
    turned = truth * torch.exp(torch.tensor(0.3j))  # the magnitude alone would see no error
    want = -20 * torch.log10(
        2 * torch.sin(torch.tensor(0.15)) * truth.abs().square().mean().sqrt() / truth.abs().max()
    )
    assert psnr(turned, truth).item() == pytest.approx(want.item(), abs=1e-3)
    assert nrmse(turned, truth).item() == pytest.approx(2 * np.sin(0.15), abs=1e-5)


def test_errors_against_scikit_image():
    from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio

    truth, x = image(9, 8), image(3, 9, 8, seed=1)
    for row, p, e in zip(x, psnr(x, truth, peak=3.0), nrmse(x, truth), strict=True):
        assert p.item() == pytest.approx(
            peak_signal_noise_ratio(truth.numpy(), row.numpy(), data_range=3.0), abs=1e-9
        )
        assert e.item() == pytest.approx(normalized_root_mse(truth.numpy(), row.numpy()), abs=1e-12)


@pytest.mark.parametrize("shape", [(24, 31), (11, 11), (3, 15, 12)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_ssim_against_scikit_image(shape, dtype):
    from skimage.metrics import structural_similarity

    truth = image(*shape, dtype=dtype).cumsum(-1) / 3
    x = truth + 0.4 * image(2, *shape, dtype=dtype, seed=1)
    options = dict(
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=truth.abs().max().item()
    )
    stack = lambda v: v.reshape(-1, *shape[-2:]).double().numpy()
    for row, got in zip(x, ssim(x, truth), strict=True):
        want = [structural_similarity(a, b, **options) for a, b in zip(stack(truth), stack(row), strict=True)]
        assert got.item() == pytest.approx(np.mean(want), abs=1e-9)
    assert ssim(truth, truth).item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("n, level", [(8, 0.9), (25, 0.5), (400, 0.9)])
def test_coverage_of_exact_draws(n, level):
    samples, truth = Rng(0, "metrics").uniform(n, 20000) - 0.5, Rng(1, "metrics").uniform(1, 20000)[0] - 0.5
    got, want = coverage(Posterior(samples), truth, level), expected_coverage(n, level)
    margin = 4 * (want * (1 - want) / 20000) ** 0.5
    assert abs(got - want) < margin
    assert coverage(Posterior(0.8 * samples), truth, level) < want - 2 * margin  # too narrow is seen


def test_coverage_with_weights_is_that_of_the_target():
    samples, truth = 1.5 * image(2000, 500), image(500, seed=1)
    one = Posterior(samples[:, :1], log_weights=-0.5 * samples[:, 0] ** 2 * (1 - 1 / 1.5**2))
    want = 2 * 1.6448536
    assert interval_width(one) == pytest.approx(want, rel=0.1)
    assert interval_width(Posterior(samples)) == pytest.approx(1.5 * want, rel=0.02)
    assert coverage(Posterior(samples), truth) > 0.95


def test_mask_of_coverage():
    samples = image(200, 4)
    truth, mask = torch.tensor([0.0, 0.0, 99.0, 99.0]), torch.tensor([True, True, True, False])
    assert coverage(Posterior(samples), truth) == 0.5
    assert coverage(Posterior(samples), truth, mask=mask) == pytest.approx(2 / 3)
    wide = samples * torch.tensor([1.0, 1.0, 1.0, 50.0])
    assert interval_width(Posterior(wide), mask=mask) < 4 < interval_width(Posterior(wide))


AGAINST_A_TRUTH = [entry.name for entry in entries("metrics") if "better" in entry.card]


@pytest.mark.parametrize("name", AGAINST_A_TRUTH)
def test_exhibits_take_a_posterior_and_the_truth(name):
    truth = image(12, 13)
    post = Posterior(truth + 0.1 * image(40, 12, 13, seed=1))
    assert isinstance(load("metrics", name)()(post, truth), float)
    assert {"psnr", "nrmse", "ssim", "coverage", "interval-width"} <= set(AGAINST_A_TRUTH)


def test_exhibits_judge_the_mean():
    truth = image(12, 13)
    post = Posterior(truth + 0.1 * image(40, 12, 13, seed=1), log_weights=torch.linspace(0, 3, 40).double())
    for name, function in (("psnr", psnr), ("nrmse", nrmse), ("ssim", ssim)):
        metric = load("metrics", name)()
        assert metric(post, truth) == metric(post.mean(), truth) == function(post.mean(), truth).item()


def test_bad_input():
    x, z = image(12, 12), image(12, 12, dtype=torch.complex128)
    with pytest.raises(BadInput, match=r"\(12, 11\)"):
        psnr(x[:, :11], x)
    with pytest.raises(BadInput, match="mask"):
        psnr(x, x, mask=torch.zeros(12, 12, dtype=torch.bool))
    with pytest.raises(BadInput, match="abs"):
        ssim(z, z)
    with pytest.raises(BadInput, match="11 x 11"):
        ssim(x[:5], x[:5])
    with pytest.raises(BadInput, match=r"post.map\(torch.abs\)"):
        coverage(Posterior(z[None]), z)
    with pytest.raises(BadInput, match="level = 90"):
        coverage(Posterior(x[None]), x, level=90)
    with pytest.raises(BadInput, match="Posterior"):
        coverage(x, x)
