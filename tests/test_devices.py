"""No tensor is left behind when a problem moves to another device: everything runs on a pretended one, with the same numbers."""

import shutil

import fake_cupy
import pretend
import pytest
import torch
from laws import measurements, signals

import problems
import workbench as wb
from theory.distributions.covariance import LowRank
from theory.distributions.field_fit import fit_field
from theory.distributions.gaussian_field import GaussianField, power_law
from theory.distributions.mixture import GaussianMixture
from workbench import BadInput, Rng, catalogue
from workbench._checkpoint import Checkpoint
from workbench.cli import check
from workbench.metrics.predictive import predictive
from workbench.noise import CorrelatedGaussian, Gaussian, Poisson
from workbench.operators import Dense, Fourier, Stack, coils, dot_test
from workbench.operators._linear import Linear
from workbench.operators.adjointness import inner
from workbench.problem import moved
from workbench.samplers import DDPM, DPS, TDS, ExactDraws, MomentMatching

SMALL = {  # sizes; other problems are tried at their own
    "inpainting/random": dict(size=16),
    "ct/head-parallel-60": dict(size=32, views=12),
    "deblur/gaussian": dict(size=32),
    "compressed-sensing/gaussian": dict(size=8),
    "mri/brain-cartesian-4x": dict(size=32, coils=3),
    "physics/inverse-scattering": dict(size=12, transmitters=4, receivers=9),
    "physics/black-hole": dict(size=12, scans=4),
    "physics/navier-stokes": dict(size=12, steps=4),
    "physics/full-waveform": dict(size=12, shots=2, samples=30),
}
DTYPES = (torch.float64, torch.complex64)


@pytest.fixture
def elsewhere():
    with pretend.pretended() as device:
        yield device


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """What cupy would run, where it can be compiled."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if shutil.which("g++"):
            fake_cupy.install(monkeypatch, tmp_path_factory.mktemp("kernels"))
        yield


def same(there, here):
    """Whether a pretended result is where it should be, with the numbers of the CPU (the very same arithmetic)."""
    assert isinstance(there, pretend.Elsewhere), "it is on the CPU"
    assert there.shape == here.shape and there.dtype == here.dtype
    return torch.allclose(there.cpu(), here, rtol=1e-5, atol=1e-6 * here.abs().max().item(), equal_nan=True)


def normal(*shape, dtype=torch.float64, seed=0):
    return Rng(seed, "devices").normal(torch.empty(shape, dtype=dtype))


def example(room, name, dtype):
    try:
        return catalogue.load(room, name).example(Rng(3, "example"), dtype)
    except BadInput:
        pytest.skip("no such signals")


def test_the_pretended_device_is_strict(elsewhere):
    x, ones = torch.arange(3.0).to(elsewhere), torch.ones(3)
    assert (x + 1).tolist() == [1, 2, 3] and (torch.tensor(2.0) * x).cpu().tolist() == [0, 2, 4]
    assert x[torch.tensor([True, False, True])].tolist() == [0, 2]  # CUDA takes CPU indices and numbers
    for wrong in (
        lambda: x + ones,
        lambda: ones * x,
        lambda: ones.add_(x),
        lambda: torch.cat([x, ones]),
        lambda: torch.stack([x[0], torch.tensor(1.0)]),
        lambda: torch.searchsorted(x, ones),
        lambda: ones[x > 0],
        lambda: torch.linalg.solve(torch.eye(3), x),
    ):
        with pytest.raises(RuntimeError, match="left on the CPU"):
            wrong()
    with pytest.raises(TypeError):
        x.numpy()
    y = ones.clone()
    y.copy_(x)
    assert y.tolist() == [0, 1, 2]
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad((z**2).sum(), z)
    assert same(g, torch.tensor([0.0, 2.0, 4.0])) and same(torch.zeros(2, device=elsewhere), torch.zeros(2))


@pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "complex64"])
@pytest.mark.parametrize("name", catalogue.names("operators"))
def test_operators(name, dtype, elsewhere, kernels):
    A = example("operators", name, dtype)
    if name == "cone-beam" and shutil.which("g++") is None:
        pytest.skip("needs g++, for the kernels of the GPU")
    B, x, y = A.to(elsewhere), signals(A, 2), measurements(A, 2)
    u, v = x.to(elsewhere), y.to(elsewhere)
    assert same(B(u), A(x))
    leaf = u.clone().requires_grad_()
    (g,) = torch.autograd.grad(inner(B(leaf), v), leaf)
    assert same(g.detach(), A.linearize(x).H(y))
    if isinstance(A, Linear):
        assert (
            same(B.H(v), A.H(y)) and same(B.normal(u), A.normal(x)) and same(B.solve(u, 0.5), A.solve(x, 0.5))
        )
        axes = tuple(range(-len(A.in_shape), 0))
        assert torch.allclose(B.gram_spectrum(axes).cpu(), A.gram_spectrum(axes), rtol=1e-5, atol=1e-6)
        assert B.norm() == pytest.approx(A.norm())
        both = Stack(B, 2.0 * B)
        assert same(both.H(both(u)), 5 * A.normal(x))
    if catalogue.find("operators", name).card.get("svd"):
        U, s, V = B.svd()
        assert same(U((s * V.H(u)).to(U.in_dtype)), A(x))


def test_the_dot_test_itself(elsewhere):
    assert dot_test(Stack(Dense(normal(3, 4)), Dense(normal(2, 4))).to(elsewhere)) < 1e-14


@pytest.mark.parametrize(
    "noise",
    [
        Gaussian(0.3),
        Gaussian(torch.tensor([0.3, 0.2, 0.5])),
        CorrelatedGaussian(torch.eye(3, dtype=torch.float64) + 0.2, axis=-2),
        Poisson(3.0, 0.5),
        Poisson(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.2, 0.3])),
    ],
    ids=["one sigma", "sigma an entry", "coils", "counts", "gain an entry"],
)
@pytest.mark.parametrize("place", ["moved with the data", "left where it was made"])
def test_noise(noise, place, elsewhere):
    shape = (3, 2) if isinstance(noise, CorrelatedGaussian) else (3,)
    A, clean = Dense(normal(6 if len(shape) > 1 else 3, 4)), Rng(0, "devices").uniform(5, *shape) + 0.5
    twin = moved(noise, elsewhere) if place == "moved with the data" else noise
    y = noise.sample(clean[0], 0)
    assert same(twin.sample(clean[0].to(elsewhere), 0), y)
    assert same(twin.log_likelihood(y.to(elsewhere), clean.to(elsewhere)), noise.log_likelihood(y, clean))
    if hasattr(noise, "cov"):
        assert same(twin.cov(y.to(elsewhere)), noise.cov(y))
    if len(shape) == 1 and hasattr(noise, "cov"):
        (B, w), (B0, w0) = twin.whiten(A.to(elsewhere), y.to(elsewhere)), noise.whiten(A, y)
        assert same(w, w0) and same(B(normal(2, 4).to(elsewhere)), B0(normal(2, 4)))


@pytest.mark.parametrize("dtype", (torch.float64, torch.complex128), ids=["float64", "complex128"])
@pytest.mark.parametrize("name", check.laws())
def test_laws(name, dtype, elsewhere):
    compare(example("distributions", name, dtype), elsewhere)


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "low rank", "low rank, a floor each"])
def test_covariance_forms(form, elsewhere):
    U = torch.linalg.qr(normal(2, 6, 2)).Q
    covariances = {
        "isotropic": torch.tensor([0.3, 0.5], dtype=torch.float64),
        "diagonal": normal(2, 6).square() + 0.1,
        "low rank": LowRank(U, normal(2, 2).square(), 0.1),
        "low rank, a floor each": LowRank(
            U, normal(2, 2).square(), torch.tensor([0.1, 0.2], dtype=torch.float64)
        ),
    }
    compare(GaussianMixture([0.4, 0.6], normal(2, 6, seed=1), covariances[form]), elsewhere)


@pytest.mark.parametrize("limit", [1024, 1], ids=["a mixture", "systems of the size of y"])
def test_posteriors_of_mixtures(limit, elsewhere, monkeypatch):
    monkeypatch.setattr("theory.distributions._condition.DENSE_LIMIT", limit)
    law, A, y = (
        GaussianMixture([0.4, 0.6], normal(2, 6), normal(2, 6).square()),
        Dense(normal(3, 6)),
        normal(3),
    )
    q, r = (
        one.condition(B, v, Gaussian(0.3))
        for one, B, v in ((law, A, y), (moved(law, elsewhere), A.to(elsewhere), y.to(elsewhere)))
    )
    assert same(r.mean(), q.mean()) and r.log_evidence == pytest.approx(q.log_evidence)
    compare(q, elsewhere, twin=r)


def compare(law, device, twin=None):
    """Everything an analytic law does, there and here."""
    twin = twin or moved(law, device)
    t, x, v = law.process.time(0.7), law.sample(3, 0), law.sample(3, 1)
    u, w = x.to(device), v.to(device)
    assert (
        same(twin.sample(3, 0), x)
        and same(twin.denoise(u, t), law.denoise(x, t))
        and same(twin.score(u, t), law.score(x, t))
    )
    assert same(twin.denoiser_jvp(u, t, w), law.denoiser_jvp(x, t, v)) and same(twin.mean(), law.mean())
    assert same(twin.tweedie(u, t)[1](w), law.tweedie(x, t)[1](v))
    assert same(twin.denoiser_jacobian(u, t), law.denoiser_jacobian(x, t))
    assert same(twin.initial(2, t, Rng(0)), law.initial(2, t, Rng(0))) if hasattr(twin, "device") else True
    if check.has_density(law):
        assert same(twin.log_prob(u, t), law.log_prob(x, t))
    if hasattr(law, "at"):
        assert same(twin.at(t).sample(2, 0), law.at(t).sample(2, 0))


SAMPLERS = dict(
    draws=ExactDraws(),
    matching=DDPM(guidance=MomentMatching(iterations=3)),
    dps=DPS(),
    dps_again=DPS(zeta=0.3),
)


@pytest.mark.parametrize("sampler", ["draws", "matching", "dps"])
@pytest.mark.parametrize("name", catalogue.names("problems"))
def test_problems(name, sampler, elsewhere):
    problem = problems.load(name, **SMALL.get(name, {}))
    if problem.exact is None and sampler == "draws":
        pytest.skip("no exact posterior")
    if sampler == "matching" and not isinstance(problem.A, Linear):
        pytest.skip("torch's forward mode does not know the pretended device")
    sampler = SAMPLERS[sampler]
    words = dict(n=3, steps=3, progress=False)
    here, there = (wb.sample(problem, sampler, device=device, **words) for device in (None, elsewhere))
    assert (
        same(there.samples, here.samples)
        and same(there.mean(), here.mean())
        and same(there.std(), here.std())
    )
    assert there.provenance["device"] == str(elsewhere)
    shown = there.show()
    assert same(shown.quantile(0.3), here.show().quantile(0.3)) and same(
        shown.resampled(2, 0).samples, here.show().resampled(2, 0).samples
    )


def test_every_sampler_of_the_catalogue(elsewhere):
    problem = problems.load("toy/g2")
    for name in catalogue.names("samplers"):
        sampler = catalogue.load("samplers", name)()
        here, there = (
            wb.sample(problem, sampler, n=4, steps=3, progress=False, device=d) for d in (None, elsewhere)
        )
        assert same(there.samples, here.samples), name


def test_ensembles_weights_and_trajectory(elsewhere):
    problem, words = problems.load("toy/g2"), dict(n=8, steps=6, ensembles=2, record=3, progress=False)
    here, there = (wb.sample(problem, TDS(), device=device, **words) for device in (None, elsewhere))
    assert same(there.samples, here.samples) and same(there.trajectory, here.trajectory)
    assert there.log_evidence == pytest.approx(here.log_evidence) and torch.allclose(
        there.log_weights, here.log_weights
    )
    assert same(there.quantile(0.4), here.quantile(0.4)) and same(
        there.resampled(5, 0).samples, here.resampled(5, 0).samples
    )


@pytest.mark.parametrize("sampler", [TDS(), DPS()], ids=["weighted", "in batches"])
def test_resumed(sampler, elsewhere, tmp_path, monkeypatch):
    problem = problems.load("toy/g2")
    words = dict(
        n=8,
        steps=6,
        record=2,
        progress=False,
        device=elsewhere,
        checkpoint=tmp_path,
        batch=None if sampler.couples else 4,
    )
    whole = wb.sample(problem, sampler, **{**words, "checkpoint": None})
    saved, right = [], Checkpoint.save_state

    def save(self, *args):
        right(self, *args)
        saved.append(args)
        if len(saved) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save_state", save)
    with pytest.raises(KeyboardInterrupt):
        wb.sample(problem, sampler, **words)
    monkeypatch.undo()
    again = wb.sample(problem, sampler, **words)
    assert same(again.samples, whole.samples.cpu()) and torch.equal(again.samples.cpu(), whole.samples.cpu())
    assert same(again.trajectory, whole.trajectory.cpu()) and again.log_evidence == whole.log_evidence


@pytest.mark.parametrize("name", ["inpainting/random", "mri/brain-cartesian-4x", "ct/head-parallel-60"])
def test_field_fit(name, elsewhere):
    problem = problems.load(name, **SMALL[name])
    twin = problem.to(elsewhere)
    here, there = (fit_field(p.A, p.y, 0.1, iterations=2) for p in (problem, twin))
    assert same(there.prior.spectrum, here.prior.spectrum) and there.noise.sigma == pytest.approx(
        here.noise.sigma
    )


def test_an_operator_without_tensors(elsewhere):
    """It is on no device, so what it says of itself is on the CPU, and its users take that along."""
    prior = GaussianField(power_law((8, 6)), dtype=torch.complex64)
    A, y = Fourier((8, 6), torch.complex64), normal(8, 6, dtype=torch.complex64)
    here, there = (
        wb.sample(wb.Problem(prior, A, Gaussian(0.3), y), ExactDraws(), n=3, progress=False, device=d)
        for d in (None, elsewhere)
    )
    assert same(there.samples, here.samples)
    here, there = (fit_field(A, v, 0.3, iterations=2).prior.spectrum for v in (y, y.to(elsewhere)))
    assert same(there, here)


def test_coils(elsewhere):
    mask = torch.arange(20) % 5 > 0
    mask[6:14] = True
    k = normal(3, 24, 20, dtype=torch.complex64) * mask
    there, m = k.to(elsewhere), mask.to(elsewhere)
    block, block0 = coils.calibration_region(there, m), coils.calibration_region(k, mask)
    assert same(block, block0) and same(
        coils.espirit(block, (24, 20)).abs(), coils.espirit(block0, (24, 20)).abs()
    )
    noise, noise0 = coils.corner_noise(there, m, 0.2), coils.corner_noise(k, mask, 0.2)
    assert same(noise, noise0) and same(coils.noise_covariance(noise), coils.noise_covariance(noise0))
    assert torch.equal(coils.find_mask(there[None]).cpu(), coils.find_mask(k[None]))


def test_predictive_checks(elsewhere):
    x, y = normal(32, 7), normal(7, seed=1)
    here, there = predictive(x, y, 0.5), predictive(x.to(elsewhere), y.to(elsewhere), 0.5)
    assert there.chi_square == pytest.approx(here.chi_square) and there.coverage == here.coverage


def test_a_run_is_saved_and_loaded(elsewhere, tmp_path):
    post = wb.sample(problems.load("toy/g2"), TDS(), n=4, steps=3, progress=False, device=elsewhere)
    back = wb.Posterior.load(post.save(tmp_path / "run"))
    assert torch.equal(back.samples, post.samples.cpu()) and back.ess == post.ess


def test_networks(elsewhere):
    prior = catalogue.load("priors", "network").example(Rng(0))
    x, t = normal(2, *prior.shape), torch.tensor(0.5, dtype=torch.float64)
    assert same(moved(prior, elsewhere).denoise(x.to(elsewhere), t), prior.denoise(x, t))
