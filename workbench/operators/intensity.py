"""Intensities: what a detector without phase sees."""

from dataclasses import dataclass

import torch

from workbench.operators._checks import check_shape
from workbench.operators._operator import Operator
from workbench.operators._sizes import signal_shape


@dataclass(frozen=True, eq=False)
class Intensity(Operator):
    """y = |x|^2, entry by entry: phase retrieval after a linear map, as in Intensity(...) @ Fourier(...).

    shape: of the signal.  dtype: of the signal, complex or real; y is real.  x and exp(i c) x give the same y.
    Its Jacobian at x is v -> 2 Re(conj(x) v). Fienup 1982.
    """

    card = dict(family="phase retrieval", linear=False, svd=False, source="Fienup 1982")

    shape: tuple
    dtype: torch.dtype = torch.complex64

    def __post_init__(self):
        check_shape(self.shape, "Intensity")

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = property(lambda self: self.dtype)
    out_dtype = property(lambda self: self.dtype.to_real())

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        return cls(signal_shape(rng), dtype)

    def forward(self, x):
        return x.real**2 + x.imag**2 if x.is_complex() else x**2
