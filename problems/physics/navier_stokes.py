"""The vorticity of a flow one second ago, from a few sensors now: inverse Navier-Stokes."""

import torch

from theory.distributions.gaussian_field import GaussianField, radius
from workbench._rng import Rng
from workbench.noise.gaussian import Gaussian
from workbench.operators.mask import Mask
from workbench.operators.navier_stokes import NavierStokes
from workbench.problem import Problem

card = dict(
    family="physics", operator="navier-stokes", prior="gaussian-field", exact=False, source="Li et al. 2021"
)


def problem(seed=0, size=32, keep=0.25, steps=40, viscosity=1e-3, sigma=0.05):
    """truth: (size, size) vorticity in 1/s on a box of 1 m, covariance as (49 - laplacian)^{-5/2} (Li et al. 2021),
    scaled to a standard deviation of 1.

    keep: share of the points with a sensor, one second later.  viscosity in m^2/s.  sigma: of the noise, 1/s.
    """
    k2 = (2 * torch.pi * size * radius((size, size))) ** 2
    power = (k2 + 49) ** -2.5
    prior = GaussianField((power / power.mean()).float())
    truth = prior.sample(1, seed)[0]
    sensors = Mask(Rng(seed, "mask").uniform(size, size) < keep, torch.float32)
    at = torch.arange(size) / size
    wave = 2 * torch.pi * (at + at[:, None])
    A = sensors @ NavierStokes((size, size), viscosity, 1.0, steps, forcing=0.1 * (wave.sin() + wave.cos()))
    noise = Gaussian(sigma)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="physics/navier-stokes")
