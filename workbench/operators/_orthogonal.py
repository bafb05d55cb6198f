"""Linear maps whose rows, or whose columns, are orthogonal: norm, solve and singular values in closed form."""

from dataclasses import dataclass
from math import prod

from workbench._errors import BadInput
from workbench.operators._linear import Linear, ridge
from workbench.operators._once import once
from workbench.operators._operator import checked
from workbench.operators.diagonal import Diagonal
from workbench.operators.mask import Mask


@dataclass(frozen=True, eq=False)
class OrthogonalRows(Linear):
    """A A^H = diag(row_power): every measurement looks at a direction of its own.

    row_power: real tensor that broadcasts to out_shape, >= 0.
    """

    @once()
    def _row_power(self):
        return self.row_power.to(self.device)

    def norm(self):
        return self._row_power.max().item() ** 0.5

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = [b - A^H (A b / (row_power + rho))] / rho, by Woodbury's identity."""
        checked(b, self.in_shape, self.in_dtype, f"{type(self).__name__}.solve")
        power = self._row_power.to(b.device)
        square = prod(self.out_shape) == prod(self.in_shape) and bool((power > 0).all())
        outer = ridge(rho, b, len(self.out_shape))
        if square:
            return self.adjoint(self.forward(b) / (power * (power + outer)))
        inner = ridge(rho, b, len(self.in_shape))
        if (inner == 0).any():
            raise BadInput("solve: rho = 0 and A has a null space, so there is no inverse; use rho > 0")
        return (b - self.adjoint(self.forward(b) / (power + outer))) / inner

    def svd(self):
        power = self._row_power.expand(self.out_shape)
        U, s = Mask(power > 0, self.out_dtype).H, power[power > 0].sqrt()
        return U, s, self.H @ U @ Diagonal(1 / s, self.out_dtype)


@dataclass(frozen=True, eq=False)
class OrthogonalColumns(Linear):
    """A^H A = diag(column_power): every entry of the signal is measured for itself.

    column_power: real tensor that broadcasts to in_shape, >= 0.
    """

    @once()
    def _column_power(self):
        return self.column_power.to(self.device)

    def normal(self, x):
        return self._column_power.to(x.device) * x

    def norm(self):
        return self._column_power.max().item() ** 0.5

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = b / (column_power + rho)."""
        checked(b, self.in_shape, self.in_dtype, f"{type(self).__name__}.solve")
        rho, power = ridge(rho, b, len(self.in_shape)), self._column_power.to(b.device)
        if (rho == 0).any() and (power == 0).any():
            raise BadInput(
                "solve: rho = 0 and some entries are not measured, so there is no inverse; use rho > 0"
            )
        return b / (power + rho)

    def svd(self):
        power = self._column_power.expand(self.in_shape)
        V, s = Mask(power > 0, self.in_dtype).H, power[power > 0].sqrt()
        return self @ V @ Diagonal(1 / s, self.in_dtype), s, V

    def gram_spectrum(self, axes, probes=64):
        """diag(F A^H A F^H), F the unitary FFT along `axes`: the mean of column_power along them, exactly."""
        power = self._column_power.expand(self.in_shape)
        return power.mean(tuple(axes), keepdim=True).expand(self.in_shape).clone()
