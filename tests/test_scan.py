"""From a scan to a problem: white noise, a split without overlap, units, and checks that a wrong model fails."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from problems._scan import from_kspace, from_sinogram, hold_out
from theory.distributions.field_fit import FieldFit
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.cli import _job
from workbench.io.kspace import KSpace
from workbench.io.sinogram import Sinogram
from workbench.metrics.predictive import predictive
from workbench.noise.gaussian import CorrelatedGaussian, Gaussian
from workbench.operators.cartesian_mri import CartesianMRI
from workbench.operators.coils import simulate_coils
from workbench.operators.radon import ParallelBeam
from workbench.problem import Problem
from workbench.samplers._sampler import Sampler
from workbench.samplers.exact import ExactDraws

SHAPE, COILS = (36, 32), 4
PRIOR = GaussianField(power_law(SHAPE, 1.3), dtype=torch.complex64)


def draw(*shape, dtype=torch.float64, seed=0):
    return Rng(seed, "test").normal(torch.empty(*shape, dtype=dtype))


def columns(middle=8):
    mask = torch.arange(SHAPE[1]) % 2 == 0
    return mask | ((torch.arange(SHAPE[1]) - SHAPE[1] // 2).abs() <= middle // 2)


def covariance(size, seed=1):
    """Of four coils that share some of their noise, per real component; the mean variance is size^2."""
    m = draw(COILS, COILS, dtype=torch.complex128, seed=seed) + 2 * torch.eye(COILS)
    C = m @ m.mH
    return (size**2 * C / C.diagonal().real.mean()).to(torch.complex64)


def scan(sigma=0.02, seed=0, maps=True, noise=True, mask=None):
    """A slice drawn from PRIOR, its noise correlated between coils and known from a noise scan; the image."""
    mask = columns() if mask is None else mask
    A, law = CartesianMRI(simulate_coils(SHAPE, COILS), mask), CorrelatedGaussian(covariance(sigma))
    x = PRIOR.sample(1, seed)[0]
    k = A.grid(law.sample(A(x), seed))
    samples = law.sample(torch.zeros(COILS, 20_000, dtype=torch.complex64), seed + 1000)
    return KSpace(k[None], mask, maps=A.maps if maps else None, noise=samples if noise else None), x


# --- whitening and maps ---------------------------------------------------------------------------------------------


def test_whitened_noise_has_unit_covariance():
    given, x = scan(mask=torch.ones(SHAPE[1], dtype=torch.bool))
    made = from_kspace(given, 0)
    n = made.y - made.A(x)
    found = (n @ n.mH / (2 * n.shape[1])).to(torch.complex128)
    bound = 5 * (1 / (2 * n.shape[1])) ** 0.5  # five standard errors of an entry
    assert (found - torch.eye(COILS)).abs().max() < bound and made.sigma == 1.0
    raw = given.data[0].flatten(1) - CartesianMRI(given.maps, given.mask)(x)
    correlation = (raw @ raw.mH)[0, 1].abs() / (raw @ raw.mH).diagonal().abs()[:2].prod().sqrt()
    assert correlation > 0.1  # the control: it was not white before


def test_maps_given_keep_the_units_of_the_scan():
    given, x = scan()
    made = from_kspace(given, 0)
    assert made.unit == "units of the scan" and made.support.all()
    W = torch.linalg.inv(torch.linalg.cholesky(covariance(0.02)))
    want = torch.tensordot(W, given.maps, dims=1)
    assert (made.A.maps - want).abs().max() < 0.05 * want.abs().max()  # W is estimated from 20,000 samples
    assert (made.y - made.A(x)).abs().square().mean() == pytest.approx(2, rel=0.05)


def test_estimated_maps_have_unit_norm_and_the_image_is_an_snr():
    given, x = scan(maps=False)
    made = from_kspace(given, 0)
    power = made.A.maps.abs().square().sum(0)
    assert ((power - 1).abs()[made.support] < 1e-4).all() and made.support.double().mean() > 0.7
    assert made.unit == "noise standard deviations" and any("ESPIRiT" in note for note in made.notes)
    W = torch.linalg.inv(torch.linalg.cholesky(covariance(0.02)))
    white = torch.tensordot(W, simulate_coils(SHAPE, COILS), dims=1)
    want = x.abs() * white.abs().square().sum(0).sqrt()  # the same image in units of the noise
    found = made.A.solve(made.A.adjoint(made.y), 1e-3).abs()
    bright = made.support & (want > want.median())
    assert (found - want).abs()[bright].median() < 0.1 * want[bright].median()


def test_maps_of_each_slice():
    given, _ = scan()
    two = replace(given, data=given.data.repeat(2, 1, 1, 1), maps=torch.stack([given.maps, 2 * given.maps]))
    first, second = (from_kspace(two, i).A.maps for i in range(2))
    assert torch.allclose(second, 2 * first)


def test_a_single_coil_has_the_sensitivity_one():
    given, x = scan()
    one = replace(given, data=given.data[:, :1], maps=None, noise=given.noise[:1])
    made = from_kspace(one, 0)
    sigma = covariance(0.02)[0, 0].real.sqrt()
    assert torch.allclose(made.A.maps, torch.ones_like(made.A.maps) / sigma, rtol=0.02)
    assert (
        made.unit == "units of the scan" and made.support.all() and any("One coil" in n for n in made.notes)
    )
    assert torch.allclose(made.y, made.A.sample(one.data[0]) * made.A.maps[0, 0, 0], rtol=1e-4)


def test_the_noise_comes_from_the_edge_or_is_said_to_be_a_guess():
    given, _ = scan(noise=False)
    assert any("outermost" in note for note in from_kspace(given, 0).notes)
    few = torch.zeros(SHAPE, dtype=torch.bool)
    few[15:21, 13:19] = True
    small = from_kspace(replace(given, mask=few, data=given.data * few), 0)
    assert any(note.startswith("Warning: too few points") for note in small.notes)


# --- what is held out -----------------------------------------------------------------------------------------------


def test_the_held_out_points_and_the_fitted_ones_are_all_and_disjoint():
    given, _ = scan()
    made = from_kspace(given, 0, share=0.1, seed=3)
    (A, a), (B, b) = made.fitted, made.held
    assert not (A.mask & B.mask).any() and torch.equal(A.mask | B.mask, given.mask.broadcast_to(SHAPE))
    assert b.shape == (COILS, round(0.1 * made.y.shape[1])) and torch.equal(
        A.grid(a) + B.grid(b), made.A.grid(made.y)
    )
    x = PRIOR.sample(2, 5)
    assert torch.allclose(A.grid(A(x)) + B.grid(B(x)), made.A.grid(made.A(x)), atol=1e-3)
    other = from_kspace(given, 0, share=0.1, seed=4).held[0].mask
    assert torch.equal(from_kspace(given, 0, share=0.1, seed=3).held[0].mask, B.mask)
    assert not torch.equal(other, B.mask)


def views(sigma=None, seed=0, count=30, size=32):
    """A blob of 0.05 / mm on a field, from 30 sides half a millimetre apart, noise 0.02 (or `sigma`)."""
    angles = torch.arange(count, dtype=torch.float64) * torch.pi / count
    A = ParallelBeam(angles, (size, size), size, spacing=0.5, pixel=0.5)
    x = GaussianField(power_law((size, size), 1.3, scale=0.05)).sample(1, seed)[0]
    level = 0.02 if sigma is None else sigma
    return Sinogram(
        Gaussian(level).sample(A(x), seed)[None], angles, 0.5, A.axis, None if sigma is None else sigma[None]
    ), x


def test_the_held_out_views_and_the_fitted_ones_are_all_and_disjoint():
    given, x = views()
    made = from_sinogram(given, 0, share=0.1, seed=3)
    (A, a), (B, b) = made.fitted, made.held
    assert b.numel() == 3 * 32 and a.numel() == 27 * 32
    assert sorted(torch.cat([a, b]).tolist()) == sorted(made.y.flatten().tolist())
    clean = made.A(x)
    assert sorted(torch.cat([A(x), B(x)]).tolist()) == pytest.approx(
        sorted(clean.flatten().tolist()), abs=1e-5
    )
    rows = [(made.y == value).nonzero()[0, 0].item() for value in b]
    assert len(set(rows)) == 3  # whole views


def test_sinograms_without_a_noise_level_get_a_guess_of_it():
    given, x = views()
    made = from_sinogram(given, 0)
    assert 0.5 < made.sigma / 0.02 < 10  # the fit refines it; texture reads as noise here
    assert made.unit == "1/mm" and made.A.in_shape == (32, 32)
    assert from_sinogram(replace(given, known_spacing=False), 0).unit == "1/detector column"
    assert made.support.double().mean() == pytest.approx(np.pi / 4, abs=0.03)
    assert from_sinogram(given, 0, shape=(20, 24)).A.in_shape == (20, 24)


def test_sinograms_are_whitened_by_their_noise():
    sigma = torch.linspace(0.01, 0.2, 30)[:, None].expand(30, 32).contiguous()
    given, x = views(sigma)
    made = from_sinogram(given, 0)
    n = made.y - made.A(x)
    assert made.sigma == 1.0 and abs(n.square().mean() - 1) < 5 * (2 / n.numel()) ** 0.5
    assert abs(n[:5].square().mean() / n[-5:].square().mean() - 1) < 5 * (4 / 160) ** 0.5


@pytest.mark.parametrize("n, share, count", [(100, 0.05, 5), (7, 0.05, 1), (10, 0.25, 2), (1000, 0.999, 999)])
def test_hold_out_counts(n, share, count):
    assert hold_out(n, share, 0).sum() == count and hold_out(n, share, 0).shape == (n,)


@pytest.mark.parametrize("share", [0, 1, -0.1, 2, float("nan")])
def test_hold_out_refuses(share):
    with pytest.raises(BadInput, match="hold_out = "):
        hold_out(10, share, 0)


# --- are the checks right? ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [8, 32, 200])
@pytest.mark.parametrize("sigma", [1e-6, 0.5, 3.0])
def test_predictive_of_exact_draws_of_any_number(n, sigma):
    m = 40_000
    p, truth, e = (draw(k, m, seed=i) for i, k in enumerate((n, 1, 1)))
    made = predictive(p + 5, truth[0] + 5 + sigma * e[0], sigma)
    bound = 5 * (2 / m) ** 0.5 * (1 if n > 8 else 2.5)  # Student's tails are wide at 7 degrees of freedom
    assert abs(made.chi_square - 1) < bound and abs(made.coverage - 0.9) < 5 * (0.09 / m) ** 0.5
    assert made.count == m and made.level == 0.9
    complex_ = predictive(torch.complex(p, p.flip(1)), torch.complex(truth[0], truth[0].flip(0)), 1e-6)
    assert complex_.count == 2 * m and abs(complex_.chi_square - 1) < bound


def test_predictive_needs_four_draws():
    with pytest.raises(BadInput, match="3 draws"):
        predictive(draw(3, 5), draw(5), 1.0)


def model(prior=PRIOR, sigma=1.0):
    return FieldFit(prior, Gaussian(sigma), [dict(change=0.0)])


@pytest.fixture(scope="module")
def measured():
    """Six scans of six draws of PRIOR, 15 % of each held out."""
    return [from_kspace(scan(seed=seed)[0], 0, share=0.15, seed=seed) for seed in range(6)]


def average(measured, fit):
    """Chi-square and coverage of the held-out data of all scans."""
    held = [
        _job.held_out(part, Problem(fit.prior, part.A, fit.noise, part.y), ExactDraws(), 1, seed)
        for seed, part in enumerate(measured)
    ]
    return np.mean([h.chi_square for h in held]), np.mean([h.coverage for h in held])


def test_the_checks_of_the_right_model_pass(measured):
    chi_square, coverage = average(measured, model())
    assert abs(chi_square - 1) < 0.06 and abs(coverage - 0.9) < 0.02


@pytest.mark.parametrize(
    "wrong",
    [model(sigma=1 / 3), model(GaussianField(PRIOR.spectrum / 10, dtype=PRIOR.dtype))],
    ids=["noise", "spectrum"],
)
def test_the_checks_of_a_wrong_model_fail(wrong, measured):
    chi_square, coverage = average(measured[:2], wrong)
    assert chi_square > 1.3 and coverage < 0.85


def test_the_checks_of_a_model_without_confidence_fail(measured):
    chi_square, coverage = average(measured[:2], model(sigma=3))
    assert chi_square < 0.7 and coverage > 0.95


def test_data_consistency_of_exact_draws_is_one(measured):
    part = measured[0]
    x = PRIOR.condition(part.A, part.y, Gaussian(1.0)).sample(20, 0)
    assert abs(_job.consistency(part, x, 1.0) - 1) < 5 * (2 / _job.reals(part.y)) ** 0.5 + 0.01
    twice = replace(part, A=2 * part.A, y=2 * part.y)  # other units, the same misfit in units of the noise
    assert _job.consistency(twice, x, 2.0) == pytest.approx(_job.consistency(part, x, 1.0))
    narrow = PRIOR.condition(part.A, part.y, Gaussian(1 / 3)).sample(20, 0)
    assert abs(_job.consistency(part, narrow, 1 / 3) - 1) > 0.3
    assert _job.consistency(part, PRIOR.sample(20, 0), 1.0) > 10


def test_the_main_job_fits_a_model_that_passes(measured):
    part, fit = _job.reconstruct(measured[0], draws=20, say=lambda text: None)
    assert abs(fit.noise.sigma - 1) < 0.1 and part.checks["noise_factor"] == fit.noise.sigma
    shells = (fit.prior.spectrum / PRIOR.spectrum).log().abs()
    assert shells.median() < 0.4  # a realisation has few numbers in a ring
    assert (
        abs(part.checks["held_out_chi_square"] - 1) < 0.2 and abs(part.checks["data_consistency"] - 1) < 0.05
    )
    assert len(part.warnings) == 1 and "20 draws" in part.warnings[0]


def test_the_held_out_data_judge_the_prior_that_makes_the_image(measured):
    """A prior that is far too sure is found out, though the field fitted beside it is right."""
    sure = GaussianField(PRIOR.spectrum / 100, dtype=PRIOR.dtype)
    part, fit = _job.reconstruct(measured[0], draws=10, make_prior=lambda scale: sure, say=lambda text: None)
    assert part.checks["held_out_chi_square"] > 2 and abs(fit.noise.sigma - 1) < 0.1


class OneWins(Sampler):
    """Draws of the prior, and one exact draw that has all the weight."""

    def grid(self, prior, steps):
        return prior.grid(1)

    def step(self, problem, state, t, s, rng):
        x = torch.cat([PRIOR.sample(len(state.x) - 1, 1), problem.exact.sample(1, 1)])
        weight = torch.full((len(x),), -torch.inf, dtype=torch.float64)
        weight[-1] = 0
        return self.State(x, weight)

    def init(self, problem, n, t, rng):
        return self.State(PRIOR.sample(n, 0), torch.zeros(n, dtype=torch.float64))


def test_weighted_draws_count_by_their_weights(measured):
    part, _ = _job.reconstruct(measured[0], draws=10, sampler=OneWins(), say=lambda text: None)
    assert abs(part.checks["data_consistency"] - 1) < 0.15 and "come from 1 draws" in part.warnings[-1]
    assert all(torch.equal(x, part.mean) for x in part.draws)


def test_warnings_in_words():
    good = dict(
        held_out_chi_square=1.0, held_out_coverage_90=0.9, held_out_numbers=10_000, data_consistency=1.0
    )
    said = lambda draws=200, change=0.0, **bad: _job.warnings({**good, **bad}, [dict(change=change)], draws)  # noqa: E731
    assert said() == []
    assert "too narrow by about 2.00 times" in said(held_out_chi_square=4.0)[0]
    assert "too wide by about 2.00 times" in said(held_out_chi_square=0.25)[0]
    assert "70.0 %" in said(held_out_coverage_90=0.7)[0] and "0.500" in said(data_consistency=0.5)[0]
    assert "0.20" in said(change=0.2)[0] and "50 draws" in said(draws=50)[0]
