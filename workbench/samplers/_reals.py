"""Complex arrays as real ones of twice the size: rows, squares and coordinate directions."""

import torch


def squares(z):
    """||z||^2 of each row in float64: (n,)."""
    z = torch.view_as_real(z) if z.is_complex() else z
    return z.flatten(1).double().square().sum(1)


def as_reals(v):
    """(n, *m) as (n, real numbers)."""
    return torch.view_as_real(v).flatten(1) if v.is_complex() else v.flatten(1)


def from_reals(v, like):
    """The inverse of `as_reals`, in the shape and dtype of `like`, one row of it."""
    v = v.to(like.dtype.to_real())
    if like.is_complex():
        return torch.view_as_complex(v.reshape(len(v), *like.shape, 2))
    return v.reshape(len(v), *like.shape)


def unit_vectors(y, n):
    """The real coordinate directions of y, each repeated for n rows."""
    reals = y.numel() * (2 if y.is_complex() else 1)
    for e in torch.eye(reals, dtype=y.dtype.to_real(), device=y.device):
        yield from_reals(e[None], y).expand(n, *y.shape)


def rows(numbers, like):
    """One number a row, (n,), that multiplies `like`: (n, *shape)."""
    return numbers.to(like.device, like.dtype.to_real()).reshape(-1, *[1] * (like.ndim - 1))
