"""Separable maps: one matrix along each axis."""

from dataclasses import dataclass
from functools import cached_property, reduce
from math import prod

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear, ridge
from workbench.operators._operator import checked
from workbench.operators._sizes import signal_shape, sizes
from workbench.operators.reshape import Reshape


@dataclass(frozen=True, eq=False)
class Kronecker(Linear):
    """y = (M_1 x M_2 x ...) x, the matrix M_i along axis i: a separable map, a Kronecker product of small matrices.

    matrices: tuple of (m_i, n_i) tensors of one dtype.  x: (*, n_1, n_2, ...), y: (*, m_1, m_2, ...).  Norm, solve and
    singular values come from those of the small matrices. Van Loan 2000.
    """

    card = dict(family="structure", linear=True, svd=True, source="Van Loan 2000")

    matrices: tuple

    def __post_init__(self):
        kinds = {getattr(M, "dtype", None) for M in self.matrices}
        if len(kinds) != 1 or not all(isinstance(M, Tensor) and M.ndim == 2 for M in self.matrices):
            raise BadInput(
                f"Kronecker: matrices should be 2-D tensors of one dtype, one for each axis; they have {kinds or 'no entry'}"
            )

    in_shape = property(lambda self: tuple(M.shape[1] for M in self.matrices))
    out_shape = property(lambda self: tuple(M.shape[0] for M in self.matrices))
    in_dtype = out_dtype = property(lambda self: self.matrices[0].dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        from_shape = signal_shape(rng)
        to_shape = sizes(rng, len(from_shape), 1, (64, 8, 4)[len(from_shape) - 1])
        pairs = zip(to_shape, from_shape, strict=True)
        return cls(tuple(rng.normal(torch.empty(m, n, dtype=dtype)) for m, n in pairs))

    def forward(self, x):
        return _along_axes(self.matrices, x)

    def adjoint(self, y):
        return _along_axes([M.mH for M in self.matrices], y)

    @cached_property
    def _svds(self):
        return [torch.linalg.svd(M, full_matrices=False) for M in self.matrices]

    @property
    def _values(self):
        """The singular values, one axis for each matrix."""
        return outer([s for _, s, _ in self._svds])

    def norm(self):
        return prod(s[0].item() for _, s, _ in self._svds)

    def svd(self):
        U, V = (
            Kronecker(tuple(M)) for M in ([u for u, _, _ in self._svds], [v.mH for _, _, v in self._svds])
        )
        flat = Reshape((prod(V.in_shape),), V.in_shape, self.in_dtype)
        return U @ flat, self._values.flatten(), V @ flat

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b in closed form: b / rho outside the row space, damped inside it."""
        checked(b, self.in_shape, self.in_dtype, "Kronecker.solve")
        rho, power = ridge(rho, b, len(self.in_shape)), self._values**2
        Vh = [v for _, _, v in self._svds]
        V, seen = [v.mH for v in Vh], _along_axes(Vh, b)
        full = all(s.numel() == n for (_, s, _), n in zip(self._svds, self.in_shape, strict=True))
        if (rho == 0).any() and not (full and power.min() > power.max() * torch.finfo(power.dtype).eps ** 2):
            raise BadInput("solve: rho = 0 and A has a null space, so there is no inverse; use rho > 0")
        if full:
            return _along_axes(V, seen / (power + rho))
        return (b - _along_axes(V, seen * (power / (power + rho)))) / rho

    def gram_spectrum(self, axes, probes=64):
        """diag(F A^H A F^H), F the unitary FFT along `axes`: the product of one diagonal for each axis, exactly."""
        ndim, grams = len(self.matrices), [M.mH @ M for M in self.matrices]
        for a in {a % ndim for a in axes}:
            grams[a] = torch.fft.ifft(torch.fft.fft(grams[a], dim=0), dim=1)
        return outer([G.diagonal().real.clamp_min(0) for G in grams])


def _along_axes(matrices, x):
    """x with matrices[i] applied along axis i of its last len(matrices) axes."""
    for axis, M in enumerate(matrices, start=-len(matrices)):
        x = torch.movedim(torch.movedim(x, axis, -1) @ M.mT, -1, axis)
    return x


def outer(vectors):
    """The product of one vector an axis: (n_1, n_2, ...)."""
    return reduce(lambda a, b: a[..., None] * b, vectors)
