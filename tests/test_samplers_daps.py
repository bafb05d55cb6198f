"""DAPS: exact with an exact inner draw, and its published surrogate against the law it has on Gaussians."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import pytest
import torch
from test_samplers_langevin import EYE, affine, matrix
from truth import DOUBLE, G2, N, g2_grid, g2_means, gaussian_problem, normal, tensor

import workbench as wb
from workbench._errors import BadInput
from workbench.diffusion import VariancePreserving
from workbench.diffusion.grids import karras
from workbench.samplers.daps import Endpoint, TweedieSurrogate, flow_end, root, with_deviation
from workbench.samplers.pnp_dm import Langevin

S = wb.samplers


@dataclass(frozen=True)
class Truth:
    """p(x0 | x_t, y) itself, of a mixture: a component by its responsibility, then its Gaussian."""

    law: Any

    def draw(self, problem, x, t, inner, rng):
        q, process = self.law, self.law.process
        x, kappa = x / process.alpha(t), process.kappa(t)
        C = q.covariances.dense()
        B = torch.linalg.inv(C + kappa**2 * torch.eye(C.shape[-1], dtype=DOUBLE))
        edges = torch.cumsum(q.responsibilities(process.alpha(t) * x, t), 1)
        k = (rng.uniform(len(x), 1) > edges).sum(1).clamp_max(len(C) - 1)
        m, K = q.means.flatten(1)[k], (C @ B)[k]
        mean = m + (K @ (x.flatten(1) - m)[..., None])[..., 0]
        factor = torch.linalg.cholesky(C - C @ B @ C)[k]
        return (mean + (factor @ rng.normal(x).flatten(1)[..., None])[..., 0]).reshape(x.shape)


def test_exact_inner_draw_gives_the_floor():
    """Every marginal is exact then, so the number of levels does not matter."""
    grid = g2_grid(30)
    x = wb.sample(G2, S.DAPS(surrogate=Truth(G2.exact)), n=N, grid=grid, progress=False).samples
    got = g2_means(x)
    assert got.sw2 < 0.042 and abs(got.trace - 1.374) < 0.07 and abs(got.residual - 0.404) < 0.015
    tied = g2_means(wb.sample(G2, S.DAPS(), n=N, grid=grid, progress=False).samples)
    assert tied.sw2 > 0.1  # the control: the published surrogate with as many levels


@pytest.mark.parametrize("process", [None, VariancePreserving()], ids=repr)
def test_tweedie_surrogate_is_exact_on_gaussians(process):
    """x0 ~ p(x0 | x_t, y), mean and covariance, without drawing."""
    problem = gaussian_problem(process=process)
    t = problem.prior.process.time(0.7)
    surrogate = TweedieSurrogate(tol=1e-13)
    x = normal(1, 2, 2, seed=5)
    mean = surrogate.draw(problem, x, t, None, Zero())
    assert (mean - problem.exact.denoise(x, t)).abs().max() < 1e-8
    A, C = matrix(problem), problem.prior.cov()
    cov = torch.linalg.inv(torch.linalg.inv(C) + EYE / 0.49 + A.mT @ A / 0.16)
    n = 40_000  # Lanczos' root is not linear in its noise, so this one is drawn
    draws = surrogate.draw(problem, x.expand(n, 2, 2), t, None, wb.Rng(0)).flatten(1)
    assert (draws.mT.cov() - cov).abs().max() < 6 * cov.diagonal().max() * sqrt(2 / n)


class Zero:
    """No noise at all."""

    def normal(self, like):
        return torch.zeros_like(like)


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_root_by_lanczos(dtype):
    half = normal(5, 5, seed=1, dtype=dtype)
    C = half @ half.mH + 0.1 * torch.eye(5, dtype=dtype)
    values, vectors = torch.linalg.eigh(C)
    z = normal(7, 5, seed=2, dtype=dtype)
    wanted = z @ ((vectors * values.sqrt()) @ vectors.mH).mT
    assert (root(lambda v: v @ C.mT, z, 20) - wanted).abs().max() < 1e-8
    low = C - values[-1] * vectors[:, -1:] @ vectors[:, -1:].mH  # a null direction
    assert (root(lambda v: v @ low.mT, z, 20) - z @ ((vectors[:, :-1] * values[:-1].sqrt()) @ vectors[:, :-1].mH).mT
            ).abs().max() < 1e-5  # fmt: skip


@pytest.mark.parametrize("process", [None, VariancePreserving()], ids=repr)
def test_published_law_on_gaussians(process):
    """x_s | x_t: the ODE's end in closed form, one factor a step and direction, then N(end, kappa^2) times p(y | x0)."""
    problem = gaussian_problem(process=process)
    process, C = problem.prior.process, problem.prior.cov()
    t, s = process.time(0.7), process.time(0.5)
    sampler = S.DAPS(surrogate=Endpoint(5, 0.05))
    c, M, Q = affine(lambda x, rng: sampler.step(problem, S.DAPS.State(x), t, s, rng).x, (2, 2))
    levels = torch.linspace(0.7 ** (1 / 7), 0.05 ** (1 / 7), 6, dtype=DOUBLE) ** 7
    values, vectors = torch.linalg.eigh(C)
    factor = torch.ones(4, dtype=DOUBLE)
    for here, there in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        factor = factor * (1 + (there - here) * here / (values + here**2))
    F = vectors @ torch.diag(factor) @ vectors.mT
    A = matrix(problem)
    cov = torch.linalg.inv(EYE / 0.49 + A.mT @ A / 0.16)
    alpha, sigma = process.alpha(s), process.sigma(s)
    x, m = normal(1, 2, 2, seed=5)[0].flatten(), problem.prior.mean().flatten()
    end = m + F @ (x / process.alpha(t) - m)
    wanted = alpha * cov @ (A.mT @ problem.y / 0.16 + end / 0.49)
    assert (c + M @ x - wanted).abs().max() < 1e-8
    assert (Q - (alpha**2 * cov + sigma**2 * EYE)).abs().max() < 1e-8
    last = affine(lambda x, rng: sampler.step(problem, S.DAPS.State(x), t, tensor(0.0), rng).x, (2, 2))[2]
    assert (last - cov).abs().max() < 1e-8


def test_flow_end_goes_to_the_prior():
    """Many Euler steps map draws of p_t to draws of the prior: for a Gaussian m + C^{1/2} (C + kappa^2)^{-1/2} (x - m)."""
    problem = gaussian_problem()
    x, C = normal(1, 2, 2, seed=5), problem.prior.cov()
    values, vectors = torch.linalg.eigh(C)
    m = problem.prior.mean().flatten()
    map_ = vectors @ torch.diag((values / (values + 0.49)).sqrt()) @ vectors.mT
    end = flow_end(problem.prior, x, tensor(0.7), 1000)
    assert (end.flatten() - m - map_ @ (x.flatten() - m)).abs().max() < 2e-3


def test_beta_is_another_noise():
    problem = gaussian_problem()
    assert with_deviation(problem, None) is problem
    other = with_deviation(problem, 0.1)
    assert other is with_deviation(problem, 0.1)
    assert abs(other.steepness / problem.steepness - 16) < 1e-2
    with pytest.raises(BadInput, match="beta"):
        S.DAPS(beta=0.0)


def test_langevin_inner_draw():
    """The inner draw by 100 Langevin steps gives nearly what the exact one gives."""
    from workbench.samplers.pnp_dm import Langevin

    rows = [g2_means(wb.sample(G2, S.DAPS(inner=i), n=1000, grid=g2_grid(40), progress=False).samples, 1000)
            for i in (None, Langevin(60))]  # fmt: skip
    assert abs(rows[0].trace - rows[1].trace) < 0.25 and abs(rows[0].residual - rows[1].residual) < 0.06


@pytest.mark.parametrize("beta, trace, residual", [(None, 1.82, 0.354), (0.01, 1.70, 0.010)])
def test_reference_row(beta, trace, residual):
    """Five Euler steps to 0.01, 200 levels."""
    sampler = S.DAPS(beta=beta, surrogate=Endpoint(5, 0.01))
    got = g2_means(wb.sample(G2, sampler, n=N, grid=g2_grid(200), progress=False).samples)
    assert abs(got.trace - trace) < 0.05 and abs(got.residual - residual) < 0.015


def test_published_steps_fall_over_the_levels():
    """Linearly in the steps of the 200 levels, to a hundredth."""
    inner = S.DAPS.named("inpainting").inner
    times = karras(G2.prior.process, 0.1, 100.0, 200)[:-1]  # 200 levels from 100 to 0.1
    lengths = torch.stack([inner.length(t) for t in times]).double()
    assert (lengths - torch.linspace(1e-4, 1e-6, 200, dtype=DOUBLE)).abs().max() < 1e-9
    assert inner.length(1000.0) == lengths[0] and inner.length(0.01) == lengths[-1]
    for setting in ("box_inpainting", "motion_blur", "phase_retrieval"):
        assert abs(S.DAPS.named(setting).inner.length(100.0) - 5e-5) < 1e-10
    problem, x = gaussian_problem(), normal(1, 2, 2, seed=5)
    law = lambda fields: affine(
        lambda x, rng: Langevin(1, 1e-3, **fields).draw(problem, x, tensor(0.1), rng), (2, 2)
    )
    assert torch.allclose(law(dict(least=0.01))[2], 0.01 * law({})[2]) and x.numel() == 4


def test_constructors_refuse_nonsense():
    for make in (
        lambda: Endpoint(0),
        lambda: Langevin(0),
        lambda: Langevin(10, -1e-3),
        lambda: Langevin(10, 1e-3, least=2.0),
        lambda: TweedieSurrogate(tol=0.0),
        lambda: S.DAPS(beta=-1.0),
    ):
        with pytest.raises(BadInput, match="should"):
            make()
