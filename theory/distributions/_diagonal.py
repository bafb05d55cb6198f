"""Gaussian data that couple no coordinates: p(y | x) prop. to exp(sum_i k_i z_i - K_i z_i^2 / 2), z = W x."""

from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor

from theory.distributions._condition import whitened
from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True)
class Sites:
    """precision K, shift k: (d,) float64.  constant: log p(y | x) at x = 0."""

    precision: Tensor
    shift: Tensor
    constant: float


def sites(law, A, y, noise, analysed, synthesised):
    """What data say of each coordinate z = analysed(x): (n, d), x = synthesised(z); BadInput where A couples them."""
    B, w, log_jacobian = whitened(law, A, y, noise)
    pull = lambda v: analysed(B.H(v).reshape(len(v), *law.shape).to(law.dtype))  # noqa: E731
    normal = lambda z: pull(B(synthesised(z)))  # noqa: E731
    shift = pull(w[None])[0]
    precision = normal(torch.ones_like(shift)[None])[0]
    if not _is_diagonal(normal, precision, torch.finfo(law.dtype).eps):
        raise BadInput(
            f"condition: A = {type(A).__name__} mixes the {len(shift)} coordinates that {type(law).__name__} keeps apart; "
            f"use a mask or a point-wise gain there, or a sampler"
        )
    reals = w.numel() * (2 if w.is_complex() else 1)
    constant = -0.5 * (w.abs() ** 2).sum().item() - 0.5 * reals * log(2 * pi) + log_jacobian
    return Sites(precision, shift, constant)


def _is_diagonal(normal, diagonal, eps):
    """Whether the map z -> K z is that diagonal, by two random vectors: any other entry is seen with probability 1."""
    z = Rng(0, "probe").normal(diagonal.new_empty(2, len(diagonal)))
    gap = (normal(z) - diagonal * z).abs().max()
    return bool(gap <= 1e4 * eps * diagonal.abs().max().clamp_min(1e-300))
