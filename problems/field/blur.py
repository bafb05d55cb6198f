"""Deblurring of a stationary field: the truth is a draw of the prior, the posterior Wiener's and calibrated."""

from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.blur import CircularBlur, gaussian_kernel
from workbench.problem import Problem

card = dict(family="blur", operator="circular-blur", prior="gaussian-field", exact=True, source="")


def problem(seed=0, size=64, width=2.0, sigma=0.05):
    """truth: (size, size), unit variance.  width: of the Gaussian kernel, standard deviation in pixels.  sigma: of the
    noise."""
    prior = GaussianField(power_law((size, size), exponent=1.2))
    truth = prior.sample(1, seed)[0]
    A, noise = CircularBlur(gaussian_kernel((size, size), width)), Gaussian(sigma)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="field/blur")
