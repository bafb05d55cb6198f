"""Receive coils: their sensitivities (ESPIRiT, or simulated), their noise, and what a scan sampled of k-space.

k-space is centred: index n // 2 is the middle of every axis, as in `CartesianMRI`.
"""

from math import pi, prod, sin

import torch
from torch import Tensor

from workbench._errors import BadInput


def espirit(calibration, shape, kernel=6, thresh=0.02, crop=0.95):
    """Sensitivities of the coils by ESPIRiT: (C, *shape), the eigenvectors of eigenvalue 1 of the calibration data.

    calibration: (C, *block) complex, the fully sampled middle of k-space.  shape: of the image, as many axes as block.
    The maps have the dtype of the calibration, sum_c |maps_c|^2 = 1 where the largest eigenvalue exceeds `crop`, and
    are 0 elsewhere. Their phase is referenced to coil 0, whose map is real and positive: where coil 0 sees nothing,
    the phase of the maps, and so of the image, is arbitrary (the modulus of the image is not).

    The patches of kernel^d points span a space; its part with singular values above thresh times the largest is, seen
    at one pixel, a (C, C) matrix, and its eigenvectors are found for many pixels at once. Conventions and defaults are
    those of sigpy and BART. Raises BadInput where the block is smaller than the kernel. Uecker et al. 2014.
    """
    _check_calibration(calibration, shape, kernel)
    M = _lag_matrices(_row_space(calibration.to(torch.complex128), kernel, thresh), kernel, len(shape))
    M = M.to(calibration.dtype)
    waves = [_waves(n, kernel).to(M) for n in shape]
    for wave in waves[1:]:  # the lags of one axis become its pixels, which go last
        M = torch.tensordot(M, wave, dims=([3], [1]))
    slabs = waves[0].split(16)
    maps = [
        _principal(torch.tensordot(slab, M, dims=([1], [2])).movedim((1, 2), (-2, -1)), crop)
        for slab in slabs
    ]
    return torch.cat(maps).movedim(-1, 0).contiguous()


def _check_calibration(calibration, shape, kernel):
    if not isinstance(calibration, Tensor) or not calibration.is_complex():
        raise BadInput(
            f"espirit: calibration is {_kind(calibration)}, it should be a complex tensor (coils, *block)"
        )
    if calibration.ndim != len(shape) + 1:
        raise BadInput(
            f"espirit: calibration has shape {tuple(calibration.shape)}, it should be (coils, *block) with "
            f"{len(shape)} axes after the coils, as shape = {tuple(shape)} has"
        )
    if min(calibration.shape[1:]) < kernel:
        raise BadInput(
            f"espirit: calibration has shape {tuple(calibration.shape)}, smaller than kernel = {kernel}; "
            f"use a larger block or a smaller kernel"
        )
    if not calibration.isfinite().all() or not calibration.any():
        raise BadInput("espirit: calibration is all zero or not finite; check the middle of k-space")


def _row_space(calibration, kernel, thresh):
    """The projector on the span of all patches: (C kernel^d, C kernel^d), from the eigenvectors of their Gram matrix."""
    for axis in range(1, calibration.ndim):
        calibration = calibration.unfold(axis, kernel, 1)
    d = calibration.ndim // 2
    patches = calibration.movedim(0, d).reshape(prod(calibration.shape[1 : d + 1]), -1)
    power, V = torch.linalg.eigh(patches.mT @ patches.conj())
    V = V[:, power > thresh**2 * power[-1]]
    return V @ V.mH


def _lag_matrices(projector, kernel, ndim):
    """(C, C, lag, ..., lag): the projector's entries summed over all pairs of points p, q with the same lag p - q."""
    points = torch.cartesian_prod(*[torch.arange(kernel)] * ndim).reshape(-1, ndim)
    lags = (points[:, None] - points + kernel - 1).to(projector.device)
    where = torch.zeros_like(lags[..., 0])
    for axis in range(ndim):
        where = where * (2 * kernel - 1) + lags[..., axis]
    coils = len(projector) // len(points)
    blocks = projector.reshape(coils, len(points), coils, len(points)).transpose(1, 2).flatten(2)
    sums = blocks.new_zeros(coils, coils, (2 * kernel - 1) ** ndim).index_add_(2, where.flatten(), blocks)
    return sums.reshape(coils, coils, *[2 * kernel - 1] * ndim)


def _waves(n, kernel):
    """exp(2 pi i lag r / n) / kernel for the pixels r of a centred axis: (n, lags), complex128."""
    r, lag = torch.arange(n) - n // 2, torch.arange(1 - kernel, kernel)
    turns = 2 * pi * torch.outer(r, lag).to(torch.float64) / n
    return torch.polar(torch.full_like(turns, 1 / kernel), turns)


def _principal(M, crop):
    """Unit eigenvectors (*, C) of the largest eigenvalues of M: (*, C, C), zero unless the eigenvalue exceeds crop."""
    value, vector = torch.linalg.eigh(M)
    first, value = vector[..., -1], value[..., -1:]
    lead = first[..., :1]
    turn = torch.where(lead == 0, torch.ones_like(lead), lead.conj() / lead.abs().clamp_min(1e-30))
    return first * turn * (value > crop)


def calibration_region(kspace, mask, kernel=6, most=24):
    """The largest fully sampled block in the middle of k-space: (C, *block), at most `most` points along an axis.

    kspace: (C, *shape).  mask: bool, broadcastable to shape.  The block grows from the middle point, the axes in turn.
    Raises BadInput if it stays smaller than `kernel` along an axis: then measure the maps in another scan.
    """
    mask = _whole(mask, kspace.shape[1:], "calibration_region")
    sides, growing = [1] * mask.ndim, True
    while growing:
        growing = False
        for axis in range(mask.ndim):
            tried = [side + (i == axis) for i, side in enumerate(sides)]
            if tried[axis] <= min(most, mask.shape[axis]) and mask[_middle(mask.shape, tried)].all():
                sides, growing = tried, True
    if min(sides) < kernel or not mask[_middle(mask.shape, sides)].all():
        found = tuple(sides) if mask[_middle(mask.shape, sides)].all() else (0,) * mask.ndim
        raise BadInput(
            f"calibration_region: mask has a fully sampled middle of {found} points, at least {kernel} along every "
            f"axis are needed; use a smaller kernel or give the coil maps"
        )
    return kspace[(slice(None), *_middle(mask.shape, sides))]


def _middle(shape, sides):
    """Slices of the centred block of `sides` points: its own middle lies on that of the grid."""
    return tuple(
        slice(n // 2 - side // 2, n // 2 - side // 2 + side) for n, side in zip(shape, sides, strict=True)
    )


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
            f"noise_covariance: samples is {_kind(samples)}, it should be complex (coils, N); use corner_noise(kspace, mask)"
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


def corner_noise(kspace, mask, share=0.05):
    """The noise of a scan, from the sampled points farthest from the middle of k-space: (C, N), for `noise_covariance`.

    kspace: (C, *shape) of one slice (join slices with torch.cat(..., dim=1)).  mask: bool, broadcastable to shape.
    share: of the sampled points, those of the largest radius (each axis scaled to -1..1), at least 20 for each coil.
    Points whose power, summed over coils of equal weight, exceeds eight times the median are left out as signal.

    An estimate from above: an image has little energy out there, but not none; where k-space was not sampled to its
    corners, or the scan has few points, prefer a noise scan. Filtered or zero-filled k-space gives too small a value.
    Raises BadInput where these points would be more than a quarter of all sampled ones.
    """
    whole = _whole(mask, kspace.shape[1:], "corner_noise")
    sampled, need = int(whole.sum()), 20 * len(kspace)
    count = max(round(share * sampled), need)
    if 4 * count > sampled:
        raise BadInput(
            f"corner_noise: mask has {sampled} sampled points, too few to take {count} from the corners; "
            f"give the noise samples of a noise scan to noise_covariance"
        )
    far = _radius(whole.shape).to(kspace.device)[whole].topk(count).indices
    samples = kspace[:, whole][:, far]
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


def _whole(mask, shape, who):
    """The mask on every point of the grid."""
    try:
        return mask.broadcast_to(shape)
    except RuntimeError:
        raise BadInput(
            f"{who}: mask has shape {tuple(mask.shape)}, it should broadcast to {tuple(shape)}, the axes of kspace "
            f"after the coils"
        ) from None


def _kind(value):
    return (
        f"{value.dtype} of shape {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else f"a {type(value).__name__}"
    )
