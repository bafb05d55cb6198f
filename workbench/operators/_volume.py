"""What the tomographs of a volume share: slices, a detector of rows and columns, and the checks of both."""

from dataclasses import dataclass, replace

import numpy as np

from workbench._errors import BadInput
from workbench.operators._linear import Linear


@dataclass(frozen=True, eq=False)
class Volumetric(Linear):
    """The base: fields angles, shape (D, H, W), detectors (rows, columns), spacing, pixel, thickness, centre, dtype."""

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: (len(self.angles), *self.detectors))
    in_dtype = out_dtype = property(lambda self: self.dtype)
    slice_thickness = property(lambda self: self.pixel if self.thickness is None else self.thickness)

    @property
    def spacings(self):
        """(between rows, between columns) of the detector, mm."""
        return (self.spacing,) * 2 if isinstance(self.spacing, (int, float)) else tuple(self.spacing)

    @property
    def middle(self):
        """(row, column) of the detector that looks at the middle of the volume."""
        return tuple((n - 1) / 2 for n in self.detectors) if self.centre is None else tuple(self.centre)

    def to(self, device=None, dtype=None):
        """The same operator on `device` and in the precision of `dtype`; the angles keep theirs."""
        moved = super().to(device, dtype)
        if moved.device == self.device and moved.dtype == self.dtype:
            return self
        return replace(moved, angles=self.angles.to(moved.device))


def check_volume(A):
    """Raise BadInput where the volume, the detector or the lengths of a tomograph A mean nothing."""
    who = type(A).__name__
    if not isinstance(A.shape, tuple | list) or len(A.shape) != 3 or min(A.shape) < 1:
        raise BadInput(f"{who}: shape = {A.shape} should be (D, H, W), slices, rows and columns")
    if not isinstance(A.detectors, tuple | list) or len(A.detectors) != 2 or min(A.detectors) < 1:
        raise BadInput(f"{who}: detectors = {A.detectors} should be (rows, columns)")
    if not isinstance(A.spacing, int | float) and len(A.spacing) != 2:
        raise BadInput(
            f"{who}: spacing = {A.spacing} should be a number, or (between rows, between columns), in mm"
        )
    for name, value in (("spacing", min(A.spacings)), ("thickness", A.slice_thickness)):
        if not 0 < value < float("inf"):
            raise BadInput(f"{who}: {name} = {value} should be a length in mm, above 0")
    if A.centre is not None and (
        not isinstance(A.centre, tuple | list) or len(A.centre) != 2 or not np.isfinite(A.centre).all()
    ):
        raise BadInput(f"{who}: centre = {A.centre} should be a (row, column) of finite numbers, or None")
