"""Draws of directions from the von Mises-Fisher law (Wood 1994), row by row."""

from math import log

import torch


def wood(kappa, rng, like):
    """u ~ exp(kappa u_1) on S^{d-1}, (n, d): Wood 1994, each proposal made of one uniform direction v.

    v_1 gives the beta variable (1 - v_1) / 2 of the height w, and the other entries, whose direction is independent of
    it, the tangent. 1 - w is kept beside w, which rounds to 1 for large kappa.
    """
    d = like.shape[1]
    b = (d - 1) / (2 * kappa + (4 * kappa**2 + (d - 1) ** 2) ** 0.5)
    x0 = (1 - b) / (1 + b)
    top = kappa * x0 + (d - 1) * log(4 * b / (1 + b) ** 2)
    out, missing = torch.empty_like(like), torch.ones(len(like), dtype=torch.bool)
    while missing.any():
        v, luck = unit(rng.normal(like)), rng.uniform(len(like))
        up, down = 1 + v[:, 0], b * (1 - v[:, 0])
        w, gap = (up - down) / (up + down), 2 * down / (up + down)
        side = torch.sqrt(gap * (2 - gap))[:, None] * unit(v[:, 1:])
        kept = missing & (kappa * w + (d - 1) * torch.log1p(-x0 * w) - top >= torch.log(luck))
        out[kept] = torch.cat([w[:, None], side], 1)[kept]
        missing &= ~kept
    return out


def unit(v):
    return v / v.norm(dim=1, keepdim=True)


def reflected(u, axis):
    """u with its first unit vector turned into `axis`, by the reflection that swaps them."""
    w = -axis
    w = w + torch.eye(1, len(w), dtype=w.dtype)[0]
    size = w.square().sum()
    return u if size == 0 else u - (2 / size) * (u @ w)[:, None] * w
