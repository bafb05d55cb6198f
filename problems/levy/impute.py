"""Imputation of a Levy process: samples at random, with noise."""

import torch

from problems.levy._measured import LAPLACE, measured
from theory.distributions.levy import Levy
from workbench._rng import Rng
from workbench.operators.mask import Mask

card = dict(family="Levy", operator="mask", prior="levy", exact=True, source="Zach, Haouchat and Unser 2026")


def problem(seed=0, increments=LAPLACE, size=64, keep=0.4, decibels=25.0):
    """truth: (size,), float64, a draw of the prior.  increments: their law.  keep: share of samples seen, at least one.
    decibels: median power of A x over that of the noise."""
    order = Rng(seed, "mask").uniform(size).argsort().argsort()
    A = Mask(order < max(1, round(keep * size)), torch.float64)
    return measured(Levy(size, increments), A, seed, decibels, "levy/impute")
