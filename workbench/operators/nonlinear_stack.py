"""Several operators on one signal, not all of them linear: measurements of different kinds, side by side."""

from dataclasses import dataclass
from math import prod

import torch

from workbench._errors import BadInput
from workbench.operators._operator import Operator
from workbench.operators._sizes import pick, signal_shape
from workbench.operators.fourier import Fourier, Hartley
from workbench.operators.intensity import Intensity
from workbench.operators.magnitude import Magnitude


@dataclass(frozen=True, init=False, eq=False)
class NonlinearStack(Operator):
    """NonlinearStack(A, B, ...)(x) = the real numbers of A(x), B(x), ... one after the other: (m_A + m_B + ...,) real.

    A complex output counts as its real and imaginary parts, in turn, so operators of complex and of real outputs may
    stand together (closure phases beside log amplitudes). All take the same signal, in one precision. `split(y)` gives
    the parts back in their shapes and dtypes. For linear operators of one dtype there is `Stack`.
    """

    card = dict(family="structure", linear=False, svd=False, source="")

    operators: tuple

    def __init__(self, *parts, operators=()):
        operators = tuple(operators) or parts  # the keyword is for dataclasses.replace
        object.__setattr__(self, "operators", operators)
        kinds = {(tuple(A.in_shape), A.in_dtype, A.out_dtype.to_real()) for A in operators}
        if len(kinds) != 1:
            raise BadInput(
                f"NonlinearStack: the operators take and give {sorted(map(str, kinds))}; signals and precisions should agree"
            )

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        shape = signal_shape(rng, 27)
        kinds = pick(
            rng, (Intensity,), (Intensity, Magnitude), (Magnitude, Fourier if dtype.is_complex else Hartley)
        )
        return cls(*(kind(shape, dtype) for kind in kinds))

    in_shape = property(lambda self: self.operators[0].in_shape)
    in_dtype = property(lambda self: self.operators[0].in_dtype)
    out_dtype = property(lambda self: self.operators[0].out_dtype.to_real())
    sizes = property(lambda self: [prod(A.out_shape) * (1 + A.out_dtype.is_complex) for A in self.operators])
    out_shape = property(lambda self: (sum(self.sizes),))

    def to(self, device=None, dtype=None):
        return NonlinearStack(*[A.to(device, dtype) for A in self.operators])

    def split(self, y):
        """The parts of y, each in the shape and dtype its operator gives."""
        return [
            _from_reals(part, A) for A, part in zip(self.operators, y.split(self.sizes, dim=-1), strict=True)
        ]

    def forward(self, x):
        return torch.cat([_reals(A.forward(x), A) for A in self.operators], dim=-1)


def _reals(y, A):
    """y: (*, *A.out_shape) as (*, real numbers)."""
    y = (
        torch.stack([y.real, y.imag], dim=-1) if y.is_complex() else y
    )  # views of complex numbers want even offsets
    return y.flatten(y.ndim - len(A.out_shape) - A.out_dtype.is_complex)


def _from_reals(part, A):
    """The inverse of `_reals`."""
    if not A.out_dtype.is_complex:
        return part.unflatten(-1, tuple(A.out_shape))
    return torch.complex(*part.unflatten(-1, (*A.out_shape, 2)).unbind(-1))
