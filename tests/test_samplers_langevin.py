"""ULA, MALA, SK-ROCK and annealed Langevin against the stationary laws that their steps have on Gaussians."""

from dataclasses import replace
from math import sqrt

import pytest
import torch
from truth import DOUBLE, G2, N, g2_run, gaussian_problem, moments, normal, tensor

import workbench as wb
from theory.diagnostics.transport import sliced_wasserstein
from workbench._errors import BadInput
from workbench.diffusion import VariancePreserving
from workbench.diffusion.grids import karras
from workbench.priors._prior import Prior
from workbench.samplers.ald import Inflated, NoiseFree
from workbench.samplers.sk_rock import chebyshev
from workbench.samplers.ula import resolved_length

S = wb.samplers
EYE = torch.eye(4, dtype=DOUBLE)


# --- the law of a step that is affine, without drawing ------------------------------------------------------------------


class Probe:
    """Noise that is zero but for one unit a row, for a step whose draws have the widths found on a dry run."""

    def __init__(self, widths=None, first=0):
        self.widths, self.first, self.k, self.seen = widths, first, 0, []
        self.seed, self.stream = 0, "probe"

    def normal(self, like):
        width = torch.Size(like.shape[1:]).numel()
        self.seen.append(width)
        z = torch.zeros(len(like), width, dtype=like.dtype)
        if self.widths is not None:
            begin = self.first + sum(self.widths[: self.k])
            z[begin : begin + width] = torch.eye(width, dtype=like.dtype)
        self.k += 1
        return z.reshape(like.shape)

    def fork(self, stream):
        return self


def affine(move, shape, dtype=DOUBLE):
    """c, M, Q of a move x -> c + M x + N(0, Q): move(x: (n, *shape), rng) -> (n, *shape)."""
    d = torch.Size(shape).numel()
    dry = Probe()
    move(torch.zeros(1, *shape, dtype=dtype), dry)
    x = torch.zeros(1 + d + sum(dry.seen), d, dtype=dtype)
    x[1 : 1 + d] = torch.eye(d, dtype=dtype)
    out = move(x.reshape(-1, *shape), Probe(dry.seen, 1 + d)).flatten(1)
    rest = out[1:] - out[0]
    return out[0], rest[:d].mT, rest[d:].mT @ rest[d:]


def stationary(c, M, Q):
    """Mean and covariance that x -> c + M x + N(0, Q) leaves as they are."""
    d = len(c)
    eye = torch.eye(d, dtype=M.dtype)
    cov = torch.linalg.solve(torch.eye(d * d, dtype=M.dtype) - torch.kron(M, M), Q.flatten()).reshape(d, d)
    return torch.linalg.solve(eye - M, c), cov


def matrix(problem):
    """A as a matrix (m, d)."""
    d = torch.Size(problem.A.in_shape).numel()
    eye = torch.eye(d, dtype=problem.A.in_dtype).reshape(d, *problem.A.in_shape)
    return problem.A(eye).mT


def smoothed(problem, kappa, inflate=1.0):
    """Precision and mean of N(m, C + kappa^2) N(y; A x, inflate Sigma_y) for Gaussian problems of deviation 0.4."""
    A, prior = matrix(problem), problem.prior
    C = torch.linalg.inv(prior.cov() + kappa**2 * EYE)
    P = C + A.mT @ A / (0.16 * inflate)
    return P, torch.linalg.solve(P, C @ prior.mean().flatten() + A.mT @ problem.y / (0.16 * inflate))


def chain(kind, problem, delta, kappa, **fields):
    """The affine law of one step of a chain."""

    def move(x, rng):
        full = torch.ones(len(x), dtype=DOUBLE)
        state = kind.State(x, delta=delta * full, kappa=kappa * full)
        return kind(**fields).step(problem, state, tensor(1.0), tensor(0.0), rng).x

    return affine(move, problem.prior.shape)


# --- ULA and MALA -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [None, VariancePreserving()], ids=repr)
def test_ula_stationary_law(process):
    problem, delta, kappa = gaussian_problem(process=process), 0.01, 0.3
    P, mean = smoothed(problem, kappa)
    found, cov = stationary(*chain(S.ULA, problem, delta, kappa))
    assert (found - mean).abs().max() < 1e-8
    assert (cov - torch.linalg.inv(P - 0.5 * delta * P @ P)).abs().max() < 1e-8
    assert (
        cov - problem.exact.cov()
    ).abs().max() > 0.02  # the control: neither the smoothing nor the step is free


def test_ula_default_step_and_smoothing():
    problem = gaussian_problem()
    start = S.ULA().init(problem, 3, tensor(9.0), wb.Rng(0))
    steepness = torch.linalg.matrix_norm(matrix(problem), 2).item() ** 2 / 0.16
    low, high = problem.prior.noise_range
    assert low < 1 / sqrt(steepness) < sqrt(low * high)
    assert abs(resolved_length(problem) - 1 / sqrt(steepness)) < 1e-3 / sqrt(steepness)
    assert (start.kappa * sqrt(steepness) - 1).abs().max() < 1e-3
    assert (start.delta * 4 * steepness - 1).abs().max() < 1e-3  # half of 1 / (1 / sigma^2 + ||A'||^2)


def test_ula_noise_of_complex_signals():
    """Each real component gets variance 2 delta, and the gradient is that of the real density."""
    problem, delta, n = gaussian_problem(torch.complex128), 0.02, 20_000
    full = torch.ones(n, dtype=DOUBLE)
    x = normal(1, 2, 2, seed=8, dtype=torch.complex128).expand(n, 2, 2)
    state = S.ULA.State(x, delta=delta * full, kappa=0.3 * full)
    moved = S.ULA().step(problem, state, tensor(1.0), tensor(0.0), wb.Rng(0)).x
    A, C = matrix(problem), problem.prior.cov() + 0.09 * EYE
    pull = A.mH @ (problem.y - A @ x[0].flatten()) / 0.16
    pull = pull - torch.linalg.solve(C, x[0].flatten() - problem.prior.mean().flatten())
    mean, cov = moments(moved)
    assert (cov - 2 * delta * torch.eye(8, dtype=DOUBLE)).abs().max() < 5 * 2 * delta * sqrt(2 / n)
    wanted = torch.view_as_real(x[0].flatten() + delta * pull).flatten()
    assert (mean - wanted).abs().max() < 5 * sqrt(2 * delta / n)


def test_ula_reference_row():
    """SW2 0.038 after 5000 steps; from draws of the prior 1000 are enough, and all 4000 chains are kept."""
    got = g2_run(S.ULA(delta=5e-3, sigma=0.1), 1000)
    assert abs(got.sw2 - 0.038) < 0.03 and abs(got.trace - 1.398) < 0.1 and abs(got.residual - 0.397) < 0.015


def test_mala_has_no_bias_of_the_step():
    """In coordinates in which the target is a standard normal, whose stiffest direction ULA gets wrong by two thirds."""
    problem, kappa, n = gaussian_problem(), 0.3, 10_000
    P, mean = smoothed(problem, kappa)
    values, vectors = torch.linalg.eigh(P)
    delta = 0.8 / values[-1].item()

    def run(kind):
        x = wb.sample(problem, kind(delta=delta, sigma=kappa), n=n, steps=300, progress=False).samples
        return moments((x.flatten(1) - mean) @ (vectors * values.sqrt()))

    found, cov = run(S.MALA)
    assert found.abs().max() < 5 / sqrt(n) and (cov - EYE).abs().max() < 5 * sqrt(2 / n)
    _, biased = run(S.ULA)  # the control
    assert (biased - torch.diag(1 / (1 - 0.5 * delta * values))).abs().max() < 8 * sqrt(2 / n)
    assert (biased - EYE).abs().max() > 0.5


class Silent(Prior):
    """A denoiser with no log-density."""

    def __init__(self, law):
        self.law, self.shape, self.dtype = law, law.shape, law.dtype
        self.process, self.noise_range = law.process, law.noise_range

    def denoise(self, x, t):
        return self.law.denoise(x, t)


def test_mala_needs_a_density():
    problem = gaussian_problem()
    for prior in (Silent(problem.prior), Silent(problem.prior).under(VariancePreserving())):
        with pytest.raises(BadInput, match="log_prob"):
            wb.sample(replace(problem, prior=prior), S.MALA(), n=2, steps=2, progress=False)
        assert (
            wb.sample(replace(problem, prior=prior), S.ULA(), n=2, steps=2, progress=False)
            .samples.isfinite()
            .all()
        )


@pytest.mark.parametrize("kind", [S.ULA, S.SKROCK, S.MALA])
def test_chains_refuse_nonsense(kind):
    with pytest.raises(BadInput, match="delta"):
        kind(delta=-1.0)


# --- SK-ROCK ------------------------------------------------------------------------------------------------------------


def polynomials(z, s, eta):
    """A(z), B(z): the stability polynomial and the noise's, by the trigonometric forms of T and U."""
    w0 = 1 + eta / s**2
    T = lambda x: torch.special.chebyshev_polynomial_t(tensor(x), s)
    U = lambda x: torch.special.chebyshev_polynomial_u(tensor(x), s - 1)
    w1 = (T(w0) / (s * U(w0))).item()  # T' = s U_{s-1}
    return T(w0 + w1 * z) / T(w0), (1 + 0.5 * w1 * z) * U(w0 + w1 * z) / U(w0)


@pytest.mark.parametrize("stages, eta", [(10, 0.05), (5, 0.05), (3, 1.0)])
def test_sk_rock_stationary_law(stages, eta):
    problem, kappa = gaussian_problem(), 0.3
    P, mean = smoothed(problem, kappa)
    values, vectors = torch.linalg.eigh(P)
    delta = S.SKROCK(stages=stages, eta=eta).reach / values[-1].item()
    both = [torch.stack(polynomials(-delta * p, stages, eta)) for p in values.tolist()]
    A, B = torch.stack(both, 1)
    c, M, Q = chain(S.SKROCK, problem, delta, kappa, stages=stages, eta=eta)
    assert (vectors.mT @ M @ vectors - torch.diag(A)).abs().max() < 1e-8
    assert (vectors.mT @ Q @ vectors - torch.diag(2 * delta * B**2)).abs().max() < 1e-8
    found, cov = stationary(c, M, Q)
    assert (found - mean).abs().max() < 1e-8
    assert (cov - vectors @ torch.diag(2 * delta * B**2 / (1 - A**2)) @ vectors.mT).abs().max() < 1e-8


@pytest.mark.parametrize("stages", [3, 10, 20])
def test_sk_rock_is_stable_as_far_as_it_says(stages):
    w0, w1, T = chebyshev(stages, 0.05)
    longest = S.SKROCK(stages=stages).limit
    for share in torch.linspace(0.001, 1, 400).tolist():
        assert polynomials(-share * longest, stages, 0.05)[0].abs() < 1
    limit = (1 + w0) / w1  # where w_0 + w_1 z leaves [-1, 1]
    assert 0.6 < longest / limit < 1
    assert polynomials(-1.05 * limit, stages, 0.05)[0].abs() > 1
    assert abs(T[stages] - torch.special.chebyshev_polynomial_t(tensor(w0), stages)) < 1e-9 * T[stages]
    assert longest > 0.3 * stages * 2 * stages  # ULA with as many denoiser calls reaches 2 a call


@pytest.mark.parametrize("stages", [2, 3, 5, 10])
def test_sk_rock_default_step_is_right_within_a_tenth(stages):
    """In every direction, by the closed form; a fifth longer is not, and half of the longest stable one is far off."""

    def off(longest):
        z = torch.linspace(1e-3, 1, 300, dtype=DOUBLE) * longest
        A, B = torch.stack([torch.stack(polynomials(-v, stages, 0.05)) for v in z.tolist()], 1)
        return (2 * z * B**2 / (1 - A**2) - 1).abs().max()

    sampler = S.SKROCK(stages=stages)
    assert off(sampler.reach) <= 0.1001 < off(1.2 * sampler.reach)
    if stages == 10:
        assert off(0.5 * sampler.limit) > 0.5


def test_sk_rock_deviation_at_the_default():
    """Of draws, in coordinates in which the target is a standard normal."""
    problem, kappa, n = gaussian_problem(), 0.3, 4000
    P, mean = smoothed(problem, kappa)
    values, vectors = torch.linalg.eigh(P)
    x = wb.sample(problem, S.SKROCK(sigma=kappa), n=n, steps=150, progress=False).samples
    _, cov = moments((x.flatten(1) - mean) @ (vectors * values.sqrt()))
    assert (cov.diagonal() - 1).abs().max() < 0.1 + 4 * sqrt(2 / n)


def test_sk_rock_on_g2():
    """100 steps of 10 stages do what 1000 of ULA do, with longer steps than ULA could take."""
    delta = 86.5 / (100 + 1.25 / 0.09)  # half of the longest stable step
    got = g2_run(S.SKROCK(sigma=0.1, delta=delta, stages=10), 60, n=N)
    assert got.sw2 < 0.06 and abs(got.trace - 1.374) < 0.1 and abs(got.residual - 0.404) < 0.04


# --- annealed Langevin --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [Inflated(), Inflated(0.5), NoiseFree()], ids=repr)
@pytest.mark.parametrize("process", [None, VariancePreserving()], ids=repr)
def test_ald_level_by_level(rule, process):
    """Each level is ULA for its own biased target: M = (I - delta P_i)^repeats, and that target's mean stays."""
    problem, kappa, ratio = gaussian_problem(process=process), 0.6, 0.01
    steepness = torch.linalg.matrix_norm(matrix(problem), 2).item() ** 2 / 0.16
    inflate = kappa**2 / 0.16 if isinstance(rule, NoiseFree) else 1 + rule.spread**2 * steepness * kappa**2
    P, mean = smoothed(problem, kappa, inflate)
    delta, process = ratio * kappa**2, problem.prior.process
    t = process.time(kappa)
    s = process.time(0.999999 * kappa)

    def move(x, rng):
        sampler = S.ALD(repeats=3, ratio=ratio, rule=rule)
        return sampler.step(problem, S.ALD.State(process.alpha(t) * x), t, s, rng).x / process.alpha(s)

    c, M, Q = affine(move, problem.prior.shape)
    assert (M - torch.linalg.matrix_power(EYE - delta * P, 3)).abs().max() < 1e-3 * 3 * delta * P.abs().max()
    found, cov = stationary(c, M, Q)
    assert (found - mean).abs().max() < 2e-3
    wanted = torch.linalg.inv(P - 0.5 * delta * P @ P)
    assert (cov - wanted).abs().max() < 2e-3 * wanted.abs().max()


def test_ald_reaches_its_biased_target():
    """Slow annealing to kappa = 0.4: the posterior of the smoothed mixture under the grown noise, a mixture again."""
    kappa, prior = 0.4, G2.prior
    steepness = 1.25 / 0.09
    wide = type(prior)(
        prior.weights, prior.means, prior.covariances.dense() + kappa**2 * torch.eye(2, dtype=DOUBLE)
    )
    target = replace(G2, prior=wide, noise=wb.noise.Gaussian(0.3 * sqrt(1 + steepness * kappa**2))).exact
    times = karras(prior.process, kappa, 20.0, 250)[:-1]
    sampler, x = S.ALD(repeats=3, ratio=0.1), prior.initial(N, times[0], wb.Rng(0))
    for i, (t, s) in enumerate(zip(times, [*times[1:], times[-1] * 0.999999], strict=True)):
        x = sampler.step(G2, S.ALD.State(x), t, s, wb.Rng(0).at(i)).x
    distance = lambda law: sliced_wasserstein(x, law.sample(N, 7), law=law, repeats=2, seed=0).value
    assert distance(target) < 0.07 and distance(G2.exact) > 0.2


def test_ald_keeps_up_with_its_levels():
    """100 levels on a smooth field under a blur: near the posterior in mean and spread, and far with slow steps."""
    from test_samplers_guided_generation import blurred, in_deviations

    problem, variance = blurred()
    run = lambda sampler: in_deviations(
        problem, variance, wb.sample(problem, sampler, n=24, steps=100, progress=False).samples
    )
    (error, ratio), (slow, wide) = run(S.ALD()), run(S.ALD(repeats=3, ratio=0.1))
    assert error < 0.4 and ratio < 1.15 and slow > 0.6 and wide > 1.4


def test_ald_refuses_what_diverges():
    for fields in (dict(rule=Inflated(0.5)), dict(ratio=1.0), dict(repeats=1.5), dict(ratio=float("inf"))):
        with pytest.raises(BadInput, match="ALD"):
            S.ALD(**fields)
    with pytest.raises(BadInput, match="stages"):
        S.SKROCK(stages=2.5)


def test_ald_published_rule_and_end():
    setting = S.ALD.named("csgm_mri")
    assert setting.repeats == 3 and abs(setting.ratio * 0.0066**2 - 9e-7) < 1e-12
    assert isinstance(setting.rule, NoiseFree)
    got = g2_run(S.ALD(), 200)  # the last level is denoised, and its data term is nearly that of y
    assert got.sw2 < 0.2 and abs(got.residual - 0.404) < 0.1


def test_ald_hands_the_signal_on_in_the_scale_of_the_next_level():
    """x_s / alpha_s is what the Langevin steps at t have made, however far s is."""
    problem = gaussian_problem(process=VariancePreserving())
    process, x, t = problem.prior.process, normal(3, 2, 2, seed=6), problem.prior.process.time(0.9)
    made = lambda kappa: S.ALD().step(problem, S.ALD.State(x), t, process.time(kappa), wb.Rng(0)).x
    ends = [made(kappa) / process.alpha(process.time(kappa)) for kappa in (0.8, 0.1)]
    assert (ends[0] - ends[1]).abs().max() < 1e-12 < (made(0.8) - made(0.1)).abs().max()
