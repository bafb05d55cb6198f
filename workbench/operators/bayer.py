"""Demosaicing: a sensor sees one colour in each pixel."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.operators._orthogonal import OrthogonalColumns
from workbench.operators._sizes import pick, sizes


@dataclass(frozen=True, eq=False)
class BayerMosaic(OrthogonalColumns):
    """y[i, j] = x[c(i, j), i, j], one colour a pixel in a tile of 2 x 2: (*, 3, H, W) -> (*, H, W).

    shape: (H, W), even or odd.  pattern: the four colours of the tile row by row, from the first pixel: "RGGB", or
    "GRBG", "GBRG", "BGGR" where the sensor starts one pixel further along a row, a column, or both. Bayer 1976.
    """

    card = dict(family="colour", linear=True, svd=True, source="Bayer 1976")

    shape: tuple
    pattern: str = "RGGB"
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        if len(self.shape) != 2:
            raise BadInput(f"BayerMosaic: shape = {tuple(self.shape)} should be (H, W)")
        if len(self.pattern) != 4 or set(self.pattern) - set("RGB"):
            raise BadInput(
                f"BayerMosaic: pattern = {self.pattern!r} should be four letters of R, G and B, as in 'RGGB'"
            )

    in_shape = property(lambda self: (3, *self.shape))
    out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(sizes(rng, 2, 1, 5), pick(rng, "RGGB", "GRBG", "GBRG", "BGGR", "RGBG"), dtype)

    @property
    def _tile(self):
        """(row, column, channel) of each pixel of the tile."""
        return [(k // 2, k % 2, "RGB".index(letter)) for k, letter in enumerate(self.pattern)]

    @property
    def column_power(self):
        return self.adjoint(torch.ones(self.shape, dtype=self.dtype.to_real()))

    def forward(self, x):
        y = x.new_zeros(*x.shape[:-3], *self.shape)
        for i, j, c in self._tile:
            y[..., i::2, j::2] = x[..., c, i::2, j::2]
        return y

    def adjoint(self, y):
        x = y.new_zeros(*y.shape[:-2], *self.in_shape)
        for i, j, c in self._tile:
            x[..., c, i::2, j::2] = y[..., i::2, j::2]
        return x
