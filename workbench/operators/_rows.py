"""Some rows of a transform: drawn, checked, and put back."""

from math import prod

import torch
from torch import Tensor

from workbench._errors import BadInput


def random_rows(m, n, rng):
    """(m,) different integers below n, sorted, every set as likely as any other."""
    if not 1 <= m <= n:
        raise BadInput(f"random_rows: m = {m} should be from 1 to {n}, the number of entries")
    return rng.uniform(1, n)[0].argsort()[:m].sort().values


def distinct_places(name, index, n):
    """Raise BadInput unless `index` holds different indices below n."""
    if not isinstance(index, Tensor) or index.ndim != 1 or index.dtype != torch.int64 or not len(index):
        raise BadInput(f"{name} should be a tensor (m,) of int64, not empty; use torch.as_tensor")
    if index.min() < 0 or index.max() >= n or len(index.unique()) != len(index):
        raise BadInput(
            f"{name} should be different integers from 0 to {n - 1}; they start with {index.tolist()[:8]}"
        )


def scatter(y, rows, shape):
    """(*, m) -> (*, *shape): y at the places `rows` of the flattened shape, zeros elsewhere."""
    x = y.new_zeros(*y.shape[:-1], prod(shape))
    x[..., rows] = y
    return x.unflatten(-1, tuple(shape))
