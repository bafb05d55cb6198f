"""Integrals over the cells of a regular grid: the Gaussian kernel and its moments, axis by axis."""

from math import log, pi, sqrt

import numpy as np
import torch


def centres(low, high, cells):
    """The centres of cells along each axis of a box."""
    steps = [torch.arange(n, dtype=torch.float64, device=low.device) + 0.5 for n in cells]
    return [a + (b - a) * k / len(k) for a, b, k in zip(low, high, steps, strict=True)]


def contract(W, kernels):
    """sum_c W_c prod_i k_i[:, c_i] for W: (N_1, ..., N_d), k_i: (n, N_i) -> (n,)."""
    first, *others = kernels
    out = torch.tensordot(first, W, 1)
    for k in others:
        out = (out * k.reshape(*k.shape, *[1] * (out.ndim - 2))).sum(1)
    return out


FAR = 1e3  # standard deviations of the kernel outside the box, from where its shape in the box is taken as it is there


def kernel(c, edges, s):
    """The integrals over each cell of N(c; z, s^2) (z - ref)^p, p = 0, 1, 2, over exp(top): 3 of (n, N); ref, top: (n,).

    ref is c, moved into the box, which keeps the moments free of cancellation.
    """
    low, high = edges[0], edges[-1]
    ref, near = c.detach().clamp(low, high), c.clamp(low - FAR * s, high + FAR * s)
    rule = _by_nodes if s > edges[1] - edges[0] else _by_tails
    moments, top = rule(near, ref, edges, s)
    beyond = lambda x: ((low - x).clamp_min(0) + (x - high).clamp_min(0)) / s  # noqa: E731
    return moments, ref, top - 0.5 * (beyond(c) ** 2 - beyond(near) ** 2)


def _by_nodes(c, ref, edges, s):
    """Six Gauss-Legendre nodes a cell, for kernels wider than a cell: to 12 digits."""
    node, weight = (torch.from_numpy(a).to(edges) for a in np.polynomial.legendre.leggauss(6))
    h = edges[1] - edges[0]
    z = 0.5 * (edges[1:] + edges[:-1])[:, None] + 0.5 * h * node
    q = -0.5 * ((z - c[:, None, None]) / s) ** 2
    top = q.detach().amax((1, 2))
    k = torch.exp(q - top[:, None, None]) * (0.5 * h * weight / (s * sqrt(2 * pi)))
    off = z - ref[:, None, None]
    return (k.sum(-1), (k * off).sum(-1), (k * off**2).sum(-1)), top


def _by_tails(c, ref, edges, s):
    """Differences of the normal distribution function, in logarithms: moments of truncated normals."""
    a, b = (edges[:-1] - c[:, None]) / s, (edges[1:] - c[:, None]) / s
    log_m = _log_slab(a, b)
    density = lambda u: torch.exp(-0.5 * u**2 - 0.5 * log(2 * pi) - log_m)  # noqa: E731
    pa, pb = density(a), density(b)
    first, second = s * (pa - pb), (s**2 * (1 + a * pa - b * pb)).clamp_min(0)  # of z - c
    shift = (c - ref)[:, None]
    top = log_m.detach().amax(1)
    m = torch.exp(log_m - top[:, None])
    return (m, m * (first + shift), m * (second + 2 * shift * first + shift**2)), top


def _log_slab(a, b):
    """log(Phi(b) - Phi(a)) for a < b, from the tail that is nearer."""
    flip = a + b > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    upper = torch.special.log_ndtr(b)
    return upper + torch.log1p(-torch.exp(torch.special.log_ndtr(a) - upper))
