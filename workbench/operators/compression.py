"""Coil compression: many coils as a few virtual ones that keep most of the energy.

All the matrices have orthonormal rows, so white noise stays white, of the same strength. Compress after `prewhiten`.
"""

from numbers import Integral

import torch

from workbench._errors import BadInput
from workbench.operators._kspace import check_kspace, to_image, to_kspace


def compress_coils(kspace, n):
    """(V^H, kept): the n leading left singular vectors of the coils' data, (n, C), and the share of energy they keep.

    kspace: (C, *shape) complex, any part of the data; the calibration block will do.  V^H has orthonormal rows, so the
    virtual coils, `virtual_coils(kspace, V^H)`, are those n combinations that lose least of the data's energy; apply it
    to coil maps too, or calibrate on the virtual coils. kept: sum of the n largest squared singular values over that of
    all, a float. Buehrer, Pruessmann, Boesiger, Kozerke 2007; Huang, Vijayakumar, Li, Hertel, Duensing 2008.
    """
    _check(kspace, n, "compress_coils")
    U, energy = _leading(kspace.flatten(1))
    return U[..., :n].mH.to(kspace).contiguous(), (energy[:n].sum() / energy.sum()).item()


def virtual_coils(kspace, matrix):
    """The combinations matrix: (n, C) of coils, of k-space, maps or images: (C, *shape) -> (n, *shape)."""
    return torch.tensordot(matrix, kspace, dims=1)


def compress_coils_along(kspace, n, axis):
    """(matrices, kept): a compression for each place along a readout: (N, n, C), geometric coil compression (GCC).

    kspace: (C, *shape) complex, sampled in full along `axis` (0 for the first of shape, -1 for the last), N points; of
    the other axes the calibration lines will do.  After an inverse FFT along the readout the data of each place x have a
    compression A_x of their own, as in `compress_coils`, which needs fewer virtual coils since a coil sees few places.
    Its basis is arbitrary, so it is turned to that of its neighbour: A_x <- V U^H A_x with the singular value
    decomposition A_x A_(x')^H = U S V^H, from the middle of the readout to both sides. Then the virtual coils'
    sensitivities are smooth along x, and k-space keeps its form; `virtual_coils_along` applies the matrices.
    kept: the share of energy, a float. Zhang, Pauly, Vasanawala, Lustig 2013.
    """
    _check(kspace, n, "compress_coils_along")
    readout = _readout(kspace, axis, "compress_coils_along")
    U, energy = _leading(to_image(kspace, (readout,)).movedim(readout, 0).flatten(2))
    matrices = _aligned(U[..., :n].mH.cpu())  # a chain of small matrices
    return matrices.to(kspace).contiguous(), (energy[:, :n].sum() / energy.sum()).item()


def virtual_coils_along(kspace, matrices, axis):
    """k-space of virtual coils, (C, *shape) -> (n, *shape): the matrices (N, n, C) applied at the places of a readout.

    kspace: centred, sampled in full along `axis` (0 for the first of shape, -1 for the last), N points.
    """
    readout = (_readout(kspace, axis, "virtual_coils_along"),)
    return to_kspace(virtual_images_along(to_image(kspace, readout), matrices, axis), readout)


def virtual_images_along(images, matrices, axis):
    """Images or maps of virtual coils, (C, *shape) -> (n, *shape): y_n(x) = sum_c A_x[n, c] images_c(x), x along axis."""
    (N, _, C), readout = matrices.shape, _readout(images, axis, "virtual_images_along")
    if N != images.shape[readout] or C != len(images):
        raise BadInput(
            f"virtual_images_along: matrices has shape {tuple(matrices.shape)}, it should be (places, n, coils) for "
            f"coils of shape {tuple(images.shape)} and axis = {axis}; compress along the same axis"
        )
    places = images.movedim(readout, 0)
    return (matrices @ places.flatten(2)).unflatten(2, places.shape[2:]).movedim(0, readout)


def _check(kspace, n, who):
    check_kspace(kspace, who)
    if not isinstance(n, Integral) or not 1 <= n <= len(kspace):
        raise BadInput(
            f"{who}: n = {n} virtual coils, it should be a whole number from 1 to {len(kspace)}, the number of coils"
        )
    if not kspace.isfinite().all() or not kspace.any():
        raise BadInput(f"{who}: kspace is all zero or not finite; give it measured points")


def _readout(data, axis, who):
    """The axis of (C, *shape) that is `axis` of shape, from either end; BadInput where there is none."""
    ndim = data.ndim - 1
    if not isinstance(axis, Integral) or not -ndim <= axis < ndim:
        raise BadInput(
            f"{who}: axis = {axis} should be a whole number from {-ndim} to {ndim - 1}, an axis of (coils, *shape) "
            f"after the coils"
        )
    return axis % ndim + 1


def _leading(data):
    """Eigenvectors of data data^H as columns, and eigenvalues, both in falling order."""
    data = data.to(torch.complex128)  # squares are taken, so twice the digits
    energy, U = torch.linalg.eigh(data @ data.mH)
    return U.flip(-1), energy.flip(-1).clamp_min(0)


def _aligned(bases):
    """Orthonormal rows (N, n, C), each turned within its span to lie next to that of the neighbour nearer the middle."""
    aligned, half = list(bases), len(bases) // 2
    outwards = [(x, x - 1) for x in range(half + 1, len(bases))] + [(x, x + 1) for x in reversed(range(half))]
    for x, neighbour in outwards:
        U, _, Vh = torch.linalg.svd(aligned[x] @ aligned[neighbour].mH)
        aligned[x] = Vh.mH @ U.mH @ aligned[x]
    return torch.stack(aligned)
