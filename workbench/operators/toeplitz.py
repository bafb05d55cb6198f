"""Convolution on a finite window: the normal operator of Fourier samples at any points."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fft import fftn, ifftn, ifftshift

from workbench._errors import BadInput
from workbench.operators._batches import by_rows
from workbench.operators._linear import Linear, signature
from workbench.operators._operator import Alike
from workbench.operators._sizes import signal_shape

CHUNK = 2**20  # numbers of the doubled grid per pass on the CPU


@dataclass(frozen=True, eq=False)
class Toeplitz(Linear):
    """y_n = sum_m t_(n - m) x_m for n, m on the grid of the image: a Hermitian Toeplitz map, by FFTs of twice the size.

    spectrum: (2 n_1, ..., 2 n_d) real, the FFT of t over the lags -n_j to n_j - 1 with lag 0 at index 0; `Toeplitz.of`
    takes t itself.  x, y: (*, n_1, ..., n_d) complex. The spectrum being real, the map is Hermitian to rounding.
    With t the point spread function of a trajectory this is A^H W A of the NUFFT, at a cost that does not depend on
    how many points there are (`NUFFT.toeplitz`). Fessler, Lee, Olafsson, Shi, Noll 2005.
    """

    card = dict(family="structure", linear=True, svd=False, source="Fessler et al. 2005")

    spectrum: Tensor

    def __post_init__(self):
        s = self.spectrum
        if (
            not isinstance(s, Tensor)
            or not s.is_floating_point()
            or s.ndim == 0
            or any(n % 2 for n in s.shape)
        ):
            got = f"{s.dtype} {tuple(s.shape)}" if isinstance(s, Tensor) else type(s).__name__
            raise BadInput(
                f"Toeplitz: spectrum is {got}, it should be a real tensor of twice the image's shape; "
                f"Toeplitz.of(kernel) makes it from the kernel"
            )

    in_shape = out_shape = property(lambda self: tuple(n // 2 for n in self.spectrum.shape))
    in_dtype = out_dtype = property(lambda self: self.spectrum.dtype.to_complex())

    @classmethod
    def of(cls, kernel):
        """The map with kernel t: (2 n_1, ..., 2 n_d) complex, lag 0 in the middle (index n_j), t_(-l) = conj(t_l).

        Its first entries, at lag -n_j, meet no pair of pixels; what is not Hermitian in it is dropped.
        """
        if not isinstance(kernel, Tensor) or any(n % 2 for n in kernel.shape):
            raise BadInput(
                f"Toeplitz.of: kernel is {getattr(kernel, 'shape', kernel)}, it should have even sides, 2 n_j"
            )
        return cls(fftn(ifftshift(kernel)).real)

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        return cls(
            rng.normal(torch.empty(1, *(2 * n for n in signal_shape(rng, 40)), dtype=dtype.to_real()))[0]
        )

    def forward(self, x):
        return by_rows(self._filter, x, self.spectrum.ndim, CHUNK // self.spectrum.numel())

    def adjoint(self, y):
        return self.forward(y)

    def _filter(self, x):
        axes = tuple(range(-self.spectrum.ndim, 0))
        x = ifftn(fftn(x, s=self.spectrum.shape, dim=axes) * self.spectrum, dim=axes)
        return x[(..., *[slice(n) for n in self.in_shape])]


@dataclass(frozen=True, eq=False)
class WithNormal(Alike, Linear):
    """A, with `gram` in the place of A^H A: the normal map, `solve` and `norm` are those of gram.

    WithNormal(A, A.toeplitz()) is a NUFFT or NonCartesianMRI whose least squares cost the same for any number of
    points. `solve` is then exact for gram: it differs from A's own by about A.error ||A||^2 / rho.
    """

    A: Linear
    gram: Linear

    def __post_init__(self):
        if signature(self.gram) != (*[tuple(self.A.in_shape)] * 2, *[self.A.in_dtype] * 2):
            raise BadInput(
                f"WithNormal: gram maps {tuple(self.gram.in_shape)} to {tuple(self.gram.out_shape)}, it should map "
                f"A's signals, {tuple(self.A.in_shape)} {self.A.in_dtype}, to themselves; use A.toeplitz()"
            )

    def forward(self, x):
        return self.A.forward(x)

    def adjoint(self, y):
        return self.A.adjoint(y)

    def normal(self, x):
        return self.gram.forward(x)
