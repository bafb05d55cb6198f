"""Steppers of the library on a prior alone: what they do to points, and to Gaussians exactly."""

from itertools import pairwise
from types import SimpleNamespace

import torch


class Fixed:
    """A source of noise that returns what it was given: z, of the shape of a batch."""

    def __init__(self, z):
        self.z = z

    def normal(self, like):
        return self.z


def run(stepper, prior, x, times, rng=None):
    """x at the last of the decreasing `times`, which does not end at 0: the stepper's own steps and nothing else."""
    problem, state = SimpleNamespace(prior=prior), stepper.State(x)
    for t, s in pairwise(times):
        state = stepper.step(problem, state, t, s, rng)
    return state.x


def variance(stepper, prior, start, times):
    """The variance of each coordinate at the end, exactly, for a stepper that is affine and acts on each alone.

    prior: a Gaussian of zero mean and diagonal covariance.  start: (d,), the variances at the first time. A step takes
    x to a x + b z; a is what it does to ones without noise, b what it does to zero with noise one.
    """
    probe = torch.stack([torch.ones_like(start), torch.zeros_like(start)])
    noise = Fixed(torch.stack([torch.zeros_like(start), torch.ones_like(start)]))
    for t, s in pairwise(times):
        a, b = run(stepper, prior, probe, torch.stack([t, s]), noise)
        start = a**2 * start + b**2
    return start
