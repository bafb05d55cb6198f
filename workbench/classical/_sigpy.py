"""What sigpy's solvers need: our operator as one of its own, the problem on one scale, and a run to convergence."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from workbench._errors import BadInput
from workbench.noise.gaussian import Gaussian

EVERY = 20  # iterations between two looks at the objective


@dataclass(frozen=True)
class Posed:
    """min ||A x - y||^2 / 2 + lam penalty(x) with ||A|| = 1 and max |A^H y| = 1; start: the Tikhonov image of lam.
    The image of the problem is `scale` times x."""

    A: Any
    y: torch.Tensor
    start: torch.Tensor
    scale: float


def posed(problem, lam):
    """The problem on that scale; noise that is not white is whitened first. BadInput where y is all zero."""
    A, y, noise = problem.A, problem.y, problem.noise
    if not isinstance(noise, Gaussian) or torch.as_tensor(noise.sigma).numel() > 1:
        A, y = noise.whiten(A, y)
    size = A.norm()
    A = (1 / size) * A
    scale = A.H(y).abs().max().item()
    if not scale > 0:
        raise BadInput("y is all zero, or A^H y is, so there is nothing to reconstruct; check the data")
    y = y / scale
    return Posed(A, y, A.solve(A.H(y), lam, tol=1e-3), scale / size)


def linop(A):
    """A linear operator as a `sigpy.linop.Linop` on complex numpy arrays, of whose real part a real operator takes
    note: sigpy's proximal maps return complex arrays whatever they are given."""
    from sigpy.linop import Linop

    def on_arrays(function, dtype):
        return lambda x: array(function(tensor(x, dtype).to(A.device)))

    class Ours(Linop):
        def __init__(self, apply, adjoint, oshape, ishape):
            self.calls = apply, adjoint
            super().__init__(oshape, ishape)

        def _apply(self, x):
            return self.calls[0](x)

        def _adjoint_linop(self):
            return Ours(*self.calls[::-1], self.ishape, self.oshape)

        def _normal_linop(self):
            normal = on_arrays(A.normal, A.in_dtype)
            return Ours(normal, normal, self.ishape, self.ishape)

    return Ours(on_arrays(A, A.in_dtype), on_arrays(A.H, A.out_dtype), list(A.out_shape), list(A.in_shape))


def tensor(x, dtype):
    """A complex numpy array as a tensor of dtype, real or complex."""
    x = torch.from_numpy(np.ascontiguousarray(x))
    return x.to(dtype) if dtype.is_complex else x.real.to(dtype)


def array(x):
    """A tensor as a complex numpy array."""
    return x.detach().cpu().to(x.dtype.to_complex()).numpy()


def least_squares(p, **penalty):
    """sigpy's app for ||A x - y||^2 / 2 + g(G x), starting at p.start."""
    from sigpy.app import LinearLeastSquares

    return LinearLeastSquares(linop(p.A), array(p.y), x=array(p.start).copy(), show_pbar=False, **penalty)


def converged(p, app, tol, iterations, who):
    """The image of `p`, on the problem's own scale, once the objective of `app` falls by less than `tol` of itself in `EVERY` iterations; a warning where
    it has not after `iterations`."""
    before = app.objective()
    for done in range(0, iterations, EVERY):
        for _ in range(min(EVERY, iterations - done)):
            app.alg.update()
        now = app.objective()
        if abs(before - now) <= tol * now:
            return p.scale * tensor(app.x, p.start.dtype).to(p.start.device)
        change, before = abs(before - now) / now, now
    warnings.warn(
        f"{who} stopped after {iterations} iterations, its objective still changing by {change:.1e}; raise iterations",
        stacklevel=3,
    )
    return p.scale * tensor(app.x, p.start.dtype).to(p.start.device)
