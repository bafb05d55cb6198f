"""The order of accuracy of every deterministic stepper, measured on the flow map of a mixture.

Steppers that remember start with a memory: the steps before the first are taken from the exact flow, so that what is
measured is the order of the steps themselves and not that of the first one.
"""

from dataclasses import replace
from math import log2

import pytest
import torch
from truth import normal

import problems
import workbench as wb
from workbench import catalogue
from workbench.diffusion import VariancePreserving
from workbench.diffusion.flow import Flow
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
    "uni-pc": (S.UniPC(), 3),
    "uni-pc-bh1": (S.UniPC(B=S.BH1()), 3),
    "uni-pc-3": (S.UniPC(order=3), 4),
}
STOCHASTIC = {"ddpm", "dpm-solver-sde", "predictor-corrector"}
HEURISTIC = {"evo-diff", "dc-solver"}  # no order of their own: see test_samplers_score_sde.py

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
