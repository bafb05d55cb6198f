"""Quantisers: numbers rounded to a few levels, down to a single bit.

They are flat between steps, so their derivative is zero wherever it exists and says nothing. Each has beside its exact
`forward` a map `smooth`, and is differentiated as if it were that one (a straight-through estimator).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._checks import check_real, check_spread
from workbench.operators._operator import Operator
from workbench.operators._sizes import integer, number, pick, signal_shape
from workbench.operators._straight_through import straight_through


@dataclass(frozen=True, eq=False)
class MidTreadQuantiser(Operator):
    """y = low + D round((x - low) / D), clipped to [low, high]: 2^bits levels, the ends of the range among them.

    shape: of the signal, real.  D = (high - low) / (2^bits - 1), so 8 bits on [0, 1] are the levels k / 255 of an
    image file. The error inside the range is at most D / 2; halves go up.
    Its derivative is that of `smooth`, clip(x, low, high): straight-through. Gray and Neuhoff 1998.
    """

    card = dict(
        family="nonlinear",
        linear=False,
        svd=False,
        derivative="straight-through",
        source="Gray and Neuhoff 1998",
    )

    shape: tuple
    bits: int = 8
    low: float = 0.0
    high: float = 1.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        _check_quantiser(self)

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)
    step = property(lambda self: (self.high - self.low) / (2**self.bits - 1))

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(signal_shape(rng), integer(rng, 1, 4), number(rng, -1.5, 0), number(rng, 0.1, 1.5), dtype)

    def smooth(self, x):
        return x.clamp(self.low, self.high)

    def quantised(self, x):
        """The levels themselves, without derivative."""
        level = torch.floor((x - self.low) / self.step + 0.5).clamp(0, 2**self.bits - 1)
        return self.low + self.step * level

    def forward(self, x):
        return straight_through(self.smooth(x), self.quantised(x))


@dataclass(frozen=True, eq=False)
class MidRiseQuantiser(Operator):
    """y = low + D (floor((x - low) / D) + 1/2), clipped to its 2^bits levels: the middles of 2^bits equal cells.

    shape: of the signal, real.  D = (high - low) / 2^bits: the analogue-to-digital converter on [low, high], whose
    error inside the range is at most D / 2, and which on [-a, a] has no level 0; one bit gives -a / 2 and a / 2.
    Its derivative is that of `smooth`, clip(x, low, high): straight-through. Gray and Neuhoff 1998.
    """

    card = dict(
        family="nonlinear",
        linear=False,
        svd=False,
        derivative="straight-through",
        source="Gray and Neuhoff 1998",
    )

    shape: tuple
    bits: int = 8
    low: float = -1.0
    high: float = 1.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        _check_quantiser(self)

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)
    step = property(lambda self: (self.high - self.low) / 2**self.bits)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(signal_shape(rng), integer(rng, 1, 4), number(rng, -1.5, 0), number(rng, 0.1, 1.5), dtype)

    def smooth(self, x):
        return x.clamp(self.low, self.high)

    def quantised(self, x):
        """The levels themselves, without derivative."""
        cell = torch.floor((x - self.low) / self.step).clamp(0, 2**self.bits - 1)
        return self.low + self.step * (cell + 0.5)

    def forward(self, x):
        return straight_through(self.smooth(x), self.quantised(x))


def _check_quantiser(A):
    """Raise BadInput for no bits, an empty range or complex signals."""
    who = type(A).__name__
    check_real(A.dtype, who)
    if not isinstance(A.bits, int) or not 1 <= A.bits <= 24:
        raise BadInput(f"{who}: bits = {A.bits} should be a whole number from 1 to 24")
    if not A.low < A.high:
        raise BadInput(f"{who}: low = {A.low} should be below high = {A.high}")


@dataclass(frozen=True, eq=False)
class OneBit(Operator):
    """y = sign(x - threshold), +1 or -1 (+1 at equality): 1-bit compressed sensing as OneBit(A.out_shape) @ A.

    shape: of the signal, real.  threshold: in the unit of x, a number or a tensor that broadcasts to the signal
    (dithering); with threshold 0 the scale of x is lost.
    Its derivative is that of `smooth`, x - threshold: straight-through, which makes a gradient step on
    ||y - A(x)||^2 / 2 the one of binary iterative hard thresholding. Boufounos and Baraniuk 2008; Jacques et al. 2013.
    """

    card = dict(
        family="nonlinear",
        linear=False,
        svd=False,
        derivative="straight-through",
        source="Boufounos and Baraniuk 2008",
    )

    shape: tuple
    threshold: float | Tensor = 0.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_real(self.dtype, "OneBit")
        check_spread(self.threshold, self.shape, "OneBit: threshold")

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        check_real(dtype, "OneBit")
        shape = signal_shape(rng)
        return cls(shape, pick(rng, 0.1, *rng.normal(torch.empty(1, *shape, dtype=dtype))), dtype)

    def smooth(self, x):
        return x - self.threshold

    def forward(self, x):
        difference = self.smooth(x)
        return straight_through(difference, torch.where(difference >= 0, 1.0, -1.0).to(x.dtype))
