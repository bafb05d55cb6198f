"""Blur: circular convolution with a kernel."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.fft import fftn, ifftn, irfftn, rfftn

from workbench._errors import BadInput
from workbench.operators._linear import Linear, ridge
from workbench.operators._operator import checked
from workbench.operators.fourier import Fourier, Hartley
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
        return cls(rng.normal(torch.empty(1, 5, 6, dtype=dtype))[0])

    @cached_property
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


def gaussian_kernel(shape, sigma, dtype=torch.float32):
    """A periodic Gaussian of standard deviation `sigma` (pixels; one number, or one an axis), summing to 1, centre at 0."""
    sigmas = [sigma] * len(shape) if isinstance(sigma, (int, float)) else sigma
    kernel = torch.ones((), dtype=torch.float64)
    for n, s in zip(shape, sigmas, strict=True):
        if s <= 0:
            raise BadInput(f"gaussian_kernel: sigma = {s} should be positive, in pixels")
        distance = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
        kernel = kernel[..., None] * torch.exp(-0.5 * (distance / s) ** 2)
    return (kernel / kernel.sum()).to(dtype)
