"""Non-Cartesian MRI with several receive coils."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import pi

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._batches import by_rows
from workbench.operators._linear import Linear
from workbench.operators._sizes import integer, pick, signal_shape, sizes
from workbench.operators.nufft import NUFFT
from workbench.operators.toeplitz import Toeplitz

CHUNK = 2**20  # numbers of coil images per pass on the CPU


@dataclass(frozen=True, eq=False)
class NonCartesianMRI(Linear):
    """y_c = F (maps_c x) for coils c, F the non-uniform Fourier transform: multi-coil MRI on any trajectory.

    maps: (C, *shape) complex coil sensitivities, shape of 1 to 3 axes.  points: (*samples, d) real, rad per pixel in
    [-pi, pi], in the order of the image's axes (`radial`, `golden_angle`, `spiral`, `kooshball` make them).
    x: (*, *shape) of the maps' dtype.  y: (*, C, *samples).
    oversampling, width: of the NUFFT, see there; `nufft.error` is the accuracy they give.

    With whitened data of unit noise, `solve` is SENSE (CG-SENSE) with Tikhonov weight rho; for long trajectories,
    WithNormal(A, A.toeplitz()).solve costs less. Gradients flow to x and to the maps.
    Pruessmann, Weiger, Boernert, Boesiger 2001.
    """

    card = dict(family="MRI", linear=True, svd=False, source="Pruessmann et al. 2001")

    maps: Tensor
    points: Tensor
    oversampling: float = 1.375
    width: int = 7

    def __post_init__(self):
        _check_maps(self.maps, "NonCartesianMRI")
        _ = self.nufft  # which checks the rest

    in_shape = property(lambda self: tuple(self.maps.shape[1:]))
    out_shape = property(lambda self: (len(self.maps), *self.points.shape[:-1]))
    in_dtype = out_dtype = property(lambda self: self.maps.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        maps = rng.normal(torch.empty(integer(rng, 1, 3), *signal_shape(rng, 36), dtype=dtype.to_complex()))
        points = 2 * pi * rng.uniform(*sizes(rng, integer(rng, 1, 2), 1, 4), maps.ndim - 1) - pi
        return cls(maps, points, pick(rng, 1.25, 1.375, 2.0), integer(rng, 2, 8))

    def to(self, device=None, dtype=None):
        """The same operator on `device` and in the precision of `dtype`; the points keep theirs."""
        moved = super().to(device, dtype)
        return replace(moved, points=self.points.to(moved.device))

    @cached_property
    def nufft(self):
        """The `NUFFT` of one coil."""
        return NUFFT(self.points, self.in_shape, self.oversampling, self.width, self.maps.dtype)

    def forward(self, x):
        return by_rows(self._forward, x, len(self.in_shape), CHUNK // self.maps.numel())

    def adjoint(self, y):
        return by_rows(self._adjoint, y, len(self.out_shape), CHUNK // self.maps.numel())

    def toeplitz(self, weights=None):
        """sum_c maps_c^* T (maps_c x) with T the `Toeplitz` form of F^H W F: A^H W A at a cost without the points.

        weights: (*samples) real, 1 by default.
        """
        return SenseToeplitz(self.maps, self.nufft.toeplitz(weights))

    def _forward(self, x):
        x = self.nufft.deapodised(x).unsqueeze(-len(self.in_shape) - 1)
        return self.nufft.sampled(self.maps * x)

    def _adjoint(self, y):
        images = self.nufft.gridded(y)
        return self.nufft.deapodised((self.maps.conj() * images).sum(-len(self.in_shape) - 1))


@dataclass(frozen=True, eq=False)
class SenseToeplitz(Linear):
    """y = sum_c maps_c^* T (maps_c x): the normal map of coils over one trajectory, T their Toeplitz map.

    maps: (C, *shape) complex.  T: a `Toeplitz` map of images of that shape.  x, y: (*, *shape).
    """

    card = dict(family="MRI", linear=True, svd=False, source="Fessler et al. 2005")

    maps: Tensor
    T: Toeplitz

    def __post_init__(self):
        _check_maps(self.maps, "SenseToeplitz")
        if self.T.in_shape != self.in_shape or self.T.in_dtype != self.in_dtype:
            raise BadInput(
                f"SenseToeplitz: T takes {self.T.in_shape} {self.T.in_dtype}, the maps are {self.in_shape} "
                f"{self.in_dtype}; both should be the same"
            )

    in_shape = out_shape = property(lambda self: tuple(self.maps.shape[1:]))
    in_dtype = out_dtype = property(lambda self: self.maps.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        return NonCartesianMRI.example(rng, dtype).toeplitz()

    def forward(self, x):
        return by_rows(self._forward, x, len(self.in_shape), CHUNK // self.maps.numel())

    def adjoint(self, y):
        return self.forward(y)

    def _forward(self, x):
        axis = -len(self.in_shape) - 1
        return (self.maps.conj() * self.T.forward(self.maps * x.unsqueeze(axis))).sum(axis)


def _check_maps(maps, who):
    if not isinstance(maps, Tensor) or not maps.is_complex() or not 2 <= maps.ndim <= 4:
        got = f"{maps.dtype} {tuple(maps.shape)}" if isinstance(maps, Tensor) else type(maps).__name__
        raise BadInput(
            f"{who}: maps is {got}, it should be a complex tensor (coils, *shape) with 1 to 3 axes of space; "
            f"add the coil axis with maps[None]"
        )
    if not maps.isfinite().all():
        raise BadInput(f"{who}: maps has NaN or infinite entries; set them to zero where there is no signal")
