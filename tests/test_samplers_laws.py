"""Laws that every sampler of the catalogue keeps: the exact posterior, its order, its cost, its rows and precisions."""

from dataclasses import fields, replace
from math import sqrt

import pytest
import torch
from truth import DOUBLE, blind, gaussian_problem, line_problem, normal, tensor

import problems
import workbench as wb
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench import catalogue
from workbench._errors import BadInput
from workbench.diffusion import VariancePreserving
from workbench.diffusion.cosine import Cosine
from workbench.diffusion.flow import Flow
from workbench.diffusion.grids import karras
from workbench.diffusion.variance_exploding import EDM, VarianceExploding
from workbench.operators.cartesian_mri import CartesianMRI
from workbench.operators.coils import simulate_coils
from workbench.operators.sampling import cartesian_mask
from workbench.priors._prior import Prior
from workbench.samplers._sampler import Sampler

S = wb.samplers


NEEDS = {  # of the operator, from the most to the least
    "exact posterior",
    "svd",  # singular vectors, or a matrix small enough for them
    "prox",  # (A^H A + rho I)^{-1}
    "gradient",  # A and products with its adjoint Jacobian
    "black box",  # A alone
    "denoiser",  # nothing: the prior, or what a guidance makes of it
}
BENT = {"evodiff", "predictor-corrector"}  # steppers whose steps are not affine where the denoiser is


def of_kind(*kinds):
    """The names of the catalogue's samplers of these kinds."""
    return [entry.name for entry in catalogue.entries("samplers") if entry.card["kind"] in kinds]


def load(name, **values):
    return catalogue.load("samplers", name)(**values)


# --- the furniture --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", catalogue.entries("samplers"), ids=lambda e: e.name)
def test_card_and_fields(entry):
    wanted = {"kind", "exactness", "needs", "complex", "nonlinear", "poisson", "cost", "source"}
    assert wanted <= set(entry.card) and entry.summary
    assert entry.card["kind"] in {"stepper", "guidance", "sampler", "combination", "draws"}
    assert entry.card["exactness"] in {"E0", "E1", "B", "P"}
    assert entry.card["needs"] in NEEDS
    kind = catalogue.load("samplers", entry.name)
    assert not {f.name for f in fields(kind)} & {"init", "step", "finish", "grid", "bind", "couples", "State"}
    assert hasattr(kind, "bind") if entry.card["kind"] == "guidance" else issubclass(kind, Sampler)
    assert "guidance" in {f.name for f in fields(kind)} or entry.card["kind"] != "stepper"
    for setting in kind.published:
        assert isinstance(kind.named(setting), kind)
    with pytest.raises(BadInput, match="setting"):
        kind.named("none of these")
    with pytest.raises(AttributeError):
        kind().anything = 1  # frozen


@pytest.mark.parametrize("name", wb.samplers.catalogue())
def test_same_seed_same_samples(name):
    problem = problems.load("toy/g2")
    runs = [wb.sample(problem, load(name), n=4, steps=6, seed=s, progress=False).samples for s in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1]) and (runs[0] - runs[2]).abs().min() > 1e-6


@pytest.mark.parametrize(
    "name",
    [n for n in of_kind("stepper", "guidance", "sampler", "draws") if not getattr(load(n), "couples", False)],
)
def test_rows_do_not_depend_on_the_batch(name):
    sampler, problem = load(name), gaussian_problem()
    whole = wb.sample(problem, sampler, n=7, steps=8, seed=2, batch=7, progress=False).samples
    for batch in (1, 3):
        part = wb.sample(problem, sampler, n=7, steps=8, seed=2, batch=batch, progress=False).samples
        assert (part - whole).abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", wb.samplers.catalogue())
def test_precision_is_kept(name, dtype):
    post = wb.sample(gaussian_problem(dtype), load(name), n=3, steps=5, progress=False)
    assert post.samples.dtype == dtype and post.samples.shape == (3, 2, 2)
    assert torch.isfinite(torch.view_as_real(post.samples) if dtype.is_complex else post.samples).all()
    assert post.log_weights is None or post.log_weights.dtype == DOUBLE


# --- the exact posterior --------------------------------------------------------------------------------------------


class Impulses:
    """Noise that is zero but for one unit: row 1 + d + k d + j has it at entry j of the k-th draw."""

    def __init__(self, d):
        self.d, self.k = d, 0

    def normal(self, like):
        z = torch.zeros(len(like), self.d, dtype=like.dtype)
        first = 1 + self.d * (1 + self.k)
        z[first : first + self.d] = torch.eye(self.d, dtype=like.dtype)
        self.k += 1
        return z.reshape(like.shape)

    def fork(self, stream):
        return self


def law(problem, sampler, times):
    """Mean and covariance of what a stepper makes of a Gaussian problem, without drawing: every step is affine, so
    the response to each start and each noise number tells all."""
    d = torch.Size(problem.prior.shape).numel()
    x = torch.zeros(1 + d * len(times), d, dtype=problem.prior.dtype)
    x[1 : 1 + d] = problem.prior.process.sigma(times[0]) * torch.eye(d, dtype=x.dtype)
    state, rng = sampler.State(x.reshape(-1, *problem.prior.shape)), Impulses(d)
    for t, s in zip(times[:-1], times[1:], strict=True):
        state = sampler.step(problem, state, t, s, rng)
    x = sampler.finish(problem, state).flatten(1)
    response = x[1:] - x[0]
    return x[0], response.mT @ response


def spread(q):
    """Mean and covariance of an exact Gaussian posterior, flat."""
    return q.mean().flatten(), q.cov()


def distance(moments, others):
    """The largest difference of two pairs of mean and covariance."""
    return max((a - b).abs().max().item() for a, b in zip(moments, others, strict=True))


STOCHASTIC = {
    "euler-half": lambda n: S.Euler(eta=0.5),
    "ddim-half": lambda n: S.DDIM(eta=0.5),
    "euler-1": lambda n: S.Euler(eta=1.0),
    "heun-churn": lambda n: S.Heun(churn=8 / n),
}


def stepper(name, steps, **values):
    made = STOCHASTIC[name](steps) if name in STOCHASTIC else load(name)
    return replace(made, **values)


def error_of(problem, name, steps, exact):
    # a start so far out that what the start leaves of the mean, |m| sd / 1000, is not seen
    times = karras(problem.prior.process, 0.005, 1000.0, steps)
    return distance(law(problem, stepper(name, steps, guidance=S.Exact()), times), exact)


@pytest.mark.parametrize("name", [*[n for n in of_kind("stepper") if n not in BENT], *STOCHASTIC])
def test_stepper_reaches_the_exact_posterior(name):
    problem = gaussian_problem()
    exact = spread(problem.exact)
    coarse, fine = (error_of(problem, name, steps, exact) for steps in (40, 320))
    assert fine < 0.03 and fine < coarse / 5


@pytest.mark.parametrize(
    "process", [VariancePreserving(), Flow(), Cosine(), VarianceExploding(1e-3, 50.0), EDM()], ids=repr
)
@pytest.mark.parametrize("name", ["euler", "euler-1", "ddpm", "heun"])
def test_stepper_reaches_it_under_every_process(name, process):
    """The prior in its own process, moved by `under`, with a guidance that needs nothing but the prior."""
    base = gaussian_problem()
    problem = replace(base, prior=base.prior.under(process))
    exact = spread(base.exact)

    def error(steps):
        sampler = stepper(name, steps, guidance=S.MomentMatching(tol=1e-12))
        return distance(law(problem, sampler, karras(process, 0.005, 300.0, steps)), exact)

    fine = error(320)
    assert fine < 0.006 or (fine < 0.09 and fine < error(80) / 3)


@pytest.mark.parametrize(
    "process", [VariancePreserving(), Flow(), Cosine(), VarianceExploding(1e-3, 50.0)], ids=repr
)
@pytest.mark.parametrize("name", ["ddpm", "ddim", "heun", "dpm-solver-2m"])
def test_same_samples_under_every_process(name, process):
    """These steppers see the process only through sigma / alpha and the scale, so not even the samples change."""
    base = problems.load("toy/g2")

    def samples(prior, process):
        sampler = stepper(name, 30, guidance=S.MomentMatching(tol=1e-12))
        times = karras(process, 0.01, 20.0, 30)
        return wb.sample(replace(base, prior=prior), sampler, n=20, grid=times, progress=False).samples

    moved = samples(base.prior.under(process), process)
    assert (moved - samples(base.prior, EDM())).abs().max() < 1e-7


@pytest.mark.parametrize("there", [VariancePreserving(), Flow(), EDM()], ids=repr)
@pytest.mark.parametrize("here", [Cosine(), VarianceExploding(), VariancePreserving(0.2, 10.0)], ids=repr)
def test_a_moved_prior_is_the_native_one(here, there):
    native, moved = (gaussian_problem(process=p).prior for p in (there, here))
    moved, x, v = moved.under(there), normal(5, 2, 2, seed=6), normal(5, 2, 2, seed=7)
    for kappa in (0.05, 1.0, 7.0):
        t = there.time(kappa)
        assert (moved.denoise(x, t) - native.denoise(x, t)).abs().max() < 1e-9
        assert (moved.score(x, t) - native.score(x, t)).abs().max() < 1e-6
        assert (moved.log_prob(x, t) - native.log_prob(x, t)).abs().max() < 1e-6
        assert (moved.tweedie(x, t)[1](v) - native.tweedie(x, t)[1](v)).abs().max() < 1e-9


def test_exact_draws_are_the_posterior():
    problem, n = gaussian_problem(), 40_000
    x = wb.sample(problem, S.ExactDraws(), n=n, progress=False).samples.flatten(1)
    mean, cov = spread(problem.exact)
    assert ((x.mean(0) - mean).abs() < 5 * (cov.diagonal() / n).sqrt()).all()
    assert (x.mT.cov() - cov).abs().max() < 5 * cov.diagonal().max() * sqrt(2 / n)


# --- without data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", of_kind("guidance"))
@pytest.mark.parametrize("name", of_kind("stepper"))
def test_blind_guidance_is_no_guidance(name, guidance):
    problem = gaussian_problem()
    free = wb.sample(problem, load(name), n=5, steps=12, seed=3, progress=False).samples
    unseen = wb.sample(
        blind(problem), load(name, guidance=load(guidance)), n=5, steps=12, seed=3, progress=False
    )
    noisy = replace(problem, noise=wb.noise.Gaussian(1e9))
    drowned = wb.sample(noisy, load(name, guidance=load(guidance)), n=5, steps=12, seed=3, progress=False)
    assert (unseen.samples - free).abs().max() < 1e-8 and (drowned.samples - free).abs().max() < 1e-8
    seen = wb.sample(problem, load(name, guidance=load(guidance)), n=5, steps=12, seed=3, progress=False)
    assert (seen.samples - free).abs().max() > 0.1  # the control: the data do matter


@pytest.mark.parametrize("sampler", [S.DPS(), S.TDS()], ids=repr)
def test_blind_samplers_are_ddpm(sampler):
    problem = gaussian_problem()
    free = wb.sample(problem, S.DDPM(), n=5, steps=12, seed=3, progress=False).samples
    post = wb.sample(blind(problem), sampler, n=5, steps=12, seed=3, progress=False)
    assert (post.samples - free).abs().max() < 1e-9
    if post.log_weights is not None:
        clean = torch.zeros(1, *problem.y.shape, dtype=DOUBLE)
        assert (post.weights - 0.2).abs().max() < 1e-9
        assert abs(post.log_evidence - problem.noise.log_likelihood(problem.y, clean).item()) < 1e-9


def test_no_guidance_is_said():
    post = wb.sample(gaussian_problem(), S.DDPM(), n=2, steps=2, progress=False)
    assert "prior" in post.provenance["warning"] and "None" in post.provenance["guidance"]
    assert "warning" not in wb.sample(gaussian_problem(), S.DPS(), n=2, steps=2, progress=False).provenance


def test_guidance_alone_runs_under_ddpm():
    problem = gaussian_problem()
    alone = wb.sample(problem, S.MomentMatching(), n=3, steps=5, progress=False)
    named = wb.sample(problem, S.DDPM(guidance=S.MomentMatching()), n=3, steps=5, progress=False)
    assert (
        torch.equal(alone.samples, named.samples)
        and alone.provenance["sampler"] == named.provenance["sampler"]
    )


# --- moment matching is exact for Gaussians -------------------------------------------------------------------------


def matched(problem, t, x, exact=None):
    """The moment-matched denoiser's distance from the exact one, relative."""
    exact = (exact or problem.exact).denoise(x, t)
    return (
        S.MomentMatching(iterations=500, tol=1e-13).bind(problem).denoise(x, t) - exact
    ).abs().max() / exact.abs().max()


@pytest.mark.parametrize("process", [None, VariancePreserving(), Flow()], ids=repr)
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_moment_matching_on_gaussians(dtype, process):
    problem = gaussian_problem(dtype, process=process)
    for kappa in (0.02, 0.7, 8.0):
        t = problem.prior.process.time(kappa)
        assert matched(problem, t, normal(5, 2, 2, seed=6, dtype=dtype)) < 1e-9


def test_moment_matching_on_a_field_seen_by_mri():
    shape = (16, 16)
    prior = GaussianField(power_law(shape, 1.2, dtype=DOUBLE), dtype=torch.complex128)
    mask = cartesian_mask(shape, 3.0, calibration=4, seed=0)
    A, noise = CartesianMRI(simulate_coils(shape, 3).to(torch.complex128), mask), wb.noise.Gaussian(0.1)
    problem = wb.Problem(prior, A, noise, y=noise.sample(A(prior.sample(1, 0)[0]), 0))
    exact = prior.condition(A, problem.y, noise, tol=1e-10)
    for kappa in (0.1, 2.0):
        t = prior.process.time(kappa)
        assert (
            matched(problem, t, prior.sample(2, 1) + kappa * normal(2, *shape, dtype=torch.complex128), exact)
            < 1e-7
        )


class Learned(Prior):
    """A prior that gives its denoiser alone, so that Jacobians come from automatic differentiation."""

    def __init__(self, law):
        self.law, self.shape, self.dtype, self.process, self.noise_range = (
            law,
            law.shape,
            law.dtype,
            law.process,
            law.noise_range,
        )
        self.calls = 0

    def denoise(self, x, t):
        self.calls += len(x)
        return self.law.denoise(x, t)


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_moment_matching_by_automatic_differentiation(dtype):
    problem = gaussian_problem(dtype)
    learned = replace(problem, prior=Learned(problem.prior))
    x, t = normal(5, 2, 2, seed=6, dtype=dtype), tensor(0.7)
    assert matched(learned, t, x, problem.exact) < 1e-9


# --- cost -----------------------------------------------------------------------------------------------------------

N, STEPS, M = 6, 9, 3  # samples, steps, real measurements
COSTS = {  # sampler -> denoiser calls and products with its Jacobian
    "ddpm": (N * STEPS, 0),
    "ddim": (N * STEPS, 0),
    "euler": (N * STEPS, 0),
    "heun": (N * (2 * STEPS - 1), 0),
    "dpm-solver-2m": (N * STEPS, 0),
    "dps": (N * STEPS, N * STEPS),
    "tds": (N * STEPS, N * STEPS * (M + 1)),
    "exact-draws": (0, 0),
}


@pytest.mark.parametrize("name", COSTS)
def test_cost(name):
    problem = gaussian_problem()
    learned = Learned(problem.prior)
    if name != "exact-draws":  # which needs the law itself
        problem = replace(problem, prior=learned)
    post = wb.sample(problem, load(name), n=N, steps=STEPS, batch=4, progress=False)
    assert (post.cost.denoiser, post.cost.vjp) == COSTS[name] and learned.calls == post.cost.denoiser
    assert post.cost.seconds > 0
    assert post.provenance["processes"][-1]["denoiser"] == post.cost.denoiser


def test_cost_of_guidance():
    problem = gaussian_problem()
    learned = replace(problem, prior=Learned(problem.prior))
    post = wb.sample(learned, S.MomentMatching(iterations=2, tol=0.0), n=N, steps=STEPS, progress=False)
    assert post.cost.denoiser == N * STEPS == learned.prior.calls
    assert post.cost.vjp == 3 * N * STEPS  # two of conjugate gradients, one for the answer
    exact = wb.sample(problem, S.Exact(), n=N, steps=STEPS, progress=False)
    assert (exact.cost.denoiser, exact.cost.operator) == (N * STEPS, 0)


def test_operator_calls_are_counted():
    post = wb.sample(gaussian_problem(), S.DPS(), n=N, steps=STEPS, progress=False)
    assert post.cost.operator == N * STEPS


# --- weights and evidence -------------------------------------------------------------------------------------------


def test_ensembles_pool_by_evidence():
    post = wb.sample(line_problem(), S.TDS(), n=5, ensembles=3, steps=4, progress=False)
    evidences = tensor(post.provenance["evidences"])
    share = post.weights.reshape(3, 5).sum(1)
    assert (share - torch.softmax(evidences, 0)).abs().max() < 1e-12
    assert abs(post.log_evidence - evidences.exp().mean().log().item()) < 1e-12
    assert (evidences - evidences[0]).abs().max() > 1e-3  # the ensembles differ
    alone = wb.sample(line_problem(), S.TDS(), n=5, steps=4, progress=False)
    assert torch.equal(alone.samples, post.samples[:5])  # the first ensemble is the run without the others
    inside = torch.softmax(post.log_weights[:5], 0)
    assert (inside - alone.weights).abs().max() < 1e-12
    by_hand = (post.weights[:, None] * post.samples).sum(0)
    assert (post.mean() - by_hand).abs().max() < 1e-12 and (by_hand - post.samples.mean(0)).abs().max() > 1e-4


def test_weighted_particles_find_the_posterior():
    problem = line_problem()
    post = wb.sample(problem, S.TDS(), n=4000, steps=150, progress=False)
    sd = problem.exact.cov().sqrt().item()
    assert abs(post.mean() - problem.exact.mean()).item() < 5 * sd / sqrt(post.ess) + 0.02
    assert abs(post.std() / sd - 1).item() < 0.04
    assert abs(post.log_evidence - problem.exact.log_evidence) < 0.03
