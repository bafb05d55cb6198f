"""Likelihoods from a score: the exact log-density, at the order of the solver, and what a missing term costs."""

from functools import partial

import pytest
import torch

from theory.diagnostics import ito_log_likelihood, ode_log_likelihood
from theory.distributions import Gaussian, GaussianMixture
from workbench import BadInput, Rng
from workbench.diffusion import EDM, OrnsteinUhlenbeck, VariancePreserving

f64 = dict(dtype=torch.float64)


def mixture(process=None, shift=0.0):
    means = torch.tensor([[-1.5, 0.0], [1.0, 0.5]], **f64) + shift
    return GaussianMixture([0.3, 0.7], means, torch.tensor([0.5, 0.3], **f64), process)


def grid(process, steps, low, high):
    """Times of log-spaced noise levels."""
    kappa = torch.logspace(torch.log10(torch.tensor(high)), torch.log10(torch.tensor(low)), steps + 1, **f64)
    return process.time(kappa)


@pytest.mark.parametrize("process", [EDM(), VariancePreserving()])
def test_the_exact_density_at_second_order(process):
    law = mixture(process)
    times = [grid(process, steps, 0.1, 8.0) for steps in (40, 80)]
    t0, T = times[0][-1], times[0][0]
    x = law.at(t0).sample(50, 1)
    want, end = law.log_prob(x, t0), partial(law.log_prob, t=T)
    found = [ode_log_likelihood(law.score, x, process, t, end).log_prob for t in times]
    errors = [(f - want).abs().mean() for f in found]
    assert errors[1] < 0.01 and 3 < errors[0] / errors[1] < 6
    # what extrapolation leaves has a higher order
    assert ((4 * found[1] - found[0]) / 3 - want).abs().mean() < 0.1 * errors[1]
    found = ode_log_likelihood(law.score, x, process, torch.cat([times[1], torch.zeros(1)]), end)
    assert found.value == pytest.approx(want.mean().item(), abs=0.01)
    assert found.bits == pytest.approx(-found.value / (2 * 0.6931471805599453))


def test_probes_agree_with_the_exact_divergence():
    law = mixture()
    times = grid(law.process, 30, 0.1, 8.0)
    x, end = law.at(times[-1]).sample(4, 1), partial(law.log_prob, t=times[0])
    exact = ode_log_likelihood(law.score, x, law.process, times, end).log_prob
    draws = torch.stack(
        [
            ode_log_likelihood(law.score, x, law.process, times, end, probes=1, seed=s).log_prob
            for s in range(40)
        ]
    )
    spread = draws.std(0) / 40**0.5
    assert ((draws.mean(0) - exact).abs() < 5 * spread).all() and spread.min() > 0


def test_a_wrong_score_has_the_likelihood_of_its_own_law():
    """(1 + e) s drifts N(0, v) differently: log p = log p_T(x r) + d log r, r = (v_T / v_0)^((1 + e) / 2)."""
    e, law, T, t0 = 0.3, Gaussian(torch.zeros(3, **f64), 0.7), 5.0, 0.1
    times = grid(law.process, 400, t0, T)
    x = law.at(t0).sample(20, 1)
    found = ode_log_likelihood(
        lambda x, t: (1 + e) * law.score(x, t), x, law.process, times, partial(law.log_prob, t=T)
    )
    r = torch.tensor((0.7 + T**2) / (0.7 + t0**2), **f64) ** ((1 + e) / 2)
    want = law.log_prob(x * r, T) + 3 * r.log()
    assert torch.allclose(found.log_prob, want, atol=2e-3)
    assert (want - law.log_prob(x, t0)).abs().mean() > 0.3


def test_complex_points():
    law = Gaussian(torch.tensor([0.3 + 0.2j, -0.5j], dtype=torch.complex128), 0.6)
    times = grid(law.process, 200, 0.1, 8.0)
    x = law.at(times[-1]).sample(10, 1)
    found = ode_log_likelihood(law.score, x, law.process, times, partial(law.log_prob, t=times[0]))
    assert torch.allclose(found.log_prob, law.log_prob(x, times[-1]), atol=5e-3)


def reverse_path(law, n, steps, noise=1.0, t0=0.01, T=3.0):
    """The reverse diffusion of `law` from its own x_T, on uniform times; noise = 0 is its probability-flow ODE."""
    process, times = law.process, torch.linspace(T, t0, steps + 1, **f64)
    x, path, h = law.at(T).sample(n, 3), [], (T - t0) / steps
    for k in range(steps + 1):
        path.append(x)
        t = times[k]
        drift = process.f(t) * x - 0.5 * (1 + noise**2) * process.g2(t) * law.score(x, t)
        z = Rng(5, "path").at(k).normal(x)
        x = x - h * drift + noise * (h * process.g2(t)).sqrt() * z
    return torch.stack(path), times


def ito_errors(driver, law, steps, noise=1.0, n=400):
    path, times = reverse_path(driver, n, steps, noise)
    found = ito_log_likelihood(law.score, path, times, law.process)
    return found - (law.log_prob(path[-1], times[-1]) - law.log_prob(path[0], times[0]))


def test_ito_along_its_own_path_and_along_that_of_another_law():
    process = OrnsteinUhlenbeck(1.0, 1.0)
    law, other = mixture(process), mixture(process, shift=0.7)
    for driver in (law, other):
        coarse, fine = (ito_errors(driver, law, steps) for steps in (100, 400))
        assert 1.5 < coarse.square().mean().sqrt() / fine.square().mean().sqrt() < 3  # order one half
        assert fine.mean().abs() < 0.15 and fine.square().mean().sqrt() < 0.6


def test_without_noise_a_term_is_missing():
    law = mixture(OrnsteinUhlenbeck(1.0, 1.0))
    assert ito_errors(law, law, 400, noise=0.0).mean().abs() > 1


def test_what_they_refuse():
    law = mixture()
    x = law.sample(5, 1)
    with pytest.raises(BadInput, match="decrease strictly"):
        ode_log_likelihood(law.score, x, law.process, [0.1, 1.0], law.log_prob)
    with pytest.raises(BadInput, match="as many"):
        ito_log_likelihood(law.score, x[None], [1.0, 0.5], law.process)
    with pytest.raises(BadInput, match="no drift"):
        ode_log_likelihood(law.score, x, object(), [1.0, 0.1], law.log_prob)
