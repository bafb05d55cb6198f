"""A black hole's ring through the Event Horizon Telescope: closure phases, closure amplitudes and the total flux."""

import torch

from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.interferometry import (
    EHT_2017,
    MICROARCSECOND,
    ClosurePhase,
    Interferometry,
    LogClosureAmplitude,
    TotalFlux,
    closure_quadrangles,
    closure_triangles,
    earth_rotation,
)
from workbench.operators.nonlinear_stack import NonlinearStack
from workbench.problem import Problem

card = dict(
    family="physics",
    operator="nonlinear-stack",
    prior="gaussian-field",
    exact=False,
    source="Zheng et al. 2025",
)


def problem(seed=0, size=32, scans=12, phase=0.1, amplitude=0.1, flux=0.01):
    """truth: (size, size) flux in mJy per pixel, 0.6 Jy on 160 microarcseconds: a soft ring with a random texture.

    The source is M87 at 1.3 mm on a night of `scans`.  phase (rad), amplitude (of its logarithm), flux (Jy): standard
    deviations of the noise on the three kinds of data. Sizes as in InverseBench and EHT Collaboration 2019, paper IV.
    """
    stations = torch.tensor(list(EHT_2017.values()), dtype=torch.float64)
    hours = torch.linspace(11, 23, scans)
    uv, baselines, of_scan = earth_rotation(stations, hours, 12.51, 12.39, wavelength=1.3e-3)
    V = 1e-3 * Interferometry(uv, (size, size), (160 * MICROARCSECOND,) * 2)
    parts = (
        ClosurePhase(closure_triangles(baselines, of_scan), len(uv)) @ V,
        LogClosureAmplitude(closure_quadrangles(baselines, of_scan), len(uv)) @ V,
        1e-3 * TotalFlux((size, size)),
    )
    A, sigmas = NonlinearStack(*parts), (phase, amplitude, flux)
    sigma = torch.cat([torch.full((n,), s) for n, s in zip(A.sizes, sigmas, strict=True)])
    mean = soft_ring(size)
    prior = GaussianField(power_law((size, size), exponent=2.0, scale=0.2 * mean.max().item()), mean=mean)
    truth, noise = prior.sample(1, seed)[0], Gaussian(sigma)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="physics/black-hole")


def soft_ring(size, flux=600.0):
    """A ring of radius 20 and width 16 microarcseconds (standard deviation 7): (size, size), mJy per pixel."""
    at = (torch.arange(size) - (size - 1) / 2) * (160 / size)
    ring = torch.exp(-((torch.hypot(at, at[:, None]) - 20) ** 2) / (2 * 7**2))
    return flux * ring / ring.sum()
