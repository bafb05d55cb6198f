"""Moment-matched SMC: closures against dense algebra, even weights for Gaussians, the evidence, the modes, large fields."""

from dataclasses import dataclass, replace

import pytest
import torch
from truth import DOUBLE, gaussian_problem, line_problem, moments, normal, tensor

import problems
import workbench as wb
from theory import distributions
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench._rng import Rng
from workbench.diffusion.flow import Flow
from workbench.diffusion.variance_exploding import EDM
from workbench.operators._operator import Operator
from workbench.operators.cartesian_mri import CartesianMRI
from workbench.operators.coils import simulate_coils
from workbench.operators.dense import Dense
from workbench.operators.sampling import cartesian_mask
from workbench.priors.network import Network, data
from workbench.samplers._closure import Closure, close, orthonormal, square_root, whole
from workbench.samplers._reals import as_reals
from workbench.samplers._seen import Spread, gaussian_points, seen
from workbench.samplers.moment_matched_smc import MomentMatchedSMC

T = torch.tensor(0.8, dtype=DOUBLE)


def spiked(d=12, spikes=2, seed=0, dtype=DOUBLE):
    """A Gaussian of covariance 0.3 I plus `spikes` large directions: what a sketch of rank > spikes sees whole."""
    U = torch.linalg.qr(normal(d, spikes, seed=seed, dtype=dtype)).Q
    C = 0.3 * torch.eye(d, dtype=dtype) + 2 * U @ U.mH
    return distributions.Gaussian(normal(1, d, seed=seed + 1, dtype=dtype)[0], C)


def spiked_problem(m=3, dtype=DOUBLE, **how):
    prior = spiked(dtype=dtype, **how)
    A = Dense(normal(m, *prior.shape, seed=5, dtype=dtype))
    return wb.Problem(prior, A, wb.noise.Gaussian(0.4), y=normal(1, m, seed=6, dtype=dtype)[0])


# --- the algebra ----------------------------------------------------------------------------------------------------


def sketch(n=3, d=7, r=3):
    Q = orthonormal(normal(n, r, d, seed=1))
    return Closure(normal(n, d, seed=2), 0.2 + normal(n, seed=3).abs(), Q, normal(n, r, seed=4).abs())


def dense(closure):
    eye = torch.eye(closure.mean.shape[1], dtype=DOUBLE)
    return closure.v[:, None, None] * eye + closure.Q.mT @ (closure.D[:, :, None] * closure.Q)


def test_a_closure_is_its_matrix():
    closure, z = sketch(), normal(3, 7, seed=5)
    C = dense(closure)
    assert torch.allclose(closure.apply(lambda c: c, z), (C @ z[..., None])[..., 0])
    root = closure.apply(torch.sqrt, closure.apply(torch.sqrt, z))
    assert torch.allclose(root, (C @ z[..., None])[..., 0])


def test_what_is_seen_beside_narrows_a_closure():
    closure, u, precision = sketch(), normal(3, 7, seed=6), 1.7
    narrowed = closure.given(u, precision)
    P = torch.linalg.inv(dense(closure)) + precision * torch.eye(7, dtype=DOUBLE)
    C = torch.linalg.inv(P)
    told = torch.linalg.solve(dense(closure), closure.mean[..., None])[..., 0] + precision * u
    assert torch.allclose(dense(narrowed), C)
    assert torch.allclose(narrowed.mean, (C @ told[..., None])[..., 0])


@pytest.mark.parametrize("r, m", [(2, 5), (5, 2)])
def test_spread_is_its_matrix(r, m):
    a, B, e = 0.5 + normal(4, m, seed=1).abs(), normal(4, r, m, seed=2), normal(4, m, seed=3)
    S = torch.diag_embed(a) + B.mT @ B
    spread = Spread.of(a, B)
    assert torch.allclose(spread.solve(e), torch.linalg.solve(S, e[..., None])[..., 0])
    law = torch.distributions.MultivariateNormal(torch.zeros(m, dtype=DOUBLE), S)
    constant = 0.5 * m * torch.log(tensor(2 * torch.pi))
    assert torch.allclose(spread.log_normal(e), law.log_prob(e) + constant)


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_the_closure_of_all_directions_is_the_covariance(dtype):
    prior = spiked(d=5, dtype=dtype)
    x = prior.at(T).sample(4, 0)
    closure = close(prior, x, T, whole(x[0]))
    x0, covariance = prior.tweedie(x, T)
    v = normal(4, 5, seed=9, dtype=dtype)
    assert torch.allclose(closure.mean, as_reals(x0))
    assert torch.allclose(closure.apply(lambda c: c, as_reals(v)), as_reals(covariance(v)), atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_a_sketch_is_the_covariance_where_little_sticks_out(shared):
    prior = spiked()
    x = prior.at(T).sample(4, 0)
    directions = orthonormal(normal(1 if shared else 4, 5, 12, seed=3))
    closure = close(prior, x, T, directions)
    v = normal(4, 12, seed=9)
    assert closure.Q.shape == (4, 5, 12) and (closure.D > 1e-9).sum(1).tolist() == [2] * 4
    assert torch.allclose(closure.apply(lambda c: c, v), prior.tweedie(x, T)[1](v), atol=1e-10)


def test_a_sketch_keeps_what_it_looked_along():
    """Where more sticks out than it can hold, products along the directions are right, but for the least of them."""
    C = torch.diag(torch.linspace(0.1, 3, 9, dtype=DOUBLE))
    prior = distributions.Gaussian(normal(1, 9)[0], C)
    x = prior.at(T).sample(2, 0)
    directions = orthonormal(normal(1, 4, 9, seed=3))
    closure, product = close(prior, x, T, directions), prior.tweedie(x, T)[1]
    across = torch.stack([product(w.expand(2, 9))[0] for w in directions[0]])
    ritz = torch.linalg.eigh(across @ directions[0].mT).eigenvectors.mT @ directions[0]
    for w in ritz[1:]:
        assert torch.allclose(closure.apply(lambda c: c, w.expand(2, 9)), product(w.expand(2, 9)), atol=1e-10)
    assert not torch.allclose(closure.apply(lambda c: c, x), product(x), atol=1e-3)


def test_square_root_by_lanczos():
    C = torch.diag(torch.linspace(0.01, 4, 10, dtype=DOUBLE))
    z = normal(3, 2, 5, seed=1)
    flat = lambda v: (C @ v.flatten(1).mT).mT.reshape(v.shape)
    root = square_root(flat, z, steps=10)
    assert torch.allclose(root, (C.sqrt() @ z.flatten(1).mT).mT.reshape(z.shape), atol=1e-10)
    few = square_root(lambda v: 2.25 * v, z)  # ends after one step
    assert torch.allclose(few, 1.5 * z)


# --- the data -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Bent(Operator):
    """A linear operator that does not say so."""

    straight: Dense

    in_shape, out_shape = (
        property(lambda self: self.straight.in_shape),
        property(lambda self: self.straight.out_shape),
    )
    in_dtype, out_dtype = (
        property(lambda self: self.straight.in_dtype),
        property(lambda self: self.straight.out_dtype),
    )

    def forward(self, x):
        return self.straight.forward(x)


def test_regression_is_exact_where_the_operator_is_linear():
    problem = gaussian_problem()
    x = problem.prior.at(T).sample(3, 0)
    closure = close(problem.prior, x, T, whole(x[0]))
    bent = replace(problem, A=Bent(problem.A))
    straight, fitted, z = seen(problem, closure), seen(bent, closure), normal(3, 4, seed=1)
    assert torch.allclose(fitted.misfit, straight.misfit)
    assert torch.allclose(fitted.forward(z), straight.forward(z))
    assert torch.allclose(fitted.backward(z[:, :3]), straight.backward(z[:, :3]))
    assert fitted.left.abs().max() < 1e-10


def test_regression_of_a_square():
    """For x ~ N(m, C): E (a x)^2 = (a m)^2 + a C a, slope 2 (a m) a, scatter 2 (a C a)^2: the last to the points' number."""
    problem, a = problems.load("toy/phase"), tensor([1.0, 0.5])
    x = problem.prior.at(T).sample(3, 0)
    closure = close(problem.prior, x, T, whole(x[0]))
    data, sigma, C = seen(problem, closure), problem.noise.sigma, dense(closure)
    middle, width = closure.mean @ a, torch.einsum("i,nij,j->n", a, C, a)
    scale = problem.A(tensor([[1.0, 0.0]]))[0, 0]  # of the operator beside (a x)^2
    assert torch.allclose(data.misfit[:, 0], (problem.y - scale * (middle**2 + width)) / sigma)
    z = normal(3, 2, seed=2)
    assert torch.allclose(data.forward(z)[:, 0], scale * 2 * middle * (z @ a) / sigma)
    scatter = data.left.square().sum((1, 2)) * sigma**2 / scale**2
    assert torch.allclose(scatter, 2 * width**2, rtol=0.5)


def test_points_have_the_moments():
    points = gaussian_points(3, torch.device("cpu"))
    assert torch.allclose(points.mean(0), tensor([0.0, 0, 0]), atol=1e-12)
    assert torch.allclose(points.mT @ points / len(points), torch.eye(3, dtype=DOUBLE))
    assert len(points) == 64


# --- Gaussian priors: nothing is left to weigh -------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 7])
@pytest.mark.parametrize("make", [
    gaussian_problem,
    lambda: gaussian_problem(torch.complex128),
    spiked_problem,
    lambda: spiked_problem(dtype=torch.complex128),
    lambda: replace(gaussian_problem(), noise=wb.noise.Gaussian(tensor([0.2, 0.5, 1.0]))),
])  # fmt: skip
def test_weights_never_change_for_a_gaussian(make, steps):
    """All of log p(y | x_T) is known at the start, so that it stays as it is to the end."""
    problem = make()
    sampler = MomentMatchedSMC(dense=0, rank=8, resample=None)  # a sketch of the larger ones
    times, rng = problem.prior.grid(steps), Rng(1)
    state = sampler.init(problem, 50, times[0], rng.at(0))
    start = state.log_w
    for i in range(steps):
        state = sampler.step(problem, state, times[i], times[i + 1], rng.at(i + 1))
    assert (state.log_w - start).abs().max() < 1e-8
    assert (start - problem.exact.log_evidence).abs().max() < 1  # and what is left is the start's x_T


@pytest.mark.parametrize("dense", [0, 64])
def test_exact_for_a_gaussian_in_two_steps(dense):
    problem = spiked_problem()
    post = wb.sample(
        problem, MomentMatchedSMC(dense=dense, rank=6), n=40_000, steps=2, seed=0, progress=False
    )
    mean, C = moments(post.samples, post.weights)
    right = problem.exact.cov()
    assert (mean - problem.exact.mean()).abs().max() < 5 * (right.diagonal().max() / 40_000).sqrt()
    L = torch.linalg.cholesky(right)  # every direction in units of its own deviation, the measured ones too
    white = torch.linalg.solve_triangular(L, torch.linalg.solve_triangular(L, C, upper=False).mT, upper=False)
    assert (white - torch.eye(12, dtype=DOUBLE)).abs().max() < 0.05
    assert abs(post.log_evidence - problem.exact.log_evidence) < 0.01


# --- others ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["phase", "poisson", "saturation"])
def test_evidence(name):
    problem = problems.load(f"toy/{name}")
    post = wb.sample(problem, MomentMatchedSMC(), n=2000, steps=50, ensembles=2, seed=3, progress=False)
    assert abs(post.log_evidence - problem.exact.log_evidence) < 0.03
    assert min(post.provenance["distinct_ancestors"]) > 1000


def test_evidence_is_of_second_order_in_the_steps():
    """What is left is the closures' third moments: 0.094, 0.029 and 0.009 at 50, 100 and 200 steps."""
    problem = problems.load("toy/g2")
    off = []
    for steps in (50, 200):
        post = wb.sample(
            problem, MomentMatchedSMC(), n=4000, steps=steps, ensembles=4, seed=3, progress=False
        )
        off.append(abs(post.log_evidence - problem.exact.log_evidence))
    assert off[1] < 0.016 and off[0] > 5 * off[1]


def test_evidence_is_unbiased_over_small_ensembles():
    """E Z_hat = p(y) for a few particles: the mean over many ensembles of 8."""
    problem = line_problem()
    post = wb.sample(problem, MomentMatchedSMC(), n=8, ensembles=400, steps=100, seed=0, progress=False)
    z = torch.tensor(post.provenance["evidences"], dtype=DOUBLE).sub(problem.exact.log_evidence).exp()
    assert abs(z.mean() - 1) < 4 * z.std() / 20 + 0.01 and z.std() / 20 < 0.02


@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_the_last_weight_makes_up_for_a_bent_operator(spread):
    """One step from a Gaussian prior, whose closure is the prior itself, is importance sampling of p(y | x): unbiased,
    however wrong the regression of the square is."""
    bent = problems.load("toy/phase")
    prior = distributions.Gaussian(tensor([0.7, -0.2]), spread * tensor([[0.5, 0.1], [0.1, 0.3]]))
    problem = replace(bent, prior=prior, truth=None)
    post = wb.sample(problem, MomentMatchedSMC(), n=100_000, grid=[1e4], seed=0, progress=False)
    assert post.ess > 10_000 and abs(post.log_evidence - problem.exact.log_evidence) < 0.02
    mean, C = moments(post.samples, post.weights)
    assert (mean - problem.exact.mean()).abs().max() < 0.03 and (C - problem.exact.cov()).abs().max() < 0.05


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
def test_flat_laws_and_a_bent_operator(dtype):
    """A prior on planes: the closure has directions of no width, along which a regression knows nothing."""
    B = normal(2, 4, 2, seed=1, dtype=dtype)
    prior = distributions.GaussianMixture(
        [0.5, 0.5], normal(2, 4, seed=2, dtype=dtype), B @ B.mT, noise_range=(0.01, 30)
    )
    A = wb.operators.Intensity((3,), dtype) @ Dense(normal(3, 4, seed=3, dtype=dtype))
    y = wb.noise.Gaussian(0.3).sample(A(prior.sample(1, 0)[0]), 0)
    problem = wb.Problem(prior, A, wb.noise.Gaussian(0.3), y=y)
    post = wb.sample(problem, MomentMatchedSMC(), n=300, steps=20, progress=False)
    assert torch.isfinite(post.samples).all() and post.ess > 30


def test_ensembles_do_not_depend_on_their_batch():
    problem, sampler = field_problem(), MomentMatchedSMC(dense=16)
    alone = wb.sample(problem, sampler, n=4, steps=3, progress=False).samples
    pair = wb.sample(problem, sampler, n=4, ensembles=2, steps=3, progress=False).samples
    assert (pair[:4] - alone).abs().max() < 1e-9


def test_a_first_time_without_signal():
    problem = line_problem()
    with pytest.raises(wb.BadInput, match="alpha is 0"):
        wb.sample(
            replace(problem, prior=problem.prior.under(Flow())),
            MomentMatchedSMC(),
            n=4,
            grid=torch.linspace(1, 0, 5),
        )


def test_modes_of_many():
    """Thirty times eight numbers apart: the weights of the modes are those of the posterior."""
    problem = problems.load("mixture/gmm-25", seed=4, measurements=1)
    post = wb.sample(problem, MomentMatchedSMC(), n=4000, steps=50, seed=0, progress=False)
    rho = post.weights @ problem.exact.responsibilities(post.samples)
    assert (rho - problem.exact.weights).abs().sum() / 2 < 0.04


def test_a_sketch_does_as_well_as_the_whole():
    problem = problems.load("mixture/gmm-25", seed=2, measurements=2)
    kinds = [MomentMatchedSMC(dense=0, rank=6), MomentMatchedSMC()]
    posts = [wb.sample(problem, k, n=2000, steps=50, seed=0, progress=False) for k in kinds]
    assert posts[0].cost.vjp < 0.8 * posts[1].cost.vjp
    for post in posts:
        assert abs(post.log_evidence - problem.exact.log_evidence) < 0.15
        rho = post.weights @ problem.exact.responsibilities(post.samples)
        assert (rho - problem.exact.weights).abs().sum() / 2 < 0.06


# --- fields: products alone -------------------------------------------------------------------------------------------


def field_problem(dtype=torch.complex128, size=12):
    shape = (size, size - 1)
    prior = GaussianField(power_law(shape, 1.2, dtype=DOUBLE), dtype=dtype)
    A = CartesianMRI(
        simulate_coils(shape, 3).to(torch.complex128), cartesian_mask(shape, 2.0, calibration=4, seed=0)
    )
    if not dtype.is_complex:
        A = Dense(normal(60, size * (size - 1), seed=3), shape=shape)
    noise = wb.noise.Gaussian(0.1)
    return wb.Problem(prior, A, noise, y=noise.sample(A(prior.sample(1, 0)[0]), 0))


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_a_field_needs_no_weights(dtype):
    """No sketch fits a field's spectrum; the steps are exact all the same, so that five do."""
    problem = field_problem(dtype)
    post = wb.sample(problem, MomentMatchedSMC(dense=16), n=300, steps=5, seed=0, progress=False)
    assert post.log_weights is None and post.log_evidence is None
    x, m = problem.exact.sample(300, 5), problem.exact.mean()
    spread = (x - m).abs().square().mean()
    assert abs((post.samples - m).abs().square().mean() / spread - 1) < 0.06
    assert (post.samples.mean(0) - m).abs().square().mean() < 2 * spread / 300


class Wiener(torch.nn.Module):
    """The denoiser of a real stationary field, as a network that knows nothing else."""

    def __init__(self, spectrum):
        super().__init__()
        self.spectrum = spectrum

    def forward(self, u, t):
        keep = self.spectrum / (self.spectrum + t[0] ** 2)
        return torch.fft.ifft2(keep * torch.fft.fft2(u)).real


@pytest.mark.parametrize("measured, rank", [(60, 4), (3, 8)])
def test_a_network_is_as_good_as_the_law_it_learned(measured, rank):
    """Jacobian products of a network instead of closed forms: the same samples, weighted (few data) or not."""
    problem = field_problem(DOUBLE, size=8)
    A = Dense(normal(measured, 56, seed=3), shape=(8, 7))
    problem = replace(problem, A=A, y=problem.noise.sample(A(problem.prior.sample(1, 0)[0]), 0))
    law = problem.prior
    network = Network(Wiener(law.spectrum), data, law.process, law.shape, law.noise_range, DOUBLE)
    posts = [
        wb.sample(
            replace(problem, prior=prior), MomentMatchedSMC(dense=4, rank=rank), n=6, steps=4, progress=False
        )
        for prior in (law, network.to(DOUBLE))
    ]
    # conjugate gradients stop at 1e-3 and rounding decides when; the weighted steps solve nothing by iterations
    assert (posts[0].samples - posts[1].samples).abs().max() < (0.01 if measured == 60 else 1e-9)
    assert all((p.log_weights is not None) == (measured == 3) for p in posts)


class Crooked(torch.nn.Module):
    """A network whose Jacobian is neither symmetric nor positive."""

    def forward(self, u, t):
        return torch.tanh(u.roll(1, -1)) - 0.3 * u.flip(-1)


@pytest.mark.parametrize("dense, measured", [(64, 5), (0, 5), (0, 40)])
def test_a_crooked_network_breaks_nothing(dense, measured):
    network = Network(Crooked(), data, EDM(), (7, 8), (0.05, 20.0))
    A = Dense(normal(measured, 56, seed=3).float(), shape=(7, 8))
    problem = wb.Problem(network, A, wb.noise.Gaussian(0.2), y=normal(1, measured, seed=4)[0].float())
    post = wb.sample(problem, MomentMatchedSMC(dense=dense, rank=12), n=5, steps=6, progress=False)
    assert post.samples.shape == (5, 7, 8) and post.samples.dtype == torch.float32
    assert torch.isfinite(post.samples).all()


def test_bad_fields():
    for wrong in (dict(rank=1), dict(dense=-1), dict(tol=0.0), dict(rank=2.5)):
        with pytest.raises(wb.BadInput, match="MomentMatchedSMC"):
            MomentMatchedSMC(**wrong)
