"""Density compensation: how much of k-space each sample stands for, in cells of the Cartesian grid.

With these weights w, A.H(w y) of a `NUFFT` estimates the image (gridding), A.toeplitz(w) is near the identity for an
image that the samples resolve, and w = 1 on the Cartesian grid. Their sum is the area covered: pi/4 N for a disc of
radius pi.
"""

from dataclasses import replace
from math import pi, prod

import torch

from workbench._errors import BadInput


def radial_density(points, shape):
    """w_k = |k|^(d-1) times the step along a spoke and the angle between them: (spokes, samples), for spokes.

    points: (spokes, samples, d) of full diameters through the middle, evenly sampled; d is 2 (`radial`, `golden_angle`:
    a spoke has half the angle to each neighbour) or 3 (`kooshball`: an even share).  shape: of the image. Trapezoids
    along a spoke; at the middle, where |k| has its corner, the term of Euler and Maclaurin takes the place of a weight
    0: step^2 / 6 in 2-D, 0 in 3-D.
    """
    d = len(shape)
    if points.ndim != 3 or points.shape[-1] != d or d not in (2, 3) or points.shape[1] < 2:
        raise BadInput(
            f"radial_density: points has shape {tuple(points.shape)}, for an image of {d} axes it should be "
            f"(spokes, samples, {d}) with d = 2 or 3 and at least 2 samples"
        )
    points = points.double()
    step = (points[:, 1] - points[:, 0]).norm(dim=-1, keepdim=True)
    radius = points.norm(dim=-1)
    ramp = torch.where(radius < step / 1e6, step / 6 if d == 2 else 0.0, radius ** (d - 1))
    angle = _shares_of_half_turn(points) if d == 2 else 2 * pi / len(points)
    return ramp * step * angle * prod(shape) / (2 * pi) ** d


def _shares_of_half_turn(points):
    """The mean of the angles to both neighbours of each spoke: (spokes, 1), adding up to pi."""
    rows, columns = (points[:, -1] - points[:, 0]).unbind(-1)
    angles, order = (torch.atan2(rows, columns) % pi).sort()
    ahead = torch.cat([angles[1:], angles[:1] + pi]) - angles
    return torch.empty_like(angles).index_put((order,), (ahead + ahead.roll(1)) / 2)[:, None]


def pipe_menon(A, iterations=30):
    """w <- w / (K K^T w), K an interpolation kernel at the points of the NUFFT A: weights (*samples), any trajectory.

    At the fixed point K K^T w = 1: the weights, gridded and interpolated back, are even over the samples. K is a kernel
    of 4 cells on a grid of twice the size, which sees twice the field of view, as far as two pixels of the image can be
    apart; the wider and narrower ones tried gave worse images. Positive, in A's precision, scaled by the volume of the
    kernel to cells of the Cartesian grid: a few per cent too small where the scan samples no denser than that grid.
    Pipe and Menon 1999.
    """
    K, Kt = replace(A, oversampling=2.0, width=4).matrices  # whose signs cancel in K K^T
    w = torch.ones(K.shape[0], 1, dtype=K.dtype, device=K.device)
    for _ in range(iterations):
        w = w / (K @ (Kt @ w))
    volume = K.values().abs().sum() / K.shape[0]  # the sum of the kernel over the grid
    return w.reshape(A.out_shape) * volume**2 * prod(A.in_shape) / K.shape[1]
