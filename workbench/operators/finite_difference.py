"""Finite differences: the discrete gradient of total variation."""

from dataclasses import dataclass
from functools import reduce
from math import pi

import torch

from workbench._errors import BadInput
from workbench.operators._checks import transformed_axes
from workbench.operators._linear import Linear, ridge
from workbench.operators._operator import checked
from workbench.operators._sizes import integer, pick, sizes
from workbench.operators.dct import DCT
from workbench.operators.diagonal import Diagonal
from workbench.operators.mask import Mask


@dataclass(frozen=True, eq=False)
class FiniteDifference(Linear):
    """y[a] = x[i + 1] - x[i] along axis a, 0 at its last entry: forward differences, the discrete gradient.

    shape: of the signal.  axes: those along which differences are taken, by default all.  y: (*, len(axes), *shape).
    Nothing flows through the border (Neumann), as in total variation; the adjoint is minus a divergence, and A^H A is
    diagonal in the cosine transform with 4 sin^2(pi k / (2 n)) summed over the axes. Chambolle 2004.
    """

    card = dict(family="transform", linear=True, svd=True, source="Chambolle 2004")

    shape: tuple
    axes: tuple | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        if all(self.shape[a] == 1 for a in transformed_axes("FiniteDifference", self.shape, self.axes)):
            raise BadInput(
                f"FiniteDifference: axes = {self.axes} of shape = {tuple(self.shape)} have one entry each, so there are "
                f"no differences; take an axis of at least 2"
            )

    _axes = property(lambda self: transformed_axes("FiniteDifference", self.shape, self.axes))
    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: (len(self._axes), *self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = (*sizes(rng, integer(rng, 0, 2), 1, 4), integer(rng, 2, 5))
        return cls(shape, pick(rng, None, (-1,), (len(shape) - 1,), tuple(range(len(shape)))[::-1]), dtype)

    def forward(self, x):
        return torch.stack([_difference(x, a) for a in self._axes], dim=-len(self.shape) - 1)

    def adjoint(self, y):
        parts = y.unbind(-len(self.shape) - 1)
        return sum(_minus_divergence(part, a) for part, a in zip(parts, self._axes, strict=True))

    def _eigenvalues(self, device=None):
        """The eigenvalues of A^H A, one a cosine: 4 sin^2(pi k / (2 n)), summed over the axes."""
        sides = [torch.zeros(n, dtype=torch.float64, device=device) for n in self.shape]
        for a in self._axes:
            n = self.shape[a]
            sides[a] = 4 * (pi / (2 * n) * torch.arange(n, device=device, dtype=torch.float64)).sin() ** 2
        return reduce(lambda a, b: a[..., None] + b, sides).to(self.dtype.to_real())

    def norm(self):
        return self._eigenvalues().max().item() ** 0.5

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = C^T [C b / (eigenvalue + rho)], C the cosine transform."""
        checked(b, self.in_shape, self.in_dtype, "FiniteDifference.solve")
        rho, C = ridge(rho, b, len(self.shape)), DCT(self.shape, self._axes, self.dtype)
        if (rho == 0).any():
            raise BadInput(
                "solve: rho = 0 and a constant has no differences, so there is no inverse; use rho > 0"
            )
        return C.adjoint(C.forward(b) / (self._eigenvalues(b.device) + rho))

    def svd(self):
        values = self._eigenvalues(self.device).sqrt()
        V = DCT(self.shape, self._axes, self.dtype).H @ Mask(values > 0, self.dtype).H
        s = values[values > 0]
        return self @ V @ Diagonal(1 / s, self.dtype), s, V


def _difference(x, axis):
    """x[i + 1] - x[i], and 0 at the end."""
    return torch.cat([x.diff(dim=axis), torch.zeros_like(x.narrow(axis, 0, 1))], dim=axis)


def _minus_divergence(y, axis):
    """y[i - 1] - y[i], with 0 for y before its first entry and in place of its last."""
    inner = y.narrow(axis, 0, y.shape[axis] - 1)
    edge = torch.zeros_like(y.narrow(axis, 0, 1))
    return torch.cat([edge, inner], dim=axis) - torch.cat([inner, edge], dim=axis)
