"""Receive coils: their noise, what a scan sampled of k-space, and simulated sensitivities.

k-space is centred: index n // 2 is the middle of every axis, as in `CartesianMRI`.
"""

from math import pi, sin

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._kspace import kind, whole
from workbench.operators.calibration import calibration_region as calibration_region
from workbench.operators.calibration import espirit as espirit  # both long found in this file


def noise_covariance(samples):
    """Sigma = sum_i n_i n_i^H / (2 N), the coils' noise covariance per real component: (C, C) Hermitian, invertible.

    samples: (C, N) complex, signal-free (a noise scan, or `corner_noise`).  The covariance of the complex noise is
    2 Sigma; white noise of standard deviation s in each real component has Sigma = s^2 I. The correlations between
    coils are shrunk by 1 - C / (N + C), so that N < C samples give an invertible matrix too; with N >> C that is
    within the estimate's own error. Raises BadInput for a coil without noise (a dead channel).
    """
    if (
        not isinstance(samples, Tensor)
        or not samples.is_complex()
        or samples.ndim != 2
        or samples.shape[1] < 1
    ):
        raise BadInput(
            f"noise_covariance: samples is {kind(samples)}, it should be complex (coils, N); use corner_noise(kspace, mask)"
        )
    C, N = samples.shape
    sigma = samples @ samples.mH / (2 * N)
    power = sigma.diagonal().real
    if not sigma.isfinite().all() or not (power > 0).all():
        dead = (~(power > 0)).nonzero()[:, 0].tolist()
        raise BadInput(
            f"noise_covariance: samples has no noise or is not finite in coils {dead}; leave those coils out"
        )
    sigma, keep = (sigma + sigma.mH) / 2, N / (N + C)
    return keep * sigma + (1 - keep) * torch.diag(power).to(sigma)


def prewhiten(kspace, covariance, axis=0):
    """L^(-1) k along the coils, covariance = L L^H: data whose noise has unit variance in each real component.

    kspace: complex, its coils on `axis`: 0 for (C, *shape) or coil maps, 1 for (slices, C, *shape).  covariance: (C, C)
    per real component, as `noise_covariance` gives it; the noise of the result is white, of standard deviation 1 in the
    real and in the imaginary part, and so uncorrelated between coils. Maps made from data before whitening are
    whitened by the same call. The same as `noise.CorrelatedGaussian(covariance, axis).whiten`, which also whitens the
    operator. Raises BadInput where the covariance is not positive definite. Pruessmann et al. 2001.
    """
    C = kspace.shape[axis]
    if covariance.shape != (C, C):
        raise BadInput(
            f"prewhiten: covariance has shape {tuple(covariance.shape)}, it should be ({C}, {C}) for kspace of shape "
            f"{tuple(kspace.shape)} with its coils on axis {axis}"
        )
    L, failed = torch.linalg.cholesky_ex(covariance)
    if failed:
        raise BadInput(
            "prewhiten: covariance is not positive definite; measure more noise, see noise_covariance"
        )
    flat = kspace.movedim(axis, 0).flatten(1)
    white = torch.linalg.solve_triangular(L.to(flat), flat, upper=False)
    return white.unflatten(1, kspace.movedim(axis, 0).shape[1:]).movedim(0, axis)


def corner_noise(kspace, mask, share=0.05):
    """The noise of a scan, from the sampled points farthest from the middle of k-space: (C, N), for `noise_covariance`.

    kspace: (C, *shape) of one slice (join slices with torch.cat(..., dim=1)).  mask: bool, broadcastable to shape.
    share: of the sampled points, those of the largest radius (each axis scaled to -1..1), at least 20 for each coil.
    Points whose power, summed over coils of equal weight, exceeds eight times the median are left out as signal.

    An estimate from above: an image has little energy out there, but not none; where k-space was not sampled to its
    corners, or the scan has few points, prefer a noise scan. Filtered or zero-filled k-space gives too small a value.
    Raises BadInput where these points would be more than a quarter of all sampled ones.
    """
    points = whole(mask, kspace.shape[1:], "corner_noise")
    sampled, need = int(points.sum()), 20 * len(kspace)
    count = max(round(share * sampled), need)
    if 4 * count > sampled:
        raise BadInput(
            f"corner_noise: mask has {sampled} sampled points, too few to take {count} from the corners; "
            f"give the noise samples of a noise scan to noise_covariance"
        )
    far = _radius(points.shape).to(kspace.device)[points].topk(count).indices
    samples = kspace[:, points][:, far]
    power = samples.abs().square()
    power = (power / power.mean(1, keepdim=True).clamp_min(torch.finfo(power.dtype).tiny)).sum(0)
    return samples[:, power <= 8 * power.median()]


def _radius(shape):
    """Distance from the centred middle, each axis scaled to -1..1."""
    axes = [(torch.arange(n) - n // 2) / max(n // 2, 1) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)


def find_mask(kspace):
    """What a scan sampled: True where any coil is non-zero, in every slice: bool, broadcastable to the image's shape.

    kspace: (slices, C, *shape), zero where nothing was measured.  Leading axes along which the mask does not change
    are dropped: (W,) for phase encodes along the last axis. Zero padding beyond the measured matrix (fastMRI) counts
    as not sampled. Raises BadInput where nothing was sampled in every slice.
    """
    mask = (kspace != 0).any(1).all(0)
    if not mask.any():
        raise BadInput(
            "find_mask: kspace has no point that is non-zero in every slice; choose slices that were measured"
        )
    while mask.ndim > 1 and (mask == mask[:1]).all():
        mask = mask[0]
    return mask


def simulate_coils(shape, n, dtype=torch.complex64):
    """Smooth sensitivities of n loops around the object: (n, *shape) complex, sum_c |maps_c|^2 = 1 at every pixel.

    shape: 2 or 3 axes, the last two across the bore.  The loops stand on a cylinder of 1.5 half fields of view, touch
    their neighbours and face the axis; a map is B_x - i B_y of its loop by the law of Biot and Savart (Roemer et al.
    1990).
    """
    if n < 1 or len(shape) not in (2, 3):
        raise BadInput(
            f"simulate_coils: n = {n} and shape = {tuple(shape)}; n should be at least 1, shape have 2 or 3 axes"
        )
    axes = [(torch.arange(size, dtype=torch.float64) - size // 2) / max(size / 2, 1) for size in shape]
    axes = axes if len(axes) == 3 else [torch.zeros(1, dtype=torch.float64), *axes]
    r = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1).reshape(-1, 3)  # x, y, z
    field = torch.stack([_loop(r, 2 * pi * c / n, 1.5, 1.5 * sin(pi / max(n, 3))) for c in range(n)])
    maps = torch.complex(field[..., 0], -field[..., 1]).reshape(n, *shape)
    return (maps / maps.abs().square().sum(0).sqrt()).to(dtype)


def _loop(r, angle, distance, radius, parts=64):
    """The field at r: (points, 3) of a circular current around the radial direction `angle` in the plane z = 0."""
    angle = torch.tensor(angle, dtype=torch.float64)
    out = torch.stack([angle.cos(), angle.sin(), 0 * angle])
    across, along = torch.stack([-angle.sin(), angle.cos(), 0 * angle]), torch.tensor([0.0, 0.0, 1.0]).to(out)
    turn = torch.arange(parts, dtype=torch.float64)[:, None] * (2 * pi / parts)
    wire = distance * out + radius * (turn.cos() * across + turn.sin() * along)
    current = (turn.cos() * along - turn.sin() * across) * (radius * 2 * pi / parts)
    field = torch.zeros_like(r)
    for point, element in zip(wire, current, strict=True):
        way = r - point
        field += torch.linalg.cross(element.expand_as(way), way) / way.norm(dim=-1, keepdim=True) ** 3
    return field
