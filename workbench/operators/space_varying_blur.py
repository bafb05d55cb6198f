"""Space-varying blur: a few kernels, and how much of each every place sees."""

from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor
from torch.fft import fftn, ifftn, irfftn, rfftn

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._once import once
from workbench.operators._sizes import integer, signal_shape


@dataclass(frozen=True, eq=False)
class SpaceVaryingBlur(Linear):
    """y = sum_k h_k * (w_k x), the product-convolution expansion of a blur that changes from place to place.

    kernels: (K, H, W) (any number of axes after the first), each with its centre at index (0, 0), as for CircularBlur.
    weights: (K, H, W), how much of kernel k the light from each pixel is spread by; `bilinear_weights` makes some that
    sum to 1 everywhere.  x, y: (*, H, W) of their dtype, periodic.  The kernel follows the place the light comes from
    (a column of the matrix is a point-spread function). Gradients flow to both fields. Escande and Weiss 2017.
    """

    card = dict(family="blur", linear=True, svd=False, source="Escande and Weiss 2017")

    kernels: Tensor
    weights: Tensor

    def __post_init__(self):
        k, w = (getattr(v, "shape", None) for v in (self.kernels, self.weights))
        if k is None or len(k) < 2 or k != w or self.kernels.dtype != self.weights.dtype:
            raise BadInput(
                f"SpaceVaryingBlur: kernels {k and tuple(k)} and weights {w and tuple(w)} should be tensors of one shape (K, *signal) and dtype"
            )

    in_shape = out_shape = property(lambda self: tuple(self.kernels.shape[1:]))
    in_dtype = out_dtype = property(lambda self: self.kernels.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        like = torch.empty(integer(rng, 1, 4), *signal_shape(rng), dtype=dtype)
        return cls(rng.normal(like), rng.normal(like))

    @cached_property
    def _axes(self):
        return tuple(range(1 - self.kernels.ndim, 0))

    @once("kernels")
    def transfers(self):
        """The FFT of each kernel, of a real one its half: the gain of each frequency."""
        return self._spectrum(self.kernels)

    def _spectrum(self, x):
        return (fftn if x.is_complex() else rfftn)(x, dim=self._axes)

    def _signal(self, spectrum):
        inverse = ifftn if self.kernels.is_complex() else irfftn
        return inverse(spectrum, s=self.in_shape, dim=self._axes)

    def forward(self, x):
        parts = self._spectrum(self.weights * x.unsqueeze(-len(self.in_shape) - 1))
        return self._signal((self.transfers * parts).sum(-len(self.in_shape) - 1))

    def adjoint(self, y):
        parts = self._signal(self.transfers.conj() * self._spectrum(y).unsqueeze(-len(self.in_shape) - 1))
        return (self.weights.conj() * parts).sum(-len(self.in_shape) - 1)


def bilinear_weights(shape, grid, dtype=torch.float32):
    """Hat functions on a grid of nodes: (K, *shape) >= 0 with K = prod(grid), summing to 1 in every pixel.

    The grid's outer nodes stand on the outer pixels, the others at equal distances between them; along an axis with one
    node the weight is constant. Node (a, b) of a grid (P, Q) is row a Q + b.
    """
    if len(grid) != len(shape) or not all(1 <= g <= n for g, n in zip(grid, shape, strict=True)):
        raise BadInput(
            f"bilinear_weights: grid = {tuple(grid)} should have from 1 to n nodes on each axis of {tuple(shape)}"
        )
    hats = [_hats(n, g) for n, g in zip(shape, grid, strict=True)]
    product = lambda a, b: torch.einsum("k...,ln->kl...n", a, b).flatten(0, 1)
    return reduce(product, hats).to(dtype)


def _hats(n, nodes):
    """(nodes, n) piecewise linear functions, each 1 at its own node and 0 at the others."""
    place = torch.linspace(0, nodes - 1, n, dtype=torch.float64)
    return (1 - (place - torch.arange(nodes, dtype=torch.float64)[:, None]).abs()).clamp_min(0)
