"""PnP-DM against the law its Gibbs sampler has: the posterior with Sigma_y + rho^2 A A^H in place of Sigma_y."""

from dataclasses import replace
from math import sqrt

import pytest
import torch
from test_samplers_langevin import EYE, affine, matrix, stationary
from truth import DOUBLE, G2, g2_means, gaussian_problem, moments, normal, tensor

import workbench as wb
from theory.diagnostics.transport import sliced_wasserstein
from workbench._errors import BadInput
from workbench.diffusion import VariancePreserving
from workbench.diffusion.grids import karras
from workbench.samplers.pnp_dm import Conjugate, Langevin, draw_given

S = wb.samplers


def given(problem, x, rho):
    """Mean and covariance of N(z; x, rho^2 I) N(y; A z, 0.16 I)."""
    A = matrix(problem)
    cov = torch.linalg.inv(A.mH @ A / 0.16 + EYE.to(A.dtype) / rho**2)
    return cov @ (A.mH @ problem.y / 0.16 + x.flatten() / rho**2), cov


def test_conjugate_draw():
    problem, rho = gaussian_problem(), tensor(0.3)
    c, M, Q = affine(lambda x, rng: Conjugate().draw(problem, x, rho, rng), (2, 2))
    x = normal(1, 2, 2, seed=5)[0]
    mean, cov = given(problem, x, 0.3)
    assert (c + M @ x.flatten() - mean).abs().max() < 1e-9 and (Q - cov).abs().max() < 1e-9


def test_conjugate_draw_of_complex_signals():
    problem, n = gaussian_problem(torch.complex128), 40_000
    x = normal(1, 2, 2, seed=5, dtype=torch.complex128)
    z = Conjugate().draw(problem, x.expand(n, 2, 2), tensor(0.3), wb.Rng(0)).flatten(1)
    mean, cov = given(problem, x, 0.3)
    off = z - mean
    assert off.mean(0).abs().max() < 6 * sqrt(2 * cov.diagonal().real.max() / n)
    assert (off.mT @ off.conj() / (2 * n) - cov).abs().max() < 6 * cov.diagonal().real.max() / sqrt(n)
    assert (off.mT @ off / (2 * n)).abs().max() < 6 * cov.diagonal().real.max() / sqrt(n)  # circular


def test_langevin_draw_is_the_conjugate_one():
    """On a linear problem, after many small steps: each step leaves (P - delta P^2 / 2)^{-1}."""
    problem, rho = gaussian_problem(), tensor(0.3)
    c, M, Q = affine(lambda x, rng: Langevin(400, 1e-3).draw(problem, x, rho, rng), (2, 2))
    x = normal(1, 2, 2, seed=5)[0]
    mean, cov = given(problem, x, 0.3)
    P = torch.linalg.inv(cov)
    assert (c + M @ x.flatten() - mean).abs().max() < 1e-3
    assert (Q - torch.linalg.inv(P - 0.5e-3 * P @ P)).abs().max() < 1e-3 * Q.abs().max()
    usual = affine(lambda x, rng: Langevin().draw(problem, x, rho, rng), (2, 2))[2]
    assert (usual - cov).abs().max() < 0.15 * cov.abs().max()


def test_langevin_where_there_is_no_conjugate_draw():
    """Poisson counts of one number, against its density on a grid."""
    A = wb.operators.Dense(tensor([[2.0]]))
    prior = S_prior()
    problem = wb.Problem(prior, A, wb.noise.Poisson(gain=3.0, background=1.0), y=tensor([14.0]))
    n, rho = 20_000, tensor(0.5)
    z = draw_given(problem, None, tensor([[1.5]]).expand(n, 1), rho, wb.Rng(0))
    grid = torch.linspace(0.2, 5, 4000, dtype=DOUBLE)
    log_p = 14 * (6 * grid + 1).log() - 6 * grid - (grid - 1.5) ** 2 / 0.5
    p = torch.softmax(log_p, 0)
    mean = (p * grid).sum()
    sd = (p * (grid - mean) ** 2).sum().sqrt()
    assert abs(z.mean() - mean) < 6 * sd / sqrt(n) + 0.02 * sd and abs(z.std() / sd - 1) < 0.1


def S_prior():
    """A wide Gaussian of one number."""
    from theory.distributions import Gaussian

    return Gaussian(tensor([2.0]), 1.0)


def iteration(problem, rho, levels):
    """The affine law of one iteration at a fixed rho."""

    def move(x, rng):
        full = torch.full((len(x),), rho, dtype=DOUBLE)
        state = S.PnPDM.State(x, rho=full, rho_min=full)
        return S.PnPDM(levels=levels).step(problem, state, tensor(1.0), tensor(0.0), rng).x

    return affine(move, problem.prior.shape)


def widened(problem, rho):
    """The posterior with Sigma_y + rho^2 A A^H."""
    A = matrix(problem)
    noise = 0.16 * torch.eye(len(A), dtype=DOUBLE) + rho**2 * A @ A.mT
    C = problem.prior.cov()
    gain = C @ A.mT @ torch.linalg.inv(A @ C @ A.mT + noise)
    m = problem.prior.mean().flatten()
    return m + gain @ (problem.y - A @ m), C - gain @ A @ C


@pytest.mark.parametrize("process", [None, VariancePreserving()], ids=repr)
@pytest.mark.parametrize("rho", [0.3, 1.0])
def test_stationary_law_is_the_widened_posterior(rho, process):
    problem = gaussian_problem(process=process)
    mean, cov = widened(problem, rho)

    def error(levels):
        found = stationary(*iteration(problem, rho, levels))
        return max((found[0] - mean).abs().max(), (found[1] - cov).abs().max()).item()

    fine = error(400)
    assert fine < 0.02 and fine < 0.35 * error(
        100
    )  # the x-step's discretisation, which falls with its levels
    exact = problem.exact
    truth = max((exact.mean().flatten() - mean).abs().max(), (exact.cov() - cov).abs().max()).item()
    assert truth > 5 * fine  # the control: it is not the posterior


def test_rho_falls_to_its_smallest():
    problem, state = G2, None
    sampler = S.PnPDM(rho0=1.0, decay=0.5, rho_min=0.2, levels=3)
    state = sampler.init(problem, 2, tensor(9.0), wb.Rng(0))
    seen = []
    for i in range(5):
        seen.append(state.rho[0].item())
        state = sampler.step(problem, state, tensor(1.0), tensor(0.5), wb.Rng(0).at(i))
    assert seen == [1.0, 0.5, 0.25, 0.2, 0.2]
    start = S.PnPDM().init(
        problem, 2, tensor(9.0), wb.Rng(0)
    )  # by default, in units of what the data resolve
    assert (start.rho_min * sqrt(1.25) / 0.3 - 0.3).abs().max() < 1e-3
    assert (start.rho / start.rho_min - 30).abs().max() < 1e-6
    with pytest.raises(BadInput, match="rho"):
        wb.sample(problem, S.PnPDM(rho0=1e-4, rho_min=1e-4), n=2, steps=1, progress=False)


def test_reference_row():
    """rho = 0.1 after 100 iterations from rho = 10, falling by a tenth as published: SW2 0.087, trace 1.47, rms 0.45.
    2000 chains, whose floor is 0.04 rather than 0.03."""
    sampler = S.PnPDM(rho0=10.0, rho_min=0.1, levels=30)
    got = g2_means(wb.sample(G2, sampler, n=2000, steps=100, progress=False).samples, 2000)
    assert abs(got.sw2 - 0.087) < 0.03 and abs(got.trace - 1.47) < 0.1 and abs(got.residual - 0.45) < 0.03


def test_target_on_g2():
    """rho = 0.3: at the floor of the widened posterior, whose distance from the posterior is 0.148."""
    wide = replace(G2, noise=wb.noise.Gaussian(sqrt(0.09 + 0.09 * 1.25))).exact
    sampler = S.PnPDM(rho0=3.0, decay=0.8, rho_min=0.3, levels=60)
    x = wb.sample(G2, sampler, n=2000, steps=30, progress=False).samples
    distance = lambda law: sliced_wasserstein(x, law.sample(2000, 7), law=law, repeats=2, seed=0).value
    assert distance(wide) < 0.07 and abs(distance(G2.exact) - 0.148) < 0.04


@pytest.mark.slow
def test_reference_rows_at_full_length():
    """rho = 1 with a fine x-step, and rho = 0.1 after 500 iterations."""
    for rho, levels, steps, sw2, tolerance in ((1.0, 100, 20, 0.681, 0.05), (0.1, 40, 500, 0.047, 0.03)):
        sampler = S.PnPDM(rho0=max(1.0, rho), rho_min=rho, levels=levels)
        got = g2_means(wb.sample(G2, sampler, n=4000, steps=steps, progress=False).samples)
        assert abs(got.sw2 - sw2) < tolerance


def test_moments_of_the_widened_posterior_by_draws():
    """The same target from a run: 3000 chains, 25 iterations at rho = 0.5."""
    problem = gaussian_problem()
    mean, cov = widened(problem, 0.5)
    sampler = S.PnPDM(rho0=0.5, rho_min=0.5, levels=60)
    x = wb.sample(problem, sampler, n=3000, steps=25, progress=False).samples
    found, spread = moments(x)
    assert (found - mean).abs().max() < 0.08 and (spread - cov).abs().max() < 0.1 * cov.abs().max()
    with pytest.raises(BadInput, match="positive"):
        S.PnPDM(decay=0.0)
    assert replace(problem, name="").exact is not None


def test_published_x_step_takes_part_of_one_grid():
    """The levels below rho of 100 from 80 down, so ever fewer; by default as many as ever."""
    prior, whole = G2.prior, karras(G2.prior.process, G2.prior.noise_range[0], 80.0, 100)
    sampler = S.PnPDM.named("linear")
    for rho in (10.0, 0.3):
        times = sampler._times(prior, tensor(rho))
        assert times[0] == rho and torch.equal(times[1:], whole[whole < rho])
        assert len(replace(sampler, top=None)._times(prior, tensor(rho))) == 101
    x = wb.sample(G2, replace(sampler, levels=10), n=3, steps=3, progress=False)
    assert x.cost.denoiser < 3 * 10 + 3 * 3 * 10 and torch.isfinite(x.samples).all()


def test_constructor_refuses_nonsense():
    for fields in (dict(decay=1.1), dict(rho0=0.1, rho_min=1.0), dict(levels=2.5), dict(top=-1.0)):
        with pytest.raises(BadInput, match="PnPDM"):
            S.PnPDM(**fields)
    with pytest.raises(BadInput, match="rho_min"):  # at once, not when rho has fallen so far
        S.PnPDM(rho_min=1e-9).init(G2, 2, tensor(9.0), wb.Rng(0))
