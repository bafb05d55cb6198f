"""What the problems of Levy processes share: a truth from the prior, and noise set in decibels."""

from theory.distributions.increments import Laplace
from workbench.noise.gaussian import Gaussian
from workbench.problem import Problem

LAPLACE = Laplace(1.0)  # of the increments, unless others are given


def measured(prior, A, seed, decibels, name):
    """The Problem of y = A x + noise, x a draw of the prior.

    The variance of the noise is the median over 1000 draws of the mean power of A x, less `decibels`: the median,
    because heavy tails have no mean power."""
    power = A(prior.sample(1000, 0, stream="power")).abs().square().mean(1).median().item()
    components = 2 if A.out_dtype.is_complex else 1
    noise = Gaussian((power / components * 10 ** (-decibels / 10)) ** 0.5)
    truth = prior.sample(1, seed)[0]
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name=name)
