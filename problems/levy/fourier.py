"""A Levy process from part of its spectrum: the lowest frequencies, and others at random."""

import torch

from problems.levy._measured import LAPLACE, measured
from theory.distributions.levy import Levy
from workbench._rng import Rng
from workbench.operators.fourier import Fourier
from workbench.operators.mask import Mask
from workbench.operators.reshape import AsComplex

card = dict(
    family="Levy", operator="fourier", prior="levy", exact=True, source="Zach, Haouchat and Unser 2026"
)
LOWEST = 4  # frequencies kept whatever the seed, 0 among them


def problem(seed=0, increments=LAPLACE, size=64, keep=0.4, decibels=25.0):
    """truth: (size,), float64, a draw of the prior; y complex.  increments: their law.  keep: share of the frequencies
    from 0 to half the sampling rate, without the negative ones that a real signal repeats.  decibels: median power of
    A x over that of the noise."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[size // 2 :] = chosen(seed, size - size // 2, keep)
    A = Mask(mask, torch.complex128) @ Fourier((size,), torch.complex128) @ AsComplex((size,), torch.float64)
    return measured(Levy(size, increments), A, seed, decibels, "levy/fourier")


def chosen(seed, count, keep):
    """A mask of round(keep count) frequencies, the lowest of them always: (count,) bool."""
    order = Rng(seed, "mask").uniform(count)
    order[:LOWEST] -= 1  # before all others
    return order.argsort().argsort() < max(min(LOWEST, count), round(keep * count))
