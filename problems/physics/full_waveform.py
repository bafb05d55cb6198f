"""The velocity of the ground from shots and receivers on its surface: full-waveform inversion."""

import torch

from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.full_waveform import FullWaveform, ricker
from workbench.operators.saturation import Saturation
from workbench.problem import Problem

card = dict(
    family="physics",
    operator="full-waveform",
    prior="gaussian-field",
    exact=False,
    source="Zheng et al. 2025",
)


def problem(seed=0, size=32, shots=4, samples=200, level=0.05):
    """truth: (size / 2, size) velocity in km/s on cells of 50 m, rising from 2 to 3.5 with depth, standard deviation 0.2.

    The waves meet velocities clipped to 1.5 to 4.5 km/s.  shots: along the surface, a 5 Hz Ricker wavelet each.
    samples: in time, every 4 ms.  level: standard deviation of the noise as a share of the traces' rms.
    """
    shape, step = (size // 2, size), 0.004
    depth = torch.linspace(2.0, 3.5, shape[0])[:, None].expand(shape)
    prior = GaussianField(power_law(shape, exponent=1.5, scale=0.2), mean=depth)
    truth = prior.sample(1, seed)[0]
    surface = torch.stack([torch.ones(size, dtype=torch.int64), torch.arange(size)], 1)
    sources = surface[torch.linspace(1, size - 2, shots).round().long()]
    waves = FullWaveform(
        shape, 0.05, step, ricker(5.0, step, samples), sources, surface, fastest=4.5, absorbing=12
    )
    A = waves @ Saturation(shape, low=1.5, high=4.5)
    clean = A(truth)
    noise = Gaussian(level * clean.square().mean().sqrt().item())
    return Problem(prior, A, noise, y=noise.sample(clean, seed), truth=truth, name="physics/full-waveform")
