"""PFGM++ on a finite set of points, where its denoiser is known: the kernel, its draws, the flow, the limit D to infinity."""

from dataclasses import replace
from math import exp, lgamma, pi

import pytest
import torch
from truth import DOUBLE, normal, tensor

import workbench as wb
from theory.distributions.points import Points
from workbench import BadInput
from workbench.diffusion.flow import Flow
from workbench.diffusion.grids import karras
from workbench.diffusion.pfgm import PoissonFlow
from workbench.diffusion.variance_exploding import EDM
from workbench.operators.dense import Dense
from workbench.priors._prior import Prior

SPOTS, SHARES = tensor([[-2.0, 0.0], [1.5, 1.0], [0.5, -1.5]]), [0.5, 0.3, 0.2]
HEAVY = Points(SPOTS, SHARES, PoissonFlow(D=3, N=2))


def problem(prior, sigma=1e9):
    """A problem whose data say nothing, unless sigma does."""
    return wb.Problem(prior, Dense(tensor([[1.0, 0.5]])), wb.noise.Gaussian(sigma), y=tensor([0.8]))


# --- the kernel -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("D, N", [(1, 1), (3, 2), (128, 1)])
def test_kernel_is_a_density(D, N):
    """It integrates to 1, over the line or by shells of the plane, and has the printed shape."""
    process, t = PoissonFlow(D=D, N=N), tensor(0.7)
    radius = torch.logspace(-5, 6, 400_001, dtype=DOUBLE)
    shell = 2 * torch.ones_like(radius) if N == 1 else 2 * pi * radius
    density = process.log_kernel(radius**2, t).exp() * shell
    assert abs(torch.trapezoid(density, radius) + density[0] * radius[0] / N - 1) < 1e-5
    r2 = 0.49 * D
    shape = lambda s: (s + r2) ** (-(N + D) / 2)
    got = (process.log_kernel(tensor(2.0), t) - process.log_kernel(tensor(0.3), t)).exp()
    assert abs(got - shape(2.0) / shape(0.3)) < 1e-9
    slope = (process.log_kernel(tensor(2.0 + 1e-6), t) - process.log_kernel(tensor(2.0 - 1e-6), t)) / 2e-6
    assert abs(process.rate(tensor(2.0), t) + 2 * slope) < 1e-6


@pytest.mark.parametrize("D, dtype", [(3, DOUBLE), (64, DOUBLE), (5, torch.complex128)])
def test_draws_have_the_radius_of_the_kernel(D, dtype):
    """|x|^2 / (|x|^2 + r^2) ~ Beta(N / 2, D / 2), the direction uniform: moments of 100000 draws."""
    n, N = 100_000, 3 * (1 + dtype.is_complex)
    process, t = PoissonFlow(D=D, N=N), tensor(1.7)
    x = process.draw(torch.empty(n, 3, dtype=dtype), t, wb.Rng(0))
    x = (torch.view_as_real(x) if x.is_complex() else x).flatten(1)
    r2, R2 = D * t**2, x.square().sum(1)
    B = R2 / (R2 + r2)
    mean, var = N / (N + D), 2 * N * D / ((N + D) ** 2 * (N + D + 2))
    assert abs(B.mean() - mean) < 5 * (var / n) ** 0.5 and abs(B.var() / var - 1) < 0.03
    u = x / R2.sqrt()[:, None]
    assert (u.mean(0).abs() < 5 / n**0.5).all() and (u.mT @ u / n - torch.eye(N) / N).abs().max() < 0.01
    assert abs(((u[:, 0] ** 2) * (B - mean)).mean()) < 5 * var**0.5 / n**0.5  # independent
    beta = torch.distributions.Beta(tensor(N / 2), tensor(D / 2))
    torch.manual_seed(0)
    printed = (lambda b: (r2 * b / (1 - b)).sqrt())(beta.sample((n,)))  # the paper's recipe
    q = tensor([0.05, 0.5, 0.95])
    assert (R2.sqrt().quantile(q) / printed.quantile(q) - 1).abs().max() < 0.03


def test_draws_do_not_depend_on_the_batch():
    process = PoissonFlow(D=3, N=2)
    whole = process.draw(torch.empty(6, 2, dtype=DOUBLE), tensor(1.0), wb.Rng(0))
    part = process.draw(torch.empty(2, 2, dtype=DOUBLE), tensor(1.0), wb.Rng(0, first=3))
    assert torch.equal(whole[3:5], part) and len(whole.unique()) == 12
    assert torch.equal(
        HEAVY.initial(6, tensor(1.0), wb.Rng(0)), whole
    )  # the start of a run has the tails too


# --- the denoiser -----------------------------------------------------------------------------------------------------


def test_denoiser_is_the_mean_over_the_kernel():
    x, t = 2 * normal(30, 2, seed=1), tensor(0.8)
    r2 = 3 * 0.64
    w = torch.stack(
        [c * ((x - p).square().sum(1) + r2) ** -2.5 for c, p in zip(SHARES, SPOTS, strict=True)], 1
    )
    density = w.sum(1) * r2**1.5 * exp(lgamma(2.5) - lgamma(1.5)) / pi
    rho = w / w.sum(1, keepdim=True)
    x0 = rho @ SPOTS
    assert (HEAVY.denoise(x, t) - x0).abs().max() < 1e-12
    assert (HEAVY.log_prob(x, t) - density.log()).abs().max() < 1e-10
    v = normal(30, 2, seed=2)
    centred = SPOTS - x0[:, None]
    spread = torch.einsum("nk,nkd,nke,ne->nd", rho, centred, centred, v)
    got, covariance = HEAVY.tweedie(x, t)
    assert (got - x0).abs().max() < 1e-12 and (covariance(v) - spread).abs().max() < 1e-12
    h = 1e-6
    slope = (HEAVY.denoise(x + h * v, t) - HEAVY.denoise(x - h * v, t)) / (2 * h)
    assert (HEAVY.denoiser_jvp(x, t, v) - slope).abs().max() < 1e-7
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(HEAVY.log_prob(leaf, t).sum(), leaf)
    assert (HEAVY.score(x, t) - g).abs().max() < 1e-9


def test_tweedie_does_not_hold_for_finite_dimensions_and_does_in_the_limit():
    x, t = normal(30, 2, seed=1), tensor(0.8)
    gap = {}
    for D in (3, 100, 1e7):
        p = Points(SPOTS, SHARES, PoissonFlow(D=D, N=2))
        gap[D] = (x + t**2 * p.score(x, t) - p.denoise(x, t)).abs().max().item()
    assert gap[3] > 0.1 > gap[100] > 100 * gap[1e7]


def test_many_dimensions_are_diffusion():
    """Kernel, draws, denoiser, score and products as D grows: those of EDM."""
    edm, wide = Points(SPOTS, SHARES), Points(SPOTS, SHARES, PoissonFlow(D=1e9, N=2))
    x, v, t = normal(30, 2, seed=1), normal(30, 2, seed=2), tensor(0.8)
    for name, others in (("denoise", ()), ("score", ()), ("log_prob", ()), ("denoiser_jvp", (v,))):
        assert (getattr(edm, name)(x, t, *others) - getattr(wide, name)(x, t, *others)).abs().max() < 1e-6
    one, other = (p.initial(50, tensor(3.0), wb.Rng(0)) for p in (edm, wide))
    assert (one - other).abs().max() < 1e-3
    runs = [
        wb.sample(
            problem(p), wb.samplers.Heun(), n=40, grid=karras(EDM(), 0.02, 20.0, 30), progress=False
        ).samples
        for p in (edm, wide)
    ]
    assert (runs[0] - runs[1]).abs().max() < 0.01


# --- sampling ---------------------------------------------------------------------------------------------------------


def shares(prior, sampler, n=6000):
    """The share of samples at each point, and of those that are at none."""
    times = karras(EDM(), 0.02, 60.0, 40)
    x = wb.sample(problem(prior), sampler, n=n, grid=times, progress=False).samples
    apart = torch.cdist(x, SPOTS)
    return torch.bincount(apart.argmin(1), minlength=3) / n, (
        apart.min(1).values > 0.05
    ).double().mean().item()


@pytest.mark.parametrize("sampler", [wb.samplers.Heun(), wb.samplers.UniPC()], ids=["heun", "unipc"])
def test_edm_samplers_unchanged_sample_the_points(sampler):
    """Shares of 6000 draws to four deviations, for D = 3 and for the Gaussian; all but a few are at a point."""
    for prior in (HEAVY, Points(SPOTS, SHARES)):
        share, apart = shares(prior, sampler)
        sd = (tensor(SHARES) * (1 - tensor(SHARES)) / 6000).sqrt()
        assert ((share - tensor(SHARES)).abs() < 4 * sd + 0.004).all() and apart < 0.01


def test_the_flow_keeps_the_law():
    """Draws of p_t at t = 2 flow to draws of p_t at t = 0.7 (exact: points and kernel): E tanh, a bounded statistic."""
    n, high, low = 40_000, tensor(2.0), tensor(0.7)
    draw = lambda t, seed: (
        HEAVY.sample(n, seed) + HEAVY.process.draw(torch.empty(n, 2, dtype=DOUBLE), t, wb.Rng(seed))
    )
    x, levels = draw(high, 0), torch.linspace(2.0, 0.7, 60, dtype=DOUBLE)
    state, heun = wb.samplers.Heun.State(x), wb.samplers.Heun()
    for t, s in zip(levels[:-1], levels[1:], strict=True):
        state = heun.step(problem(HEAVY), state, t, s, None)
    moved = []
    for f in (torch.tanh, lambda x: torch.tanh(x.norm(dim=1)), lambda x: (x.norm(dim=1) > 6).double()):
        one, other = f(state.x), f(draw(low, 1))
        sd = ((one.var(0) + other.var(0)) / n).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() < 4.5 * sd).all()
        moved.append(((f(x).mean(0) - other.mean(0)).abs() / sd).max())
    assert max(moved) > 20  # the control: the laws of the two levels do differ


# --- points -----------------------------------------------------------------------------------------------------------


def test_posterior_of_points_under_any_operator_and_noise():
    """Reweighted by the likelihood, which here is not Gaussian in x or in y."""

    class Square(type(Dense(tensor([[1.0]])))):
        """y = (M x)^2 + 0.1."""

        def __call__(self, x):
            return (x @ self.matrix.mT) ** 2 + 0.1

    for noise, y in ((wb.noise.Gaussian(0.5), tensor([1.4])), (wb.noise.Poisson(2.0), tensor([3.0]))):
        A = Square(tensor([[1.0, 0.5]]))
        prior = Points(SPOTS, SHARES)
        q = prior.condition(A, y, noise)
        clean = (SPOTS @ tensor([1.0, 0.5])) ** 2 + 0.1
        if isinstance(noise, wb.noise.Gaussian):
            like = torch.exp(-0.5 * ((y - clean) / 0.5) ** 2) / (0.5 * (2 * pi) ** 0.5)
        else:
            like = torch.exp(3 * torch.log(2 * clean) - 2 * clean - lgamma(4.0))
        joint = tensor(SHARES) * like
        assert (q.weights - joint / joint.sum()).abs().max() < 1e-12
        assert abs(q.log_evidence - joint.sum().log()) < 1e-10 and q.stream == "posterior"
        assert (q.mean() - (joint / joint.sum()) @ SPOTS).abs().max() < 1e-12
        assert (q.sample(20_000, 0).mean(0) - q.mean()).abs().max() < 0.06
    assert problem(prior, 0.3).exact is not None


def test_points_move_between_processes():
    """`under` keeps the points and changes the kernel; between Gaussian processes it is the rescaling of the base."""
    x, edm = normal(5, 2, seed=1), Points(SPOTS, SHARES)
    moved, t = edm.under(Flow()), tensor(0.4)
    assert (moved.denoise(x, t) - Prior.under(edm, Flow()).denoise(x, t)).abs().max() < 1e-12
    assert (edm.under(HEAVY.process).denoise(x, t) - HEAVY.denoise(x, t)).abs().max() < 1e-12


def test_points_say_what_they_cannot():
    with pytest.raises(BadInput, match="N = 3"):
        Points(SPOTS, SHARES, PoissonFlow(D=3, N=3))
    with pytest.raises(BadInput, match="weights"):
        Points(SPOTS, [0.5, 0.5])
    with pytest.raises(BadInput, match="noise"):
        HEAVY.log_prob(SPOTS)
    with pytest.raises(BadInput, match="D = 0"):
        PoissonFlow(D=0)
    with pytest.raises(BadInput, match="should agree"):
        replace(problem(HEAVY), y=tensor([0.8])).prior.condition(
            Dense(tensor([[1.0]])), tensor([0.8]), wb.noise.Gaussian(1.0)
        )
