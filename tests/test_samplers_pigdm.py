"""PiGDM, where it is exact, its numbers on G2, and the update of the authors' code."""

from dataclasses import replace

import pytest
import torch
from truth import (
    DOUBLE,
    G2,
    N,
    T,
    X,
    agrees,
    at_one_point,
    g2_means,
    g2_run,
    gaussian_problem,
    line_problem,
    normal,
    tensor,
)

import workbench as wb
from theory import distributions
from workbench.diffusion import VariancePreserving
from workbench.diffusion.flow import Flow
from workbench.operators.intensity import Intensity
from workbench.samplers._ancestral import moments

S = wb.samplers


def guidance_at_point(guidance):
    """(alpha / sigma^2)(xhat_y - xhat) at the point of the table: the score that a guidance adds."""
    problem = at_one_point()
    return 0.8 / 0.36 * (guidance.bind(problem).denoise(X, T) - problem.prior.denoise(X, T))


def isotropic_problem(dtype=DOUBLE, variance=1.7, process=None, sigma=0.4):
    """The Gaussian problem with a prior N(m, c I)."""
    base = gaussian_problem(dtype, sigma)
    mean = normal(1, 2, 2, seed=2, dtype=dtype)[0]
    return replace(
        base, prior=distributions.Gaussian(mean, variance * torch.eye(4, dtype=dtype), process=process)
    )


def test_value_at_the_point():
    assert agrees(guidance_at_point(S.PiGDM()), [[1.864814, 1.402245]])


@pytest.mark.parametrize("process", [None, VariancePreserving(), Flow()], ids=repr)
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_exact_for_isotropic_gaussians(dtype, process):
    problem = isotropic_problem(dtype, process=process)
    for kappa in (0.02, 0.7, 8.0):
        t, x = problem.prior.process.time(kappa), normal(5, 2, 2, seed=6, dtype=dtype)
        exact = problem.exact.denoise(x, t)
        assert (S.PiGDM(variance=1.7).bind(problem).denoise(x, t) - exact).abs().max() < 1e-9
        other = S.PiGDM(variance=1.0).bind(problem).denoise(x, t)
        assert kappa < 0.1 or (other - exact).abs().max() > 1e-2  # the control


def test_noise_that_differs_between_entries():
    problem = isotropic_problem()
    problem = replace(problem, noise=wb.noise.Gaussian(tensor([0.1, 0.5, 2.0])))
    x, t = normal(5, 2, 2, seed=6), tensor(0.7)
    assert (
        S.PiGDM(variance=1.7, tol=1e-13).bind(problem).denoise(x, t) - problem.exact.denoise(x, t)
    ).abs().max() < 1e-9


def test_nonlinear_operator_is_linearised_at_the_denoised_signal():
    """The solve in the space of the signal is the formula in the space of the data, written out with the Jacobian."""
    base = line_problem()
    problem = replace(base, A=Intensity((1,), DOUBLE), y=tensor([1.3]))
    x, t = tensor([[0.4], [-1.1]]), tensor(0.8)
    x0, covariance = problem.prior.tweedie(x, t)
    r2, slope = 0.64 / 1.64, 2 * x0
    pull = slope * (1.3 - x0**2) / (0.25 + r2 * slope**2)
    assert (S.PiGDM().bind(problem).denoise(x, t) - x0 - covariance(pull)).abs().max() < 1e-9


def test_poisson_is_its_plug_in():
    base = line_problem()
    problem = replace(base, noise=wb.noise.Poisson(10.0, 2.0), y=tensor([12.0]))
    plug = replace(base, noise=wb.noise.Gaussian(12.0**0.5 / 10), y=tensor([1.0]))
    x, t = tensor([[0.4], [1.1]]), tensor(0.8)
    assert (S.PiGDM().bind(problem).denoise(x, t) - S.PiGDM().bind(plug).denoise(x, t)).abs().max() < 1e-12


def test_published_push():
    """alpha_s alpha_t r^2 J^T (pull) is added to an unguided step; J^T pull is the guidance of the table."""
    problem, s = at_one_point(), tensor(0.5 * T)
    sampler = S.PublishedPiGDM(eta=0.0)
    process = problem.prior.process
    got = sampler.step(problem, sampler.State(X), tensor(T), s, wb.Rng(0)).x
    free, _ = moments(process, X, problem.prior.denoise(X, T), tensor(T), s, 0.0)
    r2 = 0.36  # kappa^2 / (1 + kappa^2) = sigma^2 / (alpha^2 + sigma^2)
    assert agrees((got - free) / (process.alpha(s) * 0.8 * r2), [[1.864814, 1.402245]])


def test_published_settings():
    assert S.PublishedPiGDM.named("paper") == S.PublishedPiGDM(eta=1.0)
    assert S.PublishedPiGDM.named("inverse_bench").eta == 0.2


@pytest.mark.parametrize("variance", [0.0, -1.0])
def test_bad_variance(variance):
    for kind in (S.PiGDM, S.PublishedPiGDM, S.OTODE, S.LGDMC, S.DPG):
        with pytest.raises(wb.BadInput, match=f"{kind.__name__}: variance"):
            kind(variance=variance)


def published_run(steps):
    """On the variance-preserving process, at times uniform from 1 to 1e-3."""
    process = VariancePreserving()
    problem = replace(G2, prior=G2.prior.under(process))
    times = torch.linspace(1, 1e-3, steps, dtype=DOUBLE)
    return g2_means(wb.sample(problem, S.PublishedPiGDM(), n=N, grid=times, progress=False).samples)


@pytest.mark.parametrize(
    "steps, sw2, trace, residual",
    [
        (20, 0.079, 1.14, 0.31),
        (100, 0.169, 1.14, 0.12),
        pytest.param(1000, 0.497, 1.72, 0.07, marks=pytest.mark.slow),
    ],
)
def test_published_reference_row(steps, sw2, trace, residual):
    got = published_run(steps)
    assert abs(got.sw2 - sw2) < 0.03 and abs(got.trace - trace) < 0.1 and abs(got.residual - residual) < 0.02


def test_reference_row():
    got = g2_run(S.DDPM(guidance=S.PiGDM()), 200)
    assert abs(got.sw2 - 0.045) < 0.03 and abs(got.trace - 1.314) < 0.08 and abs(got.residual - 0.372) < 0.02


@pytest.mark.slow
def test_reference_row_of_eight_seeds():
    got = g2_run(S.DDPM(guidance=S.PiGDM()), 200, groups=8)
    assert (
        abs(got.sw2 - 0.043) < 0.012 and abs(got.trace - 1.314) < 0.05 and abs(got.residual - 0.372) < 0.015
    )
