"""What the reconstructions of sigpy need: gridded data, maps and weights on one scale, and a run to convergence."""

import warnings

import torch

from workbench._errors import BadInput
from workbench.noise.gaussian import CorrelatedGaussian
from workbench.operators._linear import Product
from workbench.operators.cartesian_mri import CartesianMRI
from workbench.operators.diagonal import Mix

EVERY = 20  # iterations between two looks at the objective


def whitened_coils(problem, who):
    """(A, y) of a CartesianMRI problem, mixed into coils with independent noise where its noise is correlated."""
    A, y, factors = problem.A, problem.y, []
    if isinstance(problem.noise, CorrelatedGaussian):
        factors.append(torch.linalg.inv(problem.noise.factor).to(y.device, y.dtype))
        y = factors[0] @ y
    if isinstance(A, Product) and isinstance(A.A, Mix):
        factors.append(A.A.matrix)
        A = A.B
    if not isinstance(A, CartesianMRI):
        raise BadInput(
            f"{who}: A is a {type(A).__name__}, it should be CartesianMRI; use CGSense or ZeroFilled instead"
        )
    maps = A.maps
    for matrix in reversed(factors):
        maps = torch.tensordot(matrix, maps, dims=1)
    return CartesianMRI(maps, A.mask), y


def scaled(A, y, lam):
    """sigpy's (k-space, maps, weights, start) with ||A|| and max |A^H y| brought to 1, and the scale of the image.

    start: the minimiser of ||A x - y||^2 + lam ||x||^2 on that scale.
    """
    size = A.norm()
    A = CartesianMRI(A.maps / size, A.mask)
    scale = A.H(y).abs().max()
    if not scale > 0:
        raise BadInput("y is all zero, or A^H y is, so there is nothing to reconstruct; check the data")
    y = y / scale
    start = A.solve(A.H(y), lam, tol=1e-3)
    weights = A.mask.broadcast_to(A.in_shape).to(start.real.dtype)
    arrays = [t.detach().cpu().numpy().copy() for t in (A.grid(y), A.maps, weights, start)]
    return arrays, (scale / size).item()


def converged(app, tol, iterations):
    """The trace of the objective, while `app` runs until it falls by less than `tol` of itself in `EVERY` iterations."""
    trace = [app.objective()]
    for done in range(0, iterations, EVERY):
        for _ in range(min(EVERY, iterations - done)):
            app.alg.update()
        trace.append(app.objective())
        if abs(trace[-2] - trace[-1]) <= tol * trace[-1]:
            return trace
    warnings.warn(
        f"{type(app).__name__} stopped after {iterations} iterations, its objective still changing by "
        f"{abs(trace[-2] - trace[-1]) / trace[-1]:.1e}; raise iterations",
        stacklevel=3,
    )
    return trace
