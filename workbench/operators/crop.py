"""Crop: a window of the signal; with a circular blur, the way to every other boundary."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.operators._orthogonal import OrthogonalColumns
from workbench.operators._sizes import pick, signal_shape, sizes


@dataclass(frozen=True, eq=False)
class Crop(OrthogonalColumns):
    """y = x[offset : offset + small], a window along every axis; its adjoint pads with zeros.

    big, small: shapes of x and y, any number of axes.  offset: index of the window's first entry on each axis; by
    default big // 2 - small // 2, so that the middle n // 2 stays the middle.  Crop(big, small) @ CircularBlur(k) is
    the valid convolution (`valid_blur`).  Raises BadInput where the window leaves the signal.
    """

    card = dict(family="structure", linear=True, svd=True, source="")

    big: tuple
    small: tuple
    offset: tuple | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        inside("Crop", self.big, self.small, self.offset)

    in_shape = property(lambda self: tuple(self.big))
    out_shape = property(lambda self: tuple(self.small))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        big = signal_shape(rng)
        small = sizes(rng, len(big), 1, big)
        last = [b - s for b, s in zip(big, small, strict=True)]
        return cls(big, small, pick(rng, None, sizes(rng, len(big), 0, last)), dtype)

    @property
    def window(self):
        """The index of the window, after any batch axes."""
        first = offsets(self.big, self.small, self.offset)
        return (..., *[slice(o, o + n) for o, n in zip(first, self.small, strict=True)])

    @property
    def column_power(self):
        power = torch.zeros(self.big, dtype=self.dtype.to_real())
        power[self.window] = 1
        return power

    def forward(self, x):
        return x[self.window]

    def adjoint(self, y):
        x = y.new_zeros(*y.shape[: y.ndim - len(self.small)], *self.big)
        x[self.window] = y
        return x


def offsets(big, small, offset):
    """`offset`, or the one that puts the middle n // 2 of the small shape on that of the big one."""
    return tuple(b // 2 - s // 2 for b, s in zip(big, small, strict=True)) if offset is None else offset


def inside(who, big, small, offset):
    """Raise BadInput unless the window `small` at `offset` lies in `big`."""
    if len(big) != len(small) or len(offset or big) != len(big):
        raise BadInput(
            f"{who}: big = {big}, small = {small} and offset = {offset} should have as many axes each"
        )
    first = offsets(big, small, offset)
    if not all(0 <= o and 1 <= s and o + s <= b for o, s, b in zip(first, small, big, strict=True)):
        raise BadInput(
            f"{who}: small = {tuple(small)} at offset = {tuple(first)} should lie inside big = {tuple(big)}; "
            f"use a smaller window or a larger big"
        )
