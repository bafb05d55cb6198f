"""A sensor that clips, in the plane: what is brighter than its range is known to be bright, and no more."""

import torch

from theory.distributions.mixture import GaussianMixture
from workbench.noise.gaussian import Gaussian
from workbench.operators.dense import Dense
from workbench.operators.saturation import Saturation
from workbench.problem import Problem

card = dict(family="toy", operator="saturation", prior="gaussian-mixture", exact=True, source="")


def problem(seed=0, high=1.0, sigma=0.1):
    """x in R^2, y = clip(A x, -high, high) + n in two detectors; float64. About one entry in two is clipped.

    high: the range of the sensor.  sigma: of the noise."""
    tensor = lambda rows: torch.tensor(rows, dtype=torch.float64)  # noqa: E731
    prior = GaussianMixture(
        weights=[0.5, 0.3, 0.2],
        means=tensor([[0.5, 0.3], [2.0, -0.5], [-0.5, 1.5]]),
        covariances=tensor([[[0.4, 0.2], [0.2, 0.3]], [[0.5, -0.1], [-0.1, 0.3]], [[0.3, 0.0], [0.0, 0.3]]]),
    )
    truth = prior.sample(1, seed)[0]
    clip = Saturation((2,), low=-high, high=high, dtype=torch.float64)
    A, noise = clip @ Dense(tensor([[1.0, 0.3], [-0.2, 1.0]])), Gaussian(sigma)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="toy/saturation")
