"""Structured random matrices: a fast transform between random signs and random rows."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._checks import check_precision
from workbench.operators._linear import Linear
from workbench.operators._orthogonal import OrthogonalRows
from workbench.operators._rows import distinct_places, random_rows, scatter
from workbench.operators._sizes import integer, pick, signal_shape, sizes
from workbench.operators.dct import DCT
from workbench.operators.hadamard import Hadamard


@dataclass(frozen=True, eq=False)
class StructuredRandom(OrthogonalRows):
    """y = sqrt(n / m) (T D x)[rows]: random signs D, an orthonormal transform T (Hadamard, DCT), m random rows of it.

    transform: orthonormal, of the signal's shape, n entries.  signs: (*signal) of +-1 (or phases).  rows: (m,) different
    indices into the flattened T D x.  y: (*, m).  With random signs and rows E ||A x||^2 = ||x||^2, and A A^H = (n / m) I,
    so solve and singular values are closed forms; O(n log n) instead of a dense matrix's m n. `subsampled_hadamard` and
    `subsampled_dct` draw one. Ailon and Chazelle 2006 (the fast Johnson-Lindenstrauss transform); Do et al. 2012.
    """

    card = dict(family="compressed sensing", linear=True, svd=True, source="Do et al. 2012")

    transform: Linear
    signs: Tensor
    rows: Tensor

    def __post_init__(self):
        check_precision(self.signs, self.in_dtype, "StructuredRandom: signs")
        shape = tuple(torch.as_tensor(self.signs).shape)
        if shape != tuple(self.transform.in_shape):
            raise BadInput(
                f"StructuredRandom: signs has shape {shape}, the transform takes {tuple(self.transform.in_shape)}; they should agree"
            )
        distinct_places("StructuredRandom: rows", self.rows, prod(self.transform.out_shape))

    in_shape = property(lambda self: tuple(self.transform.in_shape))
    out_shape = property(lambda self: tuple(self.rows.shape))
    in_dtype = property(lambda self: self.transform.in_dtype)
    out_dtype = property(lambda self: self.transform.out_dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        ndim = integer(rng, 1, 3)
        shape = tuple(2**k for k in sizes(rng, ndim, 0, 6 // ndim))
        draw, shape = pick(rng, (subsampled_hadamard, shape), (subsampled_dct, signal_shape(rng)))
        return draw(integer(rng, 1, prod(shape)), shape, rng.seed, dtype)

    @property
    def row_power(self):
        return torch.tensor(self.signs.numel() / len(self.rows), dtype=self.in_dtype.to_real())

    def forward(self, x):
        y = self.transform.forward(self.signs * x)
        return self._scale * y.flatten(y.ndim - len(self.transform.out_shape))[..., self.rows]

    def adjoint(self, y):
        spectrum = scatter(self._scale * y, self.rows, self.transform.out_shape)
        return self.signs.conj() * self.transform.adjoint(spectrum)

    _scale = property(lambda self: (self.signs.numel() / len(self.rows)) ** 0.5)


def subsampled_hadamard(m, shape, seed=0, dtype=torch.float32):
    """A StructuredRandom of m rows of the Hadamard transform after random signs; size of `shape` a power of two."""
    return _draw(Hadamard(tuple(shape), dtype), m, seed)


def subsampled_dct(m, shape, seed=0, dtype=torch.float32):
    """A StructuredRandom of m rows of the cosine transform after random signs, for any `shape`."""
    return _draw(DCT(tuple(shape), None, dtype), m, seed)


def _draw(transform, m, seed):
    rng, shape = Rng(seed, "operator"), transform.in_shape
    rows = random_rows(m, prod(shape), rng)
    signs = 1 - 2 * (rng.uniform(1, *shape)[0] < 0.5).to(transform.in_dtype.to_real())
    return StructuredRandom(transform, signs, rows)
