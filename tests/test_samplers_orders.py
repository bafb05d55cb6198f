"""The order of accuracy of every deterministic stepper, measured on the flow map of a mixture."""

from dataclasses import replace
from math import log2

import pytest
from truth import normal

import problems
import workbench as wb
from workbench import catalogue
from workbench.diffusion import VariancePreserving
from workbench.diffusion.flow import Flow
from workbench.diffusion.grids import log_snr
from workbench.diffusion.variance_exploding import EDM

S = wb.samplers


def of_kind(*kinds):
    """The names of the catalogue's samplers of these kinds."""
    return [entry.name for entry in catalogue.entries("samplers") if entry.card["kind"] in kinds]


def load(name, **values):
    return catalogue.load("samplers", name)(**values)


ORDERS = {"euler": 1, "ddim": 1, "heun": 2, "dpm-solver-2m": 2}
START = 3.0 * normal(20, 2, seed=5)


def flow_map(prior, sampler, steps):
    """Where the probability-flow ODE of a mixture takes START, from sigma / alpha = 5 to 0.2, in x / alpha."""
    problem, process = replace(problems.load("toy/g2"), prior=prior), prior.process
    times = log_snr(process, 0.2, 5.0, steps + 1)[:-1]
    state = sampler.State(START * process.alpha(times[0]))
    for t, s in zip(times[:-1], times[1:], strict=True):
        state = sampler.step(problem, state, t, s, None)
    return state.x / process.alpha(times[-1])


@pytest.fixture(scope="module")
def reference():
    return flow_map(problems.load("toy/g2").prior, S.Heun(), 4000)


def test_reference_is_converged(reference):
    half = flow_map(problems.load("toy/g2").prior, S.Heun(), 2000)
    assert (half - reference).abs().max() < 1e-5


@pytest.mark.parametrize("process", [EDM(), VariancePreserving(), Flow()], ids=repr)
@pytest.mark.parametrize("name", ORDERS)
def test_order(name, process, reference):
    prior = problems.load("toy/g2").prior.under(process)
    errors = [
        (flow_map(prior, load(name), n) - reference).square().mean().sqrt().item() for n in (40, 80, 160, 320)
    ]
    slope = log2(errors[0] / errors[3]) / 3
    assert abs(slope - ORDERS[name]) < 0.15


def test_every_deterministic_stepper_has_an_order():
    assert set(ORDERS) | {"ddpm"} == set(of_kind("stepper")), "state the order of the new stepper in ORDERS"
