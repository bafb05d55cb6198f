"""Resampling an image to another size, with an antialias filter."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._sizes import pick, signal_shape, sizes
from workbench.operators.kronecker import Kronecker


def box(t):
    """1 for -1/2 <= t < 1/2: the nearest neighbour, or a mean over the covered pixels when shrinking."""
    return ((t >= -0.5) & (t < 0.5)).to(t.dtype)


def triangle(t):
    """1 - |t| on [-1, 1]: linear interpolation ('bilinear')."""
    return (1 - t.abs()).clamp_min(0)


def keys_cubic(t):
    """Keys' cubic with a = -1/2 on [-2, 2] ('bicubic' in MATLAB and PIL), exact for quadratics. Keys 1981, eq. 15."""
    t = t.abs()
    near, far = (1.5 * t - 2.5) * t**2 + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    return torch.where(t <= 1, near, torch.where(t < 2, far, 0))


def lanczos3(t):
    """sinc(t) sinc(t / 3) on [-3, 3]. Lanczos; Duchon 1979."""
    return torch.where(t.abs() < 3, torch.sinc(t) * torch.sinc(t / 3), 0)


@dataclass(frozen=True, eq=False)
class Resize(Linear):
    """y = (R_1 x R_2 x ...) x, resampled with a filter: an axis of n pixels becomes one of m.

    shape, resized: the shapes of x and y, any number of axes; an axis whose size does not change is left alone.  filter: a
    function of the distance in pixels, such as keys_cubic (the default), triangle, box, lanczos3.

    R[u, j] = filter((c_u - j) / w), each row divided by its sum, with c_u = (u + 1/2) n / m - 1/2 (pixel edges aligned,
    so the centre of mass stays) and w = max(n / m, 1): the filter is widened when shrinking, which is the antialias of
    MATLAB's imresize and of PIL. At the border the filter is cut and divided by what is left (PIL; MATLAB reflects).
    """

    card = dict(family="resolution", linear=True, svd=True, source="Keys 1981")

    shape: tuple
    resized: tuple
    filter: Callable = keys_cubic
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        if len(self.shape) != len(self.resized) or min(*self.shape, *self.resized) < 1:
            raise BadInput(
                f"Resize: shape = {self.shape} and resized = {self.resized} should have as many axes, of at least 1 pixel each"
            )

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: tuple(self.resized))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = signal_shape(rng)
        resized = sizes(rng, len(shape), 1, (64, 8, 4)[len(shape) - 1])
        return cls(shape, resized, pick(rng, box, triangle, keys_cubic, lanczos3), dtype)

    def along(self, device):
        """The resampling as a Kronecker product of one matrix for each axis, on `device`."""
        known = self.__dict__.setdefault("_along", {})
        if device not in known:
            sizes = zip(self.shape, self.resized, strict=True)
            matrices = tuple(resampling_matrix(n, m, self.filter).to(device, self.dtype) for n, m in sizes)
            known[device] = Kronecker(matrices)
        return known[device]

    def forward(self, x):
        return self.along(x.device).forward(x)

    def adjoint(self, y):
        return self.along(y.device).adjoint(y)

    def norm(self):
        return self.along(self.device).norm()

    def svd(self):
        return self.along(self.device).svd()

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b in closed form, from the singular values of each axis."""
        return self.along(b.device).solve(b, rho)

    def gram_spectrum(self, axes, probes=64):
        return self.along(self.device).gram_spectrum(axes)


def resampling_matrix(n, m, filter):
    """(m, n) float64: row u interpolates n pixels at the centre of pixel u of m (see Resize); the identity for m = n."""
    if n == m:
        return torch.eye(n, dtype=torch.float64)
    centre = (torch.arange(m, dtype=torch.float64) + 0.5) * (n / m) - 0.5
    weights = filter((centre[:, None] - torch.arange(n, dtype=torch.float64)) / max(n / m, 1))
    return weights / weights.sum(1, keepdim=True)
