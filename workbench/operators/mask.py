"""Inpainting: only some entries of the signal are seen."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._linear import Linear, ridge
from workbench.operators._operator import checked
from workbench.operators._sizes import signal_shape, some_places


@dataclass(frozen=True, eq=False)
class Mask(Linear):
    """y = x[mask]: the entries where the mask is True, flattened to (m,), so that every number of y is a measurement.

    mask: (*signal) bool, made by `random_mask`, `box_mask` or by hand; `mask.expand(3, H, W)` hides whole pixels of a
    colour image.  dtype: of the signal, float32 by default.  `A.H(y)` puts zeros where nothing was seen.
    """

    card = dict(family="inpainting", linear=True, svd=True, source="")

    mask: Tensor
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        if not isinstance(self.mask, Tensor) or self.mask.dtype != torch.bool:
            raise BadInput(
                f"Mask: mask is {getattr(self.mask, 'dtype', type(self.mask).__name__)}, it should be a bool tensor; use mask > 0"
            )
        if not self.mask.any():
            raise BadInput("Mask: mask has no True entry, so nothing is measured; keep at least one")

    in_shape = property(lambda self: tuple(self.mask.shape))
    out_shape = property(lambda self: (int(self.mask.sum()),))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(some_places(rng, signal_shape(rng)), dtype)

    @cached_property
    def _seen(self):
        """The places of the True entries in the flat signal, (m,)."""
        return self.mask.flatten().nonzero()[:, 0]

    def forward(self, x):
        return x.flatten(x.ndim - self.mask.ndim).index_select(-1, self._seen)

    def adjoint(self, y):
        x = y.new_zeros(*y.shape[:-1], self.mask.numel()).index_copy(-1, self._seen, y)
        return x.unflatten(-1, self.in_shape)

    def normal(self, x):
        return x * self.mask

    def norm(self):
        return 1.0

    def svd(self):
        ones = torch.ones(self.out_shape, dtype=self.dtype.to_real(), device=self.mask.device)
        everything = Mask(torch.ones(self.out_shape, dtype=torch.bool, device=self.mask.device), self.dtype)
        return everything, ones, self.H

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = b / (mask + rho)."""
        checked(b, self.in_shape, self.in_dtype, "Mask.solve")
        rho = ridge(rho, b, len(self.in_shape))
        if (rho == 0).any() and not self.mask.all():
            raise BadInput("solve: rho = 0 and the mask hides entries, so there is no inverse; use rho > 0")
        return b / (self.mask + rho)


def random_mask(shape, keep, seed=0):
    """A bool mask of `shape` with round(keep * size) entries True, at places drawn without replacement: random inpainting.

    keep: the share of entries that are seen, above 0 and at most 1.
    """
    size = prod(shape)
    seen = round(keep * size)
    if not (0 < keep <= 1 and seen >= 1):
        raise BadInput(
            f"random_mask: keep = {keep} leaves {seen} of {size} entries; use a share above 0 and at most 1"
        )
    mask = torch.zeros(size, dtype=torch.bool)
    mask[Rng(seed, "mask").uniform(1, size)[0].argsort()[:seen]] = True
    return mask.reshape(shape)


def box_mask(shape, corner, size):
    """A bool mask of `shape`, False in the box of `size` whose first entry is `corner`, True around it: a hole.

    corner, size: one number an axis of the shape, or of its last axes. Raises BadInput where the box leaves the signal.
    """
    last = tuple(shape)[len(shape) - len(corner) :]
    if len(corner) != len(size) or not all(
        0 <= c and 1 <= k and c + k <= n for c, k, n in zip(corner, size, last, strict=True)
    ):
        raise BadInput(
            f"box_mask: the box of size = {tuple(size)} at corner = {tuple(corner)} should lie inside {last}"
        )
    mask = torch.ones(shape, dtype=torch.bool)
    mask[(..., *[slice(c, c + k) for c, k in zip(corner, size, strict=True)])] = False
    return mask
