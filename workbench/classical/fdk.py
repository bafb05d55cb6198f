"""Filtered back-projection of fans and cones: Feldkamp, Davis and Kress's algorithm."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.classical._fan import filtered_fan, interpolated, seen_from
from workbench.classical.fbp import ram_lak
from workbench.operators._operator import checked
from workbench.operators.cone_beam import ConeBeam


@dataclass(frozen=True)
class FDK:
    """x = sum_t w_t (dso / depth)^2 (ramp * cos y_t)(u, v): cone-beam filtered back-projection, in units of x (1/mm).

    window: gain as a function of frequency / Nyquist; `ram_lak`, `shepp_logan`, `hann`, or any other callable.
    Exact in the plane of the source, an approximation above and below it (its mean falls with the cone's angle).
    Feldkamp, Davis and Kress 1984 (J. Opt. Soc. Am. A 1, 612).
    """

    card = dict(kind="classical", family="tomography", source="Feldkamp, Davis and Kress 1984")

    window: Callable = ram_lak

    def reconstruct(self, problem):
        """The volume (*, D, H, W) of problem.y: (*, n_angles, rows, columns); problem.A should be a ConeBeam."""
        return cone_back_projection(problem.A, problem.y, self.window)


def cone_back_projection(A, y, window=ram_lak):
    """The volume (*, D, H, W) in 1/mm of y: (*, n_angles, rows, columns), on a circle, a whole turn or a part.

    Raises BadInput unless A is a ConeBeam whose source stays in the plane of the middle slice, and y fits it.
    """
    if not isinstance(A, ConeBeam):
        raise BadInput(
            f"FDK: A is a {type(A).__name__}, it should be a ConeBeam; give the operator of the scan itself"
        )
    if A.heights is not None and (A.heights != 0).any():
        raise BadInput(
            "FDK: A.heights is not zero, so the scan is no circle; use an iterative method, such as TotalVariation"
        )
    checked(y, A.out_shape, A.out_dtype, "FDK")
    v = (torch.arange(A.detectors[0], dtype=torch.float64) - A.middle[0]) * A.spacings[0]
    s = (torch.arange(A.detectors[1], dtype=torch.float64) - A.middle[1]) * A.spacings[1]
    q = filtered_fan(A, y, s, v, window)
    z = (
        torch.arange(A.shape[0], dtype=torch.float64, device=y.device) - (A.shape[0] - 1) / 2
    ) * A.slice_thickness
    x = y.new_zeros(*y.shape[:-3], *A.shape)
    for view, t in enumerate(A.angles.double().tolist()):
        column, magnification, gain = seen_from(A, t, A.shape[1:], y.device)
        row = z[:, None, None] * magnification / A.spacings[0] + A.middle[0]
        part = interpolated(q[..., view, :, :], column / A.spacings[1] + A.middle[1])
        x += gain.to(x.dtype) * between_rows(part, row)
    return x


def between_rows(part, row):
    """part: (*, rows, H, W) at the detector rows row: (D, H, W), linearly, 0 beyond the detector: (*, D, H, W)."""
    rows, padded = part.shape[-3], torch.nn.functional.pad(part, (0, 0, 0, 0, 1, 1))
    at = (row + 1).clamp(0, rows + 1)
    low = at.floor().clamp_max(rows).long().expand(*part.shape[:-3], *row.shape)
    f = (at - low).to(part.dtype.to_real())
    return (1 - f) * padded.gather(-3, low) + f * padded.gather(-3, low + 1)
