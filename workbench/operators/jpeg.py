"""JPEG compression: colours, blocks, cosines and rounding."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.operators._checks import check_real
from workbench.operators._operator import Operator
from workbench.operators._sizes import integer, pick, sizes
from workbench.operators._straight_through import straight_through

# The example tables of ITU-T T.81 (1992), annex K.1 and K.2: what quality 50 divides by.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
RED, GREEN, BLUE = 0.299, 0.587, 0.114  # the luminance of ITU-R BT.601, which JFIF takes
TIE = 1e-6  # a half rounds away from zero even when double precision has it slightly below
# What libjpeg adds to chroma before it drops the fraction, in even and odd columns: after means, and after enlarging.
FRACTIONS = {
    (1, 1): ((0.0, 0.0), (0.5, 0.5)),
    (1, 2): ((0.0, 0.5), (0.25, 0.5)),
    (2, 2): ((0.25, 0.5), (0.5, 0.4375)),
}


@dataclass(frozen=True, eq=False)
class JPEG(Operator):
    """y = decode(encode(x)): baseline JPEG at one quality, colours as in JFIF, every rounding included.

    shape: (3, H, W) RGB or (1, H, W) grey, any H and W; blocks that stick out are filled by repeating the border.
    x: (*, *shape), clipped to [0, 1]; y: multiples of 1/255 in [0, 1].  quality: 1 to 100, libjpeg's scale of the
    standard tables.  subsampling: (down, across) of the chroma, (1, 1) for 4:4:4, (1, 2) for 4:2:2, (2, 2) for 4:2:0;
    means on the way down, a triangle filter on the way up (libjpeg's "fancy upsampling", for more than 4 columns).

    The derivative is that of `smooth`, the same path without any rounding: straight-through. The entropy coding is
    lossless and so left out. Wallace 1992; ITU-T T.81; JFIF 1.02.
    """

    card = dict(
        family="nonlinear", linear=False, svd=False, derivative="straight-through", source="Wallace 1992"
    )

    shape: tuple
    quality: int = 75
    subsampling: tuple = (2, 2)
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_real(self.dtype, "JPEG")
        if len(self.shape) != 3 or self.shape[0] not in (1, 3):
            raise BadInput(f"JPEG: shape = {tuple(self.shape)} should be (3, H, W) RGB or (1, H, W) grey")
        if not isinstance(self.quality, int) or not 1 <= self.quality <= 100:
            raise BadInput(f"JPEG: quality = {self.quality} should be a whole number from 1 to 100")
        if tuple(self.subsampling) not in ((1, 1), (1, 2), (2, 2)):
            raise BadInput(f"JPEG: subsampling = {self.subsampling} should be (1, 1), (1, 2) or (2, 2)")

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = pick(
            rng, (1, *sizes(rng, 2, 1, 12)), (3, *sizes(rng, 2, 1, 7)), (3, *sizes(rng, 2, 1, (2, 20)))
        )
        return cls(shape, integer(rng, 1, 100), pick(rng, (1, 1), (1, 2), (2, 2)), dtype)

    def smooth(self, x):
        """The codec without rounding: what chroma subsampling leaves of clip(x, 0, 1), clipped again."""
        x = x.clamp(0, 1)
        if self.shape[0] == 1 or tuple(self.subsampling) == (1, 1):
            return x
        y, *chroma = _to_ycc(255 * x)
        small = (_reduced(c, self.subsampling) for c in chroma)
        return (_to_rgb(y, *(self._enlarged(c) for c in small)) / 255).clamp(0, 1)

    def coded(self, x):
        """The codec itself, in double precision, without derivative."""
        levels = _rounded(255 * x.double().clamp(0, 1))
        if self.shape[0] == 1:
            return (self._blocks(levels, LUMINANCE) / 255).to(x.dtype)
        y, *chroma = _to_ycc(levels)
        _, up = FRACTIONS[tuple(self.subsampling)]
        chroma = (_cut(self._enlarged(self._blocks(self._halved(c), CHROMINANCE)), up) for c in chroma)
        rgb = _rounded(_to_rgb(self._blocks(_rounded(y), LUMINANCE), *chroma))
        return (rgb.clamp(0, 255) / 255).to(x.dtype)

    def forward(self, x):
        return straight_through(self.smooth(x), self.coded(x))

    def _halved(self, chroma):
        """The chroma in whole numbers: means of cells, after the last column was repeated to whole blocks of them.

        libjpeg repeats the last pixel across, but the last mean downwards, so only the columns are whole blocks here.
        """
        (down, across), fractions = self.subsampling, FRACTIONS[tuple(self.subsampling)][0]
        whole = _repeated(_rounded(chroma - TIE), down, 8 * across)
        return _cut(_reduced(whole, self.subsampling), fractions)

    def _enlarged(self, chroma):
        """The chroma at full size, cut to the image: two columns or fewer are repeated, as in libjpeg."""
        chroma = chroma[..., : -(-self.shape[-1] // self.subsampling[1])]  # what lies in the image
        grown = _doubled if chroma.shape[-1] > 2 else lambda plane, axis: plane.repeat_interleave(2, axis)
        for axis, factor in zip((-2, -1), self.subsampling, strict=True):
            chroma = grown(chroma, axis).narrow(axis, 0, self.shape[axis]) if factor == 2 else chroma
        return chroma

    def _blocks(self, plane, table):
        """A plane of levels 0..255 after its cosine transform, in blocks of 8 x 8, was rounded to the table."""
        steps, C = quantisation(table, self.quality).to(plane.device), _cosines().to(plane.device)
        H, W = plane.shape[-2:]
        blocks = _repeated(plane, 8, 8).unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
        count = C @ (blocks - 128) @ C.mT / steps
        kept = count.sign() * torch.floor(count.abs() + 0.5 + TIE)
        levels = _rounded(C.mT @ (kept * steps) @ C + 128).clamp(0, 255)
        return levels.transpose(-3, -2).flatten(-4, -3).flatten(-2)[..., :H, :W]


def quantisation(table, quality):
    """The 8 x 8 steps of a table at a quality from 1 to 100, by libjpeg's rule: whole numbers from 1 to 255."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = torch.tensor(table, dtype=torch.float64)
    return ((steps * percent + 50) / 100).floor().clamp(1, 255)


def _cosines():
    """The orthonormal DCT-II of 8 points: (8, 8), a row a frequency."""
    k, n = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(8, dtype=torch.float64)
    C = 0.5 * torch.cos(torch.pi * k * (2 * n + 1) / 16)
    return torch.cat([C[:1] / 2**0.5, C[1:]])


def _rounded(x):
    return torch.floor(x + 0.5)


def _cut(x, fractions):
    """x + fractions, which alternate across, rounded down."""
    odd = torch.arange(x.shape[-1], device=x.device) % 2
    return torch.floor(x + fractions[0] + (fractions[1] - fractions[0]) * odd)


def _to_ycc(rgb):
    """(*, 3, H, W) in 0..255 -> Y, Cb, Cr, each (*, H, W), the chroma around 128."""
    r, g, b = rgb.unbind(-3)
    y = RED * r + GREEN * g + BLUE * b
    return y, (b - y) / (2 - 2 * BLUE) + 128, (r - y) / (2 - 2 * RED) + 128


def _to_rgb(y, cb, cr):
    blue, red = (2 - 2 * BLUE) * (cb - 128), (2 - 2 * RED) * (cr - 128)
    return torch.stack([y + red, y - (RED * red + BLUE * blue) / GREEN, y + blue], dim=-3)


def _repeated(plane, down, across):
    """The plane grown to multiples of (down, across) by repeating its last row and column."""
    below, right = -plane.shape[-2] % down, -plane.shape[-1] % across
    rows = torch.cat([plane, plane[..., -1:, :].expand(*plane.shape[:-2], below, -1)], dim=-2)
    return torch.cat([rows, rows[..., -1:].expand(*rows.shape[:-1], right)], dim=-1)


def _reduced(plane, factors):
    """The means of cells of (down, across) pixels."""
    down, across = factors
    cells = _repeated(plane, down, across).unflatten(-1, (-1, across)).unflatten(-3, (-1, down))
    return cells.mean((-3, -1))


def _doubled(plane, axis):
    """Twice as many samples along an axis, each 3/4 of the nearest and 1/4 of the next one, the border repeated."""
    n = plane.shape[axis]
    before = torch.cat([plane.narrow(axis, 0, 1), plane.narrow(axis, 0, n - 1)], dim=axis)
    after = torch.cat([plane.narrow(axis, 1, n - 1), plane.narrow(axis, n - 1, 1)], dim=axis)
    return torch.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], dim=axis).flatten(
        axis - 1, axis
    )
