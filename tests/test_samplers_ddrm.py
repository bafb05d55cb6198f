"""DDRM, DDNM and DDNM+: what each singular coordinate becomes in a step, and their numbers on G2."""

from dataclasses import dataclass, replace

import pytest
import torch
from truth import DOUBLE, G2, N, g2_grid, g2_means, gaussian_problem, normal, tensor

import workbench as wb
from workbench.diffusion import VariancePreserving
from workbench.diffusion.variance_exploding import EDM
from workbench.operators.dense import Dense
from workbench.priors._prior import Prior

S = wb.samplers
SCALES, SIGMA = tensor([2.0, 0.5, 0.1]), 0.4  # singular values; the noise of the coordinates: .2, .8, 4
SAMPLERS = {
    "ddrm": S.DDRM(eta=0.6),
    "ddrm-part": S.DDRM(eta=0.6, eta_b=0.7),
    "ddnm-plus": S.DDNMPlus(eta=0.6),
}


@dataclass
class Point(Prior):
    """All mass on one signal of five numbers."""

    x0: torch.Tensor
    process: object
    noise_range = (0.01, 20.0)

    shape = property(lambda self: tuple(self.x0.shape))
    dtype = property(lambda self: self.x0.dtype)

    def denoise(self, x, t):
        return self.x0.expand_as(x)


def point_problem(dtype, process):
    """Five numbers, two of them not seen, in rotated coordinates."""
    V = torch.linalg.qr(normal(5, 5, seed=1, dtype=dtype))[0]
    U = torch.linalg.qr(normal(3, 3, seed=2, dtype=dtype))[0]
    A = Dense(U @ torch.diag(SCALES).to(dtype) @ V[:, :3].mH)
    prior = Point(normal(1, 5, seed=3, dtype=dtype)[0], process)
    return wb.Problem(prior, A, wb.noise.Gaussian(SIGMA), y=A(prior.x0)), V


class Only:
    """The same draw every time."""

    def __init__(self, z):
        self.z = z

    def normal(self, like):
        return self.z.expand_as(like)


def response(problem, sampler, V, kappa, low):
    """How x_s / alpha_s moves, coordinate by coordinate, with the old noise, fresh noise and the noise of the data."""
    process = problem.prior.process
    t, s = process.time(kappa), process.time(low)

    def step(eps, z, n):
        noisy = replace(problem, y=problem.y + n)
        x = process.alpha(t) * problem.prior.x0 + process.sigma(t) * eps
        return sampler.step(noisy, sampler.State(x[None]), t, s, Only(z)).x[0] / process.alpha(s)

    d, m = torch.zeros_like(problem.prior.x0), torch.zeros_like(problem.y)
    start = step(d, d, m)
    moved = lambda *parts: V.mH @ (step(*parts) - start)
    U = (problem.A.matrix @ V[:, :3]) / SCALES
    units = [V[:, i] for i in range(5)]
    old = torch.stack([moved(v, d, m) for v in units], 1)
    fresh = torch.stack([moved(d, v, m) for v in units], 1)
    data = torch.stack([moved(d, d, SIGMA * U[:, i]) for i in range(3)], 1)
    return start, old, fresh, data


@pytest.mark.parametrize("process", [EDM(), VariancePreserving()], ids=repr)
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
@pytest.mark.parametrize("name", SAMPLERS)
def test_variance_in_every_branch(name, dtype, process):
    """Given x_0, Cov(x_s) = sigma_s^2 I with mean alpha_s x_0: data sharper and less sharp than kappa_s, none at all."""
    problem, V = point_problem(dtype, process)
    for kappa, low in [(9.0, 6.0), (2.0, 1.0), (0.6, 0.3), (0.2, 0.1), (0.05, 0.0)]:
        start, old, fresh, data = response(problem, SAMPLERS[name], V, kappa, low)
        parts = torch.cat([old, fresh, data], 1)
        assert (start - problem.prior.x0).abs().max() < 1e-9
        assert (parts @ parts.mH - low**2 * torch.eye(5, dtype=DOUBLE)).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["ddrm", "ddnm-plus"])
def test_which_branch(name):
    """Coordinates sharper than kappa_s = 1 (noise .2, .8) take the data whole, the blunt one (4) a share of it, and
    their old noise nothing; the unseen ones keep sqrt(1 - eta^2) of theirs."""
    problem, V = point_problem(DOUBLE, EDM())
    _, old, fresh, data = response(problem, SAMPLERS[name], V, 2.0, 1.0)
    assert (data.diagonal() - tensor([0.2, 0.8, 0.8])).abs().max() < 1e-9  # .8 = sqrt(1 - .6^2) kappa_s
    assert (
        fresh.diagonal() - tensor([0.96**0.5, 0.6, 0.6, 0.6, 0.6])
    ).abs().max() < 1e-9  # sqrt(1 - .2^2), ...
    assert (old.diagonal() - tensor([0, 0, 0, 0.8, 0.8])).abs().max() < 1e-9


def test_share_of_the_data():
    problem, V = point_problem(DOUBLE, EDM())
    _, _, fresh, data = response(problem, SAMPLERS["ddrm-part"], V, 2.0, 1.0)
    assert (data.diagonal() - tensor([0.14, 0.56, 0.8])).abs().max() < 1e-9
    assert abs(fresh[1, 1] - (1 - 0.56**2) ** 0.5) < 1e-9


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_ddrm_starts_at_the_data(dtype):
    """Mean y_i / s_i and variance kappa^2 where the data are sharper than kappa = 2, noise alone where not (4)."""
    problem, V = point_problem(dtype, VariancePreserving())
    process, n = problem.prior.process, 40_000
    t = process.time(2.0)
    x = S.DDRM().init(problem, n, t, wb.Rng(0)).x / process.alpha(t)
    c = x @ V.conj()
    seen = V.mH @ problem.prior.x0
    wanted = torch.cat([seen[:2], torch.zeros_like(seen[2:])])
    assert (c.mean(0) - wanted).abs().max() < 0.06
    added = torch.cat([tensor([0.2, 0.8]) ** 2, torch.zeros(3)])  # the noise that the data bring along
    spread = (c - c.mean(0)).abs().square().mean(0) / (2 if dtype.is_complex else 1)
    assert (spread + added - 4).abs().max() < 0.15


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_spectral_ddnm_plus_is_ddrm(dtype):
    problem, x = gaussian_problem(dtype), normal(4, 2, 2, seed=6, dtype=dtype)
    for t, s in [(3.0, 2.0), (1.0, 0.5), (0.3, 0.1), (0.1, 0.0)]:
        one, other = (
            made.step(problem, made.State(x), tensor(t), tensor(s), wb.Rng(1)).x
            for made in (S.DDRM(eta=0.6), S.DDNMPlus(eta=0.6))
        )
        assert (one - other).abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_ddnm_is_the_projection(dtype):
    problem, x = gaussian_problem(dtype, process=VariancePreserving()), normal(4, 2, 2, seed=6, dtype=dtype)
    process, t, s = problem.prior.process, tensor(0.7), tensor(0.4)
    x0, z = problem.prior.denoise(x, t), normal(4, 2, 2, seed=8, dtype=dtype)
    plus = torch.linalg.pinv(problem.A.matrix)
    rectified = x0.flatten(1) + (problem.y - x0.flatten(1) @ problem.A.matrix.mT) @ plus.mT
    eps = (x - process.alpha(t) * x0) / process.sigma(t)
    wanted = process.alpha(s) * rectified.reshape(x.shape) + process.sigma(s) * (0.8 * eps + 0.6 * z)
    got = S.DDNM(eta=0.6).step(problem, S.DDNM.State(x), t, s, Only(z)).x
    assert (got - wanted).abs().max() < 1e-9
    x = wb.sample(problem, S.DDNM(), n=4, steps=10, progress=False).samples
    assert (problem.A(x) - problem.y).abs().max() < 1e-9


def test_scalar_form():
    """One v for all, here that of every coordinate: gamma^2 = kappa_s^2 - v^2 above it, no fresh noise below."""
    problem, V = point_problem(DOUBLE, EDM())
    A = Dense(problem.A.matrix @ V[:, :3] / SCALES @ V[:, :3].mT)  # singular values 1, v = .4
    problem = replace(problem, A=A, y=A(problem.prior.x0))
    process = problem.prior.process
    for low, lam, gamma in [(1.0, 1.0, (1 - 0.16) ** 0.5), (0.1, 0.25, 0.0)]:
        x, z, n = problem.prior.x0 + 2 * V[:, 3], V[:, 0] + V[:, 4], SIGMA * A(V[:, 1])
        got = S.ScalarDDNMPlus(eta=0.6).step(
            replace(problem, y=problem.y + n), S.DDNM.State(x[None]), tensor(2.0), tensor(low), Only(z)
        )
        c = V.mT @ (got.x[0] - problem.prior.x0)
        assert (c - tensor([gamma, lam * SIGMA, 0, 0.8 * low, 0.6 * low])).abs().max() < 1e-9
    assert process.sigma(tensor(1.0)) == 1


def test_time_travel():
    """Six steps, back by two at every other one, three times in all; a step back adds the noise of the difference."""
    sampler = S.DDNM(travel=2, repeats=3)
    prior = gaussian_problem(process=VariancePreserving()).prior
    plain = prior.grid(6)
    visited = [plain.tolist().index(t) for t in sampler.grid(prior, 6).tolist()]
    assert visited == [0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 6]
    assert torch.equal(S.DDNM().grid(prior, 6), plain)
    problem, process = gaussian_problem(process=VariancePreserving()), prior.process
    x, z, t, s = normal(2, 2, 2, seed=6), normal(2, 2, 2, seed=7), tensor(0.2), tensor(0.5)
    ratio = process.alpha(s) / process.alpha(t)
    wanted = ratio * x + (process.sigma(s) ** 2 - ratio**2 * process.sigma(t) ** 2).sqrt() * z
    assert (sampler.step(problem, sampler.State(x), t, s, Only(z)).x - wanted).abs().max() < 1e-9
    post = wb.sample(problem, sampler, n=2, steps=6, progress=False)
    assert post.cost.denoiser == 2 * 14 and torch.isfinite(post.samples).all()


@pytest.mark.parametrize(
    "kind, name", [(S.DDRM, "eta_b"), (S.DDRM, "eta"), (S.DDNM, "eta"), (S.DDNMPlus, "eta")]
)
def test_bad_share(kind, name):
    with pytest.raises(wb.BadInput, match=f"{name} = 1.5"):
        kind(**{name: 1.5})


ROWS = {  # the table's "20 steps" are 20 steps from 20 to 0.01, then the final denoising: 21 here
    "ddrm-20": (S.DDRM(), 21, 0.156, 1.04, 0.33),
    "ddrm-100": (S.DDRM(), 100, 0.133, 1.06, 0.15),
    "ddnm-plus-20": (S.DDNMPlus(), 21, 0.159, 1.03, 0.33),
    "ddnm-plus-100": (S.DDNMPlus(), 100, 0.127, 1.07, 0.15),
    "scalar-100": (S.ScalarDDNMPlus(), 100, 0.159, 1.05, 0.036),
    "ddnm-100": (S.DDNM(), 100, 0.180, 1.06, 0.0),
    "ddnm-plus-1000": (S.DDNMPlus(), 1000, 0.149, 1.06, 0.07),
}


@pytest.mark.parametrize(
    "row", [pytest.param(r, marks=pytest.mark.slow) if r.endswith("1000") else r for r in ROWS]
)
def test_reference_row(row):
    sampler, steps, sw2, trace, residual = ROWS[row]
    got = g2_means(wb.sample(G2, sampler, n=N, grid=g2_grid(steps), progress=False).samples)
    assert abs(got.sw2 - sw2) < 0.03 and abs(got.trace - trace) < 0.1 and abs(got.residual - residual) < 0.015
