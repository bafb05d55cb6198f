"""The rays of a cone, and how they climb from detector row to detector row."""

from dataclasses import dataclass

import numpy as np

from workbench.operators.rays import Rays


@dataclass(frozen=True)
class Cone:
    """The rays to one detector column and all its rows: in a plane, and from slice to slice.

    At tau of the way from the source (see `Rays`), the ray to row v is at slice base + tau (bottom + rise v).
    rays: one a view and column.  run: (n,) their lengths in the plane, in slices, to the detector.
    base: (n,) slice of the source.  rows: of the detector.  slices: of the volume.
    """

    rays: Rays
    run: np.ndarray
    base: np.ndarray
    bottom: float
    rise: float
    rows: int
    slices: int

    @property
    def numbers(self):
        """What the kernels take."""
        r = self.rays
        return r.start, r.slope, r.length, r.begin, r.advance, self.run, self.base, self.bottom, self.rise

    @property
    def steepest(self):
        """The largest climb of a ray, in mm per mm in the plane."""
        ends = self.bottom, self.bottom + self.rise * (self.rows - 1)
        return max(map(abs, ends)) / self.run.min()
