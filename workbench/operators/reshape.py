"""The same numbers in another shape, or seen as complex ones."""

from dataclasses import dataclass
from math import prod

import torch

from workbench._errors import BadInput
from workbench.operators._checks import check_shape
from workbench.operators._linear import Linear
from workbench.operators._sizes import pick, signal_shape


@dataclass(frozen=True, eq=False)
class Reshape(Linear):
    """y = x.reshape(out_shape)."""

    card = dict(family="structure", linear=True, svd=False, source="")

    in_shape: tuple
    out_shape: tuple
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        if prod(self.in_shape) != prod(self.out_shape):
            raise BadInput(
                f"Reshape: {self.in_shape} and {self.out_shape} should hold the same number of entries"
            )

    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = signal_shape(rng)
        return cls(shape, pick(rng, (prod(shape),), (prod(shape), 1), shape[::-1], shape), dtype)

    def forward(self, x):
        return x.reshape(*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape)

    def adjoint(self, y):
        return y.reshape(*y.shape[: y.ndim - len(self.out_shape)], *self.in_shape)

    def norm(self):
        return 1.0


@dataclass(frozen=True, eq=False)
class AsComplex(Linear):
    """y = x + 0i: a real signal embedded in the complex ones; the adjoint takes the real part."""

    card = dict(family="structure", linear=True, svd=False, source="")

    shape: tuple
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_shape(self.shape, "AsComplex")

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = property(lambda self: self.dtype.to_real())
    out_dtype = property(lambda self: self.dtype.to_complex())

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(signal_shape(rng), dtype)

    def forward(self, x):
        return x.to(self.out_dtype)

    def adjoint(self, y):
        return y.real

    def norm(self):
        return 1.0
