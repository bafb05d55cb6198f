"""Parallel-beam CT of a real head slice from 60 views."""

from math import pi

import torch

from problems._head import head_slice
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.radon import ParallelBeam
from workbench.problem import Problem

card = dict(
    family="tomography",
    operator="parallel-beam",
    prior="gaussian-field",
    exact=True,
    source="matplotlib s1045.ima.gz",
)


def problem(seed=0, size=128, views=60, sigma=0.02):
    """truth: (size, size) attenuation in 1/mm, 0 to 0.04, pixels of 256 / size mm.  sigma: of the line integrals."""
    pixel = 256 / size
    truth = 0.04 * head_slice(size)
    angles = torch.arange(views, dtype=torch.float64) * pi / views
    A = ParallelBeam(angles, (size, size), detectors=size * 3 // 2, spacing=pixel, pixel=pixel)
    noise = Gaussian(sigma)
    prior = GaussianField(power_law((size, size), exponent=1.2, scale=0.012))
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="ct/head-parallel-60")
