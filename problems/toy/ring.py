"""A ring in the plane, one coordinate of which is seen: the posterior is two arcs, left out of any Gaussian closure."""

from math import pi

import torch

from theory.distributions.mixture import GaussianMixture
from workbench.noise.gaussian import Gaussian
from workbench.operators.dense import Dense
from workbench.problem import Problem

card = dict(family="toy", operator="dense", prior="gaussian-mixture", exact=True, source="")
COMPONENTS = 96  # 0.13 apart at radius 2, less than a width: the density does not ripple


def problem(seed=0, radius=2.0, width=0.2, sigma=0.2):
    """x in R^2, y = x_1 + n; float64. The ring is 96 equal Gaussians on a circle, exact for the law so defined.

    radius, width: of the ring, its standard deviation across.  sigma: of the noise."""
    angle = 2 * pi * torch.arange(COMPONENTS, dtype=torch.float64) / COMPONENTS
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    prior = GaussianMixture(torch.ones(COMPONENTS), means, torch.full_like(angle, width**2))
    truth = prior.sample(1, seed)[0]
    A, noise = Dense(torch.tensor([[1.0, 0.0]], dtype=torch.float64)), Gaussian(sigma)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="toy/ring")
