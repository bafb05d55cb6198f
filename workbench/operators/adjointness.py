"""The test of an adjoint: Re<A x, y> = Re<x, A^H y> for every x and y."""

import torch

from workbench._rng import Rng


def inner(u, v, ndim=None):
    """Re<u, v> = Re sum conj(u) v over the last `ndim` axes (all of them by default), summed in double precision."""
    product = torch.view_as_real(u) * torch.view_as_real(v) if u.is_complex() else u * v
    axes = ndim if ndim is None else tuple(range(-ndim - u.is_complex(), 0))
    return product.to(torch.float64).sum(axes)


def dot_test(A, seed=0, draws=4):
    """The largest |Re<A x, y> - Re<x, A^H y>| / (||A x|| ||y||) over `draws` pairs of zero-mean noise: a float.

    At rounding level (1e-7 in single, 1e-15 in double precision) for an exact adjoint. Zero-mean noise and this
    normalisation matter: with positive random data, a wrong adjoint passes.
    """
    gaps = [torch.zeros((), dtype=torch.float64)]
    for i in range(draws):
        rng = Rng(seed, "dot_test", step=i)
        x = rng.normal(torch.empty(1, *A.in_shape, dtype=A.in_dtype, device=A.device))[0]
        y = rng.normal(torch.empty(1, *A.out_shape, dtype=A.out_dtype, device=A.device))[0]
        Ax = A(x)
        scale = (inner(Ax, Ax) * inner(y, y)).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
        gaps.append(((inner(Ax, y) - inner(x, A.H(y))).abs() / scale).cpu())
    return torch.stack(gaps).max().item()  # NaN if any is
