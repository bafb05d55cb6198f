"""SCG and EnKG: guidance by calls of a black-box operator alone."""

from dataclasses import dataclass, replace

import pytest
import torch
from test_samplers_langevin import matrix
from truth import DOUBLE, G2, blind, g2_grid, g2_means, gaussian_problem, normal, tensor

import workbench as wb
from workbench._errors import BadInput
from workbench.operators._operator import Operator
from workbench.samplers._ancestral import moments
from workbench.samplers.daps import flow_end
from workbench.samplers.enkg import FrobeniusRate, LikelihoodRate

S = wb.samplers


@dataclass(frozen=True, eq=False)
class BlackBox(Operator):
    """A linear map whose inside cannot be seen: no gradient comes out, no adjoint, no linearisation."""

    A: Operator

    in_shape = property(lambda self: self.A.in_shape)
    out_shape = property(lambda self: self.A.out_shape)
    in_dtype = property(lambda self: self.A.in_dtype)
    out_dtype = property(lambda self: self.A.out_dtype)

    def forward(self, x):
        assert not x.requires_grad
        return self.A(x.detach())

    def linearize(self, x):
        raise AssertionError("a black box was linearised")


@pytest.mark.parametrize("sampler", [S.SCG(), S.EnKG(ode_steps=3)], ids=repr)
def test_calls_of_the_operator_are_enough(sampler):
    problem = gaussian_problem()
    seen = wb.sample(problem, sampler, n=6, steps=6, progress=False)
    unseen = wb.sample(replace(problem, A=BlackBox(problem.A)), sampler, n=6, steps=6, progress=False)
    assert (seen.samples - unseen.samples).abs().max() < 1e-12
    assert seen.cost.vjp == 0 and seen.cost.denoiser == unseen.cost.denoiser


# --- SCG ----------------------------------------------------------------------------------------------------------------


def test_scg_takes_the_best_candidate():
    problem = gaussian_problem()
    t, s, x = tensor(0.9), tensor(0.6), normal(5, 2, 2, seed=6)
    state = S.SCG(candidates=7).step(problem, S.SCG.State(x), t, s, wb.Rng(4))
    mean, tau = moments(problem.prior.process, x, problem.prior.denoise(x, t), t, s)
    z = wb.Rng(4).normal(torch.empty(5, 7, 2, 2, dtype=DOUBLE))
    for i in range(5):
        ahead = mean[i] + tau * z[i]
        x0 = problem.prior.denoise(ahead, s)
        misfit = (problem.A(x0) - problem.y).square().sum(1)
        assert (state.x[i] - ahead[misfit.argmin()]).abs().max() < 1e-12
        assert (state.x0[i] - x0[misfit.argmin()]).abs().max() < 1e-12
        assert misfit.argmin() != misfit.argmax()


def test_scg_with_one_candidate_is_ddpm():
    problem = gaussian_problem()
    free = wb.sample(problem, S.DDPM(), n=5, steps=12, progress=False).samples
    for sampler in (S.SCG(candidates=1), S.SCG(below=0.0)):
        assert (wb.sample(problem, sampler, n=5, steps=12, progress=False).samples - free).abs().max() < 1e-12
    assert (wb.sample(problem, S.SCG(), n=5, steps=12, progress=False).samples - free).abs().max() > 0.1
    with pytest.raises(BadInput, match="candidates"):
        S.SCG(candidates=0)


def test_scg_costs_its_candidates():
    cost = wb.sample(gaussian_problem(), S.SCG(candidates=4), n=3, steps=5, progress=False).cost
    assert (cost.denoiser, cost.operator) == (3 * (1 + 4 * 4), 3 * 4 * 4)


def test_scg_fits_the_data_the_better_the_more_candidates():
    """A point method: on G2 the residual goes under the posterior's 0.404 and the spread shrinks."""
    run = lambda K: g2_means(
        wb.sample(G2, S.SCG(candidates=K), n=1000, grid=g2_grid(60), progress=False).samples, 1000
    )
    few, many = run(2), run(16)
    assert many.residual < 0.02 < few.residual < 0.404 and many.trace < 1.374
    assert many.sw2 < 0.3


# --- EnKG ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_push_is_the_ensembles_gradient(dtype):
    """C_xY Sigma_y^{-1} (y - Y_i) with the ensemble's own covariance, at a known rate."""
    problem = gaussian_problem(dtype)
    x, t = normal(9, 2, 2, seed=6, dtype=dtype), tensor(0.9)
    Y = problem.A(flow_end(problem.prior, x, t, 4))
    dx, dY = (x - x.mean(0)).flatten(1), Y - Y.mean(0)
    reals = torch.view_as_real(dY).flatten(1) if dtype.is_complex else dY
    pull = (problem.y - Y) / 0.16
    pull_reals = torch.view_as_real(pull).flatten(1) if dtype.is_complex else pull
    C = dx.mT @ reals.to(dtype) / 9  # of x and the real components of Y
    wanted = pull_reals.to(dtype) @ C.mT
    sampler = S.EnKG(ode_steps=4, rate=LikelihoodRate(weight=1.0))
    push = sampler._push(problem, x, t, tensor(0.01)).flatten(1)
    variance = (dx.real**2 + dx.imag**2).mean() / 2 if dtype.is_complex else (dx**2).mean()
    rate = min((0.01 / variance).item(), 1 / (reals.square().sum() / 9 / 0.16).item())
    assert (push - rate * wanted).abs().max() < 1e-10
    gentle = sampler._push(problem, x, t, tensor(1e-6)).flatten(1)
    assert (gentle - 1e-6 / variance * wanted).abs().max() < 1e-12
    published = S.EnKG(ode_steps=4, rate=FrobeniusRate(2.0))._push(problem, x, t, tensor(0.01)).flatten(1)
    c = pull_reals @ reals.mT / 9
    assert (published - 2 * wanted / torch.linalg.matrix_norm(c)).abs().max() < 1e-10


def test_push_goes_to_the_data():
    """One push brings the predicted data nearer for linear A, at either rate, and moves nothing where A sees nothing."""
    problem = gaussian_problem()
    x, t = normal(64, 2, 2, seed=6), tensor(0.9)
    miss = lambda x: (problem.A(flow_end(problem.prior, x, t, 20)) - problem.y).square().sum(1).mean()
    for rate in (LikelihoodRate(), FrobeniusRate(2.0)):
        assert miss(x + S.EnKG(rate=rate)._push(problem, x, t, tensor(0.1))) < miss(x)
        assert S.EnKG(rate=rate)._push(blind(problem), x, t, tensor(0.1)).abs().max() == 0


def test_blind_ensemble_is_ddpm():
    problem = gaussian_problem()
    free = wb.sample(problem, S.DDPM(), n=6, steps=9, progress=False).samples
    unseen = wb.sample(blind(problem), S.EnKG(), n=6, steps=9, progress=False).samples
    assert (unseen - free).abs().max() < 1e-12


def test_enkg_on_g2():
    """No claim of exactness, and yet near: it finds all modes and the measured direction within a third."""
    x = wb.sample(G2, S.EnKG(ode_steps=10), n=1500, grid=g2_grid(60), progress=False).samples
    got = g2_means(x, 1500)
    weights = G2.exact.responsibilities(x).mean(0)
    assert got.sw2 < 0.2 and 0.5 * (weights - G2.exact.weights).abs().sum() < 0.1
    assert 0.3 < got.residual < 0.6 and abs(got.trace - 1.374) < 0.25
    assert matrix(G2).shape == (1, 2)


def test_one_particle_is_no_ensemble():
    with pytest.raises(BadInput, match="n = 1"):
        wb.sample(gaussian_problem(), S.EnKG(), n=1, steps=3, progress=False)


def test_constructors_refuse_nonsense():
    for make in (
        lambda: S.SCG(candidates=2.5),
        lambda: S.SCG(below=-1.0),
        lambda: S.EnKG(eta=3.0),
        lambda: S.EnKG(updates=0),
        lambda: FrobeniusRate(0.0),
    ):
        with pytest.raises(BadInput, match="should"):
            make()


def test_published_scg_chooses_after_a_quarter_of_the_linear_schedule():
    """sigma / alpha of 1000 steps with beta from 1e-4 to 0.02, at step 750."""
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=DOUBLE), 0)[749]
    assert abs(S.SCG.named("config").below - ((1 - kept) / kept).sqrt()) < 0.5
