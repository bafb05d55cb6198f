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


@dataclass(frozen=True)
class Penalised:
    """x = argmin ||A x - y||^2 / 2 + lam s penalty(x), s = max |A^H y| with ||A|| brought to 1, by a solver of sigpy.

    A kind of it has `solver(shape)`: the arguments of sigpy's LinearLeastSquares for images of that shape.
    """

    lam: float = 0.002
    tol: float = 1e-5
    iterations: int = 2000

    def __post_init__(self):
        if not 0 < self.lam < 1:
            name = type(self).__name__
            raise BadInput(
                f"{name}: lam = {self.lam} should lie between 0 and 1; it is a share of max |A^H y|"
            )

    def reconstruct(self, problem):
        """The image (*A.in_shape) of problem.y, run until the objective falls by less than a share `tol` in 20
        iterations; a warning where it has not after `iterations`."""
        from sigpy.app import LinearLeastSquares

        p = posed(problem, self.lam)
        app = LinearLeastSquares(
            linop(p.A),
            array(p.y),
            x=array(p.start).copy(),
            show_pbar=False,
            **self.solver(list(p.A.in_shape)),
        )
        converge(app, self.tol, self.iterations, type(self).__name__)
        return p.scale * tensor(app.x, p.start.dtype).to(p.start.device)


def converge(app, tol, iterations, who):
    """Iterate until the objective of `app` falls by less than `tol` of itself in `EVERY` iterations."""
    before = app.objective()
    for done in range(0, iterations, EVERY):
        for _ in range(min(EVERY, iterations - done)):
            app.alg.update()
        now = app.objective()
        change, before = abs(before - now) / now, now
        if change <= tol:
            return
    warnings.warn(
        f"{who} stopped after {iterations} iterations, its objective still changing by {change:.1e}; raise iterations",
        stacklevel=3,
    )
