"""Independent Laplace coordinates, with or without a share of exact zeros: the law behind soft shrinkage."""

from math import inf, log, prod

import torch

from theory.distributions._pieces import Pieces
from theory.distributions._product import Product
from workbench._errors import BadInput

FLOAT64 = torch.float64


def laplace_pieces(b, lam=1.0):
    """lam exp(-|y| / b) / (2 b) in each coordinate, and an atom of 1 - lam at 0 where lam < 1. b: (d,) > 0."""
    b = torch.as_tensor(b, dtype=FLOAT64)
    ends, rates, masses = ((-inf, 0.0), (0.0, inf)), (1 / b, -1 / b), [log(lam) - (2 * b).log()] * 2
    if lam < 1:
        ends, rates = (*ends, (0.0, 0.0)), (*rates, torch.zeros_like(b))
        masses = [*masses, torch.full_like(b, log(1 - lam))]
    low, high = torch.tensor(ends, dtype=FLOAT64, device=b.device).T[:, None].expand(2, len(b), -1)
    columns = [torch.stack(list(a), 1)[None] for a in (rates, masses)]
    return Pieces(torch.zeros(1, dtype=FLOAT64, device=b.device), low[None], high[None], *columns)


def checked_scale(b, who):
    """b as positive float64, or BadInput."""
    b = torch.as_tensor(b, dtype=FLOAT64)
    if not ((b > 0) & (b < inf)).all():
        raise BadInput(f"{who}: b = {b.flatten()[:4].tolist()} should be positive")
    return b


def real(dtype, who):
    """BadInput for a complex dtype."""
    if dtype.is_complex:
        raise BadInput(f"{who} is a law of real signals, dtype = {dtype}; use a real dtype")


class SpikedLaplace(Product):
    """p(x) = prod_i [(1 - lam) delta(x_i) + lam exp(-|x_i| / b) / (2 b)].

    lam in (0, 1]: the share that is not 0.  b: a number or (*shape).  Under noise it has a density at every t > 0; the
    two sides are y = x / alpha, s = sigma / alpha: exp(-y^2 / 2 s^2) / (4 b) [erfcx((s/b - y/s) / sqrt 2) +
    erfcx((s/b + y/s) / sqrt 2)].  Bohra et al. 2023 (Bernoulli-Laplace increments).
    """

    card = dict(engine="product", exact=False, source="Bohra et al. 2023")  # not under every linear A

    def __init__(self, lam, b, shape, dtype=FLOAT64, process=None, noise_range=None):
        real(dtype, type(self).__name__)
        if not 0 < lam <= 1:
            raise BadInput(f"{type(self).__name__}: lam = {lam} should be above 0 and at most 1")
        self.lam, self.b = lam, checked_scale(b, type(self).__name__)
        scales = self.b.expand(shape).flatten()
        size = 10 * (2 * lam * scales.square().sum()).sqrt().item()
        reach = (0.02 * scales.min().item(), max(size, scales.max().item()))
        super().__init__(laplace_pieces(scales, lam), shape, dtype, process, noise_range or reach)

    @classmethod
    def example(cls, rng, dtype=FLOAT64):
        return cls(0.4, torch.tensor([0.5, 1.0, 1.5]), (3,), dtype)

    def __repr__(self):
        return f"{type(self).__name__}(lam={self.lam}, {prod(self.shape)} coordinates, {self.dtype})"


class IndependentLaplace(SpikedLaplace):
    """p(x) = prod_i exp(-|x_i| / b_i) / (2 b_i).

    b: a number or (*shape).  With w the posterior mass of x_i > 0, grad log p_t(x_i) = (1 - 2 w) / (alpha b_i): the
    denoiser shrinks x / alpha by (sigma / alpha)^2 / b far from 0, and softly near it.
    """

    card = dict(engine="product", exact=False, source="")  # not under every linear A

    def __init__(self, b, shape, dtype=FLOAT64, process=None, noise_range=None):
        super().__init__(1.0, b, shape, dtype, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=FLOAT64):
        return cls(torch.tensor([[0.5, 1.0], [2.0, 0.7]]), (2, 2), dtype)

    def entropy(self):
        """sum_i (1 + log 2 b_i), in nats."""
        return (1 + (2 * self.b.expand(self.shape)).log()).sum().item()
