"""Checks that several operators make of their fields."""

from numbers import Integral

import torch
from torch import Tensor

from workbench._errors import BadInput


def check_real(dtype, who):
    """Raise BadInput unless `dtype` is a real floating one."""
    if not dtype.is_floating_point:
        raise BadInput(
            f"{who}: dtype = {dtype} should be real, torch.float32 or torch.float64; measure a modulus or a real part"
        )


def check_shape(shape, who):
    """Raise BadInput unless `shape` is a tuple or list of whole numbers, at least 1 each."""
    if not isinstance(shape, tuple | list) or not all(isinstance(n, Integral) and n >= 1 for n in shape):
        raise BadInput(f"{who}: shape = {shape} should be a tuple of whole numbers, at least 1 each")


def check_spread(value, shape, who):
    """Raise BadInput unless the number or tensor `value` is finite and broadcasts to `shape`; `who` names it."""
    value = torch.as_tensor(value)
    ends = tuple(shape)[len(shape) - value.ndim :] if value.ndim <= len(shape) else ()
    if len(ends) != value.ndim or any(n not in (1, m) for n, m in zip(value.shape, ends, strict=True)):
        raise BadInput(f"{who} has shape {tuple(value.shape)}, it should broadcast to {tuple(shape)}")
    if not value.isfinite().all():
        raise BadInput(f"{who} has entries that are not finite numbers; replace them")


def check_precision(value, dtype, who):
    """Raise BadInput unless `value` is a real number, or a tensor that leaves what it multiplies in `dtype`."""
    kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
    fits = isinstance(kind, torch.dtype) and torch.promote_types(kind, dtype) == dtype
    if not fits and not isinstance(value, int | float):
        raise BadInput(
            f"{who} is {kind}, it should be a number or a tensor of the operator's precision; use .to({dtype}) on a tensor"
        )


def transformed_axes(who, shape, axes):
    """`axes` counted from the end, all of them by default; BadInput where one is not there or twice."""
    ndim = len(shape)
    axes = range(ndim) if axes is None else axes
    if not all(-ndim <= a < ndim for a in axes) or len({a % ndim for a in axes}) != len(axes):
        raise BadInput(f"{who}: axes = {tuple(axes)} should be different axes of shape = {tuple(shape)}")
    return tuple(a % ndim - ndim for a in axes)
