"""A problem: what the signal looks like, how it was measured, and the data."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._operator import Operator


@dataclass(frozen=True, eq=False)
class Problem:
    """y ~ noise(A(x)), x ~ prior: find p(x | y).

    y: (*A.out_shape).  truth: (*A.in_shape) if known.  view: maps samples to what is compared and shown, for example
    torch.abs or a decoder (default: identity).  Raises BadInput where shapes, dtypes or finiteness do not fit.
    """

    prior: Any
    A: Operator
    noise: Any
    y: Tensor
    truth: Tensor | None = None
    view: Callable | None = None
    name: str = ""

    def __post_init__(self):
        A, prior = self.A, self.prior
        if tuple(prior.shape) != tuple(A.in_shape) or prior.dtype != A.in_dtype:
            raise BadInput(
                f"Problem: the prior is on {tuple(prior.shape)} {prior.dtype}, A takes {tuple(A.in_shape)} {A.in_dtype}; "
                f"they should agree"
            )
        if tuple(self.y.shape) != tuple(A.out_shape):
            raise BadInput(
                f"Problem: y has shape {tuple(self.y.shape)}, A gives {tuple(A.out_shape)}; reshape y"
            )
        if self.y.dtype != A.out_dtype:
            raise BadInput(
                f"Problem: y is {self.y.dtype}, A gives {A.out_dtype}; convert it with y.to({A.out_dtype})"
            )
        if not torch.isfinite(torch.view_as_real(self.y) if self.y.is_complex() else self.y).all():
            raise BadInput("Problem: y holds NaN or infinity; remove those measurements (a Mask) first")
        if self.truth is not None and tuple(self.truth.shape) != tuple(A.in_shape):
            raise BadInput(
                f"Problem: truth has shape {tuple(self.truth.shape)}, a signal is {tuple(A.in_shape)}"
            )

    @cached_property
    def exact(self):
        """The exact posterior law where the prior and the operator give one, else None."""
        if not hasattr(self.prior, "condition"):
            return None
        try:
            return self.prior.condition(self.A, self.y, self.noise)
        except BadInput:  # not linear, not Gaussian, or too large
            return None

    @cached_property
    def gaussian(self):
        """The same problem with Gaussian noise: itself, or the plug-in of its noise (Poisson: variance from the counts).
        Raises BadInput where the noise has none."""
        y, noise = self.noise.plug_in(self.y)
        return self if noise is self.noise else replace(self, y=y, noise=noise)

    @cached_property
    def white(self):
        """A' and y' with standard normal noise, of a linear operator. Raises BadInput for others."""
        needs_linear(self.A)
        return self.gaussian.noise.whiten(self.A, self.gaussian.y)

    @cached_property
    def sharp(self):
        """The linear A over the noise as sharp as it gets: ||sharp x||^2 bounds the curvature of -log p(y | .) along x."""
        needs_linear(self.A)
        return self.noise.sharpest(self.y).whiten(self.A, self.y)[0]

    @cached_property
    def steepness(self):
        """||sharp||^2, the largest curvature of -log p(y | x) of a linear operator: 1 / length^2 of what y resolves."""
        return self.sharp.norm() ** 2

    def show(self, x):
        """`x` as it is compared and shown."""
        return x if self.view is None else self.view(x)

    def to(self, device):
        """The same problem on `device`; BadInput where there is none."""
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError):
            raise BadInput(f"device = {device} is not to be had here; use cpu") from None
        return replace(
            self, **{f.name: moved(getattr(self, f.name), device) for f in fields(self) if f.name != "name"}
        )


def needs_linear(A):
    """Raise BadInput unless the operator is linear."""
    if not isinstance(A, Linear):
        raise BadInput(
            f"A = {type(getattr(A, 'inner', A)).__name__} is not linear, which this sampler needs; `workbench list samplers --json` says "
            f"which take a nonlinear operator"
        )


def moved(value, device):
    """`value` with every tensor it holds on `device`."""
    if isinstance(value, (Tensor, Operator)):
        return value.to(device)
    if isinstance(value, torch.nn.Module):
        return copy.deepcopy(value).to(device)  # a module moves in place, and this one is the caller's
    if isinstance(value, torch.device):
        return torch.device(device)
    if type(value) in (list, tuple):
        return type(value)(moved(v, device) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: moved(getattr(value, f.name), device) for f in fields(value)})
    if hasattr(value, "denoise"):
        twin = copy.copy(value)
        twin.__dict__.update({k: moved(v, device) for k, v in vars(value).items()})
        return twin
    return value
