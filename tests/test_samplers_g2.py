"""Samplers against the exact posterior of a mixture of three Gaussians seen through one number (problem toy/g2).

The numbers are those of an independent implementation: means over eight groups of 4000 chains, on the grid of Karras
et al. 2022 from sigma 20 to 0.01. Rows of one call are independent, so a call of 32000 is eight groups.
"""

from dataclasses import dataclass, replace
from math import log, pi

import pytest
import torch
from truth import G2, N, T, X, agrees, at_one_point, g2_grid, g2_run, gap, tensor

import workbench as wb
from workbench.diffusion.cosine import Cosine
from workbench.priors._prior import Prior
from workbench.samplers.twists import Matched

GROUPS = 8
TRACE, RESIDUAL = 1.374, 0.404  # of the exact posterior


@pytest.fixture(scope="module")
def floor95():
    """What 95 % of the distances between two sets of 4000 exact draws stay below."""
    return gap(G2.exact.sample(N, 0), 0, repeats=60).floor95


# --- one step, against numbers worked out by hand ---------------------------------------------------------------------


def test_exact_posterior():
    q = G2.exact
    assert agrees(tensor(q.log_evidence), -4.068028587, 9) and agrees(
        q.weights, [0.134885, 0.655265, 0.209851]
    )
    assert agrees(q.mean(), [0.824426, 0.097656])
    assert agrees(q.cov(), [[0.279461, -0.393810], [-0.393810, 1.095026]])


def test_dps_gradient():
    problem = at_one_point()

    def step(zeta):
        state = wb.samplers.DPS.State(X)
        return wb.samplers.DPS(zeta=zeta).step(problem, state, tensor(T), tensor(0.5 * T), wb.Rng(3)).x

    assert agrees(step(1.0) - step(0.0), [[2.462466, 1.851649]])
    assert agrees(step(0.2) - step(0.0), [[0.2 * 2.462466, 0.2 * 1.851649]])


def test_guided_denoisers():
    problem = at_one_point()
    assert agrees(problem.prior.denoise(X, T), [[0.608210, -0.434300]])
    assert agrees(wb.samplers.Exact().bind(problem).denoise(X, T), [[0.937113, -0.102081]])
    assert agrees(wb.samplers.MomentMatching().bind(problem).denoise(X, T), [[0.888845, -0.223277]])


def test_twist():
    x0, guided, psi = Matched()(at_one_point(), X, T)
    variance = 0.3**2 + 0.941031 + 0.5 * (0.334157 + 0.334157) + 0.25 * 0.998171
    residual = 0.8 - (0.608210 - 0.5 * 0.434300)
    assert agrees(x0, [[0.608210, -0.434300]]) and agrees(guided, [[0.888845, -0.223277]])
    assert agrees(psi, [-0.5 * (residual**2 / variance + log(2 * pi * variance))], 5)


def test_steps_through_the_middle():
    """DDPM's step on a law whose reverse kernel is known: x0 fixed, so x_s ~ q(x_s | x_t, x_0)."""
    problem, n = at_one_point(), 200_000
    x0, s = tensor([0.7, -1.0]), tensor(0.6 * T)
    one = replace(problem, prior=Point(x0, Cosine()))
    x = wb.samplers.DDPM().step(one, wb.samplers.DDPM.State(X.expand(n, 2)), tensor(T), s, wb.Rng(0)).x
    a, b = Cosine().alpha(s), Cosine().sigma(s)
    ratio = 0.8 / a  # alpha_t / alpha_s
    spread = 0.36 - ratio**2 * b**2  # Var(x_t | x_s)
    mean = (ratio * b**2 * X[0] + a * spread * x0) / 0.36
    variance = b**2 * spread / 0.36
    assert ((x.mean(0) - mean).abs() < 5 * (variance / n) ** 0.5).all()
    assert ((x.var(0) / variance - 1).abs() < 5 * (2 / n) ** 0.5).all()


@dataclass
class Point(Prior):
    """All mass on one signal."""

    x0: torch.Tensor
    process: Cosine
    shape, dtype, noise_range = (2,), torch.float64, (0.01, 10.0)

    def denoise(self, x, t):
        return self.x0.expand_as(x)


# --- whole runs ------------------------------------------------------------------------------------------------------

ROWS = {
    "exact-200": (wb.samplers.Exact(), 200, 0.026, 1.329, 0.391),
    "moment-matching-50": (wb.samplers.MomentMatching(), 50, 0.058, 1.38, 0.39),
    "moment-matching-200": (wb.samplers.MomentMatching(), 200, 0.071, 1.46, 0.40),
}


@pytest.mark.parametrize("row", ROWS)
def test_reference_row(row):
    guidance, steps, sw2, trace, residual = ROWS[row]
    got = g2_run(wb.samplers.DDPM(guidance=guidance), steps, GROUPS)
    assert (
        abs(got.sw2 - sw2) < 0.012 and abs(got.trace - trace) < 0.05 and abs(got.residual - residual) < 0.015
    )


@pytest.mark.parametrize("zeta, sw2, trace, residual", [(0.05, 0.155, 1.35, 0.04), (0.2, 0.386, 1.84, 0.15)])
def test_dps_reference_row(zeta, sw2, trace, residual):
    got = g2_run(wb.samplers.DPS(zeta=zeta), 1000)
    tolerance = 0.03 if sw2 < 0.3 else 0.05
    assert (
        abs(got.sw2 - sw2) < tolerance
        and abs(got.trace - trace) < 0.15
        and abs(got.residual - residual) < 0.015
    )


def twisted(steps):
    """TDS in eight ensembles: the mean of their sliced W2, of log Z_hat - log Z, and the pooled posterior."""
    post = wb.sample(
        G2, wb.samplers.TDS(), n=N, ensembles=GROUPS, grid=g2_grid(steps), seed=0, progress=False
    )
    parts = zip(post.samples.split(N), post.log_weights.split(N), strict=True)
    sw2 = [gap(wb.Posterior(*part).resampled(N, i).samples, i).value for i, part in enumerate(parts)]
    assert post.samples.shape == (GROUPS * N, 2)
    evidence = tensor(post.provenance["evidences"]) - G2.exact.log_evidence
    return tensor(sw2).mean().item(), evidence.mean().item(), post


@pytest.fixture(scope="module")
def fine():
    return twisted(400)


@pytest.fixture(scope="module")
def coarse():
    return twisted(50)


def test_tds_reaches_the_floor(fine, floor95):
    sw2, evidence, post = fine
    assert sw2 < floor95 < 0.05 and abs(evidence) < 0.01
    assert abs(post.log_evidence - G2.exact.log_evidence) < 0.01


def test_control_of_tds(coarse, floor95):
    """With 50 steps the discretisation is seen: the same measures are above the floor and off in the evidence."""
    sw2, evidence, _ = coarse
    assert sw2 > floor95 and abs(sw2 - 0.071) < 0.012 and 0.03 < evidence < 0.12


def test_tds_pooled_moments(fine):
    """32000 weighted particles: mean and covariance to their Monte Carlo error."""
    _, _, post = fine
    q, w = G2.exact, post.weights[:, None]
    mean = post.mean()
    cov = (w * (post.samples - mean)).mT @ (post.samples - mean)
    assert (mean - q.mean()).abs().max() < 0.03 and (cov - q.cov()).abs().max() < 0.04
    assert abs(cov.trace().item() - TRACE) < 0.04
    misfit = (post.weights * (G2.A(post.samples) - G2.y)[:, 0].square()).sum().sqrt().item()
    assert abs(misfit - RESIDUAL) < 0.01
