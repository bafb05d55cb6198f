"""What the cards of the samplers say they can do is what they do, and where they cannot they say so in one sentence."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from truth import DOUBLE, gaussian_problem, normal, tensor

import workbench as wb
from theory import distributions
from workbench import catalogue
from workbench._errors import BadInput
from workbench.samplers._likelihood import log_likelihood

DATA = [e for e in catalogue.entries("samplers") if e.card["kind"] in ("guidance", "sampler")]
named = pytest.mark.parametrize("entry", DATA, ids=lambda e: e.name)
ITERATIONS = {"ald": 400, "ula": 400, "mala": 400, "sk-rock": 60, "red-diff": 300, "tsdiff-refiner": 300}


def saturating():
    """Three numbers 2 tanh(M x) of four unknowns."""
    base = gaussian_problem()
    M = base.A.matrix
    A = wb.operators.from_function(lambda x: 2 * torch.tanh(x.flatten(-2) @ M.mT / 2), (2, 2), (3,), DOUBLE)
    truth = base.prior.sample(1, 5)[0]
    noise = wb.noise.Gaussian(0.2)
    return wb.Problem(base.prior, A, noise, y=noise.sample(A(truth), 0), name="saturating")


def counting(noise=None, y=None):
    """Counts of three positive mixtures of four intensities about 1."""
    prior = distributions.Gaussian(torch.ones(2, 2, dtype=DOUBLE), 0.04 * torch.eye(4, dtype=DOUBLE))
    A = wb.operators.Dense(normal(3, 4, seed=6).abs(), shape=(2, 2))
    noise = noise or wb.noise.Poisson(gain=100.0, background=2.0)
    y = noise.sample(A(prior.sample(1, 3)[0]), 0) if y is None else y
    return wb.Problem(prior, A, noise, y=y, name="counting")


SETTINGS = {  # methods whose push is in signal units and not in those of the noise
    "dps": dict(zeta=0.03),
    "published-lgd": dict(zeta=0.03),
    "published-flowchef": dict(gain=0.01),
}


def peaked():
    """The same means under Laplace noise."""
    return counting(wb.noise.Laplace(0.1))


def stepped():
    """The same means, quantised."""
    return counting(wb.noise.Quantised(0.2, 0.1))


def run(problem, entry, n=24, seed=0):
    sampler = catalogue.load("samplers", entry.name)(**SETTINGS.get(entry.name, {}))
    steps = ITERATIONS.get(entry.name, 40)
    return wb.sample(problem, sampler, n=n, steps=steps, seed=seed, progress=False)


def fit(problem, post):
    """The weighted mean of log p(y | x)."""
    return (post.weights * log_likelihood(problem, post.samples)).sum().item()


@cache
def ends(make):
    """The fit of the prior's draws, by DDPM in as many steps, and of the posterior's."""
    problem = make()
    blind = wb.sample(problem, wb.samplers.DDPM(), n=1000, steps=40, progress=False)
    post = wb.sample(problem, wb.samplers.FKSteering(), n=10000, steps=100, progress=False)
    return fit(problem, blind), fit(problem, post)


def share(make, post):
    """How far the fit of `post` has come from that of the prior (0) to that of the posterior (1)."""
    low, high = ends(make)
    return (fit(make(), post) - low) / (high - low)


@named
def test_nonlinear(entry):
    problem = saturating()
    if not entry.card["nonlinear"]:
        with pytest.raises(BadInput, match="linear"):
            run(problem, entry, n=2)
        return
    post = run(problem, entry)
    assert torch.isfinite(post.samples).all() and share(saturating, post) > 0.5


COARSE = {"h-transform"}  # follows a rough reference at high noise, and no likelihood


@named
def test_poisson(entry):
    problem = counting()
    if not entry.card["poisson"]:
        with pytest.raises(BadInput, match="Gaussian noise"):
            run(problem, entry, n=2)
        return
    post = run(problem, entry)
    assert torch.isfinite(post.samples).all() and (entry.name in COARSE or share(counting, post) > 0.4)


@named
@pytest.mark.parametrize("make", [peaked, stepped])
def test_noise_without_a_stand_in(entry, make):
    """A method that needs a covariance says so; the others use the likelihood itself."""
    problem = make()
    try:
        post = run(problem, entry, n=8)
    except BadInput as error:
        assert "noise" in str(error)
        assert entry.card["needs"] != "black box"
    else:
        assert torch.isfinite(post.samples).all() and (entry.name in COARSE or share(make, post) > 0.4)


@named
def test_complex(entry):
    """Complex data of a complex signal are fitted, imaginary parts too."""
    problem = gaussian_problem(torch.complex128)
    if not entry.card["complex"]:
        with pytest.raises(BadInput, match="complex"):
            run(problem, entry, n=2)
        return
    post = run(problem, entry)
    residual = problem.A(post.samples) - problem.y
    before = problem.A(problem.prior.sample(400, 9)) - problem.y
    for part in (torch.real, torch.imag):
        size = (post.weights @ part(residual).square().mean(1)).sqrt()
        assert size < 0.75 * part(before).square().mean().sqrt()


@pytest.mark.parametrize("make", [saturating, counting, peaked, stepped])
def test_controls(make):
    """Draws without data have none of the posterior's fit, and there is something to gain."""
    low, high = ends(make)
    assert high - low > 3
    again = wb.sample(make(), wb.samplers.DDPM(), n=1000, steps=40, seed=1, progress=False)
    assert abs(share(make, again)) < 0.15


def test_every_row_of_the_issue_is_there():
    names = set(wb.samplers.catalogue())
    assert len(names) >= 45
    assert {e.card["exactness"] for e in DATA} == {"E0", "E1", "B", "P"}
    for entry in catalogue.entries("samplers"):
        assert entry.card["cost"] and (entry.card["source"] or entry.card["needs"] == "exact posterior")


def test_plug_in_of_counts():
    """The stand-in of Poisson data: their rate in units of A(x), with the variance of the counts."""
    problem = counting()
    twin = problem.gaussian
    assert torch.allclose(twin.y, (problem.y - 2) / 100)
    assert torch.allclose(twin.noise.sigma, problem.y.sqrt() / 100) and replace(twin).gaussian.y is not None
    white, w = problem.white
    assert torch.allclose(
        white(torch.ones(2, 2, dtype=DOUBLE)), problem.A(torch.ones(2, 2, dtype=DOUBLE)) / twin.noise.sigma
    )
    assert torch.allclose(w, twin.y / twin.noise.sigma) and tensor(problem.steepness) > 0
