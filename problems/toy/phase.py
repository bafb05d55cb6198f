"""Phase retrieval in the plane: a symmetric mixture seen through a square, so that x and -x are equally likely."""

import torch

from theory.distributions.mixture import GaussianMixture
from workbench.noise.gaussian import Gaussian
from workbench.operators.dense import Dense
from workbench.operators.intensity import Intensity
from workbench.problem import Problem

card = dict(family="toy", operator="intensity", prior="gaussian-mixture", exact=True, source="")


def problem(seed=0, sigma=0.5):
    """x in R^2, y = (a^T x)^2 + n, a = (1, 0.5); float64. The prior is four Gaussians, two pairs of x and -x.

    sigma: of the noise."""
    tensor = lambda rows: torch.tensor(rows, dtype=torch.float64)  # noqa: E731
    half, forms = (
        tensor([[1.5, 0.5], [-0.5, 1.5]]),
        tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.4]]]),
    )
    prior = GaussianMixture([0.3, 0.2, 0.3, 0.2], torch.cat([half, -half]), torch.cat([forms, forms]))
    truth = prior.sample(1, seed)[0]
    A, noise = Intensity((1,), torch.float64) @ Dense(tensor([[1.0, 0.5]])), Gaussian(sigma)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="toy/phase")
