"""Coil sensitivities from the fully sampled middle of k-space.

k-space is centred: index n // 2 is the middle of every axis, as in `CartesianMRI`.
"""

from math import pi, prod

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._kspace import kind, middle, to_image, whole


def espirit(calibration, shape, kernel=6, thresh=0.02, crop=0.95, sets=1):
    """Sensitivities of the coils by ESPIRiT: (C, *shape), the eigenvectors of eigenvalue 1 of the calibration data.

    calibration: (C, *block) complex, the fully sampled middle of k-space.  shape: of the image, as many axes as block.
    The maps have the dtype of the calibration, sum_c |maps_c|^2 = 1 where the largest eigenvalue exceeds `crop`, and
    are 0 elsewhere. Their phase is referenced to coil 0, whose map is real and positive: where coil 0 sees nothing,
    the phase of the maps, and so of the image, is arbitrary (the modulus of the image is not).
    sets: with 2 or more, the maps are (sets, C, *shape), for `SoftSENSE`: the eigenvectors in falling order of their
    eigenvalues, orthogonal at each pixel, each zero where its own eigenvalue is below `crop`. A second set that is
    not zero shows where the object folds over, moves, or where one map cannot explain the data for another reason.

    The patches of kernel^d points span a space; its part with singular values above thresh times the largest is, seen
    at one pixel, a (C, C) matrix, and its eigenvectors are found for many pixels at once. Conventions and defaults are
    those of sigpy and BART. Raises BadInput where the block is smaller than the kernel. Uecker et al. 2014.
    """
    _check_calibration("espirit", calibration, shape)
    coils, *block = calibration.shape
    if min(block) < kernel:
        raise BadInput(
            f"espirit: calibration has shape {tuple(calibration.shape)}, smaller than kernel = {kernel}; "
            f"use a larger block or a smaller kernel"
        )
    if not 1 <= sets <= coils:
        raise BadInput(f"espirit: sets = {sets} should be from 1 to {coils}, the number of coils")
    M = _lag_matrices(_row_space(calibration.to(torch.complex128), kernel, thresh), kernel, len(shape))
    M = M.to(calibration.dtype)
    waves = [_waves(n, kernel).to(M) for n in shape]
    for wave in waves[1:]:  # the lags of one axis become its pixels, which go last
        M = torch.tensordot(M, wave, dims=([3], [1]))
    slabs = waves[0].split(16)
    maps = [
        _principal(torch.tensordot(slab, M, dims=([1], [2])).movedim((1, 2), (-2, -1)), sets, crop)
        for slab in slabs
    ]
    maps = torch.cat(maps).movedim((-2, -1), (0, 1)).contiguous()
    return maps[0] if sets == 1 else maps


def _check_calibration(who, calibration, shape):
    if not isinstance(calibration, Tensor) or not calibration.is_complex():
        raise BadInput(
            f"{who}: calibration is {kind(calibration)}, it should be a complex tensor (coils, *block)"
        )
    if calibration.ndim != len(shape) + 1:
        raise BadInput(
            f"{who}: calibration has shape {tuple(calibration.shape)}, it should be (coils, *block) with "
            f"{len(shape)} axes after the coils, as shape = {tuple(shape)} has"
        )
    if not calibration.isfinite().all() or not calibration.any():
        raise BadInput(f"{who}: calibration is all zero or not finite; check the middle of k-space")


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


def _principal(M, sets, crop):
    """Unit eigenvectors (*, sets, C) of the largest eigenvalues of M: (*, C, C), zero where those are below crop."""
    value, vector = torch.linalg.eigh(M)
    first, value = vector[..., -sets:].flip(-1).mT, value[..., -sets:].flip(-1)[..., None]
    lead = first[..., :1]
    turn = torch.where(lead == 0, torch.ones_like(lead), lead.conj() / lead.abs().clamp_min(1e-30))
    return first * turn * (value > crop)


def low_resolution_maps(calibration, shape):
    """maps_c = v_c / (sum_c |v_c|^2)^(1/2), v_c the low-pass image of coil c: (C, *shape), sum_c |maps_c|^2 = 1.

    calibration: (C, *block) complex, the fully sampled middle of k-space.  shape: of the image. v is the inverse FFT of
    the block in zeros, under the window prod_j cos^2(pi k_j / (n_j + 1)), k counted from the middle (Hann: no ringing).
    Nothing is cut off: outside the object the maps are noise. All maps carry the phase of the low-pass image, so a
    reconstruction has that phase taken out; and they are right only where the object is smooth at the resolution of the
    block, unlike those of `espirit`. McKenzie, Yeh, Ohliger, Price, Sodickson 2002.
    """
    _check_calibration("low_resolution_maps", calibration, shape)
    block = calibration.shape[1:]
    if any(small > n for small, n in zip(block, shape, strict=True)):
        raise BadInput(
            f"low_resolution_maps: shape = {tuple(shape)} is smaller than the block {tuple(block)}"
        )
    window = torch.ones((), dtype=torch.float64, device=calibration.device)
    for n in block:
        k = torch.arange(n, dtype=torch.float64, device=calibration.device) - n // 2
        window = window[..., None] * (pi * k / (n + 1)).cos().square()
    kspace = calibration.new_zeros(len(calibration), *shape)
    kspace[(slice(None), *middle(shape, block))] = calibration * window.to(calibration.dtype)
    v = to_image(kspace, tuple(range(-len(shape), 0)))
    return v / torch.linalg.vector_norm(v, dim=0).clamp_min(torch.finfo(v.dtype).tiny)


def calibration_region(kspace, mask, kernel=6, most=24):
    """The largest fully sampled block in the middle of k-space: (C, *block), at most `most` points along an axis.

    kspace: (C, *shape).  mask: bool, broadcastable to shape.  The block grows from the middle point, the axes in turn.
    Raises BadInput if it stays smaller than `kernel` along an axis: then measure the maps in another scan.
    """
    mask = whole(mask, kspace.shape[1:], "calibration_region")
    sides, growing = [1] * mask.ndim, True
    while growing:
        growing = False
        for axis in range(mask.ndim):
            tried = [side + (i == axis) for i, side in enumerate(sides)]
            if tried[axis] <= min(most, mask.shape[axis]) and mask[middle(mask.shape, tried)].all():
                sides, growing = tried, True
    if min(sides) < kernel or not mask[middle(mask.shape, sides)].all():
        found = tuple(sides) if mask[middle(mask.shape, sides)].all() else (0,) * mask.ndim
        raise BadInput(
            f"calibration_region: mask has a fully sampled middle of {found} points, at least {kernel} along every "
            f"axis are needed; use a smaller kernel or give the coil maps"
        )
    return kspace[(slice(None), *middle(mask.shape, sides))]
