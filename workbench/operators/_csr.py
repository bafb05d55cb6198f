"""A real sparse matrix and its transpose, kept together: the forward map and the exact adjoint of a stored operator."""

from warnings import catch_warnings, simplefilter

import numpy as np
import torch


def csr_pair(values, columns, counts, size, dtype, device):
    """M and M^T as sparse CSR tensors of `dtype` with int32 indices.

    values, columns: (entries,) of all rows in turn.  counts: (rows,) entries of each row.  size: columns of M.
    """
    from scipy.sparse import csr_array

    starts = np.concatenate([[0], np.cumsum(np.asarray(counts))]).astype(np.int32)
    values = np.asarray(values, torch.empty((), dtype=dtype).numpy().dtype)
    M = csr_array((values, np.asarray(columns, np.int32), starts), shape=(len(counts), size))
    transpose = M.T.tocsr()
    return tuple(
        _tensor(part, device) for part in (transpose.T.tocsr(), transpose)
    )  # each sorted within its rows


def _tensor(M, device):
    """A scipy CSR array as a torch one."""
    with catch_warnings():
        simplefilter("ignore", UserWarning)  # torch calls its CSR layout a beta
        parts = (torch.from_numpy(part).to(device) for part in (M.indptr, M.indices, M.data))
        return torch.sparse_csr_tensor(*parts, size=M.shape)
