"""STSL: the trace estimates, the Jensen bound and its gradient, and what it is without the trace."""

from dataclasses import dataclass, replace

import pytest
import torch
from truth import DOUBLE, G2, T, X, agrees, at_one_point, gaussian_problem, line_problem, normal, tensor

import workbench as wb
from workbench._errors import BadInput
from workbench.samplers._likelihood import log_likelihood

S = wb.samplers
t = tensor(T)


@dataclass(frozen=True)
class NoTrace:
    """First order."""

    def penalty(self, problem, x, x0, t, rng):
        return torch.zeros(len(x), dtype=x.dtype.to_real())


def test_operator_trace_of_g2():
    """The pointwise values of the bound and its gradient; one measurement, so one random sign is exact."""
    problem, sampler = at_one_point(), S.STSL(trace=S.OperatorTrace(delta=1e-6))
    value, _ = sampler.bound(problem, X, t, wb.Rng(0))
    assert agrees(value, [-9.114756], 5)
    assert agrees(sampler.climb(problem, X, t, wb.Rng(0))[0], [[8.711531, 3.806698]], 4)


def test_first_order_is_dps_in_likelihood_units():
    up, x0 = S.STSL(trace=NoTrace()).climb(at_one_point(), X, t, wb.Rng(0))
    assert agrees(up, [[11.188883, 8.413471]]) and agrees(x0, [[0.608210, -0.434300]])


def test_bound_is_below_the_log_likelihood():
    """E[log p(y | x0) | x_t] <= log p(y | x_t), at many points."""
    problem = line_problem()
    x, s = normal(200, 1, seed=2), tensor(0.7)
    value, _ = S.STSL(trace=S.OperatorTrace(delta=1e-6)).bound(problem, x, s, wb.Rng(0))
    joint = problem.exact.weights  # log p(y | x_t) through the marginal of y given x_t, a mixture
    assert len(joint) == 2
    x0, cov = problem.prior.tweedie(x, s)
    exact = exact_log_likelihood(problem, x, s)
    assert (value < exact + 1e-9).all() and (value > exact - 20).all()
    assert (log_likelihood(problem, x0) > value).all() and cov(torch.ones_like(x)).min() > 0


def exact_log_likelihood(problem, x, s):
    """log p(y | x_t = x) of line_problem, by quadrature over x0."""
    grid = torch.linspace(-8, 8, 4001, dtype=DOUBLE)
    prior = problem.prior.log_prob(grid[:, None])
    kernel = -0.5 * ((x - grid) / s) ** 2
    weights = torch.softmax(prior + kernel, 1)
    return torch.log(weights @ log_likelihood(problem, grid[:, None]).exp())


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_identity_trace_is_unbiased(dtype):
    """||Sigma_y^{-1/2} A||^2 tr Cov / 2 on average over its random signs."""
    problem, n = gaussian_problem(dtype), 20000
    x, s = normal(1, 2, 2, seed=3, dtype=dtype), tensor(0.8)
    x0 = problem.prior.denoise(x, s)
    got = S.IdentityTrace(delta=1e-5).penalty(problem, x.expand(n, 2, 2), x0.expand(n, 2, 2), s, wb.Rng(0))
    C = problem.prior.cov()
    eye = torch.eye(4, dtype=C.dtype)
    cov = torch.linalg.inv(torch.linalg.inv(C) + eye / s**2)
    trace = cov.diagonal().real.sum() * (2 if dtype.is_complex else 1)
    wanted = 0.5 * torch.linalg.matrix_norm(problem.A.matrix / 0.4, 2) ** 2 * trace
    assert abs(got.mean() - wanted) < 5 * got.std() / n**0.5 and got.std() < wanted


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_operator_trace_is_unbiased(dtype):
    problem, n = gaussian_problem(dtype), 20000
    x, s = normal(1, 2, 2, seed=3, dtype=dtype), tensor(0.8)
    x0 = problem.prior.denoise(x, s)
    got = S.OperatorTrace(delta=1e-5).penalty(problem, x.expand(n, 2, 2), x0.expand(n, 2, 2), s, wb.Rng(1))
    C, M = problem.prior.cov(), problem.A.matrix / 0.4
    cov = torch.linalg.inv(torch.linalg.inv(C) + torch.eye(4, dtype=C.dtype) / s**2)
    wanted = 0.5 * (M @ cov @ M.mH).diagonal().real.sum() * (2 if dtype.is_complex else 1)
    assert abs(got.mean() - wanted) < 5 * got.std() / n**0.5


def test_published_trace_is_the_smoothed_one():
    """(eta / d) E[eps^T (s(x + eps) - s(x))] = (eta / d) tr grad^2 log p on a Gaussian, whose score is affine."""
    problem, n = gaussian_problem(), 40000
    x, s = normal(1, 2, 2, seed=3), tensor(0.8)
    x0 = problem.prior.denoise(x, s)
    got = S.IdentityTrace(eta=0.02).penalty(problem, x.expand(n, 2, 2), x0.expand(n, 2, 2), s, wb.Rng(2))
    hessian = -torch.linalg.inv(problem.prior.cov() + 0.64 * torch.eye(4, dtype=DOUBLE))
    assert abs(got.mean() - 0.02 / 4 * hessian.trace()) < 5 * got.std() / n**0.5


def test_ascends_the_bound():
    problem = at_one_point()
    sampler = S.STSL(trace=S.OperatorTrace(delta=1e-6))
    s = problem.prior.process.time(0.7)
    up, x0 = sampler.climb(problem, X, t, wb.Rng(0))
    length = sampler._length(problem, problem.prior.process, x0, t, s)
    after, _ = sampler.bound(problem, X + length * up, t, wb.Rng(0))
    assert after > sampler.bound(problem, X, t, wb.Rng(0))[0]
    push = 0.36 / 0.8 * (problem.prior.process.alpha(s) - 0.8 * problem.prior.process.sigma(s) / 0.6)
    assert abs(length - min(push / 5, 0.64 * 0.09 / 1.25)) < 1e-12


def test_fits_the_data_and_keeps_its_rows():
    """With either trace and from either start, the draws come to fit the data."""
    for sampler in (S.STSL(), S.STSL(trace=S.OperatorTrace()), S.STSL(inversion=20)):
        x = wb.sample(G2, sampler, n=500, steps=60, progress=False).samples
        assert torch.isfinite(x).all() and (G2.A(x) - G2.y).square().mean().sqrt() < 0.45


def test_published_setting_runs():
    problem = replace(gaussian_problem(), name="published")
    sampler = S.STSL.named("paper", lam=0.05)
    assert (
        sampler.inversion == 50
        and torch.isfinite(wb.sample(problem, sampler, n=2, steps=6, progress=False).samples).all()
    )


def test_inversion_is_the_ode_backwards():
    """DDIM up and down again brings a signal back."""
    from workbench.samplers.stsl import invert

    prior = G2.prior
    x = prior.sample(20, 0)
    times = prior.grid(400)
    up = invert(prior, x, times[0], 400)
    problem = replace(G2, A=G2.A)
    state = S.DDIM.State(up)
    for a, b in zip(times[:-1], times[1:], strict=True):
        state = S.DDIM().step(problem, state, a, b, None)
    assert (state.x - x).abs().mean() < 0.1


def nonlinear():
    """Four numbers tanh(x) of four."""
    base = gaussian_problem()
    A = wb.operators.from_function(lambda x: 2 * torch.tanh(x.flatten(-2)), (2, 2), (4,), DOUBLE)
    return replace(base, A=A, y=torch.full((4,), 0.5, dtype=DOUBLE))


def test_inversion_of_a_nonlinear_operator():
    """One step from the prior's mean, by the Jacobian there."""
    from workbench.samplers.stsl import back_projection

    problem = nonlinear()
    t = problem.prior.grid(6)[0]
    x = problem.prior.denoise(torch.zeros(1, 2, 2, dtype=DOUBLE), t)
    H = 2 / torch.cosh(x) ** 2
    wanted = x + H * (0.5 - 2 * torch.tanh(x)) / H.max() ** 2
    assert (back_projection(problem, t) - wanted).abs().max() < 0.05 * (wanted - x).abs().max()
    for sampler in (S.STSL(inversion=4), S.STSL.named("paper", lam=0.05)):
        assert torch.isfinite(wb.sample(problem, sampler, n=2, steps=4, progress=False).samples).all()


def test_inversion_of_counts():
    """Counts come in units of A(x)."""
    from workbench.samplers.stsl import back_projection

    base = gaussian_problem()
    A = wb.operators.Dense(base.A.matrix.abs(), shape=(2, 2))
    x = torch.ones(2, 2, dtype=DOUBLE)
    noise = wb.noise.Poisson(gain=100.0, background=2.0)
    problem = replace(base, A=A, noise=noise, y=(100 * A(x) + 2).round())
    wanted = A.H(A(x)) / torch.linalg.matrix_norm(A.matrix, 2) ** 2
    assert (back_projection(problem, tensor(9.0))[0] - wanted).abs().max() < 0.02 * wanted.abs().max()
    post = wb.sample(problem, S.STSL(inversion=4), n=2, steps=4, progress=False)
    assert torch.isfinite(post.samples).all()


def test_published_trace_counts_real_numbers():
    """A complex signal of four has eight, and each eps is of unit variance in each."""
    problem, n = gaussian_problem(torch.complex128), 40000
    x, s = normal(1, 2, 2, seed=3, dtype=torch.complex128), tensor(0.8)
    x0 = problem.prior.denoise(x, s)
    got = S.IdentityTrace(eta=0.02).penalty(problem, x.expand(n, 2, 2), x0.expand(n, 2, 2), s, wb.Rng(2))
    C = problem.prior.cov()
    hessian = -torch.linalg.inv(C + 0.64 * torch.eye(4, dtype=C.dtype))
    assert abs(got.mean() - 0.02 / 4 * hessian.trace().real) < 5 * got.std() / n**0.5


def test_constructor_refuses_nonsense():
    for fields in (dict(lam=-1.0), dict(inner=0), dict(inversion=-1), dict(inner=1.5)):
        with pytest.raises(BadInput, match="STSL"):
            S.STSL(**fields)
