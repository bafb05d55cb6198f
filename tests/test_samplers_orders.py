"""The order of accuracy of every deterministic stepper, measured on the flow map of a mixture.

Steppers that remember start with a memory: the steps before the first are taken from the exact flow, so that what is
measured is the order of the steps themselves and not that of the first one.
"""

from dataclasses import replace
from math import log2

import pytest
import torch
from truth import DOUBLE, gaussian_problem, normal, tensor

import problems
import workbench as wb
from workbench import catalogue
from workbench.diffusion import VariancePreserving
from workbench.diffusion.flow import Flow
from workbench.diffusion.grids import karras, log_snr
from workbench.diffusion.variance_exploding import EDM

S = wb.samplers


def of_kind(*kinds):
    """The names of the catalogue's samplers of these kinds."""
    return [entry.name for entry in catalogue.entries("samplers") if entry.card["kind"] in kinds]


STEPPERS = {
    "euler": (S.Euler(), 1),
    "ddim": (S.DDIM(), 1),
    "heun": (S.Heun(), 2),
    "dpm-solver-2m": (S.DPMSolver2M(), 2),
    "dpm-solver-2s": (S.DPMSolver2S(), 2),
    "dpm-solver-3m": (S.DPMSolver3M(), 3),
    "uni-pc-1": (S.UniPC(order=1), 2),
    "unipc": (S.UniPC(), 3),
    "uni-pc-bh1": (S.UniPC(B=S.BH1()), 3),
    "uni-pc-3": (S.UniPC(order=3), 4),
}
STOCHASTIC = {"ddpm", "dpm-solver-sde", "predictor-corrector"}
HEURISTIC = {"evodiff", "dc-solver"}  # no order of their own: tested below

START = 3.0 * normal(20, 2, seed=5)
BEFORE = 3  # steps of memory
HIGH, LOW = 5.0, 0.2  # sigma / alpha


def exact_flow(x, high, low, steps):
    """The flow in x / alpha, d x / d lambda = E[x0 | x] - x with lambda = -log kappa, by the classical Runge-Kutta."""
    prior, lam = problems.load("toy/g2").prior, -torch.tensor(high, dtype=torch.float64).log()
    h = (-torch.tensor(low, dtype=torch.float64).log() - lam) / steps
    slope = lambda x, lam: prior.denoise(x, torch.exp(-lam)) - x
    for _ in range(steps):
        a = slope(x, lam)
        b = slope(x + 0.5 * h * a, lam + 0.5 * h)
        c = slope(x + 0.5 * h * b, lam + 0.5 * h)
        x = x + h / 6 * (a + 2 * b + 2 * c + slope(x + h * c, lam + h))
        lam = lam + h
    return x


def flow_map(prior, sampler, steps):
    """Where a stepper takes START, from kappa = 5 to 0.2 on a grid uniform in log kappa, in x / alpha."""
    problem, process = replace(problems.load("toy/g2"), prior=prior), prior.process
    ratio = (LOW / HIGH) ** (1 / steps)
    levels = [HIGH * ratio**i for i in range(-BEFORE, steps + 1)]
    times = process.time(torch.tensor(levels, dtype=torch.float64))
    state = sampler.State(None)
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        if i <= BEFORE:
            state.x = exact_flow(START, HIGH, levels[i], 20) * process.alpha(t)
        state = sampler.step(problem, state, t, s, None)
    return state.x / process.alpha(times[-1])


@pytest.fixture(scope="module")
def reference():
    return exact_flow(START, HIGH, LOW, 1000)


def test_reference_is_converged(reference):
    assert (exact_flow(START, HIGH, LOW, 500) - reference).abs().max() < 1e-10
    assert (flow_map(problems.load("toy/g2").prior, S.Heun(), 2000) - reference).abs().max() < 1e-5


CASES = [(name, process) for process in (EDM(), Flow()) for name in STEPPERS]


@pytest.mark.parametrize("name, process", [*CASES, ("euler", VariancePreserving())], ids=repr)
def test_order(name, process, reference):
    prior = problems.load("toy/g2").prior.under(process)
    sampler, order = STEPPERS[name]
    first = 40 if order < 4 else 80  # the fourth order is reached late
    errors = [
        (flow_map(prior, sampler, first * k) - reference).square().mean().sqrt().item() for k in (1, 2, 4, 8)
    ]
    slope = log2(errors[0] / errors[3]) / 3
    assert abs(slope - order) < 0.15, (slope, errors)


def test_every_deterministic_stepper_has_an_order():
    named = set(STEPPERS) | STOCHASTIC | HEURISTIC
    assert not set(of_kind("stepper")) - named, "state the order of the new stepper in STEPPERS"


# --- steppers without an order of their own ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_first_step_of_the_sde_solver_is_ddpm(dtype):
    for process in (EDM(), VariancePreserving(), Flow()):
        problem = gaussian_problem(dtype, process=process)
        t, s = process.time(tensor([2.0, 0.7]))
        x = normal(5, 2, 2, seed=6, dtype=dtype)
        one, other = (
            kind().step(problem, kind.State(x), t, s, wb.Rng(3)).x for kind in (S.DPMSolverSDE, S.DDPM)
        )
        assert (one - other).abs().max() < 1e-12


def test_sde_solver_extrapolates_as_2m_does():
    """The mean of a step with a memory: DDPM's, from D in the place of x0; D is what DPMSolver2M takes."""
    problem = gaussian_problem()
    x, t, s, h = normal(4, 2, 2, seed=6), tensor(1.5), tensor(0.8), torch.full((4,), 0.5, dtype=DOUBLE)
    state = S.DPMSolver2M.State(x, x0=normal(4, 2, 2, seed=7), h=h)
    two = S.DPMSolver2M().step(problem, state, t, s, None).x
    ratio = s / t
    D = (two - ratio * x) / (1 - ratio)  # EDM: alpha = 1
    mean = ratio**2 * x + (1 - ratio**2) * D
    got = S.DPMSolverSDE().step(problem, state, t, s, wb.Rng(3)).x
    assert (got - mean - s * (1 - ratio**2).sqrt() * wb.Rng(3).normal(x)).abs().max() < 1e-12
    assert (D - problem.prior.denoise(x, t)).abs().max() > 0.1


def test_sde_solver_is_second_order_in_the_mean():
    """On a Gaussian with the same noise, against DDPM: the memory lowers the error of the covariance."""
    problem = gaussian_problem()
    cov = problem.prior.cov()

    def error(sampler):
        x = wb.sample(problem, sampler, n=40_000, steps=25, progress=False).samples.flatten(1)
        return (x.mT.cov() - cov).norm() / cov.norm()

    assert error(S.DPMSolverSDE()) < 0.4 * error(S.DDPM())


def test_dc_solver_of_ratio_one_is_uni_pc():
    problem, times = problems.load("toy/g2"), problems.load("toy/g2").prior.grid(8)
    runs = [
        wb.sample(problem, sampler, n=5, grid=times, progress=False).samples
        for sampler in (S.UniPC(), S.DCSolver(), S.DCSolver(ratios=(1.0,) * 8), S.DCSolver(ratios=(0.7,) * 8))
    ]
    assert torch.equal(runs[0], runs[1]) and torch.equal(runs[0], runs[2])
    assert (runs[3] - runs[0]).abs().max() > 1e-3


def test_dc_solver_interpolates_the_newest_output():
    """By Lagrange: exact for parabolas in lambda, and a line where there are two outputs."""
    lam, ratio = tensor([1.0, 0.4, -0.3]), 0.6
    parabola = lambda v: 2 - v + 3 * v**2
    at = ratio * lam[0] + (1 - ratio) * lam[1]
    solver = S.DCSolver(ratios=(0.0, ratio, ratio))
    moved = solver.stored(parabola(lam)[None, :, None], lam, 2)
    assert abs(moved[0, 0, 0] - parabola(at)) < 1e-12 and torch.equal(moved[0, 1:, 0], parabola(lam)[1:])
    line = solver.stored(parabola(lam)[None, :2, None], lam[:2], 1)
    assert abs(line[0, 0, 0] - (0.6 * parabola(lam[0]) + 0.4 * parabola(lam[1]))) < 1e-12


@pytest.mark.parametrize("order", [2, 3])
def test_compensation_lowers_the_error_of_five_steps(order):
    """Ratios fitted on 10 samples serve 500 others: the distance from the exact flow, at 5 denoiser calls."""
    problem = problems.load("toy/g2")
    times, fine = karras(EDM(), 0.02, 10.0, 5), log_snr(EDM(), 0.01, 10.0, 200)
    true = wb.sample(problem, S.UniPC(order=3), n=500, grid=fine, seed=9, progress=False).samples
    fitted = S.compensated(S.DCSolver(order=order), problem, times)

    def error(sampler):
        post = wb.sample(problem, sampler, n=500, grid=times, seed=9, progress=False)
        assert post.cost.denoiser == 5 * 500
        return (post.samples - true).square().sum(1).mean().sqrt().item()

    assert len(fitted.ratios) == 5 and fitted.ratios[0] == 1.0
    assert error(fitted) < 0.7 * error(S.UniPC(order=order))


def test_the_reference_of_the_fit_is_the_flow():
    from workbench.samplers.dc_solver import _finely

    problem, start = problems.load("toy/g2"), S.DPMSolver2S.State(START)
    x = _finely(S.DPMSolver2S(), problem, start, tensor(5.0), tensor(1.0), 40, None).x
    assert (x - exact_flow(START, 5.0, 1.0, 200)).abs().max() < 2e-3
    end = _finely(S.DPMSolver2S(), problem, start, tensor(5.0), tensor(0.0), 100, None).x
    assert (end - exact_flow(START, 5.0, 1e-3, 400)).abs().max() < 0.02


def evo_diff_step(prior, x, levels, m0, m1, first, many):
    """Items 1 to 5 of the algorithm for one sample, in EDM's time; levels: sigma at t_1, t, s. Returns x_s and m."""
    t1, t, s = levels
    dot = lambda a, b: (a * b).sum()
    proj = lambda a, b: (dot(a, b) / dot(b, b)).clamp(-2, 2)
    end, h, R = prior.noise_range[0], 1 / s - 1 / t, (t1 / t).log() / (t / s).log()
    euler = s / t * x + s * h * m0
    w, b = 0.5 * (1 - ((s + end) / (first + end)) ** 2), (s / t / (t / t1)).sqrt()
    rho1 = (1 - w) * b + w * proj(m0, m1)
    D1 = m0 - rho1 * m1
    r = max(R / 4, min(1.5 * R, torch.sigmoid(rho1.abs() / 4) * R))
    probe = euler + 0.5 * s * h / r * D1
    m = prior.denoise(probe[None], s)[0]
    D2 = m - ((1 - w) * b + w * proj(m, m0)) * m0
    B1, B2 = D1 / (R * h), R * D2 / h
    eta = 0.5 * torch.sigmoid((0.5 * proj(B2 + B1, B2 - B1)).abs())
    B = -eta / R * D1 + R * (1 - eta) * D2
    zeta = proj(probe - euler - 0.5 * s * h / r * B, D1).div(h * s).abs() - 0.5
    if many:
        zeta = -zeta * torch.sigmoid(proj(m0, (m0 - m1) / h) * (2 - (s / t) ** 2))
    return euler + 0.5 * s * h / torch.sigmoid(zeta) * B, m


@pytest.mark.parametrize("zeta", [S.Few(), S.Many()], ids=repr)
def test_evo_diff_is_its_algorithm(zeta):
    prior, x = problems.load("toy/g2").prior, normal(6, 2, seed=1)
    m0, m1, levels, first = normal(6, 2, seed=2), normal(6, 2, seed=3), tensor([1.4, 1.1, 0.7]), tensor(3.0)
    state = S.EVODiff.State(x, m0=m0, m1=m1, first=first.expand(6), before=levels[0].expand(6))
    got = S.EVODiff(zeta=zeta).step(problems.load("toy/g2"), state, levels[1], levels[2], None)
    for i in range(6):
        wanted, m = evo_diff_step(prior, x[i], levels, m0[i], m1[i], first, zeta == S.Many())
        assert (got.x[i] - wanted).abs().max() < 1e-12 and (got.m0[i] - m).abs().max() < 1e-12
    assert torch.equal(got.m1, m0) and (got.before == 1.1).all() and (got.first == 3.0).all()


EVO = {  # steps -> the error of an independent transcription, with the published last step and without
    10: (0.088, 0.051),
    20: (0.039, 0.042),
    40: (0.015, 0.025),
    80: (0.015, 0.014),
    160: (0.021, 0.007),
}


@pytest.mark.parametrize("steps", EVO)
def test_evo_diff_against_the_exact_flow(steps):
    """sigma from 10 to 0.02 (Karras), starts 10 z, rms over the entries: the setting of the numbers, found by their fit."""
    problem, x = problems.load("toy/g2"), 10 * normal(400, 2, seed=5)
    times = karras(EDM(), 0.02, 10.0, steps)[:-1]
    true = exact_flow(x, 10.0, 0.02, 400)
    zeta = S.Few() if steps <= 20 else S.Many()
    for last, wanted in zip((0.021, 0.0), EVO[steps], strict=True):
        sampler = S.EVODiff(zeta=zeta, last=last)
        state = sampler.State(x)
        for t, s in zip(times[:-1], times[1:], strict=True):
            state = sampler.step(problem, state, t, s, None)
        assert abs((state.x - true).square().mean().sqrt() / wanted - 1) < 0.2


def test_evodiff_is_first_order_without_the_published_last_step():
    """Errors .0134, .0069, .0035 at 80, 160, 320 steps; with the published last step they grow."""
    x = 10 * normal(400, 2, seed=5)
    true, errors = exact_flow(x, 10.0, 0.02, 400), {0.0: [], 0.021: []}
    for last, found in errors.items():
        for steps in (80, 160, 320):
            times = karras(EDM(), 0.02, 10.0, steps)[:-1]
            sampler = S.EVODiff(zeta=S.Many(), last=last)
            state = sampler.State(x)
            for t, s in zip(times[:-1], times[1:], strict=True):
                state = sampler.step(problems.load("toy/g2"), state, t, s, None)
            found.append((state.x - true).square().mean().sqrt().item())
    assert abs(log2(errors[0.0][0] / errors[0.0][2]) / 2 - 1) < 0.1, errors
    assert errors[0.021][0] < errors[0.021][1] < errors[0.021][2]
