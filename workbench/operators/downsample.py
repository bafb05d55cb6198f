"""Lower resolution by keeping every f-th pixel, alone and after a blur."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fft import fftn, ifftn

from workbench._errors import BadInput
from workbench.operators._linear import Linear, ridge
from workbench.operators._once import once
from workbench.operators._operator import checked
from workbench.operators._orthogonal import OrthogonalColumns
from workbench.operators._sizes import pick, signal_shape, sizes
from workbench.operators.fourier import Fourier, Hartley
from workbench.operators.kernels import embed
from workbench.operators.reshape import Reshape


@dataclass(frozen=True, eq=False)
class Downsample(OrthogonalColumns):
    """y[i] = x[offset + f i], every f-th entry of each axis; the adjoint puts zeros between.

    shape: of x.  factor: f, one number an axis (1 leaves the axis as it is).  offset: from 0 to f - 1, one an axis,
    0 by default.  y: (*, ceil((n - offset) / f), ...).

    Pixel centres: output i stands where input offset + f i does. A pixel f times as large that covers inputs f i to
    f i + f - 1 has its middle at f i + (f - 1) / 2: for odd f that is offset = (f - 1) / 2; for even f it is between two
    inputs, and a blur before it has to be centred there (`uniform_super_resolution` is).
    """

    card = dict(family="resolution", linear=True, svd=True, source="")

    shape: tuple
    factor: tuple
    offset: tuple | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        _stride("Downsample", self.shape, self.factor, self.offset)

    in_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @property
    def out_shape(self):
        first = self.offset or (0,) * len(self.shape)
        return tuple(-(-(n - o) // f) for n, f, o in zip(self.shape, self.factor, first, strict=True))

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = signal_shape(rng)
        factor = sizes(rng, len(shape), 1, 4)
        last = [min(f, n) - 1 for f, n in zip(factor, shape, strict=True)]
        return cls(shape, factor, pick(rng, None, sizes(rng, len(shape), 0, last)), dtype)

    @property
    def _kept(self):
        first = self.offset or (0,) * len(self.shape)
        return (..., *[slice(o, None, f) for f, o in zip(self.factor, first, strict=True)])

    @property
    def column_power(self):
        power = torch.zeros(self.shape, dtype=self.dtype.to_real())
        power[self._kept] = 1
        return power

    def forward(self, x):
        return x[self._kept]

    def adjoint(self, y):
        x = y.new_zeros(*y.shape[: y.ndim - len(self.shape)], *self.shape)
        x[self._kept] = y
        return x


@dataclass(frozen=True, eq=False)
class BlurDownsample(Linear):
    """y = S (k * x): circular blur, then every f-th pixel; super-resolution's forward model, solved in closed form.

    kernel: (H, W) (any number of axes), its centre at index 0, as for CircularBlur.  factor: f, one number an axis, each
    a divisor of the axis.  y[i] = (k * x)[f i]: output i is centred on input f i, moved by the kernel's own centre.

    On the small grid, A A^H is a circular convolution whose gain is the mean of |k|^2 over the frequencies that alias
    into one, so (A^H A + rho I)^{-1} costs a few FFTs. Zhao, Wei, Basarab, Dobigeon, Kouame, Tourneret 2016.
    """

    card = dict(family="resolution", linear=True, svd=True, source="Zhao et al. 2016")

    kernel: Tensor
    factor: tuple

    def __post_init__(self):
        if not isinstance(self.kernel, Tensor):
            raise BadInput(
                "BlurDownsample: kernel should be a tensor of the signal's shape, its centre at index 0"
            )
        _stride("BlurDownsample", self.in_shape, self.factor, None)
        if any(n % f for n, f in zip(self.in_shape, self.factor, strict=True)):
            raise BadInput(
                f"BlurDownsample: factor = {self.factor} should divide the shape {self.in_shape}; crop the signal, or use Downsample(...) @ CircularBlur(...)"
            )

    in_shape = property(lambda self: tuple(self.kernel.shape))
    out_shape = property(lambda self: tuple(n // f for n, f in zip(self.in_shape, self.factor, strict=True)))
    in_dtype = out_dtype = property(lambda self: self.kernel.dtype)
    _axes = property(lambda self: tuple(range(-self.kernel.ndim, 0)))

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        small = signal_shape(rng, 12)
        factor = sizes(rng, len(small), 1, 5 - len(small))
        shape = [n * f for n, f in zip(small, factor, strict=True)]
        return cls(rng.normal(torch.empty(1, *shape, dtype=dtype))[0], factor)

    @once("kernel")
    def transfer(self):
        """The unnormalised FFT of the kernel: the gain of each frequency."""
        return fftn(self.kernel)

    @once("kernel")
    def gain(self):
        """The singular values, one a frequency of the small grid: the root mean square of the gains that alias."""
        return self._alias(self.transfer.abs() ** 2).sqrt()

    def _alias(self, spectrum):
        """(*, *in_shape) -> (*, *out_shape): the mean over the frequencies that the small grid cannot tell apart."""
        for axis, f in zip(self._axes, self.factor, strict=True):
            spectrum = spectrum.unflatten(axis, (f, -1)).mean(axis - 1)
        return spectrum

    def _unalias(self, spectrum):
        """(*, *out_shape) -> (*, *in_shape): the spectrum of a small signal with zeros put between its entries."""
        return spectrum.repeat(*[1] * (spectrum.ndim - self.kernel.ndim), *self.factor)

    def _signal(self, spectrum, x):
        y = ifftn(spectrum, dim=self._axes)
        return y if x.is_complex() else y.real

    def forward(self, x):
        return self._signal(self._alias(self.transfer * fftn(x, dim=self._axes)), x)

    def adjoint(self, y):
        return self._signal(self.transfer.conj() * self._unalias(fftn(y, dim=self._axes)), y)

    def norm(self):
        return self.gain.max().item()

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = [b - A^H (gain^2 + rho)^{-1} A b] / rho, the division by frequency of the small grid."""
        checked(b, self.in_shape, self.in_dtype, "BlurDownsample.solve")
        rho = ridge(rho, b, self.kernel.ndim)
        if (rho == 0).any():
            raise BadInput(
                "solve: rho = 0 and fewer pixels than unknowns, so there is no inverse; use rho > 0"
            )
        spectrum = fftn(b, dim=self._axes)
        seen = self._alias(self.transfer * spectrum) / (self.gain**2 + rho)
        return self._signal((spectrum - self.transfer.conj() * self._unalias(seen)) / rho, b)

    def svd(self):
        """U is the transform of the small grid (Hartley's for a real kernel), V spreads it over the aliases as k does."""
        gain = self.gain.clamp_min(torch.finfo(self.gain.dtype).tiny)
        share = torch.where(self._unalias(self.gain) > 0, self.transfer / self._unalias(gain), 1)
        turn = ifftn(share)
        flat = Reshape((gain.numel(),), self.out_shape, self.in_dtype)
        if self.kernel.is_complex():
            U = Fourier(self.out_shape, self.in_dtype).H @ flat
            return U, torch.fft.fftshift(self.gain).flatten(), BlurDownsample(turn, self.factor).H @ U
        U = Hartley(self.out_shape, self.in_dtype) @ flat
        return U, self.gain.flatten(), BlurDownsample(turn.real, self.factor).H @ U


def super_resolution(psf, shape, factor, centre=None):
    """y[i] = (psf * x)[f i]: a camera with pixels f times as large and this PSF, a BlurDownsample with circular border.

    psf: (K, L) (any number of axes), its centre at n // 2 or at `centre`.  factor: f, a number or one an axis.
    """
    return BlurDownsample(embed(psf, shape, centre), _each_axis(factor, shape))


def uniform_super_resolution(shape, factor, dtype=torch.float32):
    """y[i] = the mean of the f * f block of x that begins at f i: pixels f times as large, edges aligned."""
    factor = _each_axis(factor, shape)
    psf = torch.ones(factor, dtype=dtype)
    return super_resolution(psf / psf.numel(), shape, factor, centre=[f - 1 for f in factor])


def _each_axis(factor, shape):
    """factor as a tuple, one number an axis."""
    return (factor,) * len(shape) if isinstance(factor, int) else tuple(factor)


def _stride(who, shape, factor, offset):
    """Raise BadInput unless factor and offset have one integer an axis, with 0 <= offset < factor, offset < n."""
    first = offset or (0,) * len(shape)
    if not isinstance(factor, tuple) or len(factor) != len(shape) or len(first) != len(shape):
        raise BadInput(
            f"{who}: factor = {factor} and offset = {offset} should be tuples of {len(shape)} integers, one for each axis of {tuple(shape)}"
        )
    if not all(f >= 1 and 0 <= o < min(f, n) for n, f, o in zip(shape, factor, first, strict=True)):
        raise BadInput(
            f"{who}: factor = {factor} should be at least 1, and offset = {offset} from 0 to factor - 1"
        )
