"""Laws of every noise schedule and time grid."""

import pytest
import torch

from workbench import BadInput, catalogue, diffusion
from workbench.diffusion.grids import karras, log_snr, uniform


def process(name):
    kind = catalogue.load("processes", name)
    return kind.linear() if name == "tabulated" else kind()


def inside(p):
    """Times away from the ends and from the kinks of a table."""
    return (
        (torch.linspace(0.011, 0.971, 40, dtype=torch.float64) * p.t_max).floor_() + 0.37
        if p.t_max > 100
        else (torch.linspace(0.011, 0.971, 40, dtype=torch.float64) * p.t_max)
    )


NAMES = catalogue.names("processes")


@pytest.mark.parametrize("name", NAMES)
def test_drift_and_diffusion_are_the_derivatives_of_alpha_and_sigma(name):
    p, h = process(name), 1e-6
    t = inside(p)
    slope = (torch.log(p.alpha(t + h)) - torch.log(p.alpha(t - h))) / (2 * h)
    assert torch.allclose(p.f(t), slope, rtol=1e-6, atol=1e-7)
    power = (p.sigma(t + h) ** 2 - p.sigma(t - h) ** 2) / (2 * h)
    assert torch.allclose(p.g2(t), power - 2 * p.f(t) * p.sigma(t) ** 2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_time_inverts_kappa_and_zero_is_the_signal(name):
    p = process(name)
    t = inside(p)
    assert torch.allclose(p.time(p.kappa(t)), t, rtol=1e-10)
    assert torch.allclose(p.lam(t), torch.log(p.alpha(t) / p.sigma(t)), atol=1e-12)
    assert p.alpha(0.0).item() == 1.0 and p.sigma(0.0).item() == 0.0
    assert p.alpha(0.5).dtype == torch.float64 and p.sigma(0.5).ndim == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grid", [karras, log_snr, uniform])
def test_grids_run_between_the_noise_levels_and_end_at_zero(name, grid):
    p = process(name)
    times = grid(p, 0.02, 20.0, 12)
    assert times.dtype == torch.float64 and len(times) == 13 and times[-1] == 0
    assert (times.diff() < 0).all()
    assert torch.allclose(p.kappa(times[[0, -2]]), torch.tensor([20.0, 0.02], dtype=torch.float64), rtol=1e-6)


def test_karras_grid_is_the_published_one():
    t = karras(diffusion.EDM(), 0.002, 80.0, 18)
    i = torch.arange(18, dtype=torch.float64)
    want = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert torch.allclose(t[:-1], want, rtol=1e-12)


def test_ddpm_table_holds_the_published_ends():
    p = diffusion.Tabulated.linear()
    assert torch.allclose(p.alpha(1.0) ** 2, torch.tensor(1 - 1e-4, dtype=torch.float64))
    assert torch.allclose(p.alpha(1000.0) ** 2, torch.tensor(4.0358e-5, dtype=torch.float64), rtol=1e-3)


@pytest.mark.parametrize("steps, low, high", [(0, 0.1, 1.0), (5, 1.0, 0.5), (5, 0.0, 1.0), (2.5, 0.1, 1.0)])
def test_grids_refuse_what_cannot_decrease(steps, low, high):
    with pytest.raises(BadInput):
        karras(diffusion.EDM(), low, high, steps)
