"""Mixtures of low-rank Gaussians: the law whose best denoiser clusters subspaces."""

from math import cos, pi, sqrt

import torch

from theory.distributions.covariance import LowRank
from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput
from workbench._rng import Rng


class MoLRG(GaussianMixture):
    """x = m_k + U_k a, a ~ N(0, I_r), k of K with equal chance, plus N(0, delta I): K subspaces of dimension r in R^d.

    angle: every principal angle between every two subspaces, in radians; pi / 2 (the default) makes them orthogonal and
    needs d >= K r, less d >= (K + 1) r: U_k = sqrt(c) B_0 + sqrt(1 - c) B_k, c = cos(angle), with orthonormal B_j of `seed`.
    means: (K, d), zero by default.  delta: the variance off the subspaces. Nothing of d x d is formed: d = 10^6 runs.
    The denoiser at (alpha, sigma), with delta = 0 and no means, is alpha / (alpha^2 + sigma^2) sum_k rho_k U_k U_k^T x,
    rho_k ~ exp((1 / sigma^2 - 1 / (alpha^2 + sigma^2)) |U_k^T x|^2 / 2).  Wang et al. 2024, eq. 5.
    """

    card = dict(name="molrg", engine="mixture", exact=True, source="Wang et al. 2024")

    def __init__(
        self,
        K,
        r,
        d,
        delta=0.0,
        angle=pi / 2,
        means=None,
        seed=0,
        dtype=torch.float64,
        process=None,
        noise_range=None,
    ):
        if K < 1 or r < 1:
            raise BadInput(f"MoLRG: K = {K} and r = {r} should be at least 1")
        if not 0 < angle <= pi / 2:
            raise BadInput(f"MoLRG: angle = {angle:g} should be above 0 and at most pi / 2 (radians)")
        shared = angle < pi / 2 - 1e-12
        if (K + shared) * r > d:
            raise BadInput(
                f"MoLRG: K = {K} subspaces of dimension r = {r} at this angle need d >= {(K + shared) * r}; d is {d}"
            )
        c = cos(angle) if shared else 0.0
        rng = Rng(seed, "subspaces")
        basis = torch.linalg.qr(rng.normal(torch.empty(d, (K + shared) * r, dtype=torch.float64))).Q
        frames = basis.reshape(d, K + shared, r).transpose(0, 1)
        U = sqrt(c) * frames[0] + sqrt(1 - c) * frames[1:] if shared else frames
        means = torch.zeros(K, d, dtype=dtype) if means is None else means.to(dtype)
        low = LowRank(U.contiguous().to(dtype), torch.ones(K, r, dtype=dtype), delta)
        super().__init__([1] * K, means, low, process, noise_range)
        self.r = r

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        if dtype.is_complex:
            raise BadInput("MoLRG is a law of real signals")
        return cls(3, 2, 9, delta=0.05, angle=1.0, dtype=dtype)

    def intrinsic_dim(self, x=None):
        """r, that of the subspaces (where delta is small)."""
        return self.r
