"""Blur kernels on a periodic grid: their centre at index 0, their sum 1.

`torch.fft.fftshift` moves the centre of a small one to n // 2, which is where a point-spread function (PSF) has it for
`embed`, `valid_blur`, `reflect_blur` and `replicate_blur`. Lengths are in pixels. Angles are in rad, anticlockwise from
the last axis (to the right) as the image is shown with row 0 on top.
"""

from functools import reduce
from math import cos, sin

import torch
from torch import Tensor

from workbench._errors import BadInput


def _grid(shape):
    """The signed distances of the pixel centres from index 0, one vector an axis, in pixels."""
    return [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in shape]


def _normalised(kernel, dtype):
    return (kernel / kernel.sum()).to(dtype)


def _positive(who, name, value):
    if not value > 0:
        raise BadInput(f"{who}: {name} = {value} should be positive, in pixels")


def _room(who, name, widths, shape):
    """Raise BadInput where a kernel would meet itself around the periodic grid."""
    if any(w > n - 1 for w, n in zip(widths, shape, strict=True)):
        raise BadInput(f"{who}: {name} does not fit into shape = {tuple(shape)}; use a larger shape")


def _plane(who, shape):
    if len(shape) != 2:
        raise BadInput(f"{who}: shape = {tuple(shape)} should be (H, W); the direction lies in a plane")


def _each_axis(value, shape, who, name):
    values = [value] * len(shape) if isinstance(value, (int, float)) else list(value)
    if len(values) != len(shape):
        raise BadInput(
            f"{who}: {name} = {value} should be one number, or {len(shape)}, one for each axis of {shape}"
        )
    for v in values:
        _positive(who, name, v)
    return values


def gaussian_kernel(shape, sigma, dtype=torch.float32, angle=0.0):
    """A periodic Gaussian of standard deviation `sigma` (pixels; one number, or one an axis), summing to 1, centre at 0.

    angle: turns the axes of an anisotropic one in the plane, anticlockwise, in rad (two axes only).
    """
    sigmas = _each_axis(sigma, shape, "gaussian_kernel", "sigma")
    where = torch.meshgrid(*_grid(shape), indexing="ij")
    if angle:
        _plane("gaussian_kernel", shape)
        down, right = where
        where = cos(angle) * down + sin(angle) * right, cos(angle) * right - sin(angle) * down
    return _normalised(torch.exp(-0.5 * sum((u / s) ** 2 for u, s in zip(where, sigmas, strict=True))), dtype)


def uniform_kernel(shape, size, dtype=torch.float32):
    """The box of width `size` (pixels; one number, or one an axis), summing to 1, centre at 0.

    A pixel weighs the share of it that the box covers, so an even or fractional size is centred too: 2 pixels give
    1/4, 1/2, 1/4.
    """
    sizes = _each_axis(size, shape, "uniform_kernel", "size")
    _room("uniform_kernel", f"size = {size}", sizes, shape)
    sides = [(w / 2 - u.abs() + 0.5).clamp(0, min(w, 1)) for u, w in zip(_grid(shape), sizes, strict=True)]
    return _normalised(reduce(lambda a, b: a[..., None] * b, sides), dtype)


def defocus_kernel(shape, radius, dtype=torch.float32):
    """The disc of `radius` pixels, summing to 1, centre at 0: geometric defocus, for shape (H, W).

    A pixel weighs the exact area that the disc covers of it.
    """
    _plane("defocus_kernel", shape)
    _positive("defocus_kernel", "radius", radius)
    _room("defocus_kernel", f"radius = {radius}", (2 * radius, 2 * radius), shape)
    y, x = (u.reshape(s) for u, s in zip(_grid(shape), [(-1, 1), (1, -1)], strict=True))
    corner = lambda i, j: _quadrant(y + i, x + j, radius)
    area = corner(0.5, 0.5) - corner(-0.5, 0.5) - corner(0.5, -0.5) + corner(-0.5, -0.5)
    return _normalised(area.clamp_min(0), dtype)


def _quadrant(y, x, r):
    """The area of the disc of radius r inside the rectangle [0, x] * [0, y], negative where one side is."""
    sign, y, x = torch.sign(y) * torch.sign(x), y.abs().clamp_max(r), x.abs().clamp_max(r)
    flat = torch.minimum(
        x, (r**2 - y**2).clamp_min(0).sqrt()
    )  # up to here the rectangle's top is in the disc
    under = lambda u: 0.5 * (u * (r**2 - u**2).clamp_min(0).sqrt() + r**2 * torch.asin((u / r).clamp_max(1)))
    return sign * (y * flat + under(x) - under(flat))


def motion_kernel(shape, length, angle=0.0, dtype=torch.float32):
    """A straight line of `length` pixels at `angle`, summing to 1, centre at 0: uniform motion during the exposure.

    shape: (H, W).  angle: rad, anticlockwise from the last axis.  Each point of the line is shared bilinearly among
    its four pixels, and the line integral is exact: between two crossings of the grid lines it is a quadratic.
    """
    _plane("motion_kernel", shape)
    _positive("motion_kernel", "length", length)
    _room("motion_kernel", f"length = {length}", (length * abs(sin(angle)), length * abs(cos(angle))), shape)
    step = torch.tensor([-sin(angle), cos(angle)], dtype=torch.float64)
    ends = torch.tensor([-length / 2, length / 2], dtype=torch.float64)
    whole = torch.arange(-int(length / 2) - 1, int(length / 2) + 2, dtype=torch.float64)
    crossings = [whole / s for s in step.tolist() if abs(s) > 1e-12]
    knots = torch.cat([ends, *crossings]).clamp(*ends.tolist()).sort().values
    width, middle = knots.diff(), (knots[1:] + knots[:-1]) / 2
    at = torch.cat(
        [middle - width / 12**0.5, middle + width / 12**0.5]
    )  # Gauss's two points, exact to cubics
    return _normalised(_splat(shape, at[:, None] * step, torch.cat([width, width])), dtype)


def _splat(shape, points, weights):
    """`weights` at `points`: (n, 2), each shared bilinearly among the four pixels around it, on the periodic grid."""
    kernel = torch.zeros(shape, dtype=torch.float64)
    low = points.floor()
    for corner in torch.cartesian_prod(torch.arange(2), torch.arange(2)):
        share = (1 - (points - low - corner).abs()).prod(1)
        index = tuple(i % n for i, n in zip((low + corner).long().T, shape, strict=True))
        kernel.index_put_(index, share * weights, accumulate=True)
    return kernel


def embed(psf, shape, centre=None):
    """A measured PSF as the periodic kernel of `shape`: zeros around it, its `centre` rolled to index 0.

    psf: a tensor with as many axes as shape, of any dtype, taken as it is (divide it by its sum to keep the mean of
    the image).  centre: index of its centre, by default n // 2 on each axis.  Raises BadInput where it does not fit.
    """
    if not isinstance(psf, Tensor) or psf.ndim != len(shape) or any(k > n for k, n in zip(psf.shape, shape)):  # noqa: B905
        raise BadInput(
            f"embed: psf has shape {tuple(getattr(psf, 'shape', ()))}, it should fit into {tuple(shape)}; crop it, or pad the signal"
        )
    centre = [k // 2 for k in psf.shape] if centre is None else centre
    kernel = psf.new_zeros(shape)
    kernel[tuple(slice(k) for k in psf.shape)] = psf
    return kernel.roll([-c for c in centre], tuple(range(psf.ndim)))
