"""Checks that several operators make of their fields."""

import torch

from workbench._errors import BadInput


def check_real(dtype, who):
    """Raise BadInput unless `dtype` is a real floating one."""
    if not dtype.is_floating_point:
        raise BadInput(
            f"{who}: dtype = {dtype} should be real, torch.float32 or torch.float64; measure a modulus or a real part"
        )


def check_spread(value, shape, who):
    """Raise BadInput unless the number or tensor `value` is finite and broadcasts to `shape`; `who` names it."""
    value = torch.as_tensor(value)
    ends = tuple(shape)[len(shape) - value.ndim :] if value.ndim <= len(shape) else ()
    if len(ends) != value.ndim or any(n not in (1, m) for n, m in zip(value.shape, ends, strict=True)):
        raise BadInput(f"{who} has shape {tuple(value.shape)}, it should broadcast to {tuple(shape)}")
    if not value.isfinite().all():
        raise BadInput(f"{who} has entries that are not finite numbers; replace them")
