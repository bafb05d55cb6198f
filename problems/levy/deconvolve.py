"""Deconvolution of a Levy process: a Gaussian kernel of 13 samples, where it lies inside the signal."""

import torch

from problems.levy._measured import LAPLACE, measured
from theory.distributions.levy import Levy
from workbench.operators.blur import valid_blur

card = dict(
    family="Levy", operator="circular-blur", prior="levy", exact=True, source="Zach, Haouchat and Unser 2026"
)
TAPS = 13


def problem(seed=0, increments=LAPLACE, size=64, width=2.0, decibels=25.0):
    """truth: (size,), float64, a draw of the prior; y: (size - 12,).  increments: their law.  width: standard deviation
    of the kernel in samples.  decibels: median power of A x over that of the noise."""
    k = torch.exp(-0.5 * (torch.arange(TAPS, dtype=torch.float64) - TAPS // 2) ** 2 / width**2)
    A = valid_blur(k / k.sum(), (size,))
    return measured(Levy(size, increments), A, seed, decibels, "levy/deconvolve")
