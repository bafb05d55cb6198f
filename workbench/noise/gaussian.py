"""Gaussian noise, independent between entries or correlated between coils."""

from dataclasses import dataclass
from functools import cached_property
from math import log, pi

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.noise._noise import Noise, standard_normal
from workbench.operators.diagonal import Diagonal, Mix


def squared_norm(r, ndim):
    """||r||^2 over the last `ndim` axes, in double precision."""
    r = torch.view_as_real(r).flatten(-2) if r.is_complex() else r
    axes = tuple(range(r.ndim - ndim, r.ndim))
    return (r.to(torch.float64) ** 2).sum(axes) if axes else r.to(torch.float64) ** 2


def normalisation(count, log_det):
    """-(count log 2 pi + log det C) / 2, for `count` real numbers."""
    return -0.5 * (count * log(2 * pi) + log_det)


@dataclass(frozen=True, eq=False)
class Gaussian(Noise):
    """y = A(x) + sigma n with n standard normal.

    sigma: standard deviation of each real component, one number > 0 or a real tensor that broadcasts to y.
    """

    card = dict(family="Gaussian", source="")

    sigma: float | Tensor

    def __post_init__(self):
        sigma = torch.as_tensor(self.sigma)
        if sigma.is_complex() or not (torch.isfinite(sigma).all() and (sigma > 0).all()):
            raise BadInput(
                f"noise.Gaussian: sigma = {self.sigma} should be positive; for almost no noise use a small number"
            )

    @classmethod
    def example(cls, rng):
        return cls(0.3)

    def draw(self, clean, rng):
        return clean + self._as(clean) * standard_normal(clean, rng)

    def _as(self, like):
        sigma = (
            self.sigma if isinstance(self.sigma, Tensor) else torch.tensor(self.sigma, dtype=torch.float64)
        )
        return sigma.to(like.device, like.dtype.to_real())

    def log_likelihood(self, y, clean):
        """-||y - clean||^2 / (2 sigma^2) - (c / 2) sum log(2 pi sigma^2), with c = 2 real components if complex."""
        components = 2 if y.is_complex() else 1
        log_det = (
            2
            * components
            * torch.log(torch.as_tensor(self.sigma, dtype=torch.float64)).expand(y.shape).sum().item()
        )
        return normalisation(components * y.numel(), log_det) - 0.5 * squared_norm(
            (y - clean) / self._as(y), y.ndim
        )

    def gradient(self, y, clean):
        """(y - clean) / sigma^2."""
        return (y - clean) / self._as(y) ** 2

    def cov(self, v):
        """Cov[y | clean] v = sigma^2 v."""
        return self._as(v) ** 2 * v

    def whiten(self, A, y):
        """A / sigma and y / sigma, whose noise is standard normal."""
        sigma = self._as(y)
        if sigma.ndim == 0:
            return (1 / sigma.item()) * A, y / sigma
        return Diagonal((1 / sigma).expand(tuple(A.out_shape)).contiguous(), A.out_dtype) @ A, y / sigma


@dataclass(frozen=True, eq=False)
class CorrelatedGaussian(Noise):
    """y = A(x) + L n with n standard normal and covariance L L^H between the coils.

    covariance: (C, C) Hermitian positive definite, per real component (half of E[n n^H] for complex noise).
    axis: the axis of y the coils lie on, counted from its end: -2 for y: (C, m).
    """

    card = dict(family="Gaussian", source="Pruessmann et al. 1999")

    covariance: Tensor
    axis: int = -2

    def __post_init__(self):
        C = self.covariance
        if C.ndim != 2 or C.shape[0] != C.shape[1] or not torch.allclose(C, C.mH, rtol=1e-4, atol=0):
            raise BadInput(
                f"noise.CorrelatedGaussian: covariance {tuple(C.shape)} should be square and Hermitian"
            )
        if torch.linalg.cholesky_ex(C).info.item():
            raise BadInput(
                "noise.CorrelatedGaussian: covariance is not positive definite; add a small multiple of I"
            )

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        m = rng.normal(torch.empty(3, 3, dtype=dtype))
        return cls(m @ m.mH + 0.1 * torch.eye(3, dtype=dtype))

    @cached_property
    def factor(self):
        """The lower Cholesky factor L of the covariance."""
        return torch.linalg.cholesky(self.covariance)

    def draw(self, clean, rng):
        return clean + self._mix(self.factor, standard_normal(clean, rng))

    def _mix(self, matrix, v):
        if matrix.is_complex() and not v.is_complex():
            raise BadInput(
                "noise.CorrelatedGaussian: covariance is complex but y is real; give covariance.real"
            )
        mixed = torch.tensordot(matrix.to(v.device, v.dtype), v, dims=([1], [v.ndim + self.axis]))
        return torch.movedim(mixed, 0, self.axis)

    def log_likelihood(self, y, clean):
        """-||L^{-1} (y - clean)||^2 / 2 - (c / 2) (samples log det C + entries log 2 pi)."""
        components, coils = (2 if y.is_complex() else 1), y.shape[self.axis]
        log_det = components * (y.numel() // coils) * 2 * self.factor.diagonal().real.log().sum().item()
        residual = self._mix(torch.linalg.inv(self.factor), y - clean)
        return normalisation(components * y.numel(), log_det) - 0.5 * squared_norm(residual, y.ndim)

    def cov(self, v):
        """Cov[y | clean] v."""
        return self._mix(self.covariance, v)

    def whiten(self, A, y):
        """L^{-1} A and L^{-1} y, whose noise is standard normal."""
        inverse = torch.linalg.inv(self.factor)
        w = self._mix(inverse, y)
        return Mix(inverse.to(y.device, y.dtype), tuple(A.out_shape), self.axis) @ A, w
