"""Uniform laws on boxes along the axes: sharp edges, and no density outside them."""

from itertools import product

import torch

from theory.distributions._pieces import Pieces
from theory.distributions._product import Product
from theory.distributions.independent_laplace import real
from workbench._errors import BadInput


class Boxes(Product):
    """p(x) = sum_k w_k prod_i [l_ki < x_i < u_ki] / (u_ki - l_ki).

    low, high: (K, d) corners.  weights: (K,) >= 0, normalised here; by default the boxes' volumes, so the density is
    the same in all.  Noised, p_t = sum_k w_k prod_i [Phi((x_i - alpha l_ki) / sigma) - Phi((x_i - alpha u_ki) / sigma)]
    / (alpha (u_ki - l_ki)), here without that difference, which cancels far from a box.
    """

    card = dict(engine="product", exact=False, source="")  # not under every linear A

    def __init__(self, low, high, weights=None, process=None, noise_range=None):
        real(low.dtype, type(self).__name__)
        l, u = low.double(), high.double()  # noqa: E741
        if l.ndim != 2 or l.shape != u.shape or not (l < u).all() or not (u - l).isfinite().all():
            raise BadInput(
                f"Boxes: low {tuple(low.shape)} should be below high {tuple(high.shape)}, both (K, d), finite"
            )
        w = (u - l).prod(1) if weights is None else torch.as_tensor(weights, dtype=torch.float64)
        if w.shape != (len(l),) or not (w >= 0).all() or not w.sum() > 0:
            raise BadInput(f"Boxes: weights = {w.tolist()} should be {len(l)} numbers >= 0, one a box")
        pieces = Pieces((w / w.sum()).log(), *(a[..., None] for a in (l, u, 0 * l, -(u - l).log())))
        size = torch.maximum(l.abs(), u.abs()).amax(0).norm().item()
        reach = (0.01 * (u - l).min().item(), 10 * size)
        super().__init__(pieces, l.shape[1:], low.dtype, process, noise_range or reach)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        low = torch.tensor([[-1.0, 0.0], [0.5, -1.0], [-0.5, -0.5]], dtype=dtype)
        return cls(
            low, low + torch.tensor([[0.4, 1.0], [1.5, 0.3], [2.0, 2.0]], dtype=dtype), [0.5, 0.3, 0.2]
        )


class Checkerboard(Boxes):
    """The uniform law on every second square of an n x n board of side 2 `half`, centred; d = 2."""

    card = dict(engine="product", exact=False, source="")  # not under every linear A

    def __init__(self, squares=4, half=2.0, dtype=torch.float64, process=None, noise_range=None):
        if squares < 2 or not half > 0:
            raise BadInput(f"Checkerboard: squares = {squares} should be 2 or more, half = {half} positive")
        side = 2 * half / squares
        seen = [(i, j) for i, j in product(range(squares), repeat=2) if (i + j) % 2 == 0]
        low = side * torch.tensor(seen, dtype=dtype) - half
        super().__init__(low, low + side, None, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(4, 1.0, dtype)
