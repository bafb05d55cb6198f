"""Projection by a stored sparse matrix and its transpose: the fastest way, where memory allows it."""

from dataclasses import dataclass
from functools import cached_property

import torch

from workbench.operators._csr import csr_pair
from workbench.operators.rays import Rays


@dataclass(frozen=True, eq=False)
class Stored:
    """y = M x with the weights of every ray, built on first use; a batch shares one pass over the matrix.

    rays: of the geometry.  model: `joseph` or `siddon`.  dtype: real.  device: where the matrices live.
    """

    rays: Rays
    model: object
    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def memory(rays, dtype):
        """Bytes of both matrices, closely from above."""
        return 2 * rays.entries * (4 + dtype.itemsize)

    @cached_property
    def matrices(self):
        """M: (rays, pixels) and its transpose, real sparse CSR tensors with int32 indices."""
        weights, pixels, counts = self.rays.weights(self.model)
        H, W = self.rays.shape
        return csr_pair(weights, pixels, counts, H * W, self.dtype, self.device)

    def project(self, x):
        """(n, H, W) -> (n, rays)."""
        return _product(self.matrices[0], x.flatten(1))

    def back(self, y):
        """(n, rays) -> (n, H, W), the transpose of `project`."""
        return _product(self.matrices[1], y).unflatten(1, self.rays.shape)


def _product(M, rows):
    """M on each of `rows`: (n, columns of M). Batch rows share one pass over M, which is what costs."""
    return (M @ rows[0])[None] if len(rows) == 1 else (M @ rows.mT).mT
