"""Deblurring of a real head slice: a circular Gaussian kernel, white noise, an exact posterior in closed form."""

from problems._head import head_slice
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.blur import CircularBlur, gaussian_kernel
from workbench.problem import Problem

card = dict(
    family="blur",
    operator="circular-blur",
    prior="gaussian-field",
    exact=True,
    source="matplotlib s1045.ima.gz",
)


def problem(seed=0, size=128, width=2.0, sigma=0.02):
    """truth: (size, size) in [0, 1].  width: of the kernel, standard deviation in pixels.  sigma: of the noise."""
    truth = head_slice(size)
    A, noise = CircularBlur(gaussian_kernel((size, size), width)), Gaussian(sigma)
    prior = GaussianField(power_law((size, size), exponent=1.2, scale=0.3))
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="deblur/gaussian")
