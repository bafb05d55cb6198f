"""Denoising of a Levy process, a random walk with Laplace steps unless others are given."""

import torch

from problems.levy._measured import LAPLACE, measured
from theory.distributions.levy import Levy
from workbench.operators.diagonal import Diagonal

card = dict(
    family="Levy", operator="diagonal", prior="levy", exact=True, source="Zach, Haouchat and Unser 2026"
)


def problem(seed=0, increments=LAPLACE, size=64, decibels=25.0):
    """truth: (size,), float64, a draw of the prior; y = x + n.  increments: Gauss, Laplace, BernoulliLaplace or StudentT.
    decibels: median power of A x over that of the noise."""
    A = Diagonal(torch.ones(size, dtype=torch.float64))
    return measured(Levy(size, increments), A, seed, decibels, "levy/denoise")
