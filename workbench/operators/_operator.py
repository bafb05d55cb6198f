"""The base of every forward operator, linear or not, and what an operator does as a value."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from workbench._errors import BadInput


def checked(x, shape, dtype, who):
    """`x`, if its last axes are `shape` and its dtype is `dtype`; otherwise a BadInput that says how to mend it."""
    if not isinstance(x, Tensor):
        raise BadInput(
            f"{who}: x is a {type(x).__name__}, it should be a torch tensor; use torch.as_tensor(x)"
        )
    got, want = tuple(x.shape[x.ndim - len(shape) :]) if x.ndim >= len(shape) else None, tuple(shape)
    if got != want:
        raise BadInput(
            f"{who}: x has shape {tuple(x.shape)}, its last axes should be {want}; "
            f"reshape x, or build the operator for that shape"
        )
    if x.dtype != dtype:
        raise BadInput(
            f"{who}: x is {x.dtype}, it should be {dtype}; convert x with x.to({dtype}), or use A.to(...)"
        )
    return x


def convert(value, device, dtype):
    """`value` (a tensor, an operator, or a tuple of them) moved to `device` and cast to the precision of `dtype`."""
    if isinstance(value, Tensor):
        if dtype is not None and (value.is_floating_point() or value.is_complex()):
            value = value.to(dtype.to_complex() if value.is_complex() else dtype.to_real())
        return value.to(device)
    if isinstance(value, torch.dtype) and dtype is not None:
        return dtype.to_complex() if value.is_complex else dtype.to_real()
    if isinstance(value, tuple):
        return tuple(convert(v, device, dtype) for v in value)
    return value.to(device, dtype) if isinstance(value, Operator) else value


@dataclass(frozen=True, eq=False)
class Operator:
    """A value that maps a signal to a measurement, y = A(x).

    A kind of operator has `in_shape`, `out_shape`, `in_dtype`, `out_dtype` (fields or properties) and
    `forward(x)`, which takes (*batch, *in_shape) and gives (*batch, *out_shape). It is frozen: fields in, no hidden
    state, no noise. Gradients flow to `x` and to its tensor fields.
    """

    def forward(self, x):
        raise NotImplementedError(f"{type(self).__name__} should define forward(x)")

    def __call__(self, x):
        """A(x) for x: (*batch, *in_shape) of dtype in_dtype. Raises BadInput where shape or dtype do not fit."""
        x = checked(x, self.in_shape, self.in_dtype, type(self).__name__)
        batch = x.shape[: x.ndim - len(self.in_shape)]
        if 0 in batch:  # which FFTs and sparse products refuse
            return torch.zeros(*batch, *self.out_shape, dtype=self.out_dtype, device=x.device)
        return self.forward(x)

    def __matmul__(self, other):
        """(A @ B)(x) = A(B(x)). Raises BadInput where the shapes or dtypes do not fit."""
        return Composition(self, other)

    def to(self, device=None, dtype=None):
        """The same operator on `device`, and in the precision of `dtype` (float64 also makes complex128)."""
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        place = self.device if device is None else torch.device(device)
        moved = replace(self, **{f.name: convert(getattr(self, f.name), place, dtype) for f in fields(self)})
        moved.__dict__["_stays_on"] = place  # for an operator without tensors
        return moved

    @property
    def device(self):
        """Where the operator's tensors live, or, if it has none, where `to` put it (the CPU, if nowhere)."""
        return next(_devices(self), torch.device("cpu"))

    def linearize(self, x):
        """The Jacobian at x: (*batch, *in_shape), as a linear operator on the same batch; A itself if linear."""
        from workbench.operators._linear import Jacobian

        return Jacobian(self, checked(x, self.in_shape, self.in_dtype, type(self).__name__))


def _devices(value):
    for part in fields(value):
        item = getattr(value, part.name)
        for one in item if isinstance(item, tuple) else (item,):
            if isinstance(one, Tensor):
                yield one.device
            elif isinstance(one, Operator):
                yield from _devices(one)
    if "_stays_on" in value.__dict__:
        yield value.__dict__["_stays_on"]


class Chain:
    """The shapes and dtypes of A after B."""

    in_shape = property(lambda self: self.B.in_shape)
    out_shape = property(lambda self: self.A.out_shape)
    in_dtype = property(lambda self: self.B.in_dtype)
    out_dtype = property(lambda self: self.A.out_dtype)

    def __post_init__(self):
        fits(self.A, self.B)


class Alike:
    """The shapes and dtypes of A."""

    in_shape = property(lambda self: self.A.in_shape)
    out_shape = property(lambda self: self.A.out_shape)
    in_dtype = property(lambda self: self.A.in_dtype)
    out_dtype = property(lambda self: self.A.out_dtype)


@dataclass(frozen=True, eq=False)
class Composition(Chain, Operator):
    """(A @ B)(x) = A(B(x)), where at least one of them is not linear."""

    A: Operator
    B: Operator

    def forward(self, x):
        return self.A.forward(self.B.forward(x))


def fits(A, B):
    """Raise BadInput unless A takes what B gives."""
    if tuple(A.in_shape) != tuple(B.out_shape) or A.in_dtype != B.out_dtype:
        raise BadInput(
            f"A @ B: A = {type(A).__name__} takes {tuple(A.in_shape)} {A.in_dtype}, but B = {type(B).__name__} gives "
            f"{tuple(B.out_shape)} {B.out_dtype}; put an operator between them that maps one to the other"
        )
