"""Weights on the entries, and a matrix along one axis: what whitening is made of."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear, ridge
from workbench.operators._operator import checked
from workbench.operators._sizes import integer, pick, signal_shape
from workbench.operators.reshape import Reshape


@dataclass(frozen=True, eq=False)
class Diagonal(Linear):
    """y = w * x, one weight an entry.

    weights: (*signal), real or complex.  dtype: of the signal (default: the weights').
    """

    card = dict(family="structure", linear=True, svd=True, source="")

    weights: Tensor
    dtype: torch.dtype | None = None

    def __post_init__(self):
        if torch.promote_types(self.weights.dtype, self.in_dtype) != self.in_dtype:
            raise BadInput(
                f"Diagonal: weights are {self.weights.dtype}, which takes a signal of dtype = {self.dtype} out of its kind; "
                f"use weights.to(...), or AsComplex before it"
            )

    in_shape = out_shape = property(lambda self: tuple(self.weights.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype or self.weights.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape, own = signal_shape(rng), pick(rng, dtype, dtype.to_real())
        return cls(rng.normal(torch.empty(1, *shape, dtype=own))[0], dtype)

    def forward(self, x):
        return self.weights * x

    def adjoint(self, y):
        return self.weights.conj() * y

    def norm(self):
        return self.weights.abs().max().item()

    def svd(self):
        size = self.weights.abs()
        phase = torch.where(size > 0, self.weights / size.clamp_min(torch.finfo(size.dtype).tiny), 1)
        V = Reshape((size.numel(),), self.in_shape, self.in_dtype)
        return Diagonal(phase, self.dtype) @ V, size.flatten(), V

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = b / (|w|^2 + rho)."""
        checked(b, self.in_shape, self.in_dtype, "Diagonal.solve")
        rho = ridge(rho, b, self.weights.ndim)
        if (rho == 0).any() and (self.weights == 0).any():
            raise BadInput("solve: rho = 0 and a weight is 0, so there is no inverse; use rho > 0")
        return b / (self.weights.abs() ** 2 + rho)


@dataclass(frozen=True, eq=False)
class Mix(Linear):
    """y[c] = sum_d M[c, d] x[d] along one axis of the signal, the coils or channels.

    matrix: (C, C).  shape: of the signal.  axis: the axis of length C, counted from the end.
    """

    card = dict(family="structure", linear=True, svd=False, source="")

    matrix: Tensor
    shape: tuple
    axis: int = -2

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.matrix.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = signal_shape(rng)
        axis = -integer(rng, 1, len(shape))
        return cls(rng.normal(torch.empty(shape[axis], shape[axis], dtype=dtype)), shape, axis)

    def _apply(self, matrix, x):
        mixed = torch.tensordot(matrix, x, dims=([1], [x.ndim + self.axis]))
        return torch.movedim(mixed, 0, self.axis)

    def forward(self, x):
        return self._apply(self.matrix, x)

    def adjoint(self, y):
        return self._apply(self.matrix.mH, y)
