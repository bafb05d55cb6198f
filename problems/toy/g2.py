"""A mixture of three Gaussians in the plane seen through one number: small enough to check by hand."""

import torch

from theory.distributions.mixture import GaussianMixture
from workbench.noise.gaussian import Gaussian
from workbench.operators.dense import Dense
from workbench.problem import Problem

card = dict(family="toy", operator="dense", prior="gaussian-mixture", exact=True, source="")


def problem(seed=0):
    """x in R^2, y = x_1 + x_2 / 2 + n = 0.8 with noise 0.3; float64. The seed changes nothing: the data are fixed."""
    tensor = lambda rows: torch.tensor(rows, dtype=torch.float64)  # noqa: E731
    prior = GaussianMixture(
        weights=[0.5, 0.3, 0.2],
        means=tensor([[-2, 0], [2, 1], [0, -2]]),
        covariances=tensor([[[0.5, 0.2], [0.2, 0.3]], [[0.4, -0.1], [-0.1, 0.6]], [[0.3, 0], [0, 0.3]]]),
    )
    return Problem(prior, Dense(tensor([[1, 0.5]])), Gaussian(0.3), y=tensor([0.8]), name="toy/g2")
