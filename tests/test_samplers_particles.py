"""Particle samplers one by one: AFDPS, FK steering, SVDD, MCGdiff, FPS-SMC on G2, and what each does along a path."""

from dataclasses import replace

import pytest
import torch
from truth import (
    DOUBLE,
    G2,
    N,
    g2_grid,
    g2_means,
    gap,
    gaussian_problem,
    line_problem,
    moments,
    normal,
    tensor,
)

import workbench as wb
from theory import distributions
from theory.diagnostics.transport import mode_weight_error
from workbench._errors import BadInput
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._spectral import spectral

S = wb.samplers
NEVER = S.Systematic(below=0.0)


def run(problem, sampler, n, ensembles=1, steps=None, seed=0):
    times = dict(grid=g2_grid(steps)) if problem is G2 else dict(steps=steps)
    return wb.sample(problem, sampler, n=n, ensembles=ensembles, seed=seed, progress=False, **times)


def each_ensemble(post, n, keep):
    """`keep` draws of every ensemble of n, pooled evenly."""
    parts = zip(post.samples.split(n), post.log_weights.split(n), strict=True)
    return torch.cat([wb.Posterior(x, w).resampled(keep, i).samples for i, (x, w) in enumerate(parts)])


# --- all of them on a Gaussian --------------------------------------------------------------------------------------

WEIGHTED = {
    "tds": (S.TDS(), 200),
    "tds-isotropic": (S.TDS(twist=S.Isotropic()), 200),
    "afdps-ode": (S.AFDPSODE(), 200),
    "afdps-sde": (S.AFDPSSDE(), 200),
    "mcgdiff": (S.MCGDiff(), 300),
}


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
@pytest.mark.parametrize("name", WEIGHTED)
def test_gaussian_posterior_and_evidence(name, dtype):
    sampler, steps = WEIGHTED[name]
    problem = gaussian_problem(dtype, sigma=1.0)
    post = run(problem, sampler, n=2000 if name != "afdps-ode" else 4000, ensembles=4, steps=steps)
    mean, cov = moments(post.samples, post.weights)
    exact, wanted = moments(problem.exact.sample(40000, 0))
    size = wanted.diagonal().sqrt()
    assert ((mean - exact).abs() / size).max() < 0.12
    assert (cov - wanted).abs().max() < 0.15 * wanted.diagonal().max()
    spread = tensor(post.provenance["evidences"]).std().item()  # of four ensembles
    bias = 0.5 if name == "afdps-ode" else 0.1  # Langevin steps of finite size, at every level
    assert abs(post.log_evidence - problem.exact.log_evidence) < bias + spread
    assert spread < (1.5 if name == "mcgdiff" else 0.3)


# --- AFDPS ----------------------------------------------------------------------------------------------------------


def test_afdps_ode_on_g2():
    """The reference: N = 20000, 200 steps, 3 corrections: mean off by 0.004, mode weights by 0.003, trace 1.374."""
    post = run(G2, S.AFDPSODE(), n=10000, steps=200)
    mean, cov = moments(post.samples, post.weights)
    assert (mean - G2.exact.mean()).norm() < 0.04 and abs(cov.trace() - 1.374) < 0.06
    assert mode_weight_error(post.samples, G2.exact, post.weights) < 0.015
    assert abs(post.log_evidence - G2.exact.log_evidence) < 0.08


def test_afdps_sde_on_g2():
    post = run(G2, S.AFDPSSDE(), n=5000, ensembles=4, steps=200)
    mean, cov = moments(post.samples, post.weights)
    assert (mean - G2.exact.mean()).norm() < 0.05 and abs(cov.trace() - 1.374) < 0.07
    assert mode_weight_error(post.samples, G2.exact, post.weights) < 0.02


@pytest.mark.parametrize("a", [0.3, 1.0])
def test_afdps_sde_draws_from_the_conjugate_product(a):
    """One draw from N(m, tau^2 I) p(y | .)^a where the data count for much: its mean, covariance and integral."""
    problem, n, tau = gaussian_problem(), 40000, tensor(1.5)
    M, m = problem.A.matrix / 0.4, normal(1, 2, 2, seed=8)
    P = torch.eye(4, dtype=DOUBLE) / tau**2 + a * M.mT @ M
    wanted = torch.linalg.inv(P)
    centre = wanted @ (m.flatten() / tau**2 + a * M.mT @ (problem.y / 0.4))
    z, many = normal(n, 2, 2, seed=9), m.expand(n, 2, 2)
    u, gain = S.AFDPSSDE._conjugate(problem, many, many, tau, a, 0.0, z)
    mean, cov = moments(u)
    assert ((mean - centre).abs() < 5 * (wanted.diagonal() / n).sqrt()).all()
    L = torch.linalg.cholesky(wanted)
    ratio = torch.linalg.eigvalsh(torch.linalg.solve(L, torch.linalg.solve(L, cov).mT))
    assert (ratio - 1).abs().max() < 5 * (2 / n) ** 0.5
    plain = log_likelihood(problem, many + tau * z)  # its integral against N(m, tau^2), by the same draws
    if a < 1:
        integral = (a * plain).exp()
        assert abs(gain[0].exp() - integral.mean()) < 5 * integral.std() / n**0.5


def test_afdps_without_corrections_never_mixes():
    """The control: the flow alone, resampled, keeps a handful of ancestors; corrections make their copies differ."""
    alone = run(G2, S.AFDPSODE(corrections=0), n=1000, steps=100)
    mixed = run(G2, S.AFDPSODE(), n=1000, steps=100)
    assert len(alone.samples[:, 0].unique()) < 700 and len(mixed.samples[:, 0].unique()) == 1000


def test_corrections_leave_their_target():
    """Langevin steps at a fixed noise level, from exact draws of p_t(u) p(y | u)^a: a Gaussian, up to delta / 2."""
    problem, sampler = gaussian_problem(), S.AFDPSODE(delta=0.1)
    t, a, n = tensor(0.6), 0.7, 20000
    M = problem.A.matrix / 0.4
    C = torch.linalg.inv(problem.prior.cov() + 0.36 * torch.eye(4, dtype=DOUBLE))
    P = C + 0.7 * M.mT @ M
    m = torch.linalg.solve(P, C @ problem.prior.mean().flatten() + 0.7 * M.mT @ (problem.y / 0.4))
    L = torch.linalg.cholesky(torch.linalg.inv(P))
    u = (m + normal(n, 4, seed=5) @ L.mT).reshape(n, 2, 2)
    for k in range(30):
        u = sampler._corrected(problem, u, t, a, wb.Rng(k))
    mean, cov = moments(u)
    wanted = torch.linalg.inv(P)
    assert ((mean - m).abs() < 5 * (wanted.diagonal() / n).sqrt() * 1.2).all()
    ratio = torch.linalg.eigvalsh(torch.linalg.solve(L, torch.linalg.solve(L, cov).mT))
    assert ratio.min() > 0.96 and ratio.max() < 1.09


def test_afdps_takes_nonlinear_operators():
    """Two signs of one number: |x|^2 seen, half of the weight each, by quadrature."""
    prior = distributions.GaussianMixture([1.0], tensor([[0.3]]), tensor([1.0]))
    A = wb.operators.from_function(lambda x: x**2, (1,), (1,), DOUBLE)
    problem = wb.Problem(prior, A, wb.noise.Gaussian(0.4), y=tensor([1.2]))
    grid = torch.linspace(-5, 5, 4001, dtype=DOUBLE)[:, None]
    w = torch.softmax(prior.log_prob(grid) + log_likelihood(problem, grid), 0)
    mean, positive = (w @ grid).item(), w[grid[:, 0] > 0].sum().item()
    for sampler in (S.AFDPSODE(), S.AFDPSSDE(), S.TDS(), S.FKSteering()):
        post = run(problem, sampler, n=8000, steps=80)
        got = (post.weights @ post.samples).item()
        assert abs(got - mean) < 0.08
        assert abs(post.weights[post.samples[:, 0] > 0].sum().item() - positive) < 0.05
    with pytest.raises(BadInput, match="knee"):
        run(problem, S.AFDPSODE(knee=float("inf")), n=5, steps=3)


# --- FK steering ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("potential", [S.Difference(), S.Maximum(), S.Total(), S.Reward()], ids=repr)
def test_potentials_multiply_to_the_likelihood(potential, every):
    """Without resampling the log-weight of a path is lam log p(y | x_0) at its end."""
    problem = gaussian_problem()
    sampler = S.FKSteering(potential=potential, every=every, lam=0.7, resample=NEVER)
    times = problem.prior.grid(9)
    rng = wb.Rng(0)
    state = sampler.init(problem, 5, times[0], rng.at(0))
    for k, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True), start=1):
        state = sampler.step(problem, state, t, s, rng.at(k))
    assert (state.log_w - 0.7 * log_likelihood(problem, state.x)).abs().max() < 1e-9


def test_potentials_are_told_apart():
    """Their running values on three rewards, by hand."""
    r = tensor([2.0])
    arguments = dict(r=r, before=tensor([5.0]), largest=tensor([5.0]), total=tensor([9.0]))
    values = [p.log(**arguments).item() for p in (S.Difference(), S.Maximum(), S.Total(), S.Reward())]
    assert values == [-3.0, 5.0, 9.0, 2.0]


@pytest.mark.slow  # 4000 groups to resample at every step
def test_fk_reference_row():
    """Independent groups of 4 resampled at every step, one draw each."""
    sampler = S.FKSteering(resample=S.Multinomial(below=1.1))
    x = each_ensemble(run(G2, sampler, n=4, ensembles=N, steps=100), 4, 1)
    assert abs(gap(x, 0).value - 0.074) < 0.03


def test_fk_steering_finds_the_modes():
    """The reference: mode weights off by 0.016 at 4000 particles."""
    post = run(G2, S.FKSteering(), n=N, steps=100)
    assert mode_weight_error(post.samples, G2.exact, post.weights) < 0.05


# --- SVDD -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates, sw2, n", [(10, 0.107, 4000), (50, 0.120, 1000)])
def test_svdd_reference_row(candidates, sw2, n):
    x = run(G2, S.SVDD(candidates=candidates), n=n, steps=100).samples
    got = g2_means(x, n)
    assert abs(got.sw2 - sw2) < 0.035 and abs(got.residual - 0.25) < 0.03


def soft_value(problem, x, t):
    """log p(y | x_t) of G2 from its posterior, a mixture: log p_t(x | y) - log p_t(x), up to a constant."""
    return G2.exact.log_prob(x, t) - G2.prior.log_prob(x, t)


def test_svdd_with_the_soft_value():
    """With the value itself the residual is that of the posterior, up to 1 / candidates."""
    sampler = S.SVDD(candidates=20, value=soft_value)
    got = g2_means(run(G2, sampler, n=2000, steps=100).samples, 2000)
    assert got.sw2 < 0.08 and 0.37 < got.residual < 0.52  # 0.25 with the posterior-mean value


def test_svdd_greedy_keeps_the_best():
    problem = line_problem()
    sampler = S.SVDD(candidates=7, alpha=0.0)
    t, s = tensor(2.0), tensor(1.2)
    x = normal(5, 1, seed=1)
    rng = wb.Rng(3)
    got = sampler.step(problem, S.SVDD.State(x), t, s, rng).x
    from workbench.samplers._ancestral import moments as kernel

    mean, tau = kernel(problem.prior.process, x, problem.prior.denoise(x, t), t, s)
    drawn = mean[:, None] + tau * wb.Rng(3).normal(x.new_empty(5, 7, 1))
    value = log_likelihood(problem, problem.prior.denoise(drawn.flatten(0, 1), s)).reshape(5, 7)
    assert torch.equal(got, drawn[torch.arange(5), value.argmax(1)])
    soft = replace(sampler, alpha=1e-3).step(problem, S.SVDD.State(x), t, s, wb.Rng(3)).x
    assert torch.equal(got, soft)


def test_svdd_chooses_in_proportion():
    v = tensor([[0.0, 1.0, 2.0]]).expand(30000, 3)
    picks = S.SVDD(candidates=3, alpha=2.0)._chosen(v, wb.Rng(0)).bincount(minlength=3) / 30000
    assert (picks - torch.softmax(tensor([0.0, 0.5, 1.0]), 0)).abs().max() < 0.012


# --- MCGdiff and FPS-SMC --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting, sw2, trace, residual",
    [
        (dict(), 0.035, 1.279, 0.394),
        (dict(ending=S.Reweighted()), 0.165, 1.150, 0.241),
        (dict(kappa_r=0.1, ending=S.Reweighted()), 0.051, 1.262, 0.413),
    ],
    ids=["passage", "reference", "reference-wide"],
)
def test_mcg_reference_row(setting, sw2, trace, residual):
    post = run(G2, S.MCGDiff(**setting), n=N, steps=200)
    got = g2_means(post.resampled(N, 0).samples)
    assert abs(got.sw2 - sw2) < 0.03
    if sw2 < 0.1:
        assert abs(got.trace - trace) < 0.1 and abs(got.residual - residual) < 0.03
    else:
        assert post.ess < 0.05 * N


def test_chain_passes_through_the_data():
    """At a level between two of the grid a coordinate is at its datum, to kappa_r, and free below."""
    problem = gaussian_problem()
    data, sampler = spectral(problem), S.MCGDiff(kappa_r=1e-10, resample=NEVER)
    own = data.deviation.min()
    state = sampler.init(problem, 50, tensor(20.0), wb.Rng(0))
    times = [20.0, 10.0, 5.0, 2.0, 1.01 * own.item()]
    for k, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True), start=1):
        state = sampler.step(problem, state, tensor(t), tensor(s), wb.Rng(0).at(k))
    i = data.deviation.argmin()
    spread = (data.measured(state.x)[:, i] - data.seen[i]).std()
    assert abs(spread / (own * 0.0201**0.5) - 1) < 0.35
    before = state.passed.clone()
    after = sampler.step(problem, state, tensor(times[-1]), 0.5 * own, wb.Rng(0).at(9))
    assert (after.passed != before).any() and (data.measured(after.x)[:, i] - data.seen[i]).std() > 0.2 * own


def test_fps_reference_rows():
    """Forty sequences pooled evenly, with and without the denominator."""
    telescoping = each_ensemble(run(G2, S.FPSSMC(), n=100, ensembles=40, steps=100), 100, 100)
    published = each_ensemble(
        run(G2, S.FPSSMC(weights=S.Independent()), n=100, ensembles=40, steps=100), 100, 100
    )
    got, other = g2_means(telescoping), g2_means(published)
    assert abs(got.sw2 - 0.063) < 0.03 and abs(got.residual - 0.397) < 0.04
    assert abs(other.sw2 - 0.123) < 0.05 and other.residual < 0.2


def test_fps_shares_its_sequence():
    """One sequence an ensemble, another in the next, refreshed by c a step."""
    problem, sampler = gaussian_problem(), S.FPSSMC(eta=0.5)
    t, s = tensor(3.0), tensor(1.5)
    first = sampler.init(problem, 4, t, wb.Rng(0))
    other = sampler.init(problem, 4, t, wb.Rng(0, first=4))
    assert (first.e == first.e[:1]).all() and (first.e != other.e).all()
    after = sampler.step(problem, first, t, s, wb.Rng(0).at(1))
    c = 0.25 * (1 - 0.25)
    fresh = (after.e - (1 - c) ** 0.5 * first.e) / c**0.5
    assert (fresh == fresh[:1]).all() and (fresh[0] - first.e[0]).abs().min() > 1e-3


def test_no_evidence_from_fps():
    post = run(line_problem(), S.FPSSMC(), n=20, ensembles=3, steps=5)
    assert post.log_evidence is None and post.provenance["evidences"] is None
    assert (post.weights.reshape(3, 20).sum(1) - 1 / 3).abs().max() < 1e-12


def test_published_steering_resamples_at_every_potential_only():
    scheme = S.FKSteering.named("text").resample
    even, rng = torch.zeros(4, dtype=DOUBLE), wb.Rng(0)
    assert isinstance(scheme, S.Multinomial) and scheme(even - 3.7, rng) is None
    assert scheme(even + tensor([0.0, 0.1, 0.2, 0.0]), rng) is not None
    with pytest.raises(BadInput, match="every"):
        S.FKSteering(every=1.5)
    with pytest.raises(BadInput, match="lam"):
        S.FKSteering(lam=-1.0)
