"""Cartesian MRI with several receive coils (SENSE)."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor
from torch.fft import fftn, fftshift, ifftn, ifftshift

from workbench._errors import BadInput
from workbench.operators._kspace import check_maps, check_mask
from workbench.operators._linear import Linear, ridge
from workbench.operators._lines import LIMIT, svd_by_lines, work
from workbench.operators._once import once
from workbench.operators._operator import checked
from workbench.operators._sizes import integer, pick, signal_shape, some_places

CHUNK = 2**19  # numbers per pass on the CPU: larger temporaries cost more in page faults than in arithmetic


@dataclass(frozen=True, eq=False)
class _Cartesian(Linear):
    """y_c = mask F (image of coil c), with fields maps: (*, C, *grid_shape) and mask: what Cartesian scans share.

    A kind of scan says its `grid_shape`, how maps and a signal make the images of the coils, `_spread`, and the adjoint
    of that, `_gather`.
    """

    out_shape = property(
        lambda self: (self.maps.shape[-len(self.grid_shape) - 1], self._lines * len(self._index))
    )
    in_dtype = out_dtype = property(lambda self: self.maps.dtype)

    @property
    def acceleration(self):
        """Points of the full grid per sampled point: a float, at least 1."""
        return prod(self.grid_shape) / self.out_shape[1]

    def sample(self, kspace):
        """(*, C, *shape) centred k-space -> (*, C, m), its points in the mask."""
        return kspace.flatten(kspace.ndim - len(self.grid_shape))[..., self._points]

    def grid(self, y):
        """(*, C, m) -> (*, C, *shape) centred k-space, zero where nothing was measured."""
        kspace = y.new_zeros(*y.shape[:-1], prod(self.grid_shape))
        kspace[..., self._points] = y
        return kspace.unflatten(-1, self.grid_shape)

    def forward(self, x):
        return self._chunked(self._forward, x, len(self.in_shape))

    def adjoint(self, y):
        return self._chunked(self._adjoint, y, 2)

    def normal(self, x):
        """A^H A x: along the axes sampled in full, the transforms cancel."""
        return self._chunked(self._normal, x, len(self.in_shape))

    # The mask of phase encodes is constant along the leading axes (readouts). So F is split: first the FFT of the
    # other axes, then the choice of the sampled columns, and only for those the FFT of the leading axes. The shifts
    # cost nothing but one on the image: the middle of the image is rolled to index 0 in x and in the maps, that of
    # k-space is in the index of the columns and, for the leading axes, in a phase of the maps.

    @cached_property
    def _everywhere(self):
        """The mask of the whole grid."""
        return self.mask.broadcast_to(self.grid_shape)

    @cached_property
    def _leading(self):
        """How many leading axes the mask does not vary along."""
        ndim, shape = len(self.grid_shape), list(self.mask.shape)
        while shape and shape[0] == 1:
            shape.pop(0)
        return ndim - len(shape) if self.mask.numel() > 1 else ndim - 1

    _lines = property(lambda self: prod(self.grid_shape[: self._leading]))
    _columns = property(lambda self: self.grid_shape[self._leading :])
    _axes = property(lambda self: tuple(range(-len(self.grid_shape), 0)))
    _readouts = property(lambda self: tuple(range(-self._leading - 1, -1)))

    @cached_property
    def _points(self):
        """The sampled points of the centred grid, (m,)."""
        return self._everywhere.flatten().nonzero()[:, 0]

    @cached_property
    def _index(self):
        """The sampled columns, in the order of the FFT before its shift."""
        columns = self._everywhere[(0,) * self._leading]
        where = torch.arange(columns.numel(), device=columns.device).reshape(columns.shape)
        return fftshift(where)[columns]

    @cached_property
    def _weights(self):
        """The sampled columns as ones and zeros, in the order of the FFT before its shift."""
        return ifftshift(self._everywhere[(0,) * self._leading]).to(self.maps.dtype.to_real())

    @property
    def _coils(self):
        """The rolled maps and their conjugates, in groups of coils."""
        return self._roll() if self.maps.requires_grad else self._coils_once

    @cached_property
    def _coils_once(self):
        return self._roll()

    def _roll(self):
        """The maps with their middle at index 0 and the phase that shifts k-space along the leading axes."""
        ndim = len(self.grid_shape)
        maps = ifftshift(self.maps, self._axes)
        for axis, n in enumerate(self.grid_shape[: self._leading], start=1):
            turns = torch.arange(n, dtype=torch.float64, device=maps.device) * (n // 2) % n / n
            phase = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).to(maps.dtype)
            maps = maps * phase.reshape(-1, *[1] * (ndim - axis))
        coils = maps.shape[-ndim - 1] if maps.device.type != "cpu" else max(1, CHUNK // prod(self.grid_shape))
        return [(part, part.conj().resolve_conj()) for part in maps.split(coils, dim=-ndim - 1)]

    def _forward(self, x):
        ndim, lead = len(self.grid_shape), self._leading
        x = ifftshift(x, self._axes)
        seen = []
        for maps, _ in self._coils:
            k = fftn(self._spread(maps, x), dim=self._axes[lead:], norm="ortho")
            k = k.flatten(lead - ndim)[..., self._index]
            seen.append((fftn(k, dim=self._readouts, norm="ortho") if lead else k).flatten(-lead - 1))
        return torch.cat(seen, dim=-2)

    def _adjoint(self, y):
        ndim, lead = len(self.grid_shape), self._leading
        total = 0
        parts = y.split([maps.shape[-ndim - 1] for maps, _ in self._coils], dim=-2)
        for (_, conj), k in zip(self._coils, parts, strict=True):
            k = k.unflatten(-1, (*self.grid_shape[:lead], len(self._index)))
            k = ifftn(k, dim=self._readouts, norm="ortho") if lead else k
            grid = k.new_zeros(*k.shape[:-1], prod(self._columns))
            grid[..., self._index] = k
            images = ifftn(grid.unflatten(-1, self._columns), dim=self._axes[lead:], norm="ortho")
            total = total + self._gather(conj, images)
        return fftshift(total, self._axes)

    def _normal(self, x):
        axes = self._axes[self._leading :]
        x = ifftshift(x, self._axes)
        total = 0
        for maps, conj in self._coils:
            images = ifftn(fftn(self._spread(maps, x), dim=axes) * self._weights, dim=axes)
            total = total + self._gather(conj, images)
        return fftshift(total, self._axes)

    def _chunked(self, apply, v, ndim):
        """apply(v), on the CPU a few images of the batch at a time."""
        step = max(1, CHUNK // self.maps.numel())
        if v.ndim == ndim or v.device.type != "cpu" or v.shape[:-ndim].numel() <= step:
            return apply(v)
        rows = v.flatten(0, -ndim - 1).split(step)
        return torch.cat([apply(part) for part in rows]).unflatten(0, v.shape[:-ndim])


@dataclass(frozen=True, eq=False)
class CartesianMRI(_Cartesian):
    """y_c = mask F (maps_c x) for coils c, F the centred unitary FFT: multi-coil MRI on a Cartesian grid (SENSE).

    maps: (C, *shape) complex coil sensitivities.  mask: bool, broadcastable to shape, True where k-space was sampled;
    a 1-D mask marks entries of the last axis (phase encodes).  x: (*, *shape) of the maps' dtype, any number of axes.
    y: (*, C, m), the m sampled points of each coil alone, in the order of the True entries of the centred mask, so
    that every number of y is a measurement; `sample` and `grid` go from k-space to y and back.

    F = fftshift(FFT(ifftshift(x)), norm="ortho"), so index n // 2 is the middle in both spaces (sigpy, BART, fastMRI).
    Gradients flow to x and to the maps. Pruessmann, Weiger, Scheidegger, Boesiger 1999.
    """

    card = dict(family="MRI", linear=True, svd=True, source="Pruessmann et al. 1999")

    maps: Tensor
    mask: Tensor

    def __post_init__(self):
        check_maps(self.maps, 2, "CartesianMRI", "(coils, *shape); add the coil axis with maps[None]")
        check_mask(self.mask, self.in_shape, "CartesianMRI")

    in_shape = grid_shape = property(lambda self: tuple(self.maps.shape[1:]))

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        shape = signal_shape(rng, 25)
        maps = rng.normal(torch.empty(integer(rng, 1, 3), *shape, dtype=dtype.to_complex()))
        return cls(maps, some_places(rng, pick(rng, shape, shape[-1:])))

    def with_mask(self, mask):
        """The same coils with another mask; what was prepared of the maps is shared where it stays the same."""
        other = replace(self, mask=mask)
        if other._leading == self._leading and not self.maps.requires_grad:
            other.__dict__["_coils_once"] = self._coils_once
        return other

    @once()
    def _svd(self):
        return svd_by_lines(self)

    def svd(self):
        """U, s, V, from a small matrix for each place along the axes sampled in full. Computed once a value."""
        return self._svd

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b: V (V^H b / (s^2 + rho)) where singular values are a matter of seconds and V is a basis
        of all signals (as many data as unknowns, coils counted), else by conjugate gradients."""
        complete = self.out_shape[0] * len(self._index) >= prod(self._columns)
        if not complete or work(self) > LIMIT or self.maps.requires_grad:
            return super().solve(b, rho, x0, tol)
        rho = ridge(rho, checked(b, self.in_shape, self.in_dtype, "CartesianMRI.solve"), 1)
        _, s, V = self._svd
        if (rho == 0).any() and s.min() <= s.max() * torch.finfo(s.dtype).eps:
            raise BadInput("solve: rho = 0 and A has a null space, so there is no inverse; use rho > 0")
        return V(V.H(b) / (s**2 + rho))

    def gram_spectrum(self, axes, probes=64):
        """diag(F A^H A F^H), F the unitary FFT along `axes`: exact over all axes of the signal, else from probes.

        At frequency q: sum_k mask[k] P[k - q] / N with P = sum_c |F maps_c|^2 and N points, a circular correlation.
        """
        axes = tuple(a % len(self.in_shape) - len(self.in_shape) for a in axes)
        if set(axes) != set(self._axes):
            return super().gram_spectrum(axes, probes)
        power = fftn(self.maps, dim=self._axes, norm="ortho").abs().square().sum(0)
        mask = ifftshift(self._everywhere).to(power.dtype)
        return ifftn(fftn(mask) * fftn(power).conj()).real.clamp_min(0) / prod(self.in_shape)

    def _spread(self, maps, x):
        return maps * x.unsqueeze(-len(self.grid_shape) - 1)

    def _gather(self, conj, images):
        return (conj * images).sum(-len(self.grid_shape) - 1)
