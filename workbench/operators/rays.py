"""Rays through a pixel grid: what every geometry of tomography comes down to, and how a ray meets pixels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

TINY = np.finfo(np.float64).tiny


def joseph(at, slope):
    """Linear interpolation between the two pixels beside the ray. Joseph 1982 (IEEE Trans. Med. Imaging 1, 192).

    at: where the ray crosses the middle of a row, in columns.  slope: columns per row, |slope| <= 1.
    Gives the column on the left and the share of its right neighbour. Plain numbers or arrays.
    """
    left = np.floor(at)
    return left, at - left


def siddon(at, slope):
    """The exact lengths within the (at most two) pixels of a row that the ray meets. Siddon 1985 (Med. Phys. 12, 252).

    at, slope and result as in `joseph`: within its row the ray runs over the columns at - |slope|/2 to at + |slope|/2.
    """
    width = abs(slope)
    left = np.floor(at - width / 2 + 0.5)
    beyond = np.maximum(at + width / 2 - 0.5 - left, 0.0)
    return left, np.minimum(beyond / np.maximum(width, TINY), 1.0)


@dataclass(frozen=True)
class Rays:
    """Rays in units of pixels: ray r crosses row i of an image at column start[r] + slope[r] i.

    That is for the rays nearer to the vertical (steep); the others cross column j at row start[r] + slope[r] j.
    So |slope| <= 1, and `steps` counts rows or columns.  length: mm of the ray within one step.
    begin, advance: the ray is points + tau directions, and at step i tau = begin + advance i.
    All are float64 arrays (n,), steep is bool.  shape: (H, W) of the image, row 0 on top, its middle at the origin.
    """

    steep: np.ndarray
    start: np.ndarray
    slope: np.ndarray
    length: np.ndarray
    begin: np.ndarray
    advance: np.ndarray
    shape: tuple

    @classmethod
    def through(cls, points, directions, shape, pixel):
        """The rays points + tau directions: both (n, 2) in mm, (x1 to the right, x2 up); pixel: side in mm."""
        (H, W), (p1, p2), (d1, d2) = shape, points.T, directions.T
        steep = abs(d2) >= abs(d1)
        main, across = np.where(steep, d2, d1), np.where(steep, d1, d2)
        ratio = across / main
        # step 0 is the top row, at x2 = top, or the leftmost column, at x1 = -right
        top, right = (H - 1) / 2 * pixel, (W - 1) / 2 * pixel
        begin = np.where(steep, top - p2, -right - p1) / main
        advance = np.where(steep, -pixel, pixel) / main
        down = np.where(steep, (p1 + (top - p2) * ratio + right), (top - p2 + (right + p1) * ratio)) / pixel
        length = pixel * np.hypot(1.0, ratio)
        return cls(steep, down, -ratio, length, begin, advance, tuple(shape))

    def __len__(self):
        return len(self.start)

    steps = property(lambda self: np.where(self.steep, self.shape[0], self.shape[1]))
    across = property(lambda self: np.where(self.steep, self.shape[1], self.shape[0]))

    @cached_property
    def entries(self):
        """How many weights the rays have together: two a step within the image, closely from above."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.stack([-1 - self.start, self.across - self.start]) / self.slope
        inside = (self.start > -1) & (self.start < self.across)
        ends = np.where(self.slope == 0, np.where(inside, [[0], [np.inf]], 0.0), np.sort(ends, axis=0))
        first, last = np.clip(np.stack([np.ceil(ends[0]), np.floor(ends[1]) + 1]), 0, self.steps)
        return int(2 * np.maximum(last - first, 0).sum())

    def weights(self, model, chunk=2**20):
        """(weights in mm, flat pixels, weights per ray), in the order of the rays, by `joseph` or `siddon`."""
        turns = np.flatnonzero(np.diff(self.steep)) + 1
        parts = []
        for first, last in zip([0, *turns], [*turns, len(self)], strict=True):
            few = max(1, chunk // max(self.shape))
            parts += [self._weights(model, slice(a, min(a + few, last))) for a in range(first, last, few)]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def _weights(self, model, some):
        """The same for a slice of rays that are all steep, or all not."""
        H, W = self.shape
        steps, wide, along, over = (H, W, W, 1) if self.steep[some][0] else (W, H, 1, W)
        i, slope = np.arange(steps, dtype=np.int32), self.slope[some, None]
        low, share = model(self.start[some, None] + slope * i, slope)
        near = np.stack([low, low + 1], -1).astype(np.int32)
        weights = np.stack([1 - share, share], -1) * self.length[some, None, None]
        kept = (near >= 0) & (near < wide) & (weights > 0)
        pixels = near * np.int32(over) + (i * np.int32(along))[:, None]
        return weights[kept], pixels[kept], kept.sum((1, 2))
