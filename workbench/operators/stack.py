"""Several operators on one signal."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._sizes import pick, some_places
from workbench.operators.mask import Mask


@dataclass(frozen=True, init=False, eq=False)
class Stack(Linear):
    """Stack(A, B, ...)(x) = the flattened outputs of A, B, ... one after the other: (m_A + m_B + ...,).

    All of them take the same signal and give the same dtype; `split(y)` gives the parts back in their shapes.
    """

    card = dict(family="structure", linear=True, svd=False, source="")

    operators: tuple

    def __init__(self, *parts, operators=()):
        operators = tuple(operators) or parts  # the keyword is for dataclasses.replace
        object.__setattr__(self, "operators", operators)
        kinds = {(tuple(A.in_shape), A.in_dtype, A.out_dtype) for A in operators}
        if len(kinds) != 1:
            raise BadInput(
                f"Stack: the operators take and give {sorted(map(str, kinds))}; signals and dtypes should agree"
            )

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        A = Mask.example(rng, dtype)
        B = Mask(some_places(rng, A.in_shape), dtype)
        return cls(*pick(rng, (A,), (A, 2.0 * B), (B, A, -1.0 * B)))

    in_shape = property(lambda self: self.operators[0].in_shape)
    in_dtype = property(lambda self: self.operators[0].in_dtype)
    out_dtype = property(lambda self: self.operators[0].out_dtype)
    sizes = property(lambda self: [torch.Size(A.out_shape).numel() for A in self.operators])
    out_shape = property(lambda self: (sum(self.sizes),))

    def to(self, device=None, dtype=None):
        return Stack(*[A.to(device, dtype) for A in self.operators])

    def split(self, y):
        """The parts of y, each in the shape its operator gives."""
        parts = y.split(self.sizes, dim=-1)
        return [part.unflatten(-1, tuple(A.out_shape)) for A, part in zip(self.operators, parts, strict=True)]

    def forward(self, x):
        return torch.cat([A.forward(x).flatten(-len(A.out_shape)) for A in self.operators], dim=-1)

    def adjoint(self, y):
        return sum(A.adjoint(part) for A, part in zip(self.operators, self.split(y), strict=True))
