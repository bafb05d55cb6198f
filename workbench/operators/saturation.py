"""Saturation: a sensor that clips what is too dark or too bright."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._checks import check_precision, check_real, check_spread
from workbench.operators._operator import Operator
from workbench.operators._sizes import number, pick, signal_shape


@dataclass(frozen=True, eq=False)
class Saturation(Operator):
    """y = clip(gain x, low, high), entry by entry: one exposure of a high-dynamic-range scene.

    shape: of the signal, real.  gain: exposure, output units per unit of x; a number, or a tensor that broadcasts to
    the signal (one a pixel or a colour).  low, high: the output range, in the sensor's units.
    Its Jacobian is the gain where low <= gain x <= high and 0 elsewhere: exact but at the two kinks.
    Debevec and Malik 1997.
    """

    card = dict(family="nonlinear", linear=False, svd=False, source="Debevec and Malik 1997")

    shape: tuple
    gain: float | Tensor = 1.0
    low: float = 0.0
    high: float = 1.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_real(self.dtype, "Saturation")
        if not self.low < self.high:
            raise BadInput(f"Saturation: low = {self.low} should be below high = {self.high}")
        check_precision(self.gain, self.dtype, "Saturation: gain")
        check_spread(self.gain, self.shape, "Saturation: gain")

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        check_real(dtype, "Saturation")
        shape = signal_shape(rng)
        gain = pick(rng, 1.0, 0.5 + rng.uniform(*shape[-1:]).to(dtype))
        return cls(shape, gain, number(rng, -1, 0), number(rng, 0.1, 1), dtype)

    def forward(self, x):
        return (self.gain * x).clamp(self.low, self.high)
