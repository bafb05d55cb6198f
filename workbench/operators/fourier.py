"""Orthonormal transforms to frequencies: Fourier's, and Hartley's for real signals."""

from dataclasses import dataclass

import torch
from torch.fft import fftn, fftshift, ifftn, ifftshift

from workbench.operators._checks import check_shape
from workbench.operators._linear import Linear
from workbench.operators._sizes import signal_shape


@dataclass(frozen=True, eq=False)
class Fourier(Linear):
    """y = F x, the centred unitary Fourier transform over all axes: index n // 2 is the middle on both sides.

    shape: of the complex signal.  fftshift(fft(ifftshift(x)), norm="ortho"), the convention of MRI (sigpy, BART).
    """

    card = dict(family="transform", linear=True, svd=False, source="")

    shape: tuple
    dtype: torch.dtype = torch.complex64

    def __post_init__(self):
        check_shape(self.shape, "Fourier")

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype.to_complex())
    axes = property(lambda self: tuple(range(-len(self.shape), 0)))

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        return cls(signal_shape(rng), dtype)

    def forward(self, x):
        return fftshift(fftn(ifftshift(x, self.axes), dim=self.axes, norm="ortho"), self.axes)

    def adjoint(self, y):
        return fftshift(ifftn(ifftshift(y, self.axes), dim=self.axes, norm="ortho"), self.axes)

    def norm(self):
        return 1.0


@dataclass(frozen=True, eq=False)
class Hartley(Linear):
    """y = Re(F x) - Im(F x) for the unitary FFT F over all axes: orthonormal, symmetric, its own inverse.

    shape: of the signal (real and imaginary parts are transformed alike).  It diagonalises every circular convolution
    whose kernel is real and even. Bracewell 1983.
    """

    card = dict(family="transform", linear=True, svd=False, source="Bracewell 1983")

    shape: tuple
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_shape(self.shape, "Hartley")

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(signal_shape(rng), dtype)

    def forward(self, x):
        axes = tuple(range(-len(self.shape), 0))

        def transform(part):
            y = fftn(part, dim=axes, norm="ortho")
            return y.real - y.imag

        return torch.complex(transform(x.real), transform(x.imag)) if x.is_complex() else transform(x)

    def adjoint(self, y):
        return self.forward(y)

    def norm(self):
        return 1.0
