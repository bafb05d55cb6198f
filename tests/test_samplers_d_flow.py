"""The noise behind the signal: D-Flow's optimum where it is known, and the chains' law by quadrature."""

from dataclasses import replace

import pytest
import torch
from truth import DOUBLE, G2, g2_means, gaussian_problem, line_problem, normal, tensor

import workbench as wb
from workbench.diffusion import VariancePreserving
from workbench.operators.intensity import Intensity
from workbench.samplers._reals import as_reals
from workbench.samplers.d_flow import MEMORY, inverse_hessian

S = wb.samplers


def affine(problem, sampler, reals):
    """M and b of x = M z + b, the ODE of a Gaussian prior, in real numbers."""
    with torch.no_grad():
        z = torch.cat([torch.zeros(1, reals, dtype=DOUBLE), torch.eye(reals, dtype=DOUBLE)])
        x = as_reals(sampler.signal(problem, z))
    return (x[1:] - x[0]).mT, x[0]


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
@pytest.mark.parametrize("lam", [0.0, 1.0, 0.3])
def test_gradient_through_the_ode(dtype, lam):
    problem, sampler = gaussian_problem(dtype, process=VariancePreserving()), S.DFlow(ode_steps=5)
    reals = 8 if dtype.is_complex else 4
    z, v = normal(3, reals, seed=6), normal(3, reals, seed=7)
    U, g = sampler.potential(problem, z, lam)
    ahead, back = (sampler.potential(problem, z + h * v, lam)[0] for h in (1e-5, -1e-5))
    assert ((ahead - back) / 2e-5 - (g * v).sum(1)).abs().max() < 1e-6 * g.abs().max()
    x = sampler.signal(problem, z)
    likelihood = problem.noise.log_likelihood(problem.y, problem.A(x))
    assert (U - 0.5 * lam * z.square().sum(1) + likelihood).abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_the_ode_makes_the_prior(dtype):
    """M M^T and b are the prior's covariance and mean, to the second order of the stepper."""
    problem, errors = gaussian_problem(dtype), []
    reals = 8 if dtype.is_complex else 4
    mean = as_reals(problem.prior.mean()[None])[0]
    C = (
        problem.prior.cov()
    )  # per real component; complex: the real form [[Re, -Im], [Im, Re]], entry by entry
    cov = (
        C
        if reals == 4
        else torch.view_as_real(torch.stack([C, 1j * C], -1)).permute(0, 3, 1, 2).reshape(8, 8)
    )
    for steps in (40, 80):
        M, b = affine(problem, S.NoiseSpaceMCMC(ode_steps=steps), reals)
        kappa = problem.prior.noise_range[1]
        errors.append((M @ M.mT - cov).abs().max().item())
        assert (
            b - mean
        ).abs().max() < 3 * mean.abs().max() / kappa  # what the noise of the start hides of it
    assert errors[0] < 0.1 and errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_optimum_for_a_gaussian_prior(dtype):
    """min ||w - W (M z + b)||^2 / 2 + lam ||z||^2 / 2 has one solution, reached from every start."""
    problem = gaussian_problem(dtype)
    sampler, reals = S.DFlow(ode_steps=6, lam=0.7), 8 if dtype.is_complex else 4
    M, b = affine(problem, sampler, reals)
    W = torch.stack([as_reals(problem.A(e)[None])[0] for e in basis(problem, reals)], 1) / 0.4
    e = as_reals(problem.y[None])[0] / 0.4 - W @ b
    z = torch.linalg.solve((W @ M).mT @ (W @ M) + 0.7 * torch.eye(reals, dtype=DOUBLE), (W @ M).mT @ e)
    x = wb.sample(problem, sampler, n=3, steps=25, progress=False).samples
    assert (as_reals(x) - (M @ z + b)).abs().max() < 1e-6


def basis(problem, reals):
    from workbench.samplers._reals import from_reals

    like = torch.empty(2, 2, dtype=problem.prior.dtype)
    return from_reals(torch.eye(reals, dtype=DOUBLE), like)


def test_data_alone_are_fitted():
    problem = gaussian_problem()
    x = wb.sample(problem, S.DFlow.named("data_alone", ode_steps=6), n=3, steps=25, progress=False).samples
    assert (problem.A(x) - problem.y).abs().max() < 1e-5 and x.std(0).max() > 0.1


def test_every_iteration_lowers_the_cost():
    """A nonlinear operator and two modes; rows that are done stay."""
    problem = replace(line_problem(), A=Intensity((1,), DOUBLE), y=tensor([1.3]))
    sampler, rng = S.DFlow(ode_steps=6), wb.Rng(0)
    with torch.no_grad():
        state = sampler.init(problem, 8, tensor(1.0), rng)
        costs = [state.U]
        for k in range(25):
            state = sampler.step(problem, state, tensor(25.0 - k), tensor(24.0 - k), rng)
            costs.append(state.U)
    costs = torch.stack(costs)
    assert (costs.diff(dim=0) <= 0).all() and (costs[0] - costs[-1] > 0.1).any()
    assert state.g.abs().max() < 1e-3
    assert torch.allclose(sampler.potential(problem, state.x)[0], state.U)


def test_inverse_hessian():
    """The two loops, against the matrices of the BFGS update."""
    moves, turns = torch.zeros(2, MEMORY, 4, dtype=DOUBLE), torch.zeros(2, MEMORY, 4, dtype=DOUBLE)
    P = torch.diag(tensor([1.0, 2.0, 3.0, 4.0]))
    moves[0, -3:] = normal(3, 4, seed=1)
    turns[0, -3:] = moves[0, -3:] @ P
    s, y = moves[0, -1], turns[0, -1]
    H, eye = (s @ y) / (y @ y) * torch.eye(4, dtype=DOUBLE), torch.eye(4, dtype=DOUBLE)
    for s, y in zip(moves[0, -3:], turns[0, -3:], strict=True):
        left = eye - torch.outer(s, y) / (s @ y)
        H = left @ H @ left.mT + torch.outer(s, s) / (s @ y)
    g = normal(2, 4, seed=2)
    got = inverse_hessian(g, moves, turns)
    assert (got[0] - H @ g[0]).abs().max() < 1e-9 and torch.equal(got[1], g[1])


@pytest.mark.parametrize("kind", [S.DFlow, S.NoiseSpaceMCMC])
def test_bad_ode(kind):
    with pytest.raises(wb.BadInput, match="ode_steps = 0"):
        kind(ode_steps=0)
    with pytest.raises(wb.BadInput, match="without guidance"):
        kind(stepper=S.DDIM(guidance=S.PiGDM()))


def quadrature(problem, sampler):
    """Mean and standard deviation of ODE(z) under N(z; 0, 1) p(y | ODE(z)), on a line."""
    z = torch.linspace(-7, 7, 4001, dtype=DOUBLE)[:, None]
    with torch.no_grad():
        x = sampler.signal(problem, z)
    p = torch.softmax(problem.noise.log_likelihood(problem.y, problem.A(x)) - 0.5 * z[:, 0] ** 2, 0)
    mean = (p * x[:, 0]).sum()
    return mean, (p * (x[:, 0] - mean) ** 2).sum().sqrt()


@pytest.mark.parametrize("name", ["linear", "square-counts"])
def test_law_of_the_chains(name):
    """After 15 moves of 2000 chains from the prior; also a nonlinear operator with counts, whose posterior has two modes."""
    problem = line_problem()
    if name == "square-counts":
        problem = replace(
            problem, A=Intensity((1,), DOUBLE), noise=wb.noise.Poisson(3.0, 0.5), y=tensor([4.0])
        )
    sampler, n = S.NoiseSpaceMCMC(ode_steps=8, stepper=S.DDIM()), 2000
    x = wb.sample(problem, sampler, n=n, steps=15, progress=False).samples
    mean, sd = quadrature(problem, sampler)
    assert abs(x.mean() - mean) < 4 * sd / n**0.5 + 0.01 and abs(x.std() / sd - 1) < 0.07
    free = wb.sample(problem, S.DDIM(), n=n, steps=15, progress=False).samples
    assert (
        abs(free.std() / sd - 1) > 0.15 or abs(free.mean() - mean) > 0.2
    )  # the control: the prior is another law


def test_chains_need_no_gradient():
    class Black(Intensity):
        def forward(self, x):
            return super().forward(x.detach())

    problem = replace(line_problem(), A=Black((1,), DOUBLE), y=tensor([1.3]))
    post = wb.sample(problem, S.NoiseSpaceMCMC(ode_steps=4), n=20, steps=3, progress=False)
    assert post.cost.vjp == 0 and torch.isfinite(post.samples).all()
    assert post.cost.operator < 20 * (1 + 3 * 10)  # a handful of shrinks a move, and one look at the start


@pytest.mark.slow
def test_chains_on_g2():
    """1000 chains, 60 moves: the floor of 1000 draws is .055 and the ODE's own error .06 at 20 steps of the prior."""
    x = wb.sample(G2, S.NoiseSpaceMCMC(), n=1000, steps=60, progress=False).samples
    got = g2_means(x, 1000)
    assert got.sw2 < 0.085 and abs(got.trace - 1.374) < 0.15 and abs(got.residual - 0.404) < 0.03


def test_d_flow_on_g2_is_a_point_method():
    """No reference value: the mode in noise space collapses the spread, 1.37, as optimisers do (RED-diff .13, PnP-Flow .26)."""
    got = g2_means(wb.sample(G2, S.DFlow(ode_steps=8), n=200, steps=15, progress=False).samples, 200)
    assert got.trace < 0.7 and got.residual < 0.3


def test_a_row_that_no_step_lowers_forgets():
    """Its next direction is the gradient's, and not the one that just failed."""
    problem, sampler = gaussian_problem(), S.DFlow(ode_steps=4)
    with torch.no_grad():
        state = sampler.init(problem, 2, tensor(1.0), wb.Rng(0))
        state = sampler.step(problem, state, tensor(3.0), tensor(2.0), wb.Rng(0))
        assert (state.moves != 0).any((1, 2)).all()
        state.U[0] = -1e9  # out of reach
        after = sampler.step(problem, state, tensor(2.0), tensor(1.0), wb.Rng(0))
    assert torch.equal(after.x[0], state.x[0]) and (after.moves[0] == 0).all() and (after.turns[0] == 0).all()
    assert (after.moves[1] != 0).any() and after.U[1] < state.U[1]
