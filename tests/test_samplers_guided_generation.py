"""Adaptive guidance, TSDiff, the h-transform, optimal boundaries and minority guidance, by what each has in closed form."""

from dataclasses import dataclass, replace

import pytest
import torch
from test_samplers_langevin import EYE, matrix
from truth import DOUBLE, G2, g2_grid, gaussian_problem, normal, tensor

import workbench as wb
from theory import distributions
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench._errors import BadInput
from workbench.diffusion import VariancePreserving
from workbench.diffusion.grids import karras
from workbench.operators.blur import CircularBlur, gaussian_kernel
from workbench.operators.mask import Mask
from workbench.samplers._ancestral import moments
from workbench.samplers._guidance import Guidance
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers.adaptive_guidance import DROWNED, FREE, HEARD, Cosine, Negligible
from workbench.samplers.h_transform import Calibrated, Power
from workbench.samplers.minority import Classifier, SelfScore, minority_score, train_classifier
from workbench.samplers.ts_diff import Mean, Quantile

S = wb.samplers


# --- adaptive guidance --------------------------------------------------------------------------------------------------

GRID = karras(G2.prior.process, 0.01, 20.0, 60)


def adaptive(n=64, **fields):
    return wb.sample(G2, S.AdaptiveGuidance(**fields), n=n, grid=GRID, progress=False)


def test_guidance_that_is_never_left_is_the_full_one():
    full = wb.sample(G2, S.DDPM(guidance=S.MomentMatching()), n=64, grid=GRID, progress=False)
    never = adaptive(rule=Cosine(2.0))
    assert (never.samples - full.samples).abs().max() < 1e-12
    assert (never.cost.denoiser, never.cost.vjp) == (full.cost.denoiser, full.cost.vjp)


def test_rows_that_switched_cost_no_products():
    """And the farther from the full guidance the earlier they switch: the distance is what adaptive guidance loses."""
    full = adaptive(rule=Cosine(2.0))
    gaps, products = [], []
    for threshold in (0.999, 0.9):
        post = adaptive(rule=Cosine(threshold))
        gaps.append((post.samples - full.samples).square().sum(1).mean().sqrt().item())
        products.append(post.cost.vjp)
        assert post.cost.denoiser == full.cost.denoiser
    assert 0 < gaps[0] < gaps[1] and gaps[0] < 0.6
    assert products[1] < products[0] < 0.95 * full.cost.vjp


def test_each_row_switches_once():
    """Stages only rise; a row is guided until its cosine is high, however high it was in noise, and left to the prior after."""
    sampler, rng = S.AdaptiveGuidance(rule=Cosine(0.97)), wb.Rng(0)
    state = sampler.init(G2, 50, GRID[0], rng.at(0))
    assert (state.stage == DROWNED).all()
    seen = []
    for i, (t, s) in enumerate(zip(GRID[:-1], GRID[1:], strict=True)):
        x, stage = state.x, state.stage
        state = sampler.step(G2, state, t, s, rng.at(i + 1))
        assert (state.stage >= stage).all()
        free, guided = (sampler_step(x, t, s, rng.at(i + 1), g) for g in (None, S.MomentMatching()))
        wanted = torch.where((stage == FREE)[:, None], free, guided)
        assert (state.x - wanted).abs().max() < 1e-9
        seen.append(state.stage.clone())
    times = torch.stack(seen)
    assert (times[-1] == FREE).float().mean() > 0.5 and (times == HEARD).any(0).float().mean() > 0.8
    assert len((times == FREE).int().argmax(0).unique()) > 2  # at different times


def sampler_step(x, t, s, rng, guidance):
    return S.DDPM(guidance=guidance).step(G2, S.DDPM.State(x), t, s, rng).x


def test_weight_extrapolates_from_the_prior():
    problem, x, t = gaussian_problem(), normal(3, 2, 2, seed=6), tensor(0.7)
    sampler = S.AdaptiveGuidance(weight=3.0, rule=Cosine(2.0), eta=0.0)
    state = sampler.State(x, stage=torch.zeros(3, dtype=torch.long))
    moved = sampler.step(problem, state, t, tensor(0.0), wb.Rng(0)).x
    plain, guided = problem.prior.denoise(x, t), problem.exact.denoise(x, t)
    assert (moved - (plain + 3 * (guided - plain))).abs().max() < 1e-4
    assert S.AdaptiveGuidance.named("paper").weight == 7.5


@dataclass(frozen=True)
class Drawing(Guidance):
    """A guidance that draws."""

    def pull(self, problem, x, x0, covariance, t, rng):
        r = problem.y + 0.1 * rng.normal(torch.empty(len(x), *problem.y.shape, dtype=x.dtype)) - problem.A(x0)
        return problem.A.H(r) / (1 + t**2)


def test_draws_of_a_row_do_not_depend_on_who_has_switched():
    run = lambda batch: (
        wb.sample(
            G2,
            S.AdaptiveGuidance(full=Drawing(), rule=Cosine(0.97)),
            n=12,
            grid=GRID,
            batch=batch,
            progress=False,
        ).samples
    )
    assert (run(12) - run(1)).abs().max() < 1e-9


def blurred():
    """A smooth field under a blur, its data and its posterior's variances."""
    prior = GaussianField(power_law((16, 16), dtype=DOUBLE))
    A, noise = CircularBlur(gaussian_kernel((16, 16), 1.0, dtype=DOUBLE)), wb.noise.Gaussian(0.1)
    problem = wb.Problem(prior, A, noise, y=noise.sample(A(prior.sample(1, 3)[0]), 1))
    return problem, problem.exact.sample(300, 7).var(0)


def in_deviations(problem, variance, x):
    """The rms error of the mean, and the ratio of deviations, in those of the posterior."""
    off = x.mean(0) - problem.exact.mean()
    return (off.square() / variance).mean().sqrt().item(), (x.var(0) / variance).mean().sqrt().item()


def test_guidance_of_a_field_is_left_at_the_end():
    """A tenth of the products are saved, for less than a tenth of a posterior deviation; the cosine saves none."""
    problem, variance = blurred()
    run = lambda sampler: wb.sample(problem, sampler, n=6, steps=60, progress=False)
    fields = dict(full=S.SelfGuidance())
    full, mine = run(S.DDPM(guidance=S.SelfGuidance())), run(S.AdaptiveGuidance(**fields))
    assert mine.cost.vjp < 0.9 * full.cost.vjp and mine.cost.denoiser == full.cost.denoiser
    lost = ((mine.samples - full.samples).square() / variance).mean().sqrt()
    assert 0 < lost < 0.1
    exact = run(S.DDPM(guidance=S.MomentMatching()))
    assert (
        run(S.AdaptiveGuidance()).cost.vjp < exact.cost.vjp == run(S.AdaptiveGuidance(rule=Cosine())).cost.vjp
    )
    assert run(S.AdaptiveGuidance(rule=Negligible(0.0), **fields)).cost.vjp == full.cost.vjp


def test_tsdiff_of_a_field():
    """In likelihood units, without tuning."""
    problem, variance = blurred()
    error, ratio = in_deviations(
        problem, variance, wb.sample(problem, S.TSDiff(), n=24, steps=100, progress=False).samples
    )
    assert error < 0.7 and ratio < 1.12


def test_tsdiff_climbs_to_the_top_along_its_slope():
    """Of -||y - A x||^2 / 2 sigma^2 - (x - x0)^T C^{-1} (x - x0) / 2 on the line x0 + w C g."""
    problem, x, t, s = gaussian_problem(), normal(3, 2, 2, seed=6), tensor(0.7), tensor(0.4)
    A, C = matrix(problem), torch.linalg.inv(torch.linalg.inv(problem.prior.cov()) + EYE / 0.49)
    x0 = problem.prior.denoise(x, t).flatten(1)
    g = (problem.y - x0 @ A.mT) @ A / 0.16
    posterior = torch.linalg.inv(C) + A.mT @ A / 0.16
    along = g @ C
    w = (along * g).sum(1, keepdim=True) / ((along @ posterior) * along).sum(1, keepdim=True)
    mean, tau = moments(problem.prior.process, x, (x0 + w * along).reshape(3, 2, 2), t, s)
    moved = S.TSDiff().step(problem, S.TSDiff.State(x), t, s, wb.Rng(3)).x
    assert (moved - mean - tau * wb.Rng(3).normal(x)).abs().max() < 1e-9


# --- TSDiff -------------------------------------------------------------------------------------------------------------


def series(length=24, rho=0.9, sigma=0.1):
    """An AR(1) series of unit variance with two blocks missing, and its data."""
    i = torch.arange(length)
    prior = distributions.Gaussian(torch.zeros(length, dtype=DOUBLE), rho ** (i[:, None] - i).abs().double())
    seen = torch.ones(length, dtype=torch.bool)
    seen[5:10], seen[16:20] = False, False
    A, noise = Mask(seen, DOUBLE), wb.noise.Gaussian(sigma)
    truth = prior.sample(1, 3)[0]
    return wb.Problem(prior, A, noise, y=noise.sample(A(truth), 1), truth=truth), seen


@pytest.mark.parametrize(
    "sampler", [S.DDPM(guidance=S.SelfGuidance()), S.TSDiff()], ids=["guidance", "published"]
)
def test_missing_blocks_of_a_series(sampler):
    """Near the exact Gaussian conditional in the mean; the prior (the control) is far."""
    problem, seen = series()
    times = karras(problem.prior.process, 0.01, 20.0, 80)
    exact, sd = problem.exact.mean(), problem.exact.cov().diagonal().sqrt()
    off = lambda who: (
        wb.sample(problem, who, n=300, grid=times, progress=False).samples.mean(0) - exact
    ).abs()
    near, far = off(sampler), off(S.DDPM())
    assert near[seen].mean() < 0.1 < far[seen].mean()
    assert (near[~seen] / sd[~seen]).mean() < 0.5 * (far[~seen] / sd[~seen]).mean()


def test_self_guidance_is_the_gradient_of_the_energy():
    """xhat - w (sigma^2 / alpha) grad_{x_t} E, against automatic differentiation, in a process with alpha < 1."""
    base = gaussian_problem(process=VariancePreserving())
    t = base.prior.process.time(0.7)
    alpha, sigma = base.prior.process.alpha(t), base.prior.process.sigma(t)
    for energy in (Mean(), Quantile(0.3)):
        x = normal(3, 2, 2, seed=6).requires_grad_()
        with torch.enable_grad():
            x0 = base.prior.denoise(x, t)
            r = (base.y - base.A(x0)) / 0.4
            E = 0.5 * r.square().sum() if isinstance(energy, Mean) else torch.maximum(0.3 * r, -0.7 * r).sum()
            (slope,) = torch.autograd.grad(E, x)
        x, x0 = x.detach(), x0.detach()
        guided = S.SelfGuidance(energy=energy, weight=0.2).bind(base).denoise(x, t)
        assert (guided - (x0 - 0.2 * sigma**2 / alpha * slope)).abs().max() < 1e-8
        s = base.prior.process.time(0.5)
        moved = S.TSDiff(energy=energy, weight=0.2).step(base, S.TSDiff.State(x), t, s, wb.Rng(3)).x
        mean, tau = moments(base.prior.process, x, x0, t, s)
        assert (moved - (mean + tau * wb.Rng(3).normal(x) - 0.2 * tau**2 * slope)).abs().max() < 1e-8


def test_self_guidance_moves_where_tsdiff_does():
    """By default both take xhat to the top of the Gaussian posterior along the slope, here to 1e-6 by a search."""
    problem = gaussian_problem()
    x, s = normal(5, 2, 2, seed=6), tensor(0.8)
    x0, covariance = problem.prior.tweedie(x, s)
    shift = S.SelfGuidance().shift(problem, x, x0, covariance, s, wb.Rng(0))
    C = torch.linalg.inv(torch.linalg.inv(problem.prior.cov()) + torch.eye(4, dtype=x.dtype) / 0.64)

    def fit(c):
        u = x0 + c * shift
        off = (u - x0).flatten(1)
        return log_likelihood(problem, u) - 0.5 * (off @ torch.linalg.inv(C) * off).sum(1)

    assert (fit(1.0) > fit(1 - 1e-3)).all() and (fit(1.0) > fit(1 + 1e-3)).all()
    assert torch.equal(0 * shift, S.SelfGuidance(weight=0.0).shift(problem, x, x0, covariance, s, wb.Rng(0)))


def test_quantile_levels_belong_to_samples():
    """Samples of a higher level end higher, one level for every step, and a batch does not change them."""
    problem, seen = series(sigma=0.3)
    times = karras(problem.prior.process, 0.01, 20.0, 40)
    run = lambda q: wb.sample(
        problem, S.SelfGuidance(energy=Quantile(q)), n=200, grid=times, progress=False
    ).samples[:, seen]
    low, middle, high = (run(q).mean() for q in (0.1, 0.5, 0.9))
    assert low < middle < high
    rng, x0 = wb.Rng(5), torch.zeros(6, 24, dtype=DOUBLE)
    pulls = [Quantile()(problem, x0, rng.at(i).fork("guidance")) for i in (1, 2)]
    assert torch.equal(*pulls)
    alone = Quantile()(problem, x0[:1], rng.rows(4).at(7).fork("guidance"))
    assert torch.equal(alone[0], pulls[0][4]) and not torch.equal(pulls[0][0], pulls[0][4])
    levels = rng.fork("guidance").at(0).fork("level").uniform(6, 1)
    slack = (pulls[0][:, seen] * 0.3 - levels).abs()
    assert torch.minimum(slack, (slack - 1).abs()).max() < 1e-9  # q, or q - 1, over sigma


def test_refiner_minimises_its_energy():
    """The average of the iterates is where kappa^2 (C + kappa^2)^{-2} (x - m) = A^T (y - A x) / sigma^2."""
    problem, kappa = gaussian_problem(sigma=1.5), 0.5
    A, m = matrix(problem), problem.prior.mean().flatten()
    inverse = torch.linalg.inv(problem.prior.cov() + kappa**2 * EYE)
    P = kappa**2 * inverse @ inverse
    wanted = torch.linalg.solve(P + A.mT @ A / 2.25, P @ m + A.mT @ problem.y / 2.25)
    plain = torch.linalg.solve(inverse + A.mT @ A / 2.25, inverse @ m + A.mT @ problem.y / 2.25)
    post = wb.sample(problem, S.TSDiffRefiner(level=kappa, delta=0.05), n=500, steps=500, progress=False)
    found = post.samples.flatten(1).mean(0)
    spread = post.samples.flatten(1).std(0).max() / 500**0.5
    assert (found - wanted).abs().max() < 5 * spread + 2e-3 < (plain - wanted).abs().max()
    warm = wb.sample(problem, S.TSDiffRefiner(level=kappa, temperature=1.0), n=500, steps=100, progress=False)
    assert warm.samples.std(0).min() > 1.5 * post.samples.std(0).min()


# --- the weighted h-transform -------------------------------------------------------------------------------------------


def test_power_weight():
    """sigma^5 under the variance-preserving process; the reference is reached in noise and left at the data."""
    process = VariancePreserving()
    t = process.time(0.8)
    assert abs(Power()(process.kappa(t)) - process.sigma(t) ** 5) < 1e-9
    problem, y = gaussian_problem(process=process), normal(2, 2, seed=9)
    x = normal(3, 2, 2, seed=6)
    x0, omega = problem.prior.denoise(x, t), process.sigma(t) ** 5
    moved = S.HTransform(reference=y).bind(problem).denoise(x, t)
    assert (moved - ((1 - omega) * x0 + omega * y)).abs().max() < 1e-9
    for kappa, weight in ((1e-3, 0.0), (1e3, 1.0)):
        assert abs(Power()(tensor(kappa)) - weight) < 1e-5
    with pytest.raises(BadInput, match="reference"):
        S.HTransform(reference=normal(3, seed=1)).bind(problem).denoise(x, t)


@pytest.mark.parametrize("process", [None, VariancePreserving()], ids=repr)
def test_calibrated_weight_is_exact(process):
    """y = x0 + noise n, x0 ~ N(0, c): the guided denoiser is E[x0 | x_t, y] itself."""
    prior = distributions.Gaussian(torch.zeros(5, dtype=DOUBLE), 0.7, process)
    A, y = Mask(torch.ones(5, dtype=torch.bool), DOUBLE), normal(5, seed=3)
    problem = wb.Problem(prior, A, wb.noise.Gaussian(0.4), y=y)
    guidance = S.HTransform(reference=y, weight=Calibrated(0.4, 0.7))
    for kappa in (0.05, 0.7, 8.0):
        t = prior.process.time(kappa)
        x = normal(4, 5, seed=6)
        assert (guidance.bind(problem).denoise(x, t) - problem.exact.denoise(x, t)).abs().max() < 1e-9
        other = S.HTransform(reference=y).bind(problem).denoise(x, t)
        assert (other - problem.exact.denoise(x, t)).abs().max() > 1e-3  # the control


def test_reference_made_of_the_data():
    """Without a reference the measured part goes to the pseudo-inverse, the rest stays."""
    problem = replace(gaussian_problem(), noise=wb.noise.Gaussian(0.1))
    x, t = normal(3, 2, 2, seed=6), tensor(50.0)
    x0, omega = problem.prior.denoise(x, t).flatten(1), Power()(t)
    moved = S.HTransform(ridge=1e-5).bind(problem).denoise(x, t).flatten(1)
    A = matrix(problem)
    fill = x0 + omega * (problem.y - x0 @ A.mT) @ torch.linalg.pinv(A).mT
    assert (moved - fill).abs().max() < 1e-4


# --- the optimal boundary -----------------------------------------------------------------------------------------------


def test_zero_is_the_best_start_of_a_gaussian():
    """The ODE is affine: the loss grows by ||M (x_T - x_T*)||^2, and x_T = 0 gives the posterior mean."""
    problem = gaussian_problem()
    pairs = tuple(
        (problem.noise.sample(problem.A(x), i), x) for i, x in enumerate(problem.prior.sample(12, 5))
    )
    times = karras(problem.prior.process, 0.005, 1000.0, 30)
    sampler = S.OptimalBoundary(pairs=pairs)
    starts = 1000 * torch.cat([torch.zeros(1, 2, 2, dtype=DOUBLE), normal(6, 2, 2, seed=8)])
    losses = sampler.losses(problem, starts, times)
    assert losses.argmin() == 0
    end = sampler._end(problem, starts, times)
    assert (end[0] - problem.exact.mean()).abs().max() < 0.04
    growth = 12 * (end - end[0]).flatten(1).square().sum(1)
    cross = 2 * (torch.linalg.matrix_norm(problem.exact.cov(), 2) * growth).sqrt()  # its deviation, at most
    assert ((losses - losses[0] - growth).abs() <= 4 * cross).all()
    chosen = sampler.search(problem, steps=20, seed=1)
    candidates = problem.prior.initial(8, problem.prior.grid(20)[0], wb.Rng(1, "boundary").fork("candidates"))
    best = sampler.losses(problem, candidates, problem.prior.grid(20)).argmin()
    assert torch.equal(chosen.start, candidates[best])


def test_one_start_for_all_and_reused():
    problem = gaussian_problem()
    post = wb.sample(problem, S.OptimalBoundary(), n=3, steps=12, progress=False)
    assert (post.samples - post.samples[0]).abs().max() == 0  # a point estimate
    start = normal(2, 2, seed=5)
    fixed = wb.sample(problem, S.OptimalBoundary(start=start), n=2, grid=[0.9, 0.3], progress=False).samples
    state = S.DDIM.State(start[None])
    for t, s in ((0.9, 0.3), (0.3, 0.0)):
        state = S.DDIM(guidance=S.MomentMatching()).step(problem, state, tensor(t), tensor(s), wb.Rng(0))
    assert (fixed - state.x).abs().max() < 1e-12
    assert (
        wb.sample(problem, S.OptimalBoundary(start=start), n=2, steps=5, progress=False).cost.denoiser == 10
    )


def test_the_chosen_start_is_the_least_lossy():
    """More candidates, the same first ones: never a larger misfit."""
    problem = gaussian_problem()
    misfit = []
    for K in (1, 4, 16):
        x = wb.sample(problem, S.OptimalBoundary(candidates=K), n=1, steps=20, progress=False).samples
        misfit.append((problem.A(x) - problem.y).square().sum().item())
    assert misfit[2] < misfit[0] and misfit[1] <= misfit[0] + 1e-12


# --- minority guidance --------------------------------------------------------------------------------------------------

LOPSIDED = distributions.GaussianMixture([0.9, 0.1], tensor([[0.0, 0.0], [4.0, 0.0]]), tensor([0.1, 0.6]))


def lopsided():
    return replace(G2, prior=LOPSIDED)


def test_minority_score_is_the_trace_of_the_covariance():
    problem, kappa = gaussian_problem(), 0.7
    x = problem.prior.sample(20_000, 0)
    score = minority_score(problem.prior, x, kappa, repeats=2)
    C = torch.linalg.inv(torch.linalg.inv(problem.prior.cov()) + EYE / kappa**2)
    assert abs(score.mean() / C.trace() - 1) < 0.02 and score.dtype == DOUBLE
    rare = minority_score(LOPSIDED, tensor([[0.0, 0.0], [4.0, 0.0]]), kappa, repeats=4000 // 4)
    assert rare[1] > 1.5 * rare[0]  # the wide, rare mode is harder to denoise


@pytest.mark.parametrize("process", [None, VariancePreserving()], ids=repr)
def test_self_score_guidance_is_its_gradient(process):
    problem = gaussian_problem(process=process)
    process = problem.prior.process
    t, level = process.time(0.7), 0.5
    x, rng = normal(3, 2, 2, seed=6), wb.Rng(1)
    guidance = S.MinorityGuidance(weight=0.3, score=SelfScore(level))
    moved = guidance.bind(problem, rng).denoise(x, t)
    u, h = process.time(level), 1e-5
    z = wb.Rng(1).normal(x)

    def energy(x):
        x0 = problem.prior.denoise(x, t)
        again = problem.prior.denoise(process.alpha(u) * (x0 + level * z), u)
        return (x0 - again).square().flatten(1).sum(1) / (2 * level**2)

    slope = torch.zeros_like(x)
    for i in range(4):
        e = torch.zeros(4, dtype=DOUBLE)
        e[i] = h
        e = e.reshape(2, 2)
        slope.flatten(1)[:, i] = (energy(x + e) - energy(x - e)) / (2 * h)
    wanted = problem.prior.denoise(x, t) + 0.3 * process.sigma(t) ** 2 / process.alpha(t) * slope
    assert (moved - wanted).abs().max() < 1e-6


def test_minority_guidance_finds_low_density():
    """Draws with lower log-density, and more of the rare mode, than the prior's own; more with more weight."""
    problem, times = lopsided(), g2_grid(60)
    density, share = [], []
    for sampler in (S.DDPM(), S.MinorityGuidance(), S.MinorityGuidance(weight=1.0)):
        x = wb.sample(problem, sampler, n=1500, grid=times, progress=False).samples
        density.append(LOPSIDED.log_prob(x).mean().item())
        share.append(LOPSIDED.responsibilities(x).mean(0)[1].item())
    assert density[0] - 0.1 > density[1] > density[2] > -8 and share[2] > share[0] + 0.02


@pytest.fixture(scope="module")
def classifier():
    x = LOPSIDED.sample(4000, 0)
    scores = minority_score(LOPSIDED, x, 0.7, repeats=5)
    return x, scores, train_classifier(LOPSIDED, x, scores, classes=5, steps=500, seed=0)


def test_classifier_knows_the_classes(classifier):
    x, scores, network = classifier
    labels = torch.bucketize(scores, torch.quantile(scores, tensor([0.2, 0.4, 0.6, 0.8])))
    assert (torch.bincount(labels) - 800).abs().max() <= 1
    found = network(x + 0.05 * normal(4000, 2, seed=1), tensor(0.05)).argmax(1)
    assert (found == labels)[labels == 4].double().mean() > 0.4
    again = train_classifier(LOPSIDED, x, scores, classes=5, steps=3, seed=0)
    same = train_classifier(LOPSIDED, x, scores, classes=5, steps=3, seed=0)
    other = train_classifier(LOPSIDED, x, scores, classes=5, steps=3, seed=1)
    first = lambda net: net.layers[0].weight
    assert torch.equal(first(again), first(same)) and not torch.equal(first(again), first(other))


def test_classifier_guidance_finds_low_density(classifier):
    problem, times = lopsided(), g2_grid(60)
    run = lambda sampler: LOPSIDED.log_prob(
        wb.sample(problem, sampler, n=600, grid=times, progress=False).samples
    ).mean()
    guided = S.MinorityGuidance.named("paper", score=Classifier(classifier[2]))
    usual = S.MinorityGuidance.named("paper", score=Classifier(classifier[2], label=0))
    assert run(guided) < run(S.DDPM()) - 0.3 and run(usual) > run(guided) + 0.3


def test_constructors_refuse_nonsense():
    for make in (
        lambda: S.MinorityGuidance(weight=float("nan")),
        lambda: SelfScore(level=0.0),
        lambda: Quantile(2.0),
        lambda: S.TSDiffRefiner(temperature=-1.0),
        lambda: S.TSDiff(weight=-1.0),
        lambda: S.AdaptiveGuidance(eta=3.0),
    ):
        with pytest.raises(BadInput, match="should"):
            make()
    assert not S.MinorityGuidance().uses_data
