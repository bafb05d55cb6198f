"""Random inpainting of a stationary field: the truth is a draw of the prior, so the posterior is calibrated."""

import torch

from theory.distributions.gaussian_field import GaussianField, power_law
from workbench._rng import Rng
from workbench.noise.gaussian import Gaussian
from workbench.operators.mask import Mask
from workbench.problem import Problem

card = dict(family="inpainting", operator="mask", prior="gaussian-field", exact=True, source="")


def problem(seed=0, size=64, keep=0.3, sigma=0.05):
    """truth: (size, size), unit variance.  keep: share of pixels seen.  sigma: of the noise."""
    prior = GaussianField(power_law((size, size), exponent=1.5))
    truth = prior.sample(1, seed)[0]
    A, noise = Mask(Rng(seed, "mask").uniform(size, size) < keep, torch.float32), Gaussian(sigma)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="inpainting/random")
