"""Guidance from draws around the denoised signal, with gradients of A (LGD-MC) and without (DPG)."""

from dataclasses import replace

import pytest
import torch
from truth import DOUBLE, T, X, at_one_point, g2_run, gaussian_problem, line_problem, normal, tensor

import workbench as wb
from workbench.operators.intensity import Intensity

S = wb.samplers
MANY = 200_000


def guidance_at_point(guidance):
    """(alpha / sigma^2)(xhat_y - xhat) at the point of the table: the score that a guidance adds."""
    problem = at_one_point()
    return 0.8 / 0.36 * (guidance.bind(problem).denoise(X, T) - problem.prior.denoise(X, T))


@pytest.mark.parametrize("guidance", [S.LGDMC(draws=MANY), S.DPG(draws=MANY)], ids=lambda g: type(g).__name__)
def test_many_draws_are_pigdm_at_the_point(guidance):
    """The error of M draws is the scatter of their weights, about 1 % of the value here; the pull of the plain
    likelihood would be (11.2, 8.4)."""
    got = guidance_at_point(guidance)
    assert ((got / tensor([[1.864814, 1.402245]]) - 1).abs() < 0.02).all()


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
@pytest.mark.parametrize("kind", [S.LGDMC, S.DPG])
def test_many_draws_are_pigdm_for_a_linear_operator(kind, dtype):
    problem = gaussian_problem(dtype, sigma=2.0)
    x, t = normal(1, 2, 2, seed=6, dtype=dtype), tensor(0.9)
    x0, pigdm = problem.prior.denoise(x, t), S.PiGDM(variance=0.5).bind(problem).denoise(x, t)
    got = kind(draws=100_000, variance=0.5).bind(problem).denoise(x, t)
    assert (got - pigdm).abs().max() < 0.03 * (pigdm - x0).abs().max()
    other = kind(draws=100_000, variance=2.0).bind(problem).denoise(x, t)
    assert (other - pigdm).abs().max() > 0.06 * (pigdm - x0).abs().max()  # the control: r^2 is seen


@pytest.mark.parametrize("noise, y", [(wb.noise.Gaussian(0.5), 0.9), (wb.noise.Poisson(4.0, 1.0), 5.0)])
@pytest.mark.parametrize("kind", [S.LGDMC, S.DPG])
def test_any_likelihood_smoothed(kind, noise, y):
    """A nonlinear operator and counts: the gradient of log E p(y | xhat + r xi) by quadrature on a line."""
    problem = replace(line_problem(), A=Intensity((1,), DOUBLE), noise=noise, y=tensor([y]))
    x, t = tensor([[1.7]]), tensor(0.8)
    x0, covariance = problem.prior.tweedie(x, t)
    r = (0.64 / 1.64) ** 0.5
    z = torch.linspace(-8, 8, 20001, dtype=DOUBLE)[:, None]
    p = torch.exp(noise.log_likelihood(problem.y, (x0 + r * z) ** 2) - 0.5 * z[:, 0] ** 2)
    pull = (p * z[:, 0]).sum() / p.sum() / r
    got = kind(draws=MANY).bind(problem).denoise(x, t)
    assert (got - x0 - covariance(pull.reshape(1, 1))).abs().max() < 0.02 * covariance(
        pull.reshape(1, 1)
    ).abs().max()


def test_one_draw_follows_it():
    """M = 1: the gradient of log p(y | x) at the one draw, whatever its likelihood, with much noise."""
    problem, rng = gaussian_problem(sigma=4.0), wb.Rng(5)
    x0 = normal(3, 2, 2, seed=6)
    got = S.LGDMC(draws=1).pull(problem, None, x0, None, tensor(0.7), rng)
    r = (0.49 / 1.49) ** 0.5
    at = x0 + r * wb.Rng(5).normal(x0[:, None])[:, 0]
    wanted = ((problem.y - problem.A(at)) / 16 @ problem.A.matrix).reshape(3, 2, 2)
    assert (got - wanted).abs().max() < 1e-9


def test_few_draws_are_stable():
    """Sharp data: the pull of the best draw is 1 / sigma^2 steep, and is halved until it no longer makes the data unlikely."""
    problem = gaussian_problem(sigma=0.02)
    x = wb.sample(problem, S.LGDMC(), n=8, steps=30, progress=False).samples
    assert x.abs().max() < 10
    x, t = normal(3, 2, 2, seed=6), tensor(0.7)
    x0, covariance = problem.prior.tweedie(x, t)
    whole = covariance(S.LGDMC().pull(problem, x, x0, covariance, t, wb.Rng(5)))
    shift = S.LGDMC().denoise(problem, x, t, wb.Rng(5)) - x0
    halvings = torch.log2(whole / shift).flatten(1)
    assert (halvings - halvings.round()).abs().max() < 1e-6 and (halvings.amax(1) > 3).all()
    assert (shift.abs().amax((1, 2)) > 1e-3).all()


def test_draws_of_a_step_are_its_own():
    """Guidance draws from a stream apart from the stepper's, anew at every step."""
    problem = at_one_point()
    bind = lambda rng: S.LGDMC().bind(problem, rng).denoise(X, T)
    assert torch.equal(bind(wb.Rng(1)), bind(wb.Rng(1)))
    assert (bind(wb.Rng(1).at(1)) - bind(wb.Rng(1).at(2))).abs().max() > 1e-3


@pytest.mark.parametrize("draws", [2, 64, 130])
def test_chunks_of_draws(draws):
    """DPG's running sums, against all draws at once."""
    problem, x0, rng = gaussian_problem(), normal(3, 2, 2, seed=6), wb.Rng(5)
    got = S.DPG(draws=draws).pull(problem, None, x0, None, tensor(0.7), wb.Rng(5))
    parts = [
        rng.normal(torch.empty(3, pairs, 2, 2, dtype=DOUBLE))
        for pairs in ([64] * (draws // 128) + [draws % 128 // 2])
        if pairs
    ]
    xi = torch.cat([torch.cat([z, -z], 1) for z in parts], 1)
    r = (0.49 / 1.49) ** 0.5
    log_p = problem.noise.log_likelihood(problem.y, problem.A(x0[:, None] + r * xi))
    wanted = (torch.softmax(log_p, 1)[..., None, None] * xi).sum(1) / r
    assert (got - wanted).abs().max() < 1e-9


def test_dpg_needs_no_gradient_of_the_operator():
    class Black(Intensity):
        def forward(self, x):
            return super().forward(x.detach())

        def linearize(self, x):
            raise AssertionError("asked for a derivative")

    problem = replace(line_problem(), A=Black((1,), DOUBLE), y=tensor([1.3]))
    post = wb.sample(problem, S.DPG(draws=100), n=4, steps=5, progress=False)
    assert torch.isfinite(post.samples).all() and post.cost.vjp == 20


def test_odd_draws():
    with pytest.raises(wb.BadInput, match="draws = 3"):
        S.DPG(draws=3)
    with pytest.raises(wb.BadInput, match="draws = 0"):
        S.LGDMC(draws=0)


def push(sampler, problem, x, t, s):
    """What a sampler adds to the unguided step."""
    step = lambda made: made.step(problem, made.State(x), t, s, wb.Rng(3)).x
    return step(sampler) - step(S.DDPM())


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_average_of_gradients_without_spread_is_dps(dtype):
    problem, x = gaussian_problem(dtype), normal(3, 2, 2, seed=6, dtype=dtype)
    got = push(S.PublishedLGD(zeta=0.7, variance=1e-14), problem, x, tensor(0.7), tensor(0.3))
    wanted = push(S.DPS(zeta=0.7), problem, x, tensor(0.7), tensor(0.3))
    assert (got - wanted).abs().max() < 1e-5 and wanted.abs().max() > 0.1


def test_average_of_gradients():
    """Many draws, linear A: grad ||r||^2 at the centre over 2 sqrt(||r||^2 + r_t^2 ||A||_F^2)."""
    problem, x, t = gaussian_problem(), normal(1, 2, 2, seed=6), tensor(0.7)
    got = push(S.PublishedLGD(zeta=1.0, draws=100_000), problem, x, t, tensor(0.3))
    x0, covariance = problem.prior.tweedie(x, t)
    residual = problem.y - problem.A(x0)
    mean_L = residual.square().sum() + 0.49 / 1.49 * problem.A.matrix.square().sum()
    wanted = covariance(problem.A.H(residual)) / 0.49 / mean_L.sqrt()
    assert (got - wanted).abs().max() < 0.02 * wanted.abs().max()


def test_reference_of_pigdm():
    """With 300 draws a step on G2 it samples as PiGDM does (row PiGDM-200: .045, trace 1.31, residual .37)."""
    got = g2_run(S.DDPM(guidance=S.LGDMC(draws=300)), 50, n=1000, groups=2)
    same = g2_run(S.DDPM(guidance=S.PiGDM()), 50, n=1000, groups=2)
    assert abs(got.sw2 - same.sw2) < 0.03 and abs(got.trace - same.trace) < 0.08
    assert abs(got.residual - same.residual) < 0.015
