"""Guidance on fields of hundreds of correlated numbers, where what is stable on two numbers may not be."""

from functools import cache
from math import inf

import pytest

import problems
import workbench as wb
from workbench import catalogue

S = wb.samplers
FIELDS = {"inpainting": ("inpainting/random", 32), "blur": ("deblur/gaussian", 16)}
FEW = {"dpg", "h-transform"}  # values of A alone at 300 sharp measurements, and no likelihood: far off, but no further
GUIDANCE = [e.name for e in catalogue.entries("samplers") if e.card["kind"] == "guidance"]


@cache
def field(name):
    """The problem, and its exact mean and standard deviation by 400 draws."""
    name, size = FIELDS[name]
    problem = problems.load(name, size=size)
    exact = problem.exact.sample(400, 5)
    return problem, exact.mean(0), exact.std(0)


def distance(name, sampler, steps=20, n=8):
    """How far the mean of the samples is from the posterior's, in its standard deviations, rms over the entries."""
    problem, mean, sd = field(name)
    x = wb.sample(problem, sampler, n=n, steps=steps, progress=False).samples
    return ((x.mean(0) - mean) / sd).square().mean().sqrt().item()


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("guidance", GUIDANCE)
def test_guidance_under_ddpm(guidance, name):
    far = distance(name, S.DDPM(guidance=catalogue.load("samplers", guidance)()))
    assert far < (distance(name, S.DDPM()) if guidance in FEW else 3)


def test_controls():
    """The plain forms diverge here, and draws without data are far off."""
    for guidance in (S.PiGDM(reach=inf), S.LikelihoodDPS(reach=inf)):
        assert not distance("inpainting", S.DDPM(guidance=guidance)) < 100
    assert distance("inpainting", S.DDPM()) > 3 and distance("blur", S.DDPM()) > 3
