"""Compressed sensing of a stationary field by random Gaussian rows."""

from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.dense import GaussianSensing
from workbench.problem import Problem

card = dict(
    family="compressed sensing", operator="gaussian-sensing", prior="gaussian-field", exact=True, source=""
)


def problem(seed=0, size=32, ratio=0.25, sigma=0.05):
    """truth: (size, size), unit variance, a draw of the prior.  ratio: measurements a pixel.  sigma: of the noise."""
    prior = GaussianField(power_law((size, size), exponent=1.5))
    truth = prior.sample(1, seed)[0]
    A, noise = GaussianSensing.draw(max(1, round(ratio * size**2)), (size, size), seed), Gaussian(sigma)
    return Problem(
        prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="compressed-sensing/gaussian"
    )
