"""Guidance on fields of hundreds of correlated numbers, where what is stable on two numbers may not be."""

from dataclasses import replace
from functools import cache
from math import inf

import pytest
import torch

import problems
import workbench as wb
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench import catalogue
from workbench.samplers._likelihood import log_likelihood

S = wb.samplers
FIELDS = {"inpainting": ("inpainting/random", 32), "blur": ("deblur/gaussian", 16)}
FEW = {
    "dpg",
    "h-transform",
}  # values of A alone at 300 sharp measurements, and no likelihood: far off, but no further

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
    assert distance("inpainting", S.DDPM()) > 3 and distance("blur", S.DDPM()) > 1.5


@pytest.mark.parametrize("sampler", [S.DDNM(), S.MCG(), S.ScalarDDNMPlus()], ids=lambda s: type(s).__name__)
def test_small_singular_values_are_not_measured(sampler):
    """A blur of singular values down to 1e-6: A^+ y of all of them is thousands of deviations off."""
    assert distance("blur", sampler) < 1 < 1.5 < distance("blur", S.DDPM())
    problem = field("blur")[0]
    drowned = replace(problem, noise=wb.noise.Gaussian(1e4))
    with pytest.raises(wb.BadInput, match="more noise than the signal"):
        wb.sample(drowned, sampler, n=2, steps=2, progress=False)


# --- a nonlinear operator and counts ----------------------------------------------------------------------------------


def counted_intensities(size=6, dtype=torch.complex128):
    """Counts of |F x|^2 for a complex field x."""
    prior = GaussianField(power_law((size, size), exponent=1.2), dtype=dtype)
    A = wb.operators.Intensity((size, size), dtype) @ wb.operators.Fourier((size, size), dtype=dtype)
    noise = wb.noise.Poisson(50.0, 0.5)
    truth = prior.sample(1, 0)[0]
    return wb.Problem(prior, A, noise, y=noise.sample(A(truth), 0), truth=truth, name="intensities")


@pytest.mark.parametrize(
    "sampler", [S.FlowChef(), S.PnPFlow(), S.DDPM(guidance=S.LikelihoodDPS())], ids=lambda s: type(s).__name__
)
def test_counts_of_a_nonlinear_operator(sampler):
    """Steps that only the linearised data allow leave the likelihood of some samples below that of blind draws."""
    problem = counted_intensities()
    fit = lambda s: log_likelihood(problem, wb.sample(problem, s, n=8, steps=20, progress=False).samples)
    blind, got = fit(S.DDPM()), fit(sampler)
    assert torch.isfinite(got).all() and got.mean() > 0.7 * blind.mean() and got.min() > blind.min()
