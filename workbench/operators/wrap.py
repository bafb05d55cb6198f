"""Operators from elsewhere: any function, scipy's linear operators and matrices, sigpy's linops."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._linear import Linear
from workbench.operators._operator import Operator
from workbench.operators._pair import apply_pair


@dataclass(frozen=True, eq=False)
class _Function(Operator):
    """y = f(x), for a differentiable torch function of one signal batch."""

    function: Callable
    in_shape: tuple
    out_shape: tuple
    in_dtype: torch.dtype
    out_dtype: torch.dtype

    def forward(self, x):
        return self.function(x)


@dataclass(frozen=True, eq=False)
class _LinearFunction(Linear):
    """y = f(x), for a linear torch function; without an adjoint of its own, autograd transposes it."""

    function: Callable
    in_shape: tuple
    out_shape: tuple
    in_dtype: torch.dtype
    out_dtype: torch.dtype
    transpose: Callable | None = None

    def forward(self, x):
        return self.function(x)

    def adjoint(self, y):
        if self.transpose is not None:
            return self.transpose(y)
        batch = y.shape[: y.ndim - len(self.out_shape)]
        x = torch.zeros(*batch, *self.in_shape, dtype=self.in_dtype, device=y.device)
        return torch.func.vjp(self.function, x)[1](y)[0]


@dataclass(frozen=True, eq=False)
class _ArrayPair(Linear):
    """A linear map and its adjoint on numpy arrays of one signal; gradients go through the adjoint."""

    apply: Callable
    transpose: Callable
    in_shape: tuple
    out_shape: tuple
    in_dtype: torch.dtype
    out_dtype: torch.dtype

    def _each(self, function, x, shape_in, shape_out, dtype):
        rows = x.detach().cpu().numpy().reshape(-1, *shape_in)
        y = np.stack([np.asarray(function(row)).reshape(shape_out) for row in rows])
        batch = x.shape[: x.ndim - len(shape_in)]
        return torch.from_numpy(y).to(x.device, dtype).reshape(*batch, *shape_out)

    def _ahead(self, x):
        return self._each(self.apply, x, self.in_shape, self.out_shape, self.out_dtype)

    def _back(self, y):
        return self._each(self.transpose, y, self.out_shape, self.in_shape, self.in_dtype)

    def forward(self, x):
        return apply_pair(x, self._ahead, self._back)

    def adjoint(self, y):
        return apply_pair(y, self._back, self._ahead)


def from_function(f, in_shape, out_shape, in_dtype=torch.float32, out_dtype=None, adjoint=None):
    """An operator from a torch function f: (*batch, *in_shape) -> (*batch, *out_shape).

    With `adjoint` it is taken as linear. Without, superposition is tried on random signals: a linear f gets the
    exact transpose that autograd derives, any other f becomes a nonlinear operator with `linearize`.
    Raises BadInput when f does not give `out_shape`.
    """
    in_shape, out_shape = tuple(in_shape), tuple(out_shape)
    rng = Rng(0, "from_function")
    like = torch.empty(3, *in_shape, dtype=in_dtype)
    x, z = rng.normal(like), rng.normal(like)
    y = f(x)
    if not isinstance(y, torch.Tensor) or tuple(y.shape) != (3, *out_shape):
        raise BadInput(
            f"from_function: f maps {(3, *in_shape)} to {tuple(getattr(y, 'shape', ()))}, it should give {(3, *out_shape)}; "
            f"a leading batch axis goes through f"
        )
    out_dtype = out_dtype or y.dtype
    if adjoint is not None:
        return _LinearFunction(f, in_shape, out_shape, in_dtype, out_dtype, adjoint)
    gap = torch.linalg.vector_norm(f(2 * x - 3 * z) - (2 * y - 3 * f(z)))
    linear = gap <= 1e3 * torch.finfo(in_dtype).eps * torch.linalg.vector_norm(y)
    kind = _LinearFunction if linear else _Function
    return kind(f, in_shape, out_shape, in_dtype, out_dtype)


def from_scipy(A, in_shape=None, out_shape=None, dtype=None):
    """An operator from a scipy sparse matrix, array or LinearOperator (m, d); shapes default to (d,) and (m,)."""
    from scipy.sparse.linalg import aslinearoperator

    A = aslinearoperator(A)
    dtype = dtype or torch.from_numpy(np.empty(0, A.dtype)).dtype
    return _ArrayPair(
        lambda x: A.matvec(x.ravel()),
        lambda y: A.rmatvec(y.ravel()),
        tuple(in_shape or (A.shape[1],)),
        tuple(out_shape or (A.shape[0],)),
        dtype,
        dtype,
    )


def from_sigpy(linop, dtype=torch.complex64):
    """An operator from a `sigpy.linop.Linop`, on signals of `dtype`; its adjoint is the linop's own `.H`."""
    return _ArrayPair(linop, linop.H, tuple(linop.ishape), tuple(linop.oshape), dtype, dtype)
