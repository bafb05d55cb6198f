"""RED-diff: its gradient, the fixed point on a Gaussian, its published rows on G2."""

from dataclasses import replace

import pytest
import torch
from test_samplers_guided_generation import blurred, in_deviations
from truth import DOUBLE, G2, g2_run, gaussian_problem, normal

import workbench as wb
from workbench._errors import BadInput
from workbench.diffusion import VariancePreserving

REDDiff = wb.samplers.REDDiff


def fixed_point(problem, sampler, times):
    """(A^H A / sigma^2 + G)^{-1} (A^H y / sigma^2 + G m), G = mean_t w_t sigma alpha (alpha^2 C + sigma^2)^{-1}."""
    process, prior = problem.prior.process, problem.prior
    C, m = prior.cov(), prior.mean().flatten()
    M = problem.A.matrix / 0.4
    eye, G = torch.eye(4, dtype=C.dtype), 0
    for t in times[:-1]:
        alpha, sigma = process.alpha(t), process.sigma(t)
        w = sampler.lam * (sigma / alpha) ** sampler.power
        G = G + w * sigma * alpha * torch.linalg.inv(alpha**2 * C + sigma**2 * eye)
    G = G / (len(times) - 1)
    right = M.mH @ (problem.y / 0.4) + G @ m
    return torch.linalg.solve(M.mH @ M + G, right)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("process", [None, VariancePreserving()], ids=repr)
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_expected_gradient_vanishes_at_the_fixed_point(dtype, process, power):
    """On a Gaussian the gradient is affine in eps, so its expectation is that at eps = 0."""
    problem, sampler = gaussian_problem(dtype, process=process), REDDiff(lam=0.7, power=power)
    times = problem.prior.grid(12)
    mu = fixed_point(problem, sampler, times).reshape(1, 2, 2)
    at = lambda mu: sum(sampler.gradient(problem, mu, t, torch.zeros_like(mu)) for t in times[:-1]) / 12
    scale = sampler.gradient(problem, 0 * mu, times[5], 0 * mu).abs().max()
    assert at(mu).abs().max() < 1e-10 * scale
    assert at(1.01 * mu).abs().max() > 1e-4 * scale


def test_data_weight_replaces_the_likelihood():
    problem, mu = gaussian_problem(), normal(3, 2, 2, seed=8)
    t, eps = problem.prior.grid(5)[2], torch.zeros_like(mu)
    likelihood = REDDiff(lam=0.0).gradient(problem, mu, t, eps)
    assert torch.allclose(REDDiff(lam=0.0, data_weight=1 / 0.4**2).gradient(problem, mu, t, eps), likelihood)


def test_steps_are_those_of_torch_adam():
    """An independent Adam, on the same losses, from the same start."""
    problem, sampler = gaussian_problem(), REDDiff(lam=0.0, lr=0.02)
    start = 3 + sampler.init(problem, 2, problem.prior.grid(1)[0], wb.Rng(0)).x
    mu = start.clone().requires_grad_()
    adam = torch.optim.Adam([mu], lr=0.02, betas=(0.9, 0.99), eps=1e-8)
    state = replace(sampler.init(problem, 2, problem.prior.grid(1)[0], wb.Rng(0)), x=start)
    times = problem.prior.grid(30)
    for t, s in zip(times[:-1], times[1:], strict=True):
        state = sampler.step(problem, state, t, s, wb.Rng(0))
        adam.zero_grad()
        (-problem.noise.log_likelihood(problem.y, problem.A(mu)).sum()).backward()
        adam.step()
    assert (state.x - mu).abs().max() < 1e-9 and (mu - start).abs().min() > 0.1


def test_complex_adam_treats_parts_apart():
    problem = gaussian_problem(torch.complex128)
    sampler = REDDiff(lam=0.0, lr=0.02)
    x = wb.sample(problem, sampler, n=1, steps=1, progress=False).samples
    moved = torch.view_as_real(x - sampler.init(problem, 1, problem.prior.grid(1)[0], wb.Rng(0)).x)
    assert (moved.abs() - 0.02).abs().max() < 1e-6


@pytest.mark.parametrize("steps, sw2, trace", [(100, 0.594, 0.13), (1000, 0.549, 0.23)])
def test_reference_row(steps, sw2, trace):
    got = g2_run(REDDiff.named("config"), steps, n=2000)
    assert abs(got.sw2 - sw2) < 0.05 and abs(got.trace - trace) < 0.15 and got.residual < 0.06


def test_spread_is_not_the_posterior():
    """The control of the claim: a point estimate's spread over seeds is far below the posterior's."""
    assert g2_run(REDDiff(), 300, n=500).trace < 0.5 * G2.exact.cov().trace()


def test_noise_is_not_fitted():
    """lam by default, in units of the likelihood: on a blurred field within a posterior deviation, and far at 0.25."""
    problem, variance = blurred()
    off = lambda sampler: in_deviations(
        problem, variance, wb.sample(problem, sampler, n=12, steps=100, progress=False).samples
    )[0]
    assert off(REDDiff()) < 0.9 < 3 < off(REDDiff(lam=0.25))
    assert (REDDiff().weight(G2, torch.zeros(2, 2)) / (0.3 * 1.25 / 0.09) - 1).abs().max() < 1e-3


def test_spread_is_drawn_about_mu():
    """x_t = alpha (mu + sigma_q eps') + sigma eps in the residual too: lam (mu + sigma_q eps' - xhat)."""
    problem, mu = gaussian_problem(), normal(3, 2, 2, seed=8)
    sampler, (t, s) = REDDiff(lam=0.7, spread=0.5, lr=0.1), problem.prior.grid(5)[2:4]
    state = replace(sampler.init(problem, 3, t, wb.Rng(0)), x=mu)
    rng = wb.Rng(4)
    eps, near = rng.normal(mu), 0.5 * rng.normal(mu)
    x0 = problem.prior.denoise(mu + near + t * eps, t)
    plain = REDDiff(lam=0.0).gradient(problem, mu, t, eps)
    wanted = 0.7 * (mu + near - x0) + plain
    got = sampler.step(problem, state, t, s, wb.Rng(4)).first / 0.1
    assert (got - wanted).abs().max() < 1e-9


def test_constructor_refuses_nonsense():
    for fields in (dict(data_weight=-1.0), dict(lam=-1.0), dict(lr=float("nan")), dict(data_weight=1.0)):
        with pytest.raises(BadInput, match="REDDiff"):
            REDDiff(**fields)
