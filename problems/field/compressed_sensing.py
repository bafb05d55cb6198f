"""Compressed sensing of a stationary field by a random convolution: fast at any size, the truth a draw of the prior."""

from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.random_convolution import RandomConvolution
from workbench.problem import Problem

card = dict(
    family="compressed sensing",
    operator="random-convolution",
    prior="gaussian-field",
    exact=True,
    source="Romberg 2009",
)


def problem(seed=0, size=64, ratio=0.25, sigma=0.1):
    """truth: (size, size), unit variance.  ratio: measurements a pixel.  sigma: of the noise, beside measurements of
    variance 1 / ratio."""
    prior = GaussianField(power_law((size, size), exponent=1.5))
    truth = prior.sample(1, seed)[0]
    A = RandomConvolution.draw(max(1, round(ratio * size**2)), (size, size), seed)
    noise = Gaussian(sigma)
    return Problem(
        prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="field/compressed-sensing"
    )
