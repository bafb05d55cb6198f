"""Blur: circular convolution with a kernel, and by composition every other boundary."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fft import fftn, ifftn, irfftn, rfftn

from workbench._errors import BadInput
from workbench.operators._linear import Linear, ridge
from workbench.operators._once import once
from workbench.operators._operator import checked
from workbench.operators._sizes import signal_shape
from workbench.operators.crop import Crop
from workbench.operators.fourier import Fourier, Hartley
from workbench.operators.kernels import embed
from workbench.operators.kernels import gaussian_kernel as gaussian_kernel  # long found in this file
from workbench.operators.padding import Reflect, Replicate
from workbench.operators.reshape import Reshape


@dataclass(frozen=True, eq=False)
class CircularBlur(Linear):
    """y = k * x, circular convolution; x, y: (*, *kernel.shape) of the kernel's dtype.

    kernel: (H, W) (or any number of axes), its centre at index (0, 0); `gaussian_kernel` makes one.
    Convolution, not correlation: y[i] = sum_j k[j] x[i - j].
    """

    card = dict(family="blur", linear=True, svd=True, source="")

    kernel: Tensor

    def __post_init__(self):
        if not isinstance(self.kernel, Tensor) or self.kernel.ndim == 0:
            raise BadInput(
                "CircularBlur: kernel should be a tensor of the signal's shape, its centre at index 0"
            )

    in_shape = out_shape = property(lambda self: tuple(self.kernel.shape))
    in_dtype = out_dtype = property(lambda self: self.kernel.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(rng.normal(torch.empty(1, *signal_shape(rng), dtype=dtype))[0])

    @once("kernel")
    def transfer(self):
        """The unnormalised FFT of the kernel: the gain of each frequency."""
        return fftn(self.kernel)

    def _filter(self, gain, x):
        axes = tuple(range(-self.kernel.ndim, 0))
        if x.is_complex():
            return ifftn(gain * fftn(x, dim=axes), dim=axes)
        half = gain[..., : self.kernel.shape[-1] // 2 + 1]
        return irfftn(half * rfftn(x, dim=axes), s=self.kernel.shape, dim=axes)

    def forward(self, x):
        return self._filter(self.transfer, x)

    def adjoint(self, y):
        return self._filter(self.transfer.conj(), y)

    def normal(self, x):
        return self._filter(self.transfer.abs() ** 2, x)

    def norm(self):
        return self.transfer.abs().max().item()

    def gram_spectrum(self, axes, probes=64):
        if {a % self.kernel.ndim for a in axes} == set(range(self.kernel.ndim)):
            return self.transfer.abs() ** 2
        return super().gram_spectrum(axes, probes)

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = F^{-1} [F b / (|k|^2 + rho)]."""
        checked(b, self.in_shape, self.in_dtype, "CircularBlur.solve")
        rho = ridge(rho, b, self.kernel.ndim)
        power = self.transfer.abs() ** 2
        if (rho == 0).any() and power.min() <= power.max() * torch.finfo(power.dtype).eps ** 2:
            raise BadInput(
                "solve: rho = 0 and the kernel removes some frequencies, so there is no inverse; use rho > 0"
            )
        return self._filter(1 / (power + rho), b)

    def svd(self):
        """A = (phase of k) V |k| V^H, with V the Fourier transform, or for a real kernel, whose |k| is even, Hartley's."""
        gain = self.transfer.abs()
        turn = ifftn(torch.where(gain > 0, self.transfer / gain.clamp_min(torch.finfo(gain.dtype).tiny), 1))
        flat = Reshape((gain.numel(),), self.in_shape, self.in_dtype)
        if self.kernel.is_complex():
            V = Fourier(self.in_shape, self.in_dtype).H @ flat
            return CircularBlur(turn) @ V, torch.fft.fftshift(gain).flatten(), V
        V = Hartley(self.in_shape, self.in_dtype) @ flat
        return CircularBlur(turn.real) @ V, gain.flatten(), V


def valid_blur(psf, shape, centre=None):
    """y = k * x, only where the whole PSF lies inside x: Crop @ CircularBlur.

    psf: (K, L) (any number of axes), its centre at n // 2 or at `centre`.  x: (*, *shape), y: (*, H - K + 1, W - L + 1).
    Signal beyond the border enters as unknown, not as periodic: Almeida and Figueiredo 2013.
    """
    small = tuple(n - k + 1 for n, k in zip(shape, psf.shape, strict=True))
    kernel, offset = embed(psf, shape, centre), _reach(psf, centre)
    return Crop(shape, small, offset, psf.dtype) @ CircularBlur(kernel)


def reflect_blur(psf, shape, centre=None):
    """y = k * x with x reflected at its border, half-sample symmetric: Crop @ CircularBlur @ Reflect.

    psf: (K, L) (any number of axes), its centre at n // 2 or at `centre`.  x, y: (*, *shape).
    """
    return _extended_blur(Reflect, psf, shape, centre)


def replicate_blur(psf, shape, centre=None):
    """y = k * x with the border pixels of x repeated outwards: Crop @ CircularBlur @ Replicate.

    psf: (K, L) (any number of axes), its centre at n // 2 or at `centre`.  x, y: (*, *shape).
    """
    return _extended_blur(Replicate, psf, shape, centre)


def _extended_blur(extend, psf, shape, centre):
    shape, big = tuple(shape), tuple(n + k - 1 for n, k in zip(shape, psf.shape, strict=True))
    offset = _reach(psf, centre)
    blur = CircularBlur(embed(psf, big, centre))
    return Crop(big, shape, offset, psf.dtype) @ blur @ extend(shape, big, offset, psf.dtype)


def _reach(psf, centre):
    """How many entries before its own an output sees: those of the PSF behind its centre."""
    centre = [k // 2 for k in psf.shape] if centre is None else centre
    return tuple(k - 1 - c for k, c in zip(psf.shape, centre, strict=True))
