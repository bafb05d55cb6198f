"""Parallel-beam CT of a stationary field: the truth is a draw of the prior, so the posterior is calibrated."""

from math import pi

import torch

from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.radon import ParallelBeam
from workbench.problem import Problem

card = dict(family="tomography", operator="parallel-beam", prior="gaussian-field", exact=True, source="")


def problem(seed=0, size=64, views=30, sigma=0.5):
    """truth: (size, size), unit variance.  views: over half a turn.  sigma: of the line integrals, pixels of length 1."""
    prior = GaussianField(power_law((size, size), exponent=1.2))
    truth = prior.sample(1, seed)[0]
    angles = torch.arange(views, dtype=torch.float64) * pi / views
    A, noise = ParallelBeam(angles, (size, size), detectors=size * 3 // 2), Gaussian(sigma)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="field/ct")
