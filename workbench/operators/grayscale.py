"""Colourisation: only the luminance of a colour image is seen."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.operators._orthogonal import OrthogonalRows
from workbench.operators._sizes import integer, pick, signal_shape


@dataclass(frozen=True, eq=False)
class Grayscale(OrthogonalRows):
    """y = 0.299 R + 0.587 G + 0.114 B, the luminance: (*, 3, H, W) -> (*, H, W).

    shape: (H, W) (any number of axes).  weights: of the channels, which come before the space axes; the default is the
    luma of ITU-R BT.601, for values as they are stored (gamma-corrected); BT.709 has (0.2126, 0.7152, 0.0722).
    """

    card = dict(family="colour", linear=True, svd=True, source="ITU-R BT.601")

    shape: tuple
    weights: tuple = (0.299, 0.587, 0.114)
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        if len(self.weights) < 1 or not any(self.weights):
            raise BadInput(f"Grayscale: weights = {self.weights} should have one number a channel, not all 0")

    in_shape = property(lambda self: (len(self.weights), *self.shape))
    out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        weights = rng.normal(torch.empty(integer(rng, 1, 5), 1)).flatten().tolist()
        return cls(signal_shape(rng, 20), pick(rng, (0.299, 0.587, 0.114), tuple(weights)), dtype)

    @property
    def row_power(self):
        return torch.tensor(sum(w**2 for w in self.weights), dtype=self.dtype.to_real())

    def forward(self, x):
        channels = x.unbind(x.ndim - len(self.in_shape))
        return sum(w * channel for w, channel in zip(self.weights, channels, strict=True))

    def adjoint(self, y):
        return torch.stack([w * y for w in self.weights], dim=y.ndim - len(self.shape))
