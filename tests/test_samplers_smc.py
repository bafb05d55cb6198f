"""Sequential Monte Carlo: the evidence without bias at any number of particles, and errors that fall as N^(-1/2)."""

from dataclasses import dataclass
from math import log2, sqrt

import pytest
import torch
from truth import DOUBLE, line_problem, normal, tensor

import workbench as wb
from workbench import catalogue
from workbench.diffusion import VariancePreserving
from workbench.diffusion.grids import karras

S = wb.samplers
SCHEMES = [S.Multinomial, S.Stratified, S.Systematic, S.Residual, S.SSP]


# --- resampling -----------------------------------------------------------------------------------------------------


def offspring(scheme, W, repeats=4000):
    """Numbers of offspring, (repeats, n)."""
    draws = [scheme(below=1.1).ancestors(W, wb.Rng(0, "run", step=k)) for k in range(repeats)]
    return torch.stack([d.bincount(minlength=len(W)) for d in draws])


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.__name__)
@pytest.mark.parametrize("n", [7, 12])
def test_resampling_is_unbiased(scheme, n):
    W = torch.softmax(normal(n, seed=7), 0)
    counts = offspring(scheme, W).double()
    assert (counts.sum(1) == n).all()
    assert ((counts.mean(0) - n * W).abs() < 5 * counts.std(0) / sqrt(4000) + 1e-12).all()


@pytest.mark.parametrize("scheme", [S.Systematic, S.SSP], ids=lambda s: s.__name__)
def test_offspring_are_the_nearest_whole_numbers(scheme):
    W = torch.softmax(normal(9, seed=3), 0)
    assert ((offspring(scheme, W, 500) - 9 * W).abs() < 1).all()


def test_variances_are_in_their_order():
    W = torch.softmax(normal(16, seed=5), 0)
    spread = {s.__name__: offspring(s, W).double().var(0).sum().item() for s in SCHEMES}
    wanted = (16 * W * (1 - W)).sum().item()
    assert abs(spread["Multinomial"] / wanted - 1) < 0.05
    assert spread["Stratified"] < spread["Multinomial"] and spread["Residual"] < spread["Multinomial"]
    part = 16 * W - (16 * W).floor()
    assert abs(spread["SSP"] / (part * (1 - part)).sum().item() - 1) < 0.1  # Bernoulli on what is left


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.__name__)
def test_even_and_certain_weights(scheme):
    even = torch.zeros(7, dtype=DOUBLE)
    assert scheme(below=0.5)(even, wb.Rng(0)) is None
    sure = torch.full((7,), -torch.inf, dtype=DOUBLE)
    sure[3] = 0.0
    assert scheme(below=0.5)(sure, wb.Rng(0)).tolist() == [3] * 7


# --- the evidence of the discretised path ---------------------------------------------------------------------------


def evidence_of_the_path(problem, times, width=30.0, points=1201):
    """p(y) under the prior that the DDPM steps themselves make: the discretised law TDS is exact for, by quadrature."""
    process = problem.prior.process
    x = torch.linspace(-width, width, points, dtype=DOUBLE)[:, None]
    p = torch.exp(-0.5 * (x[:, 0] / process.sigma(times[0])) ** 2)
    for t, s in zip(times[:-2], times[1:-1], strict=True):
        ratio = (s / t) ** 2  # EDM: sigma = t; x_s ~ N((1 - ratio) x0 + ratio x_t, s^2 (1 - ratio))
        mean = (1 - ratio) * problem.prior.denoise(x, t) + ratio * x
        kernel = torch.exp(-0.5 * (x.mT - mean) ** 2 / (s**2 * (1 - ratio)))
        p = (p / p.sum()) @ (kernel / kernel.sum(1, keepdim=True))
    clean = problem.A(problem.prior.denoise(x, times[-2]))
    return (p / p.sum() @ problem.noise.log_likelihood(problem.y, clean).exp()).item()


@dataclass(frozen=True)
class Heard(S.FPSSMC):
    """FPS-SMC whose mean weight is told."""

    evidence = pools = True


DISCRETE = {  # samplers whose target is the path that the DDPM steps of the prior make
    "tds": S.TDS(),
    "tds-never": S.TDS(resample=S.Systematic(below=0.0)),
    "tds-always": S.TDS(resample=S.Systematic(below=1.0)),
    "tds-isotropic": S.TDS(twist=S.Isotropic()),
    "plug-in-tds": S.TDS(twist=S.PlugIn()),
    "tds-ssp": S.TDS(resample=S.SSP(below=1.0)),
    "fk-difference": S.FKSteering(),
    "fk-maximum": S.FKSteering(potential=S.Maximum()),
    "fk-sum": S.FKSteering(potential=S.Total()),
    "fk-reward": S.FKSteering(potential=S.Reward()),
    "fk-every-2": S.FKSteering(every=2),
    "afdps-sde": S.AFDPSSDE(),
    "paper-afdps-sde": S.AFDPSSDE(knee=float("inf")),
    "fps-smc": Heard(),
}


AGAIN = ["tds-isotropic", "fk-difference", "afdps-sde", "fps-smc"]
SIGMA = {"plug": 1.0, "fk": 2.0, "fps": 2.0, "paper": 5.0}


@pytest.mark.parametrize(
    "name, process",
    [*[(name, None) for name in DISCRETE], *[(n, VariancePreserving()) for n in AGAIN]],
    ids=repr,
)
def test_evidence_is_unbiased(name, process):
    """E[Z_hat] = Z of the discretised path, at any number of particles: 8 of them, 7 steps, 300 ensembles. The data are
    dull where the weights would have no variance to speak of otherwise."""
    problem = line_problem(process, sigma=SIGMA.get(name.split("-")[0], 0.5))
    times = karras(problem.prior.process, 0.3, 5.0, 7)
    post = wb.sample(problem, DISCRETE[name], n=8, ensembles=300, grid=times, progress=False)
    plain = karras(line_problem().prior.process, 0.3, 5.0, 7)
    ratio = tensor(post.provenance["evidences"]).exp() / evidence_of_the_path(
        line_problem(sigma=problem.noise.sigma), plain
    )
    error = (ratio.std() / sqrt(len(ratio))).item()
    assert error < 0.1 and abs(ratio.mean().item() - 1) < 4 * error


def test_published_weights_of_fps_count_the_data_again():
    """The control: without the denominator the data are narrower than they are."""
    problem = line_problem()
    both = [
        wb.sample(problem, S.FPSSMC(weights=w), n=200, ensembles=20, steps=40, progress=False).std().item()
        for w in (S.Telescoping(), S.Independent())
    ]
    assert both[1] < 0.8 * both[0] and abs(both[0] / problem.exact.cov().sqrt().item() - 1) < 0.15


# --- the rate ---------------------------------------------------------------------------------------------------------

PARTICLES = [
    entry.name
    for entry in catalogue.entries("samplers")
    if entry.card["exactness"] == "E1"
    and entry.card["kind"] == "sampler"
    and catalogue.load("samplers", entry.name).couples
    and catalogue.load(
        "samplers", entry.name
    ).evidence  # FPS-SMC is still far from its rate at 4096 particles
]


@pytest.mark.parametrize("name", PARTICLES)
def test_errors_fall_as_the_root_of_n(name):
    """The rms error of one ensemble's mean, over many, at 32 and 512 particles: a slope of -1/2 in N."""
    problem, sampler = line_problem(sigma=1.5), catalogue.load("samplers", name)()
    times = karras(problem.prior.process, 0.05, 10.0, 20)

    def errors(n, ensembles):
        post = wb.sample(problem, sampler, n=n, ensembles=ensembles, grid=times, progress=False)
        x, w = post.samples[:, 0].reshape(ensembles, n), post.log_weights.reshape(ensembles, n).softmax(1)
        return (w * x).sum(1)

    few, many = errors(32, 256), errors(512, 64)
    truth = many.mean()  # of this discretisation
    slope = log2((few - truth).square().mean().sqrt() / (many - truth).square().mean().sqrt()) / 4
    assert abs(slope - 0.5) < 0.13
    # and what they fall to is the posterior, up to the 30 steps
    assert (
        abs(truth - problem.exact.mean()).item()
        < 0.08 * problem.exact.cov().sqrt().item() + 4 * many.std() / 8
    )


def test_there_are_particle_samplers():
    assert {"tds", "fk-steering", "afdps-ode", "afdps-sde", "mcgdiff"} <= set(PARTICLES)


@pytest.mark.parametrize("name", ["tds", "fk-steering", "mcgdiff"])
def test_ensembles_may_share_a_batch(name, monkeypatch):
    """Particles that meet in resampling alone: ensembles side by side are those one by one."""
    sampler = catalogue.load("samplers", name)()
    arguments = dict(n=6, ensembles=4, steps=8, seed=3, record=2, progress=False)
    together = wb.sample(line_problem(), sampler, **arguments)
    monkeypatch.setattr(type(sampler), "apart", False)
    alone = wb.sample(line_problem(), sampler, **arguments)
    assert (together.samples - alone.samples).abs().max() < 1e-9
    assert (together.log_weights - alone.log_weights).abs().max() < 1e-9
    assert together.provenance["distinct_ancestors"] == alone.provenance["distinct_ancestors"]
    assert together.provenance["batch"] == 24 and alone.provenance["batch"] == 6
    assert torch.allclose(together.trajectory, alone.trajectory)
