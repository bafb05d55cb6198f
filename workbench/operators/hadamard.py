"""The Walsh-Hadamard transform."""

from dataclasses import dataclass
from math import prod

import torch

from workbench._errors import BadInput
from workbench.operators._orthogonal import OrthogonalColumns
from workbench.operators._sizes import integer, sizes

RADIX = 16  # entries that one small matrix product mixes: fewer passes through memory than pairs of two


@dataclass(frozen=True, eq=False)
class Hadamard(OrthogonalColumns):
    """y[k] = n^{-1/2} sum_j (-1)^{k . j} x[j], k . j the bits that k and j share: the orthonormal Walsh-Hadamard transform.

    shape: of the signal, of n entries in all, n a power of two; it is taken in the order of its entries, which is the
    same as one transform along each axis.  The rows are in natural (Sylvester's) order; `sequency_order` sorts them by
    their number of sign changes (Walsh's).  Symmetric and its own inverse; O(n log n) by small products. Sylvester 1867.
    """

    card = dict(family="transform", linear=True, svd=True, source="Sylvester 1867")

    shape: tuple
    dtype: torch.dtype = torch.float32

    column_power = torch.ones(())

    def __post_init__(self):
        n = prod(self.shape)
        if n < 1 or n & (n - 1):
            raise BadInput(
                f"Hadamard: shape = {tuple(self.shape)} has {n} entries, it should be a power of two; pad it with Crop(...).H"
            )

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        ndim = integer(rng, 1, 3)
        return cls(tuple(2**k for k in sizes(rng, ndim, 0, 6 // ndim)), dtype)

    def forward(self, x):
        batch, n, done = x.shape[: x.ndim - len(self.shape)], prod(self.shape), 1
        while done < n:
            step = min(RADIX, n // done)
            x = _sylvester(step, x) @ x.reshape(*batch, -1, step, done)
            done *= step
        return x.reshape(*batch, *self.shape)

    def adjoint(self, y):
        return self.forward(y)


def _sylvester(n, like):
    """The orthonormal (n, n) Hadamard matrix in natural order, on the device and in the dtype of `like`."""
    H = torch.ones(1, 1, dtype=like.dtype, device=like.device)
    while len(H) < n:
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    return H / n**0.5


def sequency_order(n):
    """(n,) the rows of the natural order by their number of sign changes, 0, 1, ..., n - 1: bit-reversed Gray codes."""
    bits = n.bit_length() - 1
    gray = torch.arange(n) ^ (torch.arange(n) >> 1)
    return sum(((gray >> b) & 1) << (bits - 1 - b) for b in range(bits)) if bits else gray
