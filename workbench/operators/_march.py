"""Marching rays through a grid without a matrix: kernels compiled for the CPU by numba.

Every kernel takes the rays of one kind (steep or not, see `Rays`) and an image whose first axis is the one they step
along, so the same code serves both. `scatter` is the transpose of `gather`, weight by weight; it works on a slab of
steps, which no other call writes to, so slabs run in parallel. The kernels do not hold Python's lock: plain threads
run them.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from math import ceil, floor, sqrt

import numpy as np
import torch
from numba import njit


@njit(nogil=True)
def reach(start, slope, first, last, wide):
    """The steps of first..last at which a ray is between columns -1 and `wide`, and up to one more at either end."""
    if slope == 0.0:
        return (first, last) if -1 < start < wide else (first, first)
    a, b = (-1 - start) / slope, (wide - start) / slope
    a, b = min(a, b), max(a, b) + 1
    low, high = max(first, min(last, a)), max(first, min(last, b))  # as floats: they may be huge
    return int(low), int(high)


@cache
def planar(model):
    """(gather, scatter) of rays in a plane, for `joseph` or `siddon`; the innermost axis n is a batch."""
    model = njit(nogil=True)(model)

    @njit(nogil=True)
    def gather(some, first, last, start, slope, length, x, y):
        """y[r] += the weights of ray r times x, for r in `some`.  x: (steps, wide, n); y: (rays, n)."""
        _, wide, n = x.shape
        for r in some:
            low, high = reach(start[r], slope[r], first, last, wide)
            for i in range(low, high):
                left, share = model(start[r] + slope[r] * i, slope[r])
                j, here, beside = int(left), (1 - share) * length[r], share * length[r]
                if 0 <= j < wide:
                    for b in range(n):
                        y[r, b] += here * x[i, j, b]
                if 0 <= j + 1 < wide:
                    for b in range(n):
                        y[r, b] += beside * x[i, j + 1, b]

    @njit(nogil=True)
    def scatter(some, first, last, start, slope, length, x, y):
        """x[first:last] += the weights of every ray of `some` times y, the transpose of `gather`."""
        _, wide, n = x.shape
        for r in some:
            low, high = reach(start[r], slope[r], first, last, wide)
            for i in range(low, high):
                left, share = model(start[r] + slope[r] * i, slope[r])
                j, here, beside = int(left), (1 - share) * length[r], share * length[r]
                if 0 <= j < wide:
                    for b in range(n):
                        x[i, j, b] += here * y[r, b]
                if 0 <= j + 1 < wide:
                    for b in range(n):
                        x[i, j + 1, b] += beside * y[r, b]

    return gather, scatter


BLOCK = 128  # rays that walk together, so that a row of the image stays in the nearest cache


@njit(nogil=True)
def reach_of_all(start, slope, first, last, wide):
    """The steps that any of the rays needs."""
    low, high = last, first
    for k in range(len(start)):
        a, b = reach(start[k], slope[k], first, last, wide)
        if a < b:
            low, high = min(low, a), max(high, b)
    return low, high


@cache
def single(model):
    """(gather, scatter) as in `planar` for one image: rays go side by side, and the compiler makes vectors of them."""
    model = njit(nogil=True)(model)

    @njit(nogil=True, error_model="numpy")
    def gather(some, first, last, start, slope, length, x, y):
        """x: (steps, 1 + wide + 2), with air on both sides, so that rays beside the image need no branch."""
        wide, total = x.shape[1] - 3, np.empty(BLOCK, x.dtype)
        for r in range(0, len(some), BLOCK):
            rays = some[r : r + BLOCK]
            at0, by = start[rays], slope[rays]
            low, high = reach_of_all(at0, by, first, last, wide)
            total[:] = 0
            for i in range(low, high):
                row = x[i]
                for k in range(len(rays)):
                    at = at0[k] + by[k] * i
                    at = at if at > -1.0 else -1.0
                    at = at if at < wide else float(wide)
                    left, share = model(at, by[k])
                    j = np.int32(left) + 1
                    total[k] += row[j] + x.dtype.type(share) * (row[j + 1] - row[j])
            for k in range(len(rays)):
                y[rays[k], 0] += total[k] * length[rays[k]]

    @njit(nogil=True)
    def scatter(some, first, last, start, slope, length, x, y):
        wide, ray = x.shape[1], np.empty(BLOCK, x.dtype)
        for r in range(0, len(some), BLOCK):
            rays = some[r : r + BLOCK]
            at0, by = start[rays], slope[rays]
            low, high = reach_of_all(at0, by, first, last, wide)
            for k in range(len(rays)):
                ray[k] = y[rays[k], 0] * length[rays[k]]
            for i in range(low, high):
                row = x[i, :, 0]
                for k in range(len(rays)):
                    left, share = model(at0[k] + by[k] * i, by[k])
                    j, right = int(left), x.dtype.type(share) * ray[k]
                    if 0 <= j < wide:
                        row[j] += ray[k] - right
                    if 0 <= j + 1 < wide:
                        row[j + 1] += right

    return gather, scatter


# A cone: the rays of one detector column lie above each other, so they share their path in the plane, and only their
# heights differ. At tau of the way from the source to the detector, row v is at slice z = base + tau (bottom + rise v).
# Two of Joseph's interpolations, across in the plane and up along z, so the inner loops run over contiguous slices.


@njit(nogil=True)
def rows_inside(z0, dz, rows, slices):
    """The detector rows v whose height z0 + dz v is between slices -1 and `slices`; dz > 0."""
    first = min(max(ceil((-1 - z0) / dz), 0.0), rows)
    last = max(min(floor((slices - z0) / dz) + 1, rows), 0.0)
    first, last = int(first), int(last)
    while first < last and z0 + dz * first <= -1:  # the same rounding as in the loops
        first += 1
    while first < last and z0 + dz * (last - 1) >= slices:
        last -= 1
    return first, last


@njit(nogil=True)
def slanted(length, run, bottom, rise, v):
    """mm of ray v within one step: that of its shadow in the plane, times the secant of its slant."""
    return length * sqrt(1 + ((bottom + rise * v) / run) ** 2)


@njit(nogil=True)
def cone_gather(some, first, last, start, slope, length, begin, advance, run, base, bottom, rise, x, y):
    """y[r] = the line integrals of x along the rays of detector column r.  x: (steps, wide, slices); y: (rays, rows)."""
    _, wide, slices = x.shape
    rows = y.shape[1]
    column, total = np.empty(slices + 2, x.dtype), np.empty(rows, x.dtype)
    column[0] = column[slices + 1] = 0  # air below and above
    for r in some:
        total[:] = 0
        low, high = reach(start[r], slope[r], first, last, wide)
        for i in range(low, high):
            at = start[r] + slope[r] * i
            j, tau = int(floor(at)), begin[r] + advance[r] * i
            share, z0, dz = x.dtype.type(at - j), base[r] + tau * bottom, tau * rise
            here = x.dtype.type(1 - share)
            v0, v1 = rows_inside(z0, dz, rows, slices)
            if v0 >= v1 or not -1 <= j < wide:
                continue
            k0, k1 = max(int(floor(z0 + dz * v0)), 0), min(int(floor(z0 + dz * (v1 - 1))) + 2, slices)
            if j == -1:
                for k in range(k0, k1):
                    column[k + 1] = share * x[i, 0, k]
            elif j + 1 == wide:
                for k in range(k0, k1):
                    column[k + 1] = here * x[i, j, k]
            else:
                for k in range(k0, k1):
                    column[k + 1] = here * x[i, j, k] + share * x[i, j + 1, k]
            for v in range(v0, v1):
                z = z0 + dz * v
                k = floor(z)
                up = x.dtype.type(z - k)
                total[v] += column[int(k) + 1] + up * (column[int(k) + 2] - column[int(k) + 1])
        for v in range(rows):
            y[r, v] += total[v] * slanted(length[r], run[r], bottom, rise, v)


@njit(nogil=True)
def cone_scatter(some, first, last, start, slope, length, begin, advance, run, base, bottom, rise, x, y):
    """x[first:last] += the transpose of `cone_gather` on y."""
    _, wide, slices = x.shape
    rows = y.shape[1]
    column, ray = np.empty(slices + 2, x.dtype), np.empty(rows, x.dtype)
    for r in some:
        low, high = reach(start[r], slope[r], first, last, wide)
        if low < high:
            for v in range(rows):
                ray[v] = y[r, v] * slanted(length[r], run[r], bottom, rise, v)
        for i in range(low, high):
            at = start[r] + slope[r] * i
            j, tau = int(floor(at)), begin[r] + advance[r] * i
            share, z0, dz = x.dtype.type(at - j), base[r] + tau * bottom, tau * rise
            here = x.dtype.type(1 - share)
            v0, v1 = rows_inside(z0, dz, rows, slices)
            if v0 >= v1 or not -1 <= j < wide:
                continue
            k0, k1 = max(int(floor(z0 + dz * v0)), 0), min(int(floor(z0 + dz * (v1 - 1))) + 2, slices)
            column[:] = 0
            for v in range(v0, v1):
                z = z0 + dz * v
                k = floor(z)
                up = x.dtype.type(z - k)
                column[int(k) + 1] += ray[v] - up * ray[v]
                column[int(k) + 2] += up * ray[v]
            if j >= 0:
                for k in range(k0, k1):
                    x[i, j, k] += here * column[k + 1]
            if j + 1 < wide:
                for k in range(k0, k1):
                    x[i, j + 1, k] += share * column[k + 1]


# Driving the kernels: tensors in and out, pieces of the work on as many threads as torch uses.


def project(rays, model, x):
    """x: (H, W, n) -> (rays, n)."""
    numbers, y = (rays.start, rays.slope, rays.length), x.new_zeros(len(rays), x.shape[-1])
    if x.shape[-1] != 1:
        return _gathered(rays, planar(model)[0], numbers, x, y)
    for some, image in _kinds(rays, x):
        padded = np.pad(image[:, :, 0], ((0, 0), (1, 2)))
        _in_threads(partial(_gather_piece, single(model)[0], some, numbers, padded, y.numpy()), len(some))
    return y


def back(rays, model, y):
    """y: (rays, n) -> (H, W, n), the transpose of `project`."""
    numbers = rays.start, rays.slope, rays.length
    kernel = (single if y.shape[-1] == 1 else planar)(model)[1]
    return _scattered(rays, kernel, numbers, y.new_zeros(*rays.shape, y.shape[-1]), y)


def cone_project(cone, x):
    """x: (H, W, slices) -> (rays, rows)."""
    return _gathered(cone.rays, cone_gather, cone.numbers, x, x.new_zeros(len(cone.rays), cone.rows))


def cone_back(cone, y):
    """y: (rays, rows) -> (H, W, slices), the transpose of `cone_project`."""
    return _scattered(cone.rays, cone_scatter, cone.numbers, y.new_zeros(*cone.rays.shape, cone.slices), y)


def _gathered(rays, kernel, numbers, x, y):
    for some, image in _kinds(rays, x):
        _in_threads(partial(_gather_piece, kernel, some, numbers, image, y.numpy()), len(some))
    return y


def _scattered(rays, kernel, numbers, x, y):
    for some, image in _kinds(rays, x):
        _in_threads(partial(_scatter_piece, kernel, some, numbers, image, y.numpy()), len(image))
    return x


def _gather_piece(kernel, some, numbers, x, y, first, last):
    kernel(some[first:last], 0, len(x), *numbers, x, y)


def _scatter_piece(kernel, some, numbers, x, y, first, last):
    kernel(some, first, last, *numbers, x, y)


def _kinds(rays, x):
    """(the steep rays, the image), (the others, the image with its axes exchanged)."""
    image = x.numpy()
    both = (np.flatnonzero(rays.steep), image), (np.flatnonzero(~rays.steep), image.swapaxes(0, 1))
    return [(some, image) for some, image in both if len(some)]


def _in_threads(call, n):
    """call(first, last) over pieces of 0..n; more pieces than threads, so that easy ones even out."""
    threads = torch.get_num_threads()
    ends = np.linspace(0, n, min(n, 4 * threads if threads > 1 else 1) + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, ends[:-1], ends[1:]))
