"""The stochastic interpolant from a Gaussian to a mixture: velocity, score and transport against closed forms."""

from dataclasses import replace

import pytest
import torch
from truth import DOUBLE, G2, normal, tensor

import workbench as wb
from theory.diagnostics.transport import sliced_wasserstein
from theory.distributions.mixture import Gaussian
from workbench.diffusion.flow import Flow
from workbench.diffusion.grids import karras
from workbench.diffusion.interpolant import Interpolant
from workbench.operators.dense import Dense

PRIOR = G2.prior
PATHS = [Interpolant(), Interpolant(2.0, 0.5), Interpolant(1.5, 0.0)]
MEAN = tensor([0.7, -1.2])


def joint(path, x, t, mean):
    """b, s and E[w | x_t] of a mixture from the joint Gaussian of (x_t, d x_t / dt, w) in each component."""
    gamma, c2 = path.gamma(t), path.base**2
    slope = 0.5 * path.bridge**2 * 2 * (1 - 2 * t)  # gamma gamma'
    eye, out, logs = torch.eye(2, dtype=DOUBLE), [], []
    for weight, m, C in zip(PRIOR.weights, PRIOR.means, PRIOR.covariances.dense(), strict=True):
        var = (1 - t) ** 2 * C + (t**2 * c2 + gamma**2) * eye
        cross = -(1 - t) * C + (t * c2 + slope) * eye  # Cov[d x_t / dt, x_t]
        d = x - ((1 - t) * m + t * mean)
        solved = torch.linalg.solve(var, d.mT).mT
        out.append((mean - m + solved @ cross.mT, -solved, gamma * solved))
        logs.append(weight.log() - 0.5 * (d * solved).sum(1) - 0.5 * torch.logdet(var))
    rho = torch.softmax(torch.stack(logs), 0)[..., None]
    return tuple((rho * torch.stack(part)).sum(0) for part in zip(*out, strict=True))


@pytest.mark.parametrize("mean", [torch.zeros(2, dtype=DOUBLE), MEAN], ids=["one-sided", "two-sided"])
@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_velocity_score_and_noise_in_closed_form(path, mean):
    x = 2 * normal(50, 2, seed=3)
    for t in (0.02, 0.4, 0.97):
        t = tensor(t)
        b, s, w = joint(path, x, t, mean)
        assert (path.velocity(PRIOR, x, t, mean) - b).abs().max() < 1e-9
        assert (PRIOR.under(path).score(path.centred(x, t, mean), t) - s).abs().max() < 1e-9
        assert (path.noise(PRIOR, x, t, mean) - w).abs().max() < 1e-9


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_targets_have_the_velocity_and_the_noise_as_their_means(path):
    """E (target - view(x_t)) h(x_t) = 0: what the losses of Albergo et al. minimise; points have mean and spread."""
    n, t = 40_000, tensor(0.3)
    x0, z, w = PRIOR.sample(n, 0), normal(n, 2, seed=1), normal(n, 2, seed=2)
    start = MEAN + path.base * z
    x = path.point(x0, start, w, t)
    h = t * 1e-6
    ahead, behind = path.point(x0, start, w, t + h), path.point(x0, start, w, t - h)
    target = path.velocity_target(x0, start, w, t)
    assert (target - (ahead - behind) / (2 * h)).abs().max() < 1e-6
    errors = [target - path.velocity(PRIOR, x, t, MEAN), w - path.noise(PRIOR, x, t, MEAN)]
    for error in errors if path.bridge else errors[:1]:
        for weight in (torch.ones_like(x), x, x.flip(1), torch.tanh(x)):
            term = error * weight
            assert (term.mean(0).abs() < 5 * term.std(0) / n**0.5).all()


def test_without_a_bridge_it_is_the_straight_line():
    t = torch.linspace(0.01, 0.99, 9, dtype=DOUBLE)
    for name in ("alpha", "sigma", "f", "g2", "kappa"):
        line = Interpolant(1.0, 0.0)
        assert (getattr(line, name)(t) - getattr(Flow(), name)(t)).abs().max() < 1e-12
    assert (Interpolant(1.0, 0.0).time(t) - Flow().time(t)).abs().max() < 1e-12


@pytest.mark.parametrize(
    "mean, eps", [(0.0 * MEAN, 0.0), (MEAN, 1.0)], ids=["one-sided ODE", "two-sided SDE"]
)
def test_transport_from_the_base_to_the_mixture(mean, eps):
    """dx = (b - eps s) dt + sqrt(2 eps) dw from N(m, base^2 I) at t = 1 back to 0: at the floor of the exact mixture."""
    path, n = Interpolant(1.3, 0.7), 4000
    times = torch.linspace(0.999, 0.002, 250, dtype=DOUBLE)
    x, seen = mean + path.sigma(times[0]) * normal(n, 2, seed=4), PRIOR.under(path)
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        slope = path.velocity(PRIOR, x, t, mean)
        if eps:
            slope = slope - eps * seen.score(path.centred(x, t, mean), t)
            x = x + (2 * eps * (t - s)).sqrt() * normal(n, 2, seed=100 + i)
        x = x + (s - t) * slope
    x = seen.denoise(path.centred(x, times[-1], mean), times[-1])
    found = sliced_wasserstein(x, PRIOR.sample(n, 5), law=PRIOR, repeats=20, seed=0)
    assert found.value < 1.5 * found.floor


def test_steppers_run_on_it():
    """Heun under the interpolant draws what it draws under EDM: the path of every Gaussian process is the same."""
    path = Interpolant(1.3, 0.7)
    runs = []
    for prior in (PRIOR, PRIOR.under(path)):
        problem = replace(G2, prior=prior)
        times = karras(prior.process, 0.01, 20.0, 30)
        runs.append(wb.sample(problem, wb.samplers.Heun(), n=10, grid=times, seed=1, progress=False).samples)
    assert (runs[0] - runs[1]).abs().max() < 1e-7


def test_a_coupled_base_is_a_problem_of_its_own_mean():
    """Base about A^+ y: the centred path with the prior of x0 given y ends at the posterior; without centring it does not."""
    prior = Gaussian(tensor([0.3, -0.2]), tensor([[1.0, 0.5], [0.5, 0.8]]))
    A = Dense(tensor([[1.0, 0.5]]))
    q = prior.condition(A, tensor([0.8]), wb.noise.Gaussian(0.3))
    mean = A.H(tensor([0.8])) / 1.25
    path, times = Interpolant(0.5, 0.4), torch.linspace(0.999, 0.002, 200, dtype=DOUBLE)
    start = mean + path.sigma(times[0]) * normal(10_000, 2, seed=4)

    def end(m):
        x = start
        for t, s in zip(times[:-1], times[1:], strict=True):
            x = x + (s - t) * path.velocity(q, x, t, m)
        return x

    right, wrong = end(mean), end(torch.zeros(2, dtype=DOUBLE))
    assert (right.mean(0) - q.mean()).abs().max() < 0.04 and (right.mT.cov() - q.cov()).abs().max() < 0.04
    assert (wrong.mean(0) - q.mean()).abs().max() > 0.1 or (wrong.mT.cov() - q.cov()).abs().max() > 0.1
