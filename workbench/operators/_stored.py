"""Projection by a stored sparse matrix and its transpose: the fastest way, where memory allows it."""

from dataclasses import dataclass
from functools import cached_property
from warnings import catch_warnings, simplefilter

import numpy as np
import torch

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
        from scipy.sparse import csr_array

        weights, pixels, counts = self.rays.weights(self.model)
        ends = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
        real = torch.empty((), dtype=self.dtype).numpy().dtype
        H, W = self.rays.shape
        transpose = csr_array((weights.astype(real), pixels, ends), shape=(len(self.rays), H * W)).T.tocsr()
        pair = transpose.T.tocsr(), transpose  # each sorted within its rows
        return tuple(_tensor(M, self.device) for M in pair)

    def project(self, x):
        """(n, H, W) -> (n, rays)."""
        return _product(self.matrices[0], x.flatten(1))

    def back(self, y):
        """(n, rays) -> (n, H, W), the transpose of `project`."""
        return _product(self.matrices[1], y).unflatten(1, self.rays.shape)


def _product(M, rows):
    """M on each of `rows`: (n, columns of M). Batch rows share one pass over M, which is what costs."""
    return (M @ rows[0])[None] if len(rows) == 1 else (M @ rows.mT).mT


def _tensor(M, device):
    """A scipy CSR array as a torch one."""
    with catch_warnings():
        simplefilter("ignore", UserWarning)  # torch calls its CSR layout a beta
        parts = (torch.from_numpy(part).to(device) for part in (M.indptr, M.indices, M.data))
        return torch.sparse_csr_tensor(*parts, size=M.shape)
