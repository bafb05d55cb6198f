"""DPS by its published settings, and the same guidance in likelihood units."""

from dataclasses import replace
from math import inf

import pytest
import torch
from truth import DOUBLE, T, X, agrees, at_one_point, g2_run, gaussian_problem, line_problem, normal, tensor

import workbench as wb
from workbench.operators.intensity import Intensity

S = wb.samplers


def guidance_at_point(guidance):
    """(alpha / sigma^2)(xhat_y - xhat) at the point of the table: the score that a guidance adds."""
    problem = at_one_point()
    return 0.8 / 0.36 * (guidance.bind(problem).denoise(X, T) - problem.prior.denoise(X, T))


def test_published_settings():
    zeta = {name: S.DPS.named(name).zeta for name in S.DPS.published}
    assert zeta == dict(
        super_resolution=0.3, gaussian_blur=0.3, motion_blur=0.3, nonlinear_blur=0.3, box_inpainting=0.5,
        random_inpainting=0.5, phase_retrieval=1.0,
    )  # fmt: skip


def test_plain_guidance_at_the_point():
    assert agrees(guidance_at_point(S.LikelihoodDPS(reach=inf)), [[11.188883, 8.413471]])


def test_step_does_not_overshoot():
    """One number measured: the step brings A xhat to y where it would have gone beyond, and half of it half way."""
    whole = guidance_at_point(S.LikelihoodDPS())
    curvature = (0.941031 + 0.334157 + 0.25 * 0.998171) / 0.09  # A Cov A^T / sigma^2
    assert agrees(whole * curvature, [[11.188883, 8.413471]], 4)
    assert torch.allclose(guidance_at_point(S.LikelihoodDPS(reach=0.5)), 0.5 * whole)


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_step_is_the_best_along_it(dtype):
    """Several measurements: the misfit of the linear problem, as a function of the step, is lowest there."""
    problem = gaussian_problem(dtype)
    x, t = normal(3, 2, 2, seed=6, dtype=dtype), tensor(2.0)
    x0 = problem.prior.denoise(x, t)
    shift = S.LikelihoodDPS().bind(problem).denoise(x, t) - x0

    def misfit(c):
        return (problem.y - problem.A(x0 + c * shift)).abs().square().sum(1)

    assert (misfit(1) < misfit(1.05)).all() and (misfit(1) < misfit(0.95)).all()


def test_little_left_open_takes_the_whole_step():
    problem, x, t = gaussian_problem(), normal(3, 2, 2, seed=6), tensor(0.02)
    short, plain = (S.LikelihoodDPS(reach=r).bind(problem).denoise(x, t) for r in (1.0, inf))
    assert torch.equal(short, plain) and (plain - problem.exact.denoise(x, t)).abs().max() < 1e-3


def test_counts_and_a_nonlinear_operator():
    """The exact gradient of the Poisson log-likelihood, gain H^T (y / rate - 1), not that of the plug-in."""
    problem = replace(
        line_problem(), A=Intensity((1,), DOUBLE), noise=wb.noise.Poisson(4.0, 1.0), y=tensor([5.0])
    )
    x, t = tensor([[0.7], [-1.2]]), tensor(0.3)
    x0, covariance = problem.prior.tweedie(x, t)
    wanted = covariance(2 * x0 * 4 * (5 / (4 * x0**2 + 1) - 1))
    got = S.LikelihoodDPS(reach=inf).bind(problem).denoise(x, t) - x0
    assert (got - wanted).abs().max() < 1e-9


def test_stable_where_the_plain_guidance_is_not():
    problem = gaussian_problem(sigma=0.02)
    run = lambda reach: (
        wb.sample(problem, S.LikelihoodDPS(reach=reach), n=8, steps=30, progress=False).samples
    )
    assert run(1.0).abs().max() < 10 and not run(inf).abs().max() < 1e3


def test_no_reach():
    with pytest.raises(wb.BadInput, match="reach = 0"):
        S.LikelihoodDPS(reach=0)


def test_on_g2():
    """No reference value; the table's DPS with the best of its scales is at .155."""
    got = g2_run(S.DDPM(guidance=S.LikelihoodDPS()), 200)
    assert got.sw2 < 0.125 and abs(got.trace - 1.374) < 0.12
