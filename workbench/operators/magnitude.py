"""Magnitudes: what is left of a field when its phase is lost."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.operators._checks import check_shape
from workbench.operators._operator import Operator
from workbench.operators._sizes import signal_shape
from workbench.operators.fourier import Fourier
from workbench.operators.mask import Mask
from workbench.operators.reshape import Reshape


@dataclass(frozen=True, eq=False)
class Magnitude(Operator):
    """y = |x|, entry by entry: amplitudes, the square root of Intensity, as in Magnitude(...) @ Fourier(...).

    shape: of the signal.  dtype: of the signal, complex or real; y is real.  x and exp(i c) x give the same y.
    Its Jacobian at x is v -> Re(conj(x) v) / |x|; at x = 0, where it has none, the subgradient 0 is taken.
    Gerchberg and Saxton 1972.
    """

    card = dict(family="phase retrieval", linear=False, svd=False, source="Gerchberg and Saxton 1972")

    shape: tuple
    dtype: torch.dtype = torch.complex64

    def __post_init__(self):
        check_shape(self.shape, "Magnitude")

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = property(lambda self: self.dtype)
    out_dtype = property(lambda self: self.dtype.to_real())

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        return cls(signal_shape(rng), dtype)

    def forward(self, x):
        return x.abs()


def oversampled_fourier(shape, factor=2, dtype=torch.complex64):
    """The Fourier transform of x: (*shape) with zeros around it, (round(factor n), ...) samples: linear, an isometry.

    Its modulus determines almost every image of known support, up to a global phase, a shift and a reflection, when
    factor >= 2 (Hayes 1982; Miao, Sayre, Chapman 1998). The middle n // 2 of x is that of the padded signal.
    Raises BadInput for a factor below 1.
    """
    if factor < 1:
        raise BadInput(f"oversampled_fourier: factor = {factor} should be at least 1 sample an entry")
    large = tuple(round(factor * n) for n in shape)
    window = torch.zeros(large, dtype=torch.bool)
    window[tuple(slice(N // 2 - n // 2, N // 2 - n // 2 + n) for n, N in zip(shape, large, strict=True))] = (
        True
    )
    pad = Mask(window, dtype).H @ Reshape(tuple(shape), (int(window.sum()),), dtype)
    return Fourier(large, dtype) @ pad
