"""Random convolution: a pulse that all of the signal passes through, measured at random places."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.fft import fftn, ifftn

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._once import once
from workbench.operators._orthogonal import OrthogonalRows
from workbench.operators._rows import distinct_places, random_rows, scatter
from workbench.operators._sizes import integer, signal_shape
from workbench.operators.blur import CircularBlur


@dataclass(frozen=True, eq=False)
class RandomConvolution(OrthogonalRows):
    """y = sqrt(n / m) (h * x)[rows]: circular convolution with an all-pass h of random phases, at m random places.

    kernel: h of the signal's shape, |F h| = 1 everywhere, so that the convolution is orthonormal (only the phases of
    F h are used, so rounding of the kernel does not spoil that).  rows: (m,) different indices into the flattened h * x.
    y: (*, m).  E ||A x||^2 = ||x||^2 over the rows, A A^H = (n / m) I.
    A partial random circulant matrix. Build one with `RandomConvolution.draw(m, shape, seed)`. Romberg 2009.
    """

    card = dict(family="compressed sensing", linear=True, svd=True, source="Romberg 2009")

    kernel: Tensor
    rows: Tensor

    def __post_init__(self):
        if not isinstance(self.kernel, Tensor):
            raise BadInput(
                "RandomConvolution: kernel should be a tensor of the signal's shape; use .draw(m, shape)"
            )
        gain = fftn(self.kernel).abs()
        if not ((gain - 1).abs() < 1e-3).all():
            raise BadInput(
                f"RandomConvolution: kernel has gains from {gain.min():.3g} to {gain.max():.3g}, they should be 1; use Mask(...) @ CircularBlur(kernel)"
            )
        distinct_places("RandomConvolution: rows", self.rows, self.kernel.numel())

    in_shape = property(lambda self: tuple(self.kernel.shape))
    out_shape = property(lambda self: tuple(self.rows.shape))
    in_dtype = out_dtype = property(lambda self: self.kernel.dtype)

    @classmethod
    def draw(cls, m, shape, seed=0, dtype=torch.float32):
        """m places and the phases of white noise: uniform, and for a real signal conjugate in pairs, +-1 where alone."""
        rng = Rng(seed, "operator")
        noise = rng.normal(torch.empty(1, *shape, dtype=torch.promote_types(dtype, torch.float64)))[0]
        return cls(_all_pass(noise).to(dtype), random_rows(m, prod(shape), rng))

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = signal_shape(rng)
        return cls.draw(integer(rng, 1, prod(shape)), shape, rng.seed, dtype)

    _scale = property(lambda self: (self.kernel.numel() / len(self.rows)) ** 0.5)

    @once("kernel")
    def _blur(self):
        return CircularBlur(_all_pass(self.kernel))

    @property
    def row_power(self):
        return torch.tensor(self.kernel.numel() / len(self.rows), dtype=self.kernel.dtype.to_real())

    def forward(self, x):
        y = self._blur.forward(x)
        return self._scale * y.flatten(y.ndim - self.kernel.ndim)[..., self.rows]

    def adjoint(self, y):
        return self._blur.adjoint(scatter(self._scale * y, self.rows, self.in_shape))


def _all_pass(kernel):
    """The kernel with the phases of `kernel` and a gain of 1 at every frequency."""
    turn = ifftn(torch.sgn(fftn(kernel)))
    return turn if kernel.is_complex() else turn.real
