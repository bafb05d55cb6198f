"""Sizes and parameters for the example of an operator, at random: odd and even, non-square, now and then 1."""

import torch


def sizes(rng, count, low, high):
    """`count` whole numbers from low to high, both of them included; low and high are one number, or one each."""
    low, high = torch.as_tensor(low), torch.as_tensor(high)
    return tuple((low + ((high + 1 - low) * rng.uniform(count)).long()).tolist())


def integer(rng, low, high):
    """One whole number from low to high, both of them included."""
    return sizes(rng, 1, low, high)[0]


def number(rng, low, high):
    """One real number from low to high."""
    return low + (high - low) * rng.uniform(1).item()


def pick(rng, *choices):
    """One of the choices."""
    return choices[integer(rng, 0, len(choices) - 1)]


def signal_shape(rng, most=64):
    """A shape of one, two or three axes, all of them free, with at most `most` entries."""
    ndim = integer(rng, 1, 3)
    return sizes(rng, ndim, 1, int(most ** (1 / ndim) + 1e-9))


def some_axes(rng, ndim):
    """None for all of `ndim` axes, or at least one of them, from the front or from the end, in any order."""
    axes = rng.uniform(ndim).argsort()[: integer(rng, 1, ndim)] - pick(rng, 0, ndim)
    return pick(rng, None, tuple(axes.tolist()))


def some_places(rng, shape):
    """A bool tensor of this shape, True at one entry, at all of them, or at a share in between."""
    drawn = rng.uniform(*shape)
    return drawn <= drawn.flatten().quantile(pick(rng, 0.0, 0.3, 0.6, 1.0))
