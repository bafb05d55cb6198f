"""Time grids: decreasing float64 times of a process, `steps` of them and then 0, the clean signal."""

from math import log10

import torch

from workbench._errors import BadInput


def _checked(kappa_min, kappa_max, steps):
    if steps < 1 or int(steps) != steps:
        raise BadInput(f"steps = {steps} should be a whole number, at least 1")
    if not 0 < kappa_min < kappa_max:
        raise BadInput(f"noise range ({kappa_min:g}, {kappa_max:g}) should be increasing and positive")
    return int(steps)


def _end(times):
    grid = torch.cat([times, times.new_zeros(1)])
    if not (grid.diff() < 0).all():
        raise BadInput("the time grid does not decrease strictly; use fewer steps or a wider noise range")
    return grid


def karras(process, kappa_min, kappa_max, steps, rho=7.0):
    """kappa_i = (kappa_max^(1/rho) + i/(N-1) (kappa_min^(1/rho) - kappa_max^(1/rho)))^rho.  Karras et al. 2022, eq. 5."""
    steps = _checked(kappa_min, kappa_max, steps)
    ramp = torch.linspace(kappa_max ** (1 / rho), kappa_min ** (1 / rho), steps, dtype=torch.float64)
    return _end(process.time(ramp**rho))


def log_snr(process, kappa_min, kappa_max, steps):
    """Uniform in log(alpha / sigma), the grid of exponential integrators (Lu et al. 2022)."""
    steps = _checked(kappa_min, kappa_max, steps)
    return _end(process.time(torch.logspace(log10(kappa_max), log10(kappa_min), steps, dtype=torch.float64)))


def uniform(process, kappa_min, kappa_max, steps):
    """Uniform in the time of the process, between the times of the two noise levels."""
    steps = _checked(kappa_min, kappa_max, steps)
    ends = process.time(torch.tensor([kappa_max, kappa_min], dtype=torch.float64))
    return _end(torch.linspace(ends[0].item(), ends[1].item(), steps, dtype=torch.float64))
