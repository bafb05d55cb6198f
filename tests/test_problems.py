"""Every problem by name: what it says of itself, its seeds, its streams, and that samplers run on it."""

from dataclasses import replace
from math import sqrt

import pytest
import torch
from scipy.stats import chi2

import problems
import workbench as wb
from theory import distributions
from workbench import catalogue
from workbench.cli._flags import scalar_arguments
from workbench.operators import dot_test
from workbench.operators._linear import Product
from workbench.operators._operator import Composition
from workbench.operators.blur import gaussian_kernel

SMALL = dict(size=32, coils=3)  # what makes a problem small, where it has that argument
SMALLEST = {"mri/brain-cartesian-4x": dict(size=64)}  # a quarter of 32 columns is less than its calibration


def load(name, seed=0, **sizes):
    known = scalar_arguments(catalogue.load("problems", name))
    return problems.load(
        name, seed=seed, **{k: v for k, v in SMALL.items() if k in known} | SMALLEST.get(name, {}) | sizes
    )


def noise_of(problem):
    """The data without what the operator makes of the truth."""
    return problem.y - problem.noise.mean(problem.A(problem.truth))


each = pytest.mark.parametrize("name", problems.catalogue())


def test_names():
    names = problems.catalogue()
    assert {
        "toy/g2",
        "mri/brain-cartesian-4x",
        "ct/head-parallel-60",
        "inpainting/random",
        "deblur/gaussian",
    } <= set(names)
    assert names == sorted(names) and not any("_" in name for name in names)


def factors(A):
    """The operators that A is made of, if it is a composition."""
    return [*factors(A.A), *factors(A.B)] if isinstance(A, Composition | Product) else [A]


@pytest.mark.parametrize("entry", catalogue.entries("problems"), ids=lambda e: e.name)
def test_cards(entry):
    assert {"family", "operator", "prior", "exact", "source"} <= set(entry.card) and entry.summary.endswith(
        "."
    )
    problem = load(entry.name)
    assert catalogue.load("operators", entry.card["operator"]) in map(type, factors(problem.A))
    assert catalogue.load("distributions", entry.card["prior"]) is type(problem.prior)
    assert (problem.exact is not None) == entry.card["exact"] and problem.name == entry.name


@each
def test_parts_fit(name):
    problem = load(name)
    assert (
        tuple(problem.prior.shape) == tuple(problem.A.in_shape) and problem.prior.dtype == problem.A.in_dtype
    )
    assert tuple(problem.y.shape) == tuple(problem.A.out_shape) and problem.y.dtype == problem.A.out_dtype
    assert dot_test(problem.A.linearize(problem.prior.mean())) < 1e-4
    if problem.truth is not None:
        assert problem.truth.shape == problem.prior.shape and problem.truth.dtype == problem.prior.dtype


def scalar_sigma(problem):
    return isinstance(problem.noise, wb.noise.Gaussian) and isinstance(problem.noise.sigma, float)


each_with_truth = pytest.mark.parametrize(
    "name", [n for n in problems.catalogue() if load(n).truth is not None and scalar_sigma(load(n))]
)


@each_with_truth
def test_data_are_the_truth_seen_with_that_noise(name):
    """The squared residual over the variance is chi-square, per real component, and its mean is zero: five standard errors."""
    problem = load(name)
    r = noise_of(problem)
    r = torch.view_as_real(r) if r.is_complex() else r
    r = r[r != 0].double() / problem.noise.sigma  # k-space that was not sampled is zero
    tail = chi2.cdf(r.square().sum().item(), r.numel())
    assert 3e-7 < tail < 1 - 3e-7 and abs(r.mean()) < 5 / sqrt(r.numel())


@each
def test_the_seed_decides(name):
    first, same, other = load(name, 3), load(name, 3), load(name, 4)
    assert torch.equal(first.y, same.y)
    assert first.truth is None or torch.equal(first.truth, same.truth)
    if name != "toy/g2":  # whose data are fixed
        assert first.y.shape != other.y.shape or not torch.equal(first.y, other.y)


def correlation(a, b):
    """Between the first entries that both have, in standard errors."""
    a, b = a.flatten().double(), b.flatten().double()
    n = min(len(a), len(b))
    return torch.corrcoef(torch.stack([a[:n], b[:n]]))[0, 1].abs().item() * sqrt(n)


SHARES = [("inpainting/random", dict(keep=0.9)), ("compressed-sensing/gaussian", dict(ratio=1.0))]


@pytest.mark.parametrize("name, share", SHARES, ids=str)
def test_streams_are_independent(name, share):
    """At one seed the numbers behind the truth, the noise, the operator and a run are uncorrelated, and their squares,
    which see a shared radius of a pair of normal numbers whatever became of its angle."""
    problem = load(name, seed=5, **share)
    white = torch.fft.ifftn(torch.fft.fftn(problem.truth) / problem.prior.spectrum.sqrt()).real
    operator = problem.A.mask.double() if hasattr(problem.A, "mask") else problem.A.matrix
    run = wb.Rng(5, "run").normal(torch.empty(1, *problem.prior.shape, dtype=torch.float64))
    streams = [white, noise_of(problem), operator, run]
    for i, a in enumerate(streams):
        for b in streams[i + 1 :]:
            assert correlation(a, b) < 5 and correlation(a**2, b**2) < 5


DOUBLE = torch.float64
POSTERIORS = {
    "matrix": lambda: (distributions.Gaussian(torch.zeros(60, dtype=DOUBLE), 1.0), first_entries(60)),
    "larger": lambda: (distributions.Gaussian(torch.zeros(1100, dtype=DOUBLE), 1.0), first_entries(1100)),
    "Wiener": lambda: (distributions.GaussianField(torch.ones(8, 8, dtype=DOUBLE)), blur(8)),
    "field": lambda: (
        distributions.GaussianField(torch.ones(8, 8, dtype=DOUBLE)),
        wb.operators.Mask(torch.arange(64).reshape(8, 8) < 20, DOUBLE),
    ),
}


def first_entries(d):
    return wb.operators.Dense(torch.eye(d, dtype=DOUBLE)[:20])


def blur(size):
    return wb.operators.CircularBlur(gaussian_kernel((size, size), 3.0, dtype=DOUBLE))


@pytest.mark.parametrize("kind", POSTERIORS)
def test_draws_of_the_posterior_are_not_the_truth(kind):
    """Nor correlated with it beyond what the data say, at the seed that drew it: else calibration would flatter."""
    (prior, A), noise, both = POSTERIORS[kind](), wb.noise.Gaussian(2.0), []
    for seed in range(40):
        x = prior.sample(1, seed)[0]
        q = prior.condition(A, noise.sample(A(x), seed), noise)
        both.append(torch.stack([x - q.mean(), q.sample(1, seed)[0] - q.mean()]).flatten(1))
    a, b = torch.cat(both, dim=1)
    assert (
        correlation(a, b) < 5 and abs(a.std() / b.std() - 1) < 0.1
    )  # and the truth lies as far out as a draw


@each
@pytest.mark.parametrize(
    "sampler",
    [
        wb.samplers.ExactDraws(),
        wb.samplers.DDPM(guidance=wb.samplers.MomentMatching(iterations=3)),
        wb.samplers.DPS(zeta=0.1),
    ],
    ids=lambda s: type(s).__name__,
)
def test_samplers_run(name, sampler):
    problem = load(name)
    if problem.exact is None and isinstance(sampler, wb.samplers.ExactDraws):
        with pytest.raises(wb.BadInput, match="exact"):
            wb.sample(problem, sampler, n=2, steps=3, progress=False)
        return
    post = wb.sample(problem, sampler, n=2, steps=3, progress=False)
    flat = torch.view_as_real(post.samples) if post.samples.is_complex() else post.samples
    assert post.samples.shape == (2, *problem.prior.shape) and post.samples.dtype == problem.prior.dtype
    assert torch.isfinite(flat).all() and not torch.equal(post.samples[0], post.samples[1])
    assert post.show().samples.shape == problem.show(post.samples).shape
    assert post.provenance["problem"] == name and post.provenance["seed"] == 0


each_exact = pytest.mark.parametrize(
    "name",
    [
        n
        for n in problems.catalogue()
        if load(n).truth is not None and scalar_sigma(load(n)) and load(n).exact
    ],
)


@each_exact
def test_exact_draws_fit_the_data(name):
    """For draws of the posterior the misfit is about that of the truth: the noise, and what is left of the signal."""
    problem = load(name)
    x = problem.exact.sample(2, 1)
    components = 2 if problem.y.is_complex() else 1
    count = components * (problem.y != 0).sum()
    misfit = ((problem.A(x) - problem.y).abs().square().sum() / (2 * count)).sqrt() / problem.noise.sigma
    assert 0.2 < misfit < 1.6


def test_g2_is_exact():
    problem = problems.load("toy/g2", seed=7)
    assert abs(problem.exact.log_evidence + 4.068028587) < 1e-9
    assert torch.equal(problem.y, problems.load("toy/g2").y)


def test_sizes_are_arguments():
    problem = problems.load("mri/brain-cartesian-4x", seed=0, size=64)
    assert (
        problem.prior.shape == (64, 64)
        and problem.truth.dtype == torch.complex64
        and problem.A.in_dtype == torch.complex64
    )
    assert problem.y.shape == (8, 64 * 64 // 4) and problem.view is torch.abs and problem.exact is not None
    assert problems.load("ct/head-parallel-60", size=32, views=7).y.shape[0] == 7


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("mri/brain-cartesian-4", "mri/brain-cartesian-4x"),
        ("toy/G2", "toy/g2"),
        ("inpaint/random", "inpainting/random"),
    ],
)
def test_the_nearest_name_is_suggested(wrong, right):
    with pytest.raises(wb.BadInput, match=f"did you mean '{right}'"):
        problems.load(wrong)


@pytest.mark.parametrize("name", ["mri/brain-cartesian-4x", "ct/head-parallel-60", "deblur/gaussian"])
def test_sizes_the_picture_has_not(name):
    with pytest.raises(wb.BadInput, match="size = 48 should divide 256"):
        problems.load(name, size=48)


# --- what a problem checks of itself --------------------------------------------------------------------------------


def g2(**changes):
    parts = {k: getattr(problems.load("toy/g2"), k) for k in ("prior", "A", "noise", "y")}
    return wb.Problem(**{**parts, **changes})


WRONG = {
    "y has shape": dict(y=torch.zeros(2, dtype=torch.float64)),
    "they should agree": dict(A=wb.operators.Dense(torch.ones(1, 3, dtype=torch.float64))),
    "NaN or infinity": dict(y=torch.full((1,), float("nan"), dtype=torch.float64)),
    "truth has shape": dict(truth=torch.zeros(3, dtype=torch.float64)),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_parts_that_do_not_fit(sentence):
    with pytest.raises(wb.BadInput, match=sentence):
        g2(**WRONG[sentence])


def test_data_of_another_precision():
    with pytest.raises(wb.BadInput, match=r"y is torch.float32, A gives torch.float64; convert it"):
        g2(y=torch.tensor([0.8]))  # float32 data of a float64 operator


def test_no_exact_posterior_is_none():
    counts, noise = torch.tensor([30.0], dtype=torch.float64), wb.noise.Poisson(10.0, 30.0)
    assert type(g2(noise=noise, y=counts).exact).__name__ == "Grid"  # in two dimensions there is one
    prior = distributions.Gaussian(torch.zeros(3, dtype=torch.float64), 1.0)
    poisson = g2(
        prior=prior, A=wb.operators.Dense(torch.ones(1, 3, dtype=torch.float64)), noise=noise, y=counts
    )
    assert poisson.exact is None
    with pytest.raises(wb.BadInput, match="no exact posterior"):
        wb.sample(poisson, wb.samplers.ExactDraws(), n=2, progress=False)
    with pytest.raises(wb.BadInput, match="no exact posterior"):
        wb.sample(poisson, wb.samplers.Exact(), n=2, steps=2, progress=False)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(n=0),
        dict(n=1.5),
        dict(steps=0),
        dict(ensembles=0),
        dict(batch=-1),
        dict(batch=0),
        dict(seed=-1),
        dict(seed=1.5),
        dict(grid=[1.0, 2.0]),
        dict(grid=[]),
        dict(device="nowhere"),
    ],
    ids=str,
)
def test_arguments_of_sample(arguments):
    (name,) = arguments
    with pytest.raises(wb.BadInput, match=name):
        wb.sample(g2(), wb.samplers.DDIM(), progress=False, **{"n": 2, "steps": 2, **arguments})


def test_moves_to_a_device():
    problem = load("inpainting/random")
    moved = problem.to("cpu")
    assert moved is not problem and torch.equal(moved.y, problem.y) and moved.name == problem.name
    a, b = (wb.sample(p, wb.samplers.Exact(), n=2, steps=2, progress=False).samples for p in (moved, problem))
    assert torch.equal(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each
def test_runs_on_a_gpu(name):
    problem = load(name)
    post = wb.sample(problem, wb.samplers.MomentMatching(), n=2, steps=3, device="cuda", progress=False)
    here = wb.sample(problem, wb.samplers.MomentMatching(), n=2, steps=3, progress=False)
    assert post.samples.is_cuda and post.provenance["device"].startswith("cuda")
    assert (post.samples.cpu() - here.samples).abs().max() < 1e-2 * here.samples.abs().max()


class Guarded(wb.Prior):
    """A prior whose exact posterior must not be worked out, or fails in a way of its own."""

    def __init__(self, prior, error):
        self.prior, self.error = prior, error
        self.shape, self.dtype, self.process = prior.shape, prior.dtype, prior.process
        self.noise_range = prior.noise_range

    def denoise(self, x, t):
        return self.prior.denoise(x, t)

    def condition(self, A, y, noise):
        raise self.error


def test_the_exact_posterior_is_worked_out_only_where_it_is_asked_for():
    problem = replace(g2(), prior=Guarded(g2().prior, RuntimeError("asked")))
    assert len(wb.sample(problem, wb.samplers.DPS(), n=2, steps=2, progress=False)) == 2
    with pytest.raises(RuntimeError, match="asked"):
        wb.sample(problem, wb.samplers.Exact(), n=2, steps=2, progress=False)


def test_a_fault_in_a_prior_is_not_taken_for_the_lack_of_an_exact_posterior():
    with pytest.raises(AttributeError, match="a fault"):
        _ = replace(g2(), prior=Guarded(g2().prior, AttributeError("a fault"))).exact
    assert replace(g2(), prior=Guarded(g2().prior, wb.BadInput("none here"))).exact is None
