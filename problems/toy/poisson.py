"""Counts of photons in the plane: a positive mixture seen by three detectors."""

import torch

from theory.distributions.mixture import GaussianMixture
from workbench.noise.poisson import Poisson
from workbench.operators.dense import Dense
from workbench.problem import Problem

card = dict(family="toy", operator="dense", prior="gaussian-mixture", exact=True, source="")


def problem(seed=0, gain=3.0, background=1.0):
    """x in R^2, y ~ Poisson(gain A x + background) in three detectors; float64. Two Gaussians six standard deviations
    from a negative entry.  gain: counts a unit.  background: counts without a signal."""
    tensor = lambda rows: torch.tensor(rows, dtype=torch.float64)  # noqa: E731
    prior = GaussianMixture(
        weights=[0.6, 0.4],
        means=tensor([[4.0, 2.0], [2.5, 4.5]]),
        covariances=tensor([[[0.25, 0.05], [0.05, 0.1]], [[0.15, -0.1], [-0.1, 0.4]]]),
    )
    truth = prior.sample(1, seed)[0]
    A, noise = Dense(tensor([[1.0, 0.2], [0.2, 1.0], [0.5, 0.5]])), Poisson(gain, background)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="toy/poisson")
