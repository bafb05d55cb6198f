"""Mixtures of low-rank Gaussians (MoLRG): random subspaces, and the library's laws on them."""

import torch

from theory.distributions.covariance import LowRank
from theory.distributions.mixture import GaussianMixture
from workbench.diffusion.variance_preserving import VariancePreserving

FLOAT64 = torch.float64
VP2 = VariancePreserving(2.0, 2.0)  # alpha = e^-t


def frame(d, r, rng):
    """A random (d, r) frame of orthonormal columns."""
    return torch.linalg.qr(rng.normal(torch.empty(d, r, dtype=FLOAT64))).Q


def orthogonal_frames(d, K, r, rng):
    """K random frames whose spans are orthogonal: (K, d, r)."""
    return frame(d, K * r, rng).reshape(d, K, r).transpose(0, 1).contiguous()


def subspaces(U, process, delta=0.0, lam=None):
    """The library's mixture of N(0, U_k diag(lam_k) U_k' + delta I), U: (K, d, r), equal weights, lam = 1 by default."""
    K, d, r = U.shape
    lam = torch.ones(K, r, dtype=FLOAT64) if lam is None else lam
    return GaussianMixture([1] * K, torch.zeros(K, d, dtype=FLOAT64), LowRank(U, lam, delta), process)


def one_subspace(U, process, delta=0.0):
    """N(0, U U' + delta I), U: (d, r)."""
    return subspaces(U[None], process, delta)


def time_of(sigma, process=VP2):
    """The time at which a variance-preserving process has this sigma."""
    return process.time(sigma / (1 - sigma**2) ** 0.5).item()
