"""Cartesian MRI of a series of images: the frames share the coil maps, and each has a mask of its own."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._kspace import check_maps, check_mask, kind
from workbench.operators._linear import Linear
from workbench.operators._operator import checked
from workbench.operators._sizes import pick, signal_shape, sizes, some_places
from workbench.operators.cartesian_mri import CartesianMRI


@dataclass(frozen=True, eq=False)
class DynamicMRI(Linear):
    """y_tc = mask_t F (maps_c x_t) for frames t and coils c: multi-coil MRI of a series, a mask for each frame.

    maps: (C, *shape) complex.  masks: (T, ...) bool, each broadcastable to shape: (T, W) chooses phase encodes of every
    frame.  x: (*, T, *shape) of the maps' dtype.  y: (*, C, m), m = m_1 + ... + m_T, the sampled points of the frames
    one after the other, each in the order of `CartesianMRI`; `split(y)` gives the frames' parts, `sample` and `grid`
    go from k-space (*, T, C, *shape) to y and back.

    The frames do not act on each other: `normal`, `norm` and `solve` work frame by frame, and a prior along time is
    what couples them. Frames that measure nothing are an error: leave them out, or make them by a prior. The rows of
    `epi_lines` are masks of shots. Tsao, Boesiger, Pruessmann 2003 (k-t SENSE); Lustig, Santos, Donoho, Pauly 2006.
    """

    card = dict(family="MRI", linear=True, svd=False, source="Tsao et al. 2003")

    maps: Tensor
    masks: Tensor

    def __post_init__(self):
        check_maps(self.maps, 2, "DynamicMRI", "(coils, *shape); add the coil axis with maps[None]")
        if not isinstance(self.masks, Tensor) or self.masks.ndim < 2 or not len(self.masks):
            raise BadInput(
                f"DynamicMRI: masks is {kind(self.masks)}, it should be (frames, ...); stack the masks"
            )
        for t, mask in enumerate(self.masks):
            check_mask(mask, self.maps.shape[1:], f"DynamicMRI: frame {t}")

    in_shape = property(lambda self: (len(self.masks), *self.maps.shape[1:]))
    out_shape = property(lambda self: (len(self.maps), sum(self._sizes)))
    in_dtype = out_dtype = property(lambda self: self.maps.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        (frames, coils), shape = sizes(rng, 2, 1, 3), signal_shape(rng, 12)
        maps = rng.normal(torch.empty(coils, *shape, dtype=dtype.to_complex()))
        seen = pick(rng, shape, shape[-1:])
        return cls(maps, torch.stack([some_places(rng, seen) for _ in range(frames)]))

    @cached_property
    def frames(self):
        """The `CartesianMRI` of each frame."""
        first = CartesianMRI(self.maps, self.masks[0])
        return first, *[first.with_mask(mask) for mask in self.masks[1:]]

    @property
    def acceleration(self):
        """Points of the full grid per sampled point, over all frames: a float, at least 1."""
        return prod(self.in_shape) / sum(self._sizes)

    _sizes = property(lambda self: [A.out_shape[1] for A in self.frames])

    def split(self, y):
        """The frames' parts of y, one (*, C, m_t) each."""
        return y.split(self._sizes, dim=-1)

    def sample(self, kspace):
        """(*, T, C, *shape) centred k-space -> (*, C, m), its points in the masks."""
        frames = kspace.unbind(-len(self.in_shape) - 1)
        return torch.cat([A.sample(k) for A, k in zip(self.frames, frames, strict=True)], dim=-1)

    def grid(self, y):
        """(*, C, m) -> (*, T, C, *shape) centred k-space, zero where nothing was measured."""
        parts = zip(self.frames, self.split(y), strict=True)
        return torch.stack([A.grid(part) for A, part in parts], dim=-len(self.in_shape) - 1)

    def forward(self, x):
        return torch.cat([A.forward(part) for A, part in self._with(x)], dim=-1)

    def adjoint(self, y):
        return self._stack(A.adjoint(part) for A, part in zip(self.frames, self.split(y), strict=True))

    def normal(self, x):
        return self._stack(A.normal(part) for A, part in self._with(x))

    def norm(self):
        return max(A.norm() for A in self.frames)

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b, frame by frame; tol is relative to each frame of b."""
        checked(b, self.in_shape, self.in_dtype, "DynamicMRI.solve")
        starts = [None] * len(self.frames) if x0 is None else x0.expand_as(b).unbind(-len(self.in_shape))
        return self._stack(
            A.solve(part, rho, start, tol) for (A, part), start in zip(self._with(b), starts, strict=True)
        )

    def gram_spectrum(self, axes, probes=64):
        """That of the frames, where `axes` are of space alone: exact over all of them. Else from probes."""
        ndim = len(self.in_shape)
        space = tuple(a % ndim - ndim for a in axes)  # counted from the end, whatever the batch
        if -ndim in space:
            return super().gram_spectrum(space, probes)
        return torch.stack([A.gram_spectrum(space, probes) for A in self.frames])

    def _with(self, x):
        """Frames and their images."""
        return zip(self.frames, x.unbind(-len(self.in_shape)), strict=True)

    def _stack(self, images):
        return torch.stack(list(images), dim=-len(self.in_shape))
