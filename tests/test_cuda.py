"""On a real GPU: the same draws as on the CPU, results that agree to rounding, runs that resume to the bit."""

import pytest
import torch

import problems
import workbench as wb
from theory.distributions.field_fit import fit_field
from workbench import catalogue
from workbench._checkpoint import Checkpoint
from workbench._rng import Rng
from workbench.cli import check
from workbench.operators.coils import espirit, simulate_coils
from workbench.operators.fourier import Fourier
from workbench.samplers import DDPM, DPS, TDS, ExactDraws, MomentMatching

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SMALL = {  # sizes; other problems are tried at their own
    "inpainting/random": dict(size=32),
    "ct/head-parallel-60": dict(size=32, views=12),
    "deblur/gaussian": dict(size=32),
    "compressed-sensing/gaussian": dict(size=16),
    "mri/brain-cartesian-4x": dict(size=32, coils=4),
    "physics/inverse-scattering": dict(size=12, transmitters=4, receivers=9),
    "physics/black-hole": dict(size=12, scans=4),
    "physics/navier-stokes": dict(size=12, steps=4),
    "physics/full-waveform": dict(size=12, shots=2, samples=30),
}
SAMPLERS = dict(draws=ExactDraws(), matching=DDPM(guidance=MomentMatching(iterations=5)), dps=DPS())


def gap(there, here):
    """Relative root-mean-square difference of a GPU tensor and a CPU one."""
    assert there.is_cuda and not here.is_cuda and there.dtype == here.dtype
    return (torch.linalg.vector_norm(there.cpu() - here) / torch.linalg.vector_norm(here)).item()


def both(problem, sampler, **words):
    """The posterior on the CPU and on the GPU."""
    words = dict(n=4, steps=10, progress=False) | words
    return wb.sample(problem, sampler, device="cpu", **words), wb.sample(problem.to("cuda"), sampler, **words)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_the_draws_are_the_same(dtype):
    like = torch.empty(3, 5, 7, dtype=dtype)
    assert torch.equal(Rng(0).normal(like.cuda()).cpu(), Rng(0).normal(like))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", catalogue.names("problems"))
def test_problems(name, sampler):
    problem = problems.load(name, **SMALL.get(name, {}))
    if problem.exact is None and sampler == "draws":
        pytest.skip("no exact posterior")
    here, there = both(problem, SAMPLERS[sampler])
    rounding = (
        1e-9 if problem.y.dtype.to_real() == torch.float64 else 5e-3
    )  # solves stop at 0.003 posterior deviations
    assert gap(there.samples, here.samples) < rounding
    assert gap(there.mean(), here.mean()) < rounding and gap(there.std(), here.std()) < 3 * rounding
    assert there.provenance["device"].startswith("cuda")


def test_tds():
    here, there = both(problems.load("toy/g2"), TDS(), n=200, steps=50, ensembles=2, record=3)
    assert gap(there.samples, here.samples) < 1e-9 and gap(there.trajectory, here.trajectory) < 1e-9
    assert there.log_evidence == pytest.approx(here.log_evidence, rel=1e-9)
    assert gap(there.quantile(0.3), here.quantile(0.3)) < 1e-9
    assert gap(there.resampled(50, 0).samples, here.resampled(50, 0).samples) < 1e-9


def test_every_sampler_of_the_catalogue():
    for name in catalogue.names("samplers"):
        here, there = both(problems.load("toy/g2"), catalogue.load("samplers", name)())
        assert gap(there.samples, here.samples) < 1e-7, name


@pytest.mark.parametrize("name", ["inpainting/random", "mri/brain-cartesian-4x", "ct/head-parallel-60"])
def test_field_fit(name):
    problem = problems.load(name, **SMALL[name])
    here, there = (fit_field(p.A, p.y, 0.05, iterations=6, tol=0) for p in (problem, problem.to("cuda")))
    assert gap(there.prior.spectrum.log(), here.prior.spectrum.log()) < 0.01
    assert there.noise.sigma == pytest.approx(here.noise.sigma, rel=0.01)


def test_espirit():
    maps = simulate_coils((48, 40), 4)
    image = 1 + 0.1 * Rng(0, "cuda").normal(torch.empty(1, 48, 40, dtype=torch.complex64))[0]
    block = Fourier((48, 40), torch.complex64)(maps * image)[:, 12:36, 8:32]
    assert gap(espirit(block.cuda(), (48, 40)), espirit(block, (48, 40))) < 1e-2


@pytest.mark.parametrize(
    "name, sampler, batch",
    [
        ("toy/g2", TDS(), None),
        ("toy/g2", DPS(), 4),
        ("mri/brain-cartesian-4x", SAMPLERS["matching"], 4),
        ("ct/head-parallel-60", SAMPLERS["matching"], 4),
    ],
    ids=["weighted", "in batches", "complex", "sparse matrices"],
)
def test_resumed_to_the_bit(name, sampler, batch, tmp_path, monkeypatch):
    problem = problems.load(name, **SMALL.get(name, {})).to("cuda")
    words = dict(n=8, steps=6, record=2, progress=False, batch=batch)
    whole = wb.sample(problem, sampler, **words)
    saved, right = [], Checkpoint.save_state

    def save(self, *args):
        right(self, *args)
        saved.append(args)
        if len(saved) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save_state", save)
    with pytest.raises(KeyboardInterrupt):
        wb.sample(problem, sampler, checkpoint=tmp_path, **words)
    monkeypatch.undo()
    again = wb.sample(problem, sampler, checkpoint=tmp_path, **words)
    assert again.samples.is_cuda and torch.equal(again.samples, whole.samples)
    assert torch.equal(again.trajectory, whole.trajectory) and again.log_evidence == whole.log_evidence


def test_a_checkpoint_of_the_gpu_is_not_resumed_on_the_cpu(tmp_path, monkeypatch):
    problem = problems.load("toy/g2")
    wb.sample(problem, DPS(), n=2, steps=3, progress=False, device="cuda", checkpoint=tmp_path)
    with pytest.raises(wb.BadInput, match="device"):
        wb.sample(problem, DPS(), n=2, steps=3, progress=False, device="cpu", checkpoint=tmp_path)


def test_a_run_is_saved_and_loaded(tmp_path):
    post = wb.sample(problems.load("toy/g2"), TDS(), n=8, steps=5, progress=False, device="cuda")
    back = wb.Posterior.load(post.save(tmp_path / "run"))
    assert torch.equal(back.samples, post.samples.cpu()) and back.ess == pytest.approx(post.ess)


def test_the_check_of_this_machine():
    assert [row.subject for row in check.check("cuda") if not row.passed] == []
