"""Cartesian MRI with several sets of coil maps (soft SENSE)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.operators._kspace import check_maps, check_mask
from workbench.operators._sizes import pick, signal_shape, sizes, some_places
from workbench.operators.cartesian_mri import CartesianMRI, _Cartesian


@dataclass(frozen=True, eq=False)
class SoftSENSE(_Cartesian):
    """y_c = mask F sum_s (maps_sc x_s): Cartesian MRI of several images, one for each set of coil maps (soft SENSE).

    maps: (sets, C, *shape) complex, as `espirit(..., sets=2)` gives them.  mask: bool, broadcastable to shape.
    x: (*, sets, *shape) of the maps' dtype.  y: (*, C, m); F, the order of y, `sample` and `grid` are those of
    `CartesianMRI`.  There is one FFT for each coil, whatever the number of sets.

    One set says that all that is seen at a pixel is seen through one vector of sensitivities. Where that is wrong (the
    object is larger than the field of view and folds over, it moves, fat is shifted), a second set takes what the first
    cannot say; its image is small elsewhere. The root of the sum of squares of x over the sets is what is shown.
    Gradients flow to x and to the maps. Uecker, Lai, Murphy, Virtue, Elad, Pauly, Vasanawala, Lustig 2014.
    """

    card = dict(family="MRI", linear=True, svd=False, source="Uecker et al. 2014")

    maps: Tensor
    mask: Tensor

    def __post_init__(self):
        want = "(sets, coils, *shape); add the axis of sets with maps[None], or use CartesianMRI"
        check_maps(self.maps, 3, "SoftSENSE", want)
        check_mask(self.mask, self.grid_shape, "SoftSENSE")

    grid_shape = property(lambda self: tuple(self.maps.shape[2:]))
    in_shape = property(lambda self: (len(self.maps), *self.grid_shape))

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        (sets, coils), shape = sizes(rng, 2, 1, 3), signal_shape(rng, 16)
        maps = rng.normal(torch.empty(sets, coils, *shape, dtype=dtype.to_complex()))
        return cls(maps, some_places(rng, pick(rng, shape, shape[-1:])))

    def gram_spectrum(self, axes, probes=64):
        """Exact over all axes of space: that of each set alone. Else from probes."""
        ndim = len(self.in_shape)
        if {a % ndim for a in axes} != set(range(1, ndim)):
            return super().gram_spectrum(tuple(a % ndim - ndim for a in axes), probes)
        space = tuple(range(ndim - 1))
        return torch.stack([CartesianMRI(maps, self.mask).gram_spectrum(space) for maps in self.maps])

    def _spread(self, maps, x):
        first, *others = x.unsqueeze(-len(self.in_shape)).unbind(-len(self.in_shape) - 1)
        images = maps[0] * first
        for m, part in zip(maps[1:], others, strict=True):
            images = torch.addcmul(images, m, part)
        return images

    def _gather(self, conj, images):
        coils = -len(self.in_shape)
        return torch.stack([(c * images).sum(coils) for c in conj], dim=coils)
