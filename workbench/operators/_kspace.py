"""What masks, coils and scans on a Cartesian grid share: its middle, its centred transform, its checks."""

import torch
from torch import Tensor
from torch.fft import fftn, fftshift, ifftn, ifftshift

from workbench._errors import BadInput


def middle(shape, sides):
    """Slices of the centred block of `sides` points: its own middle, index side // 2, lies on that of the grid."""
    return tuple(
        slice(n // 2 - side // 2, n // 2 - side // 2 + side) for n, side in zip(shape, sides, strict=True)
    )


def to_kspace(x, axes):
    """The centred unitary FFT along `axes`, as in `CartesianMRI`."""
    return fftshift(fftn(ifftshift(x, axes), dim=axes, norm="ortho"), axes)


def to_image(k, axes):
    """The inverse, and adjoint, of `to_kspace`."""
    return fftshift(ifftn(ifftshift(k, axes), dim=axes, norm="ortho"), axes)


def whole(mask, shape, who):
    """The mask on every point of the grid."""
    try:
        return mask.broadcast_to(shape)
    except RuntimeError:
        raise BadInput(
            f"{who}: mask has shape {tuple(mask.shape)}, it should broadcast to {tuple(shape)}, the axes of kspace "
            f"after the coils"
        ) from None


def kind(value):
    """A value in an error message: its dtype and shape, or its type."""
    return (
        f"{value.dtype} of shape {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else f"a {type(value).__name__}"
    )


def check_kspace(kspace, who):
    """Raise BadInput unless kspace is complex, (coils, *shape) with at least one axis after the coils."""
    if not isinstance(kspace, Tensor) or not kspace.is_complex() or kspace.ndim < 2:
        raise BadInput(f"{who}: kspace is {kind(kspace)}, it should be a complex tensor (coils, *shape)")


def check_maps(maps, ndim, who, want):
    """Raise BadInput unless maps are complex and finite with at least `ndim` axes; `want` says which."""
    if not isinstance(maps, Tensor) or not maps.is_complex() or maps.ndim < ndim:
        raise BadInput(f"{who}: maps is {kind(maps)}, it should be a complex tensor {want}")
    if not maps.isfinite().all():
        raise BadInput(f"{who}: maps has NaN or infinite entries; set them to zero where there is no signal")


def check_mask(mask, shape, who):
    """Raise BadInput unless the mask is bool, broadcasts to the shape of one map, and has a True entry."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise BadInput(f"{who}: mask is {kind(mask)}, it should be a bool tensor; use mask > 0")
    small = (1,) * (len(shape) - mask.ndim) + tuple(mask.shape)
    if len(small) != len(shape) or any(s not in (1, n) for s, n in zip(small, shape, strict=True)):
        raise BadInput(
            f"{who}: mask has shape {tuple(mask.shape)}, it should broadcast to {tuple(shape)}, the shape of one "
            f"coil's map; transpose or crop it"
        )
    if not mask.any():
        raise BadInput(f"{who}: mask has no True entry, so nothing is measured; keep at least one")
