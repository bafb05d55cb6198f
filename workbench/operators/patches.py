"""Overlapping patches of a signal."""

from dataclasses import dataclass
from functools import reduce

import torch

from workbench._errors import BadInput
from workbench.operators._orthogonal import OrthogonalColumns
from workbench.operators._sizes import pick, sizes


@dataclass(frozen=True, eq=False)
class Patches(OrthogonalColumns):
    """y[g] = x[g stride : g stride + size], every patch that lies inside the signal; the adjoint adds them up.

    shape: of the signal.  size, stride: of a patch and between patches, one number an axis.  y: (*, *grid, *size) with
    (n - size) // stride + 1 patches along an axis.  A^H A multiplies every entry by the number of patches that hold it:
    `solve` with rho = 0 averages them; entries after the last patch are in none.
    """

    card = dict(family="transform", linear=True, svd=True, source="")

    shape: tuple
    size: tuple
    stride: tuple
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        if not all(isinstance(v, tuple) and len(v) == len(self.shape) for v in (self.size, self.stride)):
            raise BadInput(
                f"Patches: size = {self.size} and stride = {self.stride} should be tuples of {len(self.shape)} integers, one for each axis of {tuple(self.shape)}"
            )
        if not all(
            1 <= k <= n and s >= 1 for n, k, s in zip(self.shape, self.size, self.stride, strict=True)
        ):
            raise BadInput(
                f"Patches: size = {self.size} should be from 1 to {tuple(self.shape)}, stride = {self.stride} at least 1"
            )

    in_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @property
    def grid(self):
        """The number of patches along each axis."""
        return tuple((n - k) // s + 1 for n, k, s in zip(self.shape, self.size, self.stride, strict=True))

    @property
    def out_shape(self):
        return (*self.grid, *self.size)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = pick(rng, sizes(rng, 1, 1, 16), sizes(rng, 2, 1, 6), sizes(rng, 3, 1, 3))
        return cls(shape, sizes(rng, len(shape), 1, shape), sizes(rng, len(shape), 1, 3), dtype)

    @property
    def column_power(self):
        counts = [_overlap_add(torch.ones(g, k), n, s) for g, k, n, s in self._sides]
        return reduce(lambda a, b: a[..., None] * b, counts).to(self.dtype.to_real())

    @property
    def _sides(self):
        return list(zip(self.grid, self.size, self.shape, self.stride, strict=True))

    def forward(self, x):
        first = x.ndim - len(self.shape)
        for axis, (size, stride) in enumerate(zip(self.size, self.stride, strict=True), start=first):
            x = x.unfold(axis, size, stride)
        return x

    def adjoint(self, y):
        ndim = len(self.shape)
        for done, (_, _, n, stride) in enumerate(self._sides):
            # y: (*, grid left, size left, signal done); the first axis of both makes the next of the signal
            y = _overlap_add(y.movedim((done - 2 * ndim, -ndim), (-2, -1)), n, stride)
        return y


def _overlap_add(patches, n, stride):
    """(*, grid, size) -> (*, n): patches put where they came from, `stride` apart, added where they overlap."""
    x = patches.new_zeros(*patches.shape[:-2], n)
    for i in range(patches.shape[-1]):
        x[..., i : i + (patches.shape[-2] - 1) * stride + 1 : stride] += patches[..., i]
    return x
