"""A matrix as an operator."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._linear import Linear, ridge
from workbench.operators._operator import checked
from workbench.operators._sizes import integer, pick, signal_shape


@dataclass(frozen=True, eq=False)
class Dense(Linear):
    """y = M x, a matrix: the smallest operator, and the yardstick of the others.

    matrix: (m, d), real or complex.  shape: the signal's shape, of size d (default (d,)).  y: (*, m).
    """

    card = dict(family="matrix", linear=True, svd=True, source="")

    matrix: Tensor
    shape: tuple = ()

    def __post_init__(self):
        if not isinstance(self.matrix, Tensor) or self.matrix.ndim != 2:
            raise BadInput(
                f"Dense: matrix has shape {tuple(getattr(self.matrix, 'shape', ()))}, it should be (m, d)"
            )
        if self.shape and prod(self.shape) != self.matrix.shape[1]:
            raise BadInput(
                f"Dense: shape = {self.shape} has {prod(self.shape)} entries, the matrix has {self.matrix.shape[1]} columns"
            )

    in_shape = property(lambda self: tuple(self.shape) or (self.matrix.shape[1],))
    out_shape = property(lambda self: (self.matrix.shape[0],))
    in_dtype = out_dtype = property(lambda self: self.matrix.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = signal_shape(rng, 36)
        matrix = rng.normal(torch.empty(integer(rng, 1, 45), prod(shape), dtype=dtype))
        return cls(matrix, pick(rng, (), shape))

    def forward(self, x):
        return x.flatten(x.ndim - len(self.in_shape)) @ self.matrix.mT

    def adjoint(self, y):
        return (y @ self.matrix.conj()).unflatten(-1, self.in_shape)

    @cached_property
    def _svd(self):
        return torch.linalg.svd(self.matrix, full_matrices=False)

    def svd(self):
        U, s, Vh = self._svd
        return Dense(U), s, Dense(Vh, self.in_shape).H

    def norm(self):
        return self._svd[1][0].item()

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b in closed form: b / rho outside the row space, damped inside it."""
        checked(b, self.in_shape, self.in_dtype, "Dense.solve")
        rho = ridge(rho, b, 1)
        _, s, Vh = self._svd
        b = b.flatten(b.ndim - len(self.in_shape))
        seen = b @ Vh.mT
        if (rho == 0).any():
            if len(s) < b.shape[-1] or s[-1] <= s[0] * len(s) * torch.finfo(s.dtype).eps:
                raise BadInput("solve: rho = 0 and A has a null space, so there is no inverse; use rho > 0")
            return ((seen / s**2) @ Vh.conj()).unflatten(-1, self.in_shape)
        inside = seen * (1 / (s**2 + rho) - 1 / rho)
        return (b / rho + inside @ Vh.conj()).unflatten(-1, self.in_shape)


@dataclass(frozen=True, eq=False)
class GaussianSensing(Dense):
    """y = M x with independent N(0, 1/m) entries (complex: 1/(2m) in each real part), so E ||A x||^2 = ||x||^2.

    Compressed sensing (Candes and Tao 2006; Donoho 2006). Build one with `GaussianSensing.draw(m, shape, seed)`.
    """

    card = dict(family="compressed sensing", linear=True, svd=True, source="Candes and Tao 2006")

    @classmethod
    def draw(cls, m, shape, seed=0, dtype=torch.float32):
        """A matrix with m rows for signals of `shape`, drawn with `seed`."""
        if m < 1:
            raise BadInput(f"GaussianSensing: m = {m} should be at least 1")
        matrix = Rng(seed, "operator").normal(torch.empty(m, prod(shape), dtype=dtype))
        return cls(matrix / (m * (2 if dtype.is_complex else 1)) ** 0.5, tuple(shape))

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls.draw(integer(rng, 1, 30), signal_shape(rng, 36), rng.seed, dtype)


@dataclass(frozen=True, eq=False)
class RademacherSensing(Dense):
    """y = M x with independent entries +-1 / sqrt(m) (complex: (+-1 +- i) / sqrt(2 m)), so E ||A x||^2 = ||x||^2.

    Compressed sensing with signs alone; every column has norm 1 exactly. Achlioptas 2003. Build one with
    `RademacherSensing.draw(m, shape, seed)`.
    """

    card = dict(family="compressed sensing", linear=True, svd=True, source="Achlioptas 2003")

    @classmethod
    def draw(cls, m, shape, seed=0, dtype=torch.float32):
        """A matrix with m rows for signals of `shape`, drawn with `seed`."""
        if m < 1:
            raise BadInput(f"RademacherSensing: m = {m} should be at least 1")
        parts = 2 if dtype.is_complex else 1
        signs = 1 - 2 * (Rng(seed, "operator").uniform(parts, m, prod(shape)) < 0.5).to(dtype.to_real())
        matrix = torch.complex(*signs) if dtype.is_complex else signs[0]
        return cls(matrix / (m * parts) ** 0.5, tuple(shape))

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls.draw(integer(rng, 1, 30), signal_shape(rng, 36), rng.seed, dtype)
