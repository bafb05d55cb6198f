"""The discrete cosine transform."""

from dataclasses import dataclass
from math import pi

import torch
from torch.fft import fft, ifft

from workbench.operators._checks import check_shape, transformed_axes
from workbench.operators._orthogonal import OrthogonalColumns
from workbench.operators._sizes import signal_shape, some_axes


@dataclass(frozen=True, eq=False)
class DCT(OrthogonalColumns):
    """y[k] = c_k sum_j x[j] cos(pi k (2 j + 1) / (2 n)) along each axis: the orthonormal cosine transform, type II.

    shape: of the signal, real or complex.  axes: those that are transformed, by default all; a JPEG-like block transform
    is DCT on the last two axes of Patches.  c_0 = sqrt(1 / n), c_k = sqrt(2 / n), so the adjoint is the inverse (type III).
    One FFT of length n an axis. Ahmed, Natarajan, Rao 1974; Makhoul 1980.
    """

    card = dict(family="transform", linear=True, svd=True, source="Ahmed, Natarajan, Rao 1974")

    shape: tuple
    axes: tuple | None = None
    dtype: torch.dtype = torch.float32

    column_power = torch.ones(())

    def __post_init__(self):
        check_shape(self.shape, "DCT")
        transformed_axes("DCT", self.shape, self.axes)

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = signal_shape(rng)
        return cls(shape, some_axes(rng, len(shape)), dtype)

    def forward(self, x):
        for axis in transformed_axes("DCT", self.shape, self.axes):
            x = _parts(_cosine, x.movedim(axis, -1)).movedim(-1, axis)
        return x

    def adjoint(self, y):
        for axis in transformed_axes("DCT", self.shape, self.axes):
            y = _parts(_inverse_cosine, y.movedim(axis, -1)).movedim(-1, axis)
        return y


def _parts(transform, x):
    return torch.complex(transform(x.real), transform(x.imag)) if x.is_complex() else transform(x)


def _turn(n, like):
    """c_k exp(-i pi k / (2 n)): what turns the FFT of the folded signal into cosines."""
    k = torch.arange(n, dtype=torch.float64, device=like.device)
    scale = torch.full_like(k, (2 / n) ** 0.5)
    scale[0] = (1 / n) ** 0.5
    return torch.polar(scale, -pi * k / (2 * n)).to(like.dtype.to_complex())


def _cosine(x):
    """Even entries forwards, odd ones backwards; then one FFT (Makhoul 1980)."""
    folded = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)
    return (_turn(x.shape[-1], x) * fft(folded)).real


def _inverse_cosine(y):
    """The transpose: Re(w F x) has the transpose Re(F w y), and F is n times the conjugate of the inverse FFT."""
    n = y.shape[-1]
    folded = (n * ifft(_turn(n, y).conj() * y)).real
    x = torch.zeros_like(folded)
    x[..., ::2], x[..., 1::2] = folded[..., : (n + 1) // 2], folded[..., (n + 1) // 2 :].flip(-1)
    return x
