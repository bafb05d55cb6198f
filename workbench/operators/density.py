"""Density compensation: how much of k-space each sample stands for, in cells of the Cartesian grid.

With these weights w, A.H(w y) of a `NUFFT` estimates the image (gridding), A.toeplitz(w) is near the identity for an image
that the samples resolve, and w = 1 on the Cartesian grid. Their sum is the area covered: pi/4 N for a disc of radius pi.
"""

from dataclasses import replace
from math import pi, prod

import torch

from workbench._errors import BadInput

BALL = {2: pi, 3: 4 * pi / 3}  # volume of the unit ball


def radial_density(points, shape):
    """w_k = the share of its shell that each sample of a spoke has: (spokes, samples), for `radial` and its like.

    points: (spokes, samples, d) of full diameters, evenly spaced along and, about, in angle; d is 2 (`radial`,
    `golden_angle`) or 3 (`kooshball`).  shape: of the image. In 2-D it is the ramp |k|; the middle, which all spokes
    share, is a ball of half a step. Exact areas of the shells, so the weights add up to the volume of the ball.
    """
    d = len(shape)
    if points.ndim != 3 or points.shape[-1] != d or d not in BALL or points.shape[1] < 2:
        raise BadInput(
            f"radial_density: points has shape {tuple(points.shape)}, for an image of {d} axes it should be "
            f"(spokes, samples, {d}) with d = 2 or 3 and at least 2 samples"
        )
    step = (points[:, 1] - points[:, 0]).norm(dim=-1, keepdim=True).double()
    radius = points.norm(dim=-1).double()
    shell = (radius + step / 2) ** d - (radius - step / 2).clamp_min(0) ** d
    middle = torch.where(radius < step / 2, 2.0, 1.0)  # met once a spoke, the other radii twice
    return middle * shell * BALL[d] / (2 * len(points)) * prod(shape) / (2 * pi) ** d


def pipe_menon(A, iterations=30):
    """w <- w / (K K^T w), K an interpolation kernel at the points of the NUFFT A: weights (*samples), any trajectory.

    At the fixed point K K^T w = 1: the weights, gridded and interpolated back, are even over the samples. K is a kernel
    of 4 cells on a grid of twice the size, which sees twice the field of view, as far as two pixels of the image can be
    apart; the wider and narrower ones tried gave worse images. Positive, in A's precision, scaled by the volume of the
    kernel to cells of the Cartesian grid. Pipe and Menon 1999.
    """
    K, Kt = replace(A, oversampling=2.0, width=4).matrices  # whose signs cancel in K K^T
    w = torch.ones(K.shape[0], 1, dtype=K.dtype, device=K.device)
    for _ in range(iterations):
        w = w / (K @ (Kt @ w))
    volume = K.values().abs().sum() / K.shape[0]  # the sum of the kernel over the grid
    return w.reshape(A.out_shape) * volume**2 * prod(A.in_shape) / K.shape[1]
