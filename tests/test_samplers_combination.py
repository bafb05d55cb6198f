"""SuperDiff and products of priors: tracked log-densities, mixtures, products, and the weights that correct them."""

from dataclasses import replace
from math import sqrt

import pytest
import torch
from truth import DOUBLE, agrees, gaussian_problem, line_problem, normal, tensor

import workbench as wb
from theory import distributions
from workbench._errors import BadInput
from workbench.diffusion import VariancePreserving
from workbench.diffusion.flow import Flow
from workbench.diffusion.grids import karras
from workbench.priors._prior import Prior
from workbench.samplers.super_diff import equal_growth, far_log_densities, log_density_change, scores

S = wb.samplers


def mixture(*rows, process=None):
    """A mixture on the line: rows of weight, mean, variance."""
    w, m, c = tensor(rows).mT
    return distributions.GaussianMixture(w.tolist(), m[:, None], c, process)


def of(prior):
    """A problem with that prior, whose data the combinations do not look at."""
    return replace(line_problem(), prior=prior)


# --- the Ito density estimator ------------------------------------------------------------------------------------------


def drift_of_log_density(steps, priors, n=3000, low=0.2):
    """The rms error of log q_i - log q_0 at kappa = low, tracked from kappa = 20 where it is known, along the first
    prior's reverse SDE; and that of log q_0 itself."""
    times = karras(priors[0].process, low, 20.0, steps)[:-1]
    x, rng = priors[0].at(times[0]).sample(n, 0), wb.Rng(0)
    true = lambda x, t: torch.stack([q.log_prob(x, t) for q in priors], 1)
    log_q = true(x, times[0])
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        score, gain = scores(priors, x, t), t**2 - s**2
        step = gain * score[:, 0] + torch.sqrt(gain) * rng.at(i).normal(x)
        log_q, x = log_q + log_density_change(score, step, gain), x + step
    off = log_q - true(x, times[-1])
    return (off[:, 1] - off[:, 0]).square().mean().sqrt().item(), off[:, 0].square().mean().sqrt().item()


def test_tracked_density_is_the_density():
    """Its strong error falls as the square root of the step: halved by four times the steps, log q itself and differences."""
    priors = [mixture((0.6, -1.5, 0.3), (0.4, 1.0, 0.5)), mixture((1.0, 0.5, 0.8))]
    coarse, middle, fine = (drift_of_log_density(steps, priors) for steps in (50, 200, 800))
    for a, b, c in zip(coarse, middle, fine, strict=True):
        assert 1.6 < a / b < 2.8 and 1.6 < b / c < 2.8 and c < 0.2


def test_far_densities():
    """At kappa = 50 the differences of log q are known to first order in 1 / kappa."""
    priors = [mixture((0.6, -1.5, 0.3), (0.4, 1.0, 0.5)), mixture((1.0, 3.0, 0.8))]
    x, t = 50 * normal(20, 1, seed=1), tensor(50.0)
    found, true = far_log_densities(priors, x, t), torch.stack([q.log_prob(x, t) for q in priors], 1)
    off = (found - true).diff(dim=1)
    assert off.abs().max() < 5e-3 < true.diff(dim=1).abs().max()


# --- superposition ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [None, VariancePreserving(), Flow()], ids=repr)
def test_or_is_the_mixture(process):
    """T = 1 and biases (log 1, log 3): a quarter and three quarters, with each law inside its part."""
    left, right = mixture((1.0, -2.0, 0.3), process=process), mixture((1.0, 1.5, 0.6), process=process)
    n, sampler = 4000, S.SuperDiffOr(others=(right,), biases=(0.0, torch.tensor(3.0).log().item()))
    times = karras(left.process, 0.02, 60.0, 150)
    x = wb.sample(of(left), sampler, n=n, grid=times, progress=False).samples
    both = mixture((0.25, -2.0, 0.3), (0.75, 1.5, 0.6))
    share = both.responsibilities(x).mean(0)
    assert abs(share[1] - 0.75) < 0.03
    assert abs(x.mean() - both.mean()) < 0.12 and abs(x.var() / both.cov().item() - 1) < 0.08
    even = wb.sample(of(left), replace(sampler, biases=()), n=n, grid=times, progress=False).samples
    assert abs(mixture((0.5, -2.0, 0.3), (0.5, 1.5, 0.6)).responsibilities(even).mean(0)[1] - 0.5) < 0.03


def test_shares_follow_temperature():
    log_q = tensor([[0.0, 1.0], [2.0, -1.0]])
    shares = lambda **fields: S.SuperDiffOr(others=(mixture((1.0, 0.0, 1.0)),), **fields).shares(
        log_q, None, None, None
    )
    assert agrees(shares()[:, 1], [0.731059, 0.047426])
    assert agrees(shares(temperature=2.0)[:, 1], [0.880797, 0.002473])
    assert agrees(shares(biases=(1.0, 0.0))[:, 1], [0.5, 0.017986])
    with pytest.raises(BadInput, match="biases"):
        S.SuperDiffOr(biases=(1.0, 2.0))


@pytest.mark.parametrize("M", [2, 3, 4])
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_and_makes_all_densities_grow_alike(M, dtype):
    score, z, gain = normal(6, M, 5, seed=1, dtype=dtype), normal(6, 5, seed=2, dtype=dtype), tensor(0.3)
    kappa = equal_growth(score, z, gain)
    assert (kappa.sum(1) - 1).abs().max() < 1e-10
    step = gain * (kappa[..., None] * score).sum(1) + torch.sqrt(gain) * z
    growth = log_density_change(score, step, gain)
    assert (growth - growth[:, :1]).abs().max() < 1e-9
    if M == 2:  # the closed form
        s1, s2 = (torch.view_as_real(s).flatten(1) if dtype.is_complex else s for s in score.unbind(1))
        w = torch.view_as_real(z).flatten(1) if dtype.is_complex else z
        d = s1 - s2
        dot = lambda u, v: (u * v).sum(1)
        one = 0.5 * (dot(s1, s1) - dot(s2, s2)) - dot(d, s2) - dot(d, w) / torch.sqrt(gain)
        assert (kappa[:, 0] - one / dot(d, d)).abs().max() < 1e-9
    alike = equal_growth(
        score[:, :1].expand(6, M, 5), z, gain
    )  # equal scores: any shares do, the even ones are taken
    assert (alike - 1 / M).abs().max() < 1e-9


def test_and_meets_where_densities_are_equal():
    """Two normals at -1 and 2 of variance 1 on the line have equal densities at 0.5 only."""
    left, right = mixture((1.0, -1.0, 1.0)), mixture((1.0, 2.0, 1.0))
    times = karras(left.process, 0.01, 60.0, 300)
    x = wb.sample(
        of(left), S.SuperDiffAnd(others=(right,), limit=1e6), n=300, grid=times, progress=False
    ).samples
    # the start has an advantage of its own: log q at 60 differs by x (3 / 3600), a third of which is what is left
    assert abs(x.mean() - 0.5) < 0.05 and x.std() < 0.1
    tame = wb.sample(of(left), S.SuperDiffAnd(others=(right,)), n=300, grid=times, progress=False).samples
    assert abs(tame.mean() - 0.5) < 0.2 and tame.std() < 0.9


@pytest.mark.parametrize("kind", [S.SuperDiffOr, S.SuperDiffAnd, S.Product, S.FKCProduct])
def test_alone_it_is_the_prior(kind):
    problem = gaussian_problem()
    times = karras(problem.prior.process, 0.01, 100.0, 200)
    x = wb.sample(problem, kind(), n=4000, grid=times, progress=False).samples.flatten(1)
    mean, cov = problem.prior.mean().flatten(), problem.prior.cov()
    assert (x.mean(0) - mean).abs().max() < 6 * (cov.diagonal().max() / 4000).sqrt()
    assert (x.mT.cov() - cov).abs().max() < 0.12 * cov.diagonal().max()
    with pytest.raises(BadInput, match="others"):
        wb.sample(problem, kind(others=(mixture((1.0, 0.0, 1.0)),)), n=2, steps=2, progress=False)


# --- products -----------------------------------------------------------------------------------------------------------


def normals(one, two, weight):
    """Mean and variance of N_0^{1 - w} N_1^w on the line."""
    (m0, c0), (m1, c1) = one, two
    precision = (1 - weight) / c0 + weight / c1
    return ((1 - weight) * m0 / c0 + weight * m1 / c1) / precision, 1 / precision


ONE, TWO = (0.0, 2.0), (1.0, 0.6)


@pytest.mark.parametrize("weight, off", [(0.5, 0.05), (1.5, 0.02), (1.0, 0.0)])
def test_corrected_product(weight, off):
    """prod q_i^{beta_i} of two normals: mean and variance from weighted particles; without weights it is not that."""
    q0, q1 = (mixture((1.0, *row)) for row in (ONE, TWO))
    mean, variance = normals(ONE, TWO, weight)
    n, times = 20_000, karras(q0.process, 0.02, 60.0, 400)
    sampler = S.FKCProduct(others=(q1,), weights=(weight,))
    post = wb.sample(of(q0), sampler, n=n, grid=times, progress=False)
    found = (post.weights @ post.samples).item()
    spread = (post.weights @ (post.samples - found) ** 2).item()
    assert abs(found - mean) < 6 * sqrt(variance / n) + 0.02 and abs(spread / variance - 1) < 0.04
    alone = wb.sample(
        of(q0), S.Product(others=(q1,), weights=(weight,)), n=n, grid=times, progress=False
    ).samples
    if off:  # the control
        assert max(abs(alone.mean() - mean), abs(alone.var() - variance)) > off


def test_corrected_product_without_resampling():
    """Weights alone, never reset: the same moments."""
    q0, q1 = (mixture((1.0, *row)) for row in (ONE, TWO))
    mean, variance = normals(ONE, TWO, 0.5)
    sampler = S.FKCProduct(others=(q1,), weights=(0.5,), resample=None)
    post = wb.sample(of(q0), sampler, n=20_000, grid=karras(q0.process, 0.02, 60.0, 400), progress=False)
    found = (post.weights @ post.samples).item()
    assert (
        abs(found - mean) < 0.04
        and abs((post.weights @ (post.samples - found) ** 2).item() / variance - 1) < 0.06
    )
    flat = post.samples
    assert max(abs(flat.mean() - mean), abs(flat.var() - variance)) > 0.05  # the weights matter


def test_scores_of_a_product():
    """s_0 + sum w_i (s_i - s_0), NOT with w < 0, under the problem's process."""
    priors = [mixture((1.0, -1.0, 0.5)), mixture((1.0, 2.0, 1.0)), mixture((0.5, 0.0, 1.0), (0.5, 3.0, 0.2))]
    x, t = normal(6, 1, seed=1), tensor(0.7)
    s0, s1, s2 = (q.score(x, t) for q in priors)
    bound = S.Product(others=(priors[1], priors[2]), weights=(0.7, -0.3)).bind(of(priors[0]))
    assert (bound.score(x, t) - (s0 + 0.7 * (s1 - s0) - 0.3 * (s2 - s0))).abs().max() < 1e-9
    moved = S.Product(others=(priors[1].under(Flow()), priors[2]), weights=(0.7, -0.3)).bind(of(priors[0]))
    assert (moved.denoise(x, t) - bound.denoise(x, t)).abs().max() < 1e-9
    with pytest.raises(BadInput, match="weights"):
        S.Product(others=(priors[1],), weights=(1.0, 2.0))


def test_a_guidance_is_a_factor():
    """The prior times one exact posterior is that posterior, under any stepper."""
    problem = gaussian_problem()
    product = S.Product(others=(S.MomentMatching(tol=1e-12),))
    x, t = normal(3, 2, 2, seed=6), tensor(0.7)
    assert (product.bind(problem).denoise(x, t) - problem.exact.denoise(x, t)).abs().max() < 1e-8
    run = lambda guidance: (
        wb.sample(problem, S.Heun(guidance=guidance), n=4, steps=10, progress=False).samples
    )
    assert (run(product) - run(S.Exact())).abs().max() < 1e-6


def test_first_weights_of_a_product():
    """log w = sum beta_i (log q_i - log q_0) where the particles start, drawn for the problem's prior."""
    q0, q1 = mixture((1.0, 0.0, 0.5)), mixture((1.0, 3.0, 0.5))
    state = S.FKCProduct(others=(q1,), weights=(0.4,)).init(of(q0), 50, tensor(60.0), wb.Rng(0))
    true = 0.4 * (q1.log_prob(state.x, 60.0) - q0.log_prob(state.x, 60.0))
    assert (state.log_w - true).abs().max() < 1e-3 < true.abs().max()


# --- what they are given ------------------------------------------------------------------------------------------------


class Network(Prior):
    """A denoiser without a density, that knows a range of noise levels."""

    def __init__(self, law, noise_range):
        self.law, self.shape, self.dtype = law, law.shape, law.dtype
        self.process, self.noise_range = law.process, noise_range

    def denoise(self, x, t):
        return self.law.denoise(x, t)


@pytest.mark.parametrize("kind", [S.SuperDiffOr, S.SuperDiffAnd, S.Product, S.FKCProduct])
def test_networks_are_not_asked_beyond_their_range(kind):
    """A little beyond is let pass; a law with a density knows every level."""
    law = mixture((1.0, 0.5, 0.8))
    run = lambda other: wb.sample(
        of(law), kind(others=(other,)), n=2, grid=[20.0, 3.0, 0.1], progress=False
    ).samples.isfinite()
    for known in (Network(law, (0.1, 20.0)), Network(law, (0.12, 15.0)), law):
        assert run(known).all()
    for unknown in (Network(law, (0.1, 5.0)), Network(law, (1.0, 20.0))):
        with pytest.raises(BadInput, match="noise"):
            run(unknown)
    with pytest.raises(BadInput, match="noise"):
        run(Network(law, (0.1, 5.0)).under(VariancePreserving()))


@pytest.mark.parametrize("kind", [S.SuperDiffOr, S.Product, S.FKCProduct])
def test_others_are_a_tuple_of_priors_or_guidances(kind):
    for others in (("a",), S.MomentMatching(), [S.MomentMatching()], (S.MomentMatching,)):
        with pytest.raises(BadInput, match="others"):
            kind(others=others)


class Drawn:
    """A guidance that shows the first number it draws."""

    def __init__(self, seen):
        self.seen = seen

    def bind(self, problem, rng=None):
        self.seen.append(rng.normal(torch.zeros(1, 1, dtype=DOUBLE)).item())
        return problem.prior


def test_each_member_has_draws_of_its_own():
    seen = []
    S.Product(others=(Drawn(seen), Drawn(seen))).bind(of(mixture((1.0, 0.5, 0.8))), wb.Rng(0))
    assert len(seen) == 2 and seen[0] != seen[1]


def test_combinations_say_whether_they_use_the_data():
    law = mixture((1.0, 0.5, 0.8))
    for kind in (S.SuperDiffOr, S.SuperDiffAnd, S.Product, S.FKCProduct):
        assert not kind().uses_data and not kind(others=(law,)).uses_data
        assert kind(others=(law, S.MomentMatching())).uses_data
    assert not S.FKCProduct.evidence and S.FKCProduct.pools
