"""TMPD: moment matching by the row sums of the covariance."""

from dataclasses import replace
from math import inf

import pytest
import torch
from truth import DOUBLE, T, X, agrees, at_one_point, g2_run, gaussian_problem, line_problem, normal, tensor

import workbench as wb
from theory import distributions
from workbench.operators.dense import Dense
from workbench.operators.intensity import Intensity

S = wb.samplers


def guidance_at_point(guidance):
    """(alpha / sigma^2)(xhat_y - xhat) at the point of the table: the score that a guidance adds."""
    problem = at_one_point()
    return 0.8 / 0.36 * (guidance.bind(problem).denoise(X, T) - problem.prior.denoise(X, T))


def denoised(guidance, problem, t=0.7):
    x = normal(5, *problem.prior.shape, seed=6, dtype=problem.prior.dtype)
    return guidance.bind(problem).denoise(x, tensor(t))


def test_value_at_the_point():
    assert agrees(guidance_at_point(S.TMPD()), [[0.623633, 0.468940]])


@pytest.mark.parametrize(
    "problem", [line_problem(), replace(line_problem(), A=Intensity((1,), DOUBLE))], ids=["linear", "square"]
)
def test_equals_moment_matching_for_one_measurement(problem):
    matched = S.MomentMatching(tol=1e-13)
    for t in (0.1, 0.7, 5.0):
        assert (denoised(S.TMPD(), problem, t) - denoised(matched, problem, t)).abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_exact_where_the_covariance_is_diagonal(dtype):
    """A diagonal prior seen entry by entry, in noise of its own each: complex numbers are pairs of real ones."""
    prior = distributions.Gaussian(
        normal(1, 3, seed=1, dtype=dtype)[0], torch.diag(tensor([0.3, 1.0, 2.0])).to(dtype)
    )
    noise = wb.noise.Gaussian(tensor([0.2, 0.5, 1.0]))
    A = Dense(torch.diag(tensor([1.0, -2.0, 0.5])).to(dtype))
    problem = wb.Problem(prior, A, noise, y=normal(1, 3, seed=2, dtype=dtype)[0])
    x = normal(5, 3, seed=6, dtype=dtype)
    for t in (0.1, 0.7, 5.0):
        exact = problem.exact.denoise(x, tensor(t))
        assert (denoised(S.TMPD(), problem, t) - exact).abs().max() < 1e-9


@pytest.mark.parametrize("t", [0.1, 0.7])
def test_row_sums(t):
    """Several measurements, against the formula with matrices: noise of one size, so whitening changes nothing."""
    problem = gaussian_problem()
    x = normal(5, 2, 2, seed=6)
    x0, _ = problem.prior.tweedie(x, tensor(t))
    M, C = problem.A.matrix, problem.prior.cov()
    Sigma = torch.linalg.inv(torch.linalg.inv(C) + torch.eye(4, dtype=DOUBLE) / t**2)
    D = 0.16 + (M @ Sigma @ M.mT).sum(1).abs()
    e = problem.y - x0.flatten(1) @ M.mT
    shift = (e / D) @ M @ Sigma
    c = ((e @ M * shift).sum(1) / (shift @ M.mT).square().sum(1)).clamp(0, 1)[:, None]  # does not overshoot
    assert (c == 1).all() if t < 0.5 else ((c < 1).any() and (c > 0).all())
    wanted = x0.flatten(1) + c * shift
    assert (denoised(S.TMPD(), problem, t).flatten(1) - wanted).abs().max() < 1e-9


def test_reference_row():
    """On G2, one number measured, it is moment matching: that row of the table."""
    got = g2_run(S.DDPM(guidance=S.TMPD()), 50, groups=2)
    assert abs(got.sw2 - 0.058) < 0.02 and abs(got.trace - 1.38) < 0.08 and abs(got.residual - 0.39) < 0.015


def test_stable_on_many_measurements_that_say_the_same():
    """Rows of opposite sign have row sums near zero: without the shorter step this diverges."""
    base = gaussian_problem(sigma=0.02)
    A = Dense(torch.cat([base.A.matrix, -base.A.matrix]), shape=(2, 2))
    problem = replace(base, A=A, y=torch.cat([base.y, -base.y]))
    x = wb.sample(problem, S.TMPD(), n=8, steps=30, progress=False).samples
    assert x.abs().max() < 10


def test_the_published_rule_takes_whole_steps():
    problem, x, t = gaussian_problem(), normal(5, 2, 2, seed=6), tensor(0.7)
    x0, covariance = problem.prior.tweedie(x, t)
    whole = covariance(S.TMPD().pull(problem, x, x0, covariance, t, None))
    assert torch.equal(denoised(S.TMPD(reach=inf), problem), x0 + whole)
    assert (denoised(S.TMPD(), problem) - x0 - whole).abs().max() > 0.01
