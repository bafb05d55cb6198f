"""What the tests of many operators share: the matrix of a map, its real form, and random signals."""

import torch

from workbench._rng import Rng
from workbench.operators.adjointness import inner


def signals(A, n, seed=0):
    """n random inputs of the operator A: (n, *in_shape)."""
    return Rng(seed, "signals").normal(torch.empty(n, *A.in_shape, dtype=A.in_dtype, device=A.device))


def measurements(A, n, seed=0):
    """n random outputs of the operator A: (n, *out_shape)."""
    return Rng(seed, "measurements").normal(torch.empty(n, *A.out_shape, dtype=A.out_dtype, device=A.device))


def mismatch(A, x, y):
    """|Re<A x, y> - Re<x, A^H y>| over the larger of ||A x|| ||y|| and ||x|| ||A^H y||, of which a wrong adjoint misses
    a share; in A x alone, where it is one number, terms may cancel."""
    Ax, Ay = A(x), A.H(y)
    scale = (inner(Ax, Ax) * inner(y, y)).maximum(inner(x, x) * inner(Ay, Ay)).sqrt()
    return (inner(Ax, y) - inner(x, Ay)).abs() / scale.clamp_min(torch.finfo(torch.float64).tiny)


def basis(shape, dtype, device=None):
    """The unit vectors of a signal space, and i times them for a complex one: (d, *shape)."""
    count = torch.Size(shape).numel()
    eye = torch.eye(count, dtype=dtype, device=device).reshape(count, *shape)
    return torch.cat([eye, 1j * eye]) if dtype.is_complex else eye


def coordinates(x, ndim):
    """x: (*batch, *item) in the coordinates of `basis`: real parts first, then imaginary ones."""
    flat = x.flatten(x.ndim - ndim)
    return torch.cat([flat.real, flat.imag], dim=-1) if x.is_complex() else flat


def dense_matrix(A):
    """The real matrix (m, d) of a linear operator, in `coordinates` on both sides."""
    return coordinates(A(basis(A.in_shape, A.in_dtype, A.device)), len(A.out_shape)).mT


def same_map(M, N, factor=100.0):
    """Whether two matrices agree to `factor` roundings of their norm: a fast transform keeps that, not every entry."""
    size = torch.linalg.matrix_norm(M, 2).clamp_min(torch.finfo(M.dtype).tiny)
    return bool((M - N).abs().max() <= factor * torch.finfo(M.dtype).eps * size)


def close(a, b, factor=100.0):
    """Whether a and b agree to `factor` roundings of their size."""
    scale = torch.maximum(a.abs().max(), b.abs().max()).clamp_min(torch.finfo(a.dtype).tiny)
    return bool((a - b).abs().max() <= factor * torch.finfo(a.dtype).eps * scale)
