"""The non-uniform Fourier transform: k-space at points off the grid, by an oversampled FFT and interpolation."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, expm1, inf, log1p, pi, prod, sqrt

import torch
from torch import Tensor
from torch.fft import fftn, ifftn
from torch.nn.functional import pad

from workbench._errors import BadInput
from workbench.operators._batches import by_rows
from workbench.operators._csr import csr_pair
from workbench.operators._linear import Linear
from workbench.operators._pair import apply_pair
from workbench.operators._sizes import integer, pick, signal_shape, sizes
from workbench.operators.toeplitz import Toeplitz

BUDGET = 4e9  # bytes of the interpolation matrix and its transpose together
CHUNK = 2**20  # numbers of the oversampled grid per pass on the CPU


@dataclass(frozen=True, eq=False)
class NUFFT(Linear):
    """y_k = N^(-1/2) sum_n x_n exp(-i omega_k . (n - n//2)): the Fourier transform at any points omega_k.

    points: (*samples, d) real, rad per pixel in [-pi, pi], the last axis in the order of the image's axes; d is 1, 2
    or 3. `from_cycles` and `from_normalised` convert other units.  shape: of the image, N its number of pixels; pixel
    n // 2 is the middle.  x: (*, *shape), y: (*, *samples), both of the complex `dtype`. On the points of the Cartesian
    grid this is the unitary FFT of `Fourier`, and weights that give each sample the number of grid cells it stands for
    (`density.py`) make A.H(w y) an estimate of x.

    oversampling, width: of the FFT grid and, in its cells, of the interpolation kernel; `error` says what they cost.
    At 256 x 256 it is 7e-3 for (1.25, 4), 4e-4 for (1.25, 6), 2e-5 for the default (1.375, 7), 7e-6 for (2, 6) and
    1e-6 for (1.5, 8); single precision ends near 2e-7.

    A Kaiser-Bessel kernel with the parameter of Beatty, Nishimura, Pauly 2005 (eq. 5), its exact transform divided out
    of the image. The real interpolation matrix and its transpose are built on first use from the points in double
    precision, and kept; a batch shares one pass over them, and the adjoint is exact. Not differentiable in the points.
    Raises BadInput for points in other units, and where the two matrices would exceed 4 GB.
    """

    card = dict(family="MRI", linear=True, svd=False, source="Beatty, Nishimura, Pauly 2005")

    points: Tensor
    shape: tuple
    oversampling: float = 1.375
    width: int = 7
    dtype: torch.dtype = torch.complex64

    def __post_init__(self):
        _check_points(self.points, len(self.shape))
        if not 1 <= len(self.shape) <= 3 or min(self.shape) < 1:
            raise BadInput(
                f"NUFFT: shape = {tuple(self.shape)} should have 1, 2 or 3 axes of at least 1 pixel"
            )
        if not 1.1 <= self.oversampling <= 8:
            raise BadInput(
                f"NUFFT: oversampling = {self.oversampling} should be from 1.1 to 8; 1.25 to 2 is usual"
            )
        if self.width not in range(2, 17):
            raise BadInput(f"NUFFT: width = {self.width} should be an integer from 2 to 16; 4 to 8 is usual")
        if self.dtype not in (torch.complex64, torch.complex128):
            raise BadInput(f"NUFFT: dtype = {self.dtype} should be torch.complex64 or torch.complex128")
        if self.memory > BUDGET:
            raise BadInput(
                f"NUFFT: {prod(self.out_shape)} points with {self.width}^{len(self.shape)} neighbours each need "
                f"{self.memory / 1e9:.1f} GB, the limit is {BUDGET / 1e9:g} GB; use a smaller width, or fewer points "
                f"in each of several operators"
            )

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: tuple(self.points.shape[:-1]))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        shape = signal_shape(rng, 40)
        points = 2 * pi * rng.uniform(*sizes(rng, integer(rng, 1, 2), 1, 7), len(shape)) - pi
        return cls(points, shape, pick(rng, 1.25, 1.375, 2.0), integer(rng, 2, 8), dtype)

    def to(self, device=None, dtype=None):
        """The same operator on `device` and in the precision of `dtype`; the points keep theirs."""
        moved = super().to(device, dtype)
        return replace(moved, points=self.points.to(moved.device))

    @property
    def memory(self):
        """The bytes of the interpolation matrix and its transpose."""
        entries = prod(self.out_shape) * self.width ** len(self.shape)
        return 2 * entries * (4 + torch.empty((), dtype=self.dtype.to_real()).element_size())

    @cached_property
    def error(self):
        """The relative error ||A x - exact|| / ||exact|| expected for white noise x and evenly spread points: a float.

        It is what aliases onto a pixel, the kernel's transform one or more grid lengths away over that at the pixel,
        in the root mean square over the image. An image that ends before its edges fares better; rounding comes on top.
        """
        total = 0.0  # the logarithm of 1 + error^2, of which an error below 1e-8 would be lost
        for kernel, n, grid in zip(self._kernels, self.shape, self._grid, strict=True):
            nu = (torch.arange(n, dtype=torch.float64) - n // 2) / grid
            copies = sum(kernel.transform(nu + p) ** 2 for p in (*range(-8, 0), *range(1, 9)))
            total += log1p((copies / kernel.transform(nu) ** 2).mean().item())
        return sqrt(expm1(total))

    def forward(self, x):
        return self.sampled(self.deapodised(x))

    def adjoint(self, y):
        return self.deapodised(self.gridded(y))

    def toeplitz(self, weights=None):
        """A^H W A as a convolution with the point spread function, whatever the number of points: a `Toeplitz`.

        weights: (*samples) real, 1 by default.  It differs from A.H(w A(x)) by no more than the errors of A itself: it
        is the nearer of the two to the exact map. Made once, by the adjoint on a grid of twice the size. Fessler et
        al. 2005.
        """
        double = tuple(2 * n for n in self.shape)
        if weights is None:
            weights = torch.ones(self.out_shape, device=self.device)
        if weights.is_complex() or tuple(weights.shape) != self.out_shape:
            raise BadInput(
                f"NUFFT.toeplitz: weights is {weights.dtype} {tuple(weights.shape)}, it should be real and have the "
                f"shape of the samples, {self.out_shape}"
            )
        wide, scale = replace(self, shape=double), sqrt(prod(double)) / prod(self.shape)
        return Toeplitz.of(scale * wide.adjoint(weights.to(self.dtype)))

    def deapodised(self, x):
        """x over what the interpolation does to each pixel: the real diagonal D of A = sampled D."""
        return x * self._deapodisation

    def sampled(self, x):
        """The FFT of the padded images (*, *shape) interpolated at the points: (*, *samples)."""
        return apply_pair(x, self._sample, self._spread)

    def gridded(self, y):
        """The exact adjoint of `sampled`, so A^H = D gridded."""
        return apply_pair(y, self._spread, self._sample)

    # The image stands in the middle of an even grid, so that the phase of its shift is (-1)^j at grid point j, a sign
    # that the interpolation matrix carries. Grid and rows change places between the FFT, which wants a row's grid
    # together, and the matrix, which then meets all rows in one pass.

    @cached_property
    def _grid(self):
        return tuple(_fast_size(max(self.oversampling * n, self.width)) for n in self.shape)

    @cached_property
    def _kernels(self):
        return tuple(
            _KaiserBessel.of(self.width, grid / n) for grid, n in zip(self._grid, self.shape, strict=True)
        )

    @cached_property
    def _pads(self):
        """(before, after) each axis of the image, in the order of `pad`, last axis first; and their negatives to crop."""
        before = [grid // 2 - n // 2 for grid, n in zip(self._grid, self.shape, strict=True)]
        ends = zip(before, self._grid, self.shape, strict=True)
        pads = [side for b, grid, n in reversed(list(ends)) for side in (b, grid - n - b)]
        return pads, [-side for side in pads]

    @cached_property
    def _deapodisation(self):
        """One over the kernel's transform at each pixel, with the N^(-1/2) of the NUFFT: shape."""
        factor = torch.full(self.shape, prod(self.shape) ** -0.5, dtype=torch.float64)
        for axis, (kernel, n, grid) in enumerate(zip(self._kernels, self.shape, self._grid, strict=True)):
            nu = (torch.arange(n, dtype=torch.float64) - n // 2) / grid
            factor = factor / kernel.transform(nu).reshape(-1, *[1] * (len(self.shape) - 1 - axis))
        return factor.to(self.points.device, self.dtype.to_real())

    @cached_property
    def matrices(self):
        """The interpolation matrix (samples, grid) and its transpose: real sparse CSR tensors with int32 indices."""
        points = self.points.detach().cpu().double().reshape(-1, len(self.shape))
        columns, values = torch.zeros(len(points), 1, dtype=torch.int64), torch.ones(len(points), 1).double()
        for axis, (kernel, grid) in enumerate(zip(self._kernels, self._grid, strict=True)):
            near, weight = _neighbours(points[:, axis] * (grid / (2 * pi)), kernel)
            columns = (columns[:, :, None] * grid + near[:, None] % grid).flatten(1)
            values = (values[:, :, None] * (weight * (1 - 2 * (near % 2)))[:, None]).flatten(1)
        counts = torch.full((len(columns),), columns.shape[1])
        size, dtype = prod(self._grid), self.dtype.to_real()
        return csr_pair(values.flatten(), columns.flatten(), counts, size, dtype, self.points.device)

    def _sample(self, x):
        return by_rows(self._sample_rows, x, len(self.shape), CHUNK // prod(self._grid))

    def _spread(self, y):
        return by_rows(self._spread_rows, y, len(self.out_shape), CHUNK // prod(self._grid))

    def _sample_rows(self, x):
        grid = fftn(pad(x, self._pads[0]), dim=self._axes)
        return _product(self.matrices[0], grid.flatten(1)).unflatten(1, self.out_shape)

    def _spread_rows(self, y):
        grid = _product(self.matrices[1], y.flatten(1)).unflatten(1, self._grid)
        return pad(ifftn(grid, dim=self._axes, norm="forward"), self._pads[1])

    _axes = property(lambda self: tuple(range(1, len(self.shape) + 1)))


@dataclass(frozen=True)
class _KaiserBessel:
    """phi(u) = I0(beta sqrt(1 - (2u/width)^2)) / I0(beta) for |u| <= width/2, in cells of the oversampled grid."""

    width: int
    beta: float

    @classmethod
    def of(cls, width, oversampling):
        """The kernel of least aliasing: Beatty, Nishimura, Pauly 2005, eq. 5."""
        w, a = width, oversampling
        return cls(w, pi * sqrt(max((w / a) ** 2 * (a - 0.5) ** 2 - 0.8, 0.25)))

    def __call__(self, u):
        inside = (1 - (2 * u / self.width) ** 2).clamp_min(0)
        return torch.special.i0(self.beta * inside.sqrt()) / self._peak

    @property
    def _peak(self):
        return torch.special.i0(torch.tensor(self.beta, dtype=torch.float64))

    def transform(self, nu):
        """The Fourier transform at nu cycles per cell: width / I0(beta) sinh(z) / z, z^2 = beta^2 - (pi width nu)^2."""
        square = self.beta**2 - (pi * self.width * nu) ** 2
        z = square.abs().sqrt().clamp_min(1e-30)
        ratio = torch.where(square > 0, torch.sinh(z.clamp_max(self.beta)) / z, torch.sin(z) / z)
        return self.width * ratio / self._peak


def _neighbours(u, kernel):
    """The grid points within half a width of each position u (in cells), and the kernel there: (m, width) both."""
    near = torch.ceil(u - kernel.width / 2).long()[:, None] + torch.arange(kernel.width)
    return near, kernel(u[:, None] - near)


def _product(M, rows):
    """The real matrix M on each of the complex `rows`: (n, columns of M) -> (n, rows of M)."""
    columns = torch.view_as_real(rows.resolve_conj().mT.contiguous()).flatten(1)
    return torch.view_as_complex((M @ columns).unflatten(1, (-1, 2))).mT.contiguous()


def _fast_size(n):
    """The least even number from n on with no prime factor above 5: a length that FFTs like."""
    size = 2 * ceil(n / 2)
    while not _smooth(size):
        size += 2
    return size


def _smooth(n):
    for p in (2, 3, 5):
        while n % p == 0:
            n //= p
    return n == 1


def _check_points(points, ndim):
    if (
        not isinstance(points, Tensor)
        or not points.is_floating_point()
        or points.ndim < 2
        or points.shape[-1] != ndim
    ):
        got = f"{points.dtype} {tuple(points.shape)}" if isinstance(points, Tensor) else type(points).__name__
        raise BadInput(
            f"NUFFT: points is {got}, it should be a real tensor (*samples, {ndim}), one number per axis"
        )
    if points.numel() == 0:
        raise BadInput("NUFFT: points is empty, so nothing is measured; give at least one")
    largest = points.detach().abs().max().nan_to_num(inf, inf).item()
    if largest > pi * (1 + 1e-6):
        raise BadInput(
            f"NUFFT: points reach {largest:.4g}, they should be rad per pixel in [-pi, pi]; "
            f"convert cycles per field of view with from_cycles(points, shape)"
        )
