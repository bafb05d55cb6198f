"""The inverse of an operator, as an operator."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._sizes import signal_shape
from workbench.operators.blur import CircularBlur


@dataclass(frozen=True, eq=False)
class Inverse(Linear):
    """A^{-1} x = (A^H A)^{-1} A^H x, of a square invertible operator A, by its own `solve`.

    Exact where A solves in closed form (blur, dense, diagonal, orthonormal ones), to the tolerance of conjugate
    gradients elsewhere. Raises BadInput where A is not square; its `solve` refuses what has no inverse.
    """

    card = dict(family="structure", linear=True, svd=False, source="")

    A: Linear

    def __post_init__(self):
        sizes = [torch.Size(shape).numel() for shape in (self.A.in_shape, self.A.out_shape)]
        if sizes[0] != sizes[1] or self.A.in_dtype != self.A.out_dtype:
            raise BadInput(
                f"Inverse: {type(self.A).__name__} maps {tuple(self.A.in_shape)} {self.A.in_dtype} to "
                f"{tuple(self.A.out_shape)} {self.A.out_dtype}; only a square operator has an inverse"
            )

    in_shape = property(lambda self: self.A.out_shape)
    out_shape = property(lambda self: self.A.in_shape)
    in_dtype = out_dtype = property(lambda self: self.A.in_dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        kernel = rng.normal(torch.empty(1, *signal_shape(rng), dtype=dtype))[0]
        kernel *= 0.1 / kernel.numel() ** 0.5
        kernel[(0,) * kernel.ndim] = 1
        return cls(CircularBlur(kernel))

    def forward(self, x):
        return self.A.solve(self.A.adjoint(x), 0.0)

    def adjoint(self, y):
        return self.A.forward(self.A.solve(y, 0.0))
