"""Singular values of Cartesian MRI: one small matrix for every place along the readouts, which are sampled in full."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.fft import fftn, fftshift, ifftn, ifftshift

from workbench._errors import BadInput
from workbench.operators._linear import Linear

LIMIT = 2e10  # multiplications of all the decompositions, some ten seconds on one core


@dataclass(frozen=True, eq=False)
class _Right(Linear):
    """The right singular vectors: (P r,) coordinates -> image, rows: (P, r, Q) = V^H of every place."""

    rows: Tensor
    shape: tuple

    in_shape = property(lambda self: (self.rows.shape[0] * self.rows.shape[1],))
    out_shape = property(lambda self: self.shape)
    in_dtype = out_dtype = property(lambda self: self.rows.dtype)
    _axes = property(lambda self: tuple(range(-len(self.shape), 0)))

    def forward(self, c):
        c = c.unflatten(-1, self.rows.shape[:2])
        x = torch.einsum("prq,...pr->...pq", self.rows.conj(), c)
        return fftshift(x.flatten(-2).unflatten(-1, self.shape), self._axes)

    def adjoint(self, x):
        x = ifftshift(x, self._axes).flatten(-len(self.shape)).unflatten(-1, (self.rows.shape[0], -1))
        return torch.einsum("prq,...pq->...pr", self.rows, x).flatten(-2)


@dataclass(frozen=True, eq=False)
class _Left(Linear):
    """The left singular vectors: (P r,) coordinates -> (C, m) data, columns: (P, C K, r) = U of every place."""

    columns: Tensor
    lines: tuple  # the leading axes
    out_shape: tuple

    in_shape = property(lambda self: (self.columns.shape[0] * self.columns.shape[2],))
    in_dtype = out_dtype = property(lambda self: self.columns.dtype)
    _readouts = property(lambda self: tuple(range(-len(self.lines) - 1, -1)))

    def forward(self, c):
        c = c.unflatten(-1, (self.columns.shape[0], -1))
        k = torch.einsum("pkr,...pr->...pk", self.columns, c)
        k = k.unflatten(-1, (self.out_shape[0], -1)).movedim(-2, -3)  # (C, P, K)
        k = k.unflatten(-2, self.lines or (1,))
        k = fftn(k, dim=self._readouts, norm="ortho") if self.lines else k
        return k.flatten(-len(self.lines or (1,)) - 1)

    def adjoint(self, y):
        k = y.unflatten(-1, (*(self.lines or (1,)), -1))
        k = ifftn(k, dim=self._readouts, norm="ortho") if self.lines else k
        k = k.flatten(-len(self.lines or (1,)) - 1, -2).movedim(-3, -2).flatten(-2)  # (P, C K)
        return torch.einsum("pkr,...pk->...pr", self.columns.conj(), k).flatten(-2)


def work(A):
    """Multiplications of the singular value decomposition, about: the entries times the smaller side."""
    rows, columns = A.out_shape[0] * len(A._index), prod(A._columns)
    return A._lines * rows * columns * min(rows, columns)


def svd_by_lines(A):
    """U, s, V of a CartesianMRI, singular values in no fixed order.

    Along the axes that the mask does not vary along, the transform is unitary on the data alone; what is left is, at
    every place p of them, the matrix F[k, q] maps[c, p, q] of the sampled columns k. Raises BadInput where all these
    take more than 2e10 multiplications.
    """
    coils, columns = A.out_shape[0], prod(A._columns)
    places, seen = A._lines, len(A._index)
    if work(A) > LIMIT:
        raise BadInput(
            f"CartesianMRI: its singular values need {places} matrices of {coils * seen} x {columns}, {work(A):.0e} "
            f"multiplications; use a sampler that needs only A and A.H, or a smaller image with a mask of whole lines"
        )
    double = torch.complex128
    maps = torch.cat([part for part, _ in A._coils], dim=-len(A.grid_shape) - 1).to(double)
    maps = maps.flatten(1).unflatten(1, (places, columns))
    unit = torch.eye(columns, dtype=double, device=maps.device).unflatten(1, A._columns)
    axes = tuple(range(1, 1 + len(A._columns)))
    F = fftn(unit, dim=axes, norm="ortho").flatten(1)[:, A._index]  # (q, k)
    parts = [_decomposed(maps[:, p], F) for p in range(places)]
    U, s, Vh = (torch.stack(part) for part in zip(*parts, strict=True))
    lines, dtype = tuple(A.grid_shape[: A._leading]), A.out_dtype
    left = _Left(U.to(dtype), lines, tuple(A.out_shape))
    return left, s.flatten().to(dtype.to_real()), _Right(Vh.to(dtype), tuple(A.in_shape))


def _decomposed(maps, F):
    """The singular value decomposition of the matrix (C K, Q) of one place, maps: (C, Q), F: (Q, K)."""
    matrix = (F.mT * maps[:, None]).flatten(0, 1)
    return torch.linalg.svd(matrix, full_matrices=False)
