"""Covariances of K components as functions of their eigenvalues: one factorisation serves every noise level.

`apply(f, v)` is f(C_k) v for v: (n, K, d), f acting on eigenvalues; `mixed(f, rho, v)` is sum_k rho_k f(C_k) v for v:
(n, d) and rho: (n, K); of the offsets x - m_k of x: (n, d) from K means, made once by `offsets(x, m)`, `quadratic(f, offsets)`
is <x - m_k, f(C_k)(x - m_k)>: (n, K) and `pulled(f, rho, offsets)` is sum_k rho_k f(C_k)(x - m_k): (n, d); `trace(f)` is sum_i f(c_ki): (K,); `affine(a, b)` is a C_k + b I; `pick(k)` is one component;
`dense()` is (K, d, d). Covariances are per real component.
"""

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from workbench._errors import BadInput


class _Form:
    """What every form can do by way of (n, K, d) offsets."""

    def offsets(self, x, m):
        return x[:, None] - m

    def quadratic(self, f, offsets):
        return (offsets.conj() * self.apply(f, offsets)).real.sum(-1)

    def pulled(self, f, rho, offsets):
        return (rho[..., None].to(offsets.dtype) * self.apply(f, offsets)).sum(1)


@dataclass(frozen=True, eq=False)
class Isotropic(_Form):
    """C_k = c_k I.  c: (K,) >= 0.  d: the dimension."""

    c: Tensor
    d: int

    def apply(self, f, v):
        return f(self.c)[:, None] * v

    def mixed(self, f, rho, v):
        return (rho @ f(self.c))[:, None] * v

    def trace(self, f):
        return self.d * f(self.c)

    def affine(self, a, b):
        return Isotropic(a * self.c + b, self.d)

    def pick(self, k):
        return Isotropic(self.c[k : k + 1], self.d)

    def dense(self):
        return self.c[:, None, None] * torch.eye(self.d, dtype=self.c.dtype, device=self.c.device)

    def extremes(self):
        return self.c.min(), self.c.max()


@dataclass(frozen=True, eq=False)
class Diagonal(_Form):
    """C_k = diag(c_k).  c: (K, d) >= 0."""

    c: Tensor

    def apply(self, f, v):
        return f(self.c) * v

    def mixed(self, f, rho, v):
        return (rho @ f(self.c)) * v

    def trace(self, f):
        return f(self.c).sum(-1)

    def affine(self, a, b):
        return Diagonal(a * self.c + b)

    def pick(self, k):
        return Diagonal(self.c[k : k + 1])

    def dense(self):
        return torch.diag_embed(self.c)

    def extremes(self):
        return self.c.min(), self.c.max()


@dataclass(frozen=True, eq=False)
class Full(_Form):
    """C_k = Q_k diag(c_k) Q_k^H.  c: (K, d) >= 0, Q: (K, d, d) unitary; `Full.of(C)` factors (K, d, d)."""

    c: Tensor
    Q: Tensor

    @classmethod
    def of(cls, C):
        c, Q = torch.linalg.eigh(0.5 * (C + C.mH))
        if (c.amin(-1) < -(torch.finfo(c.dtype).eps ** 0.5) * c.amax(-1)).any():
            raise BadInput(f"covariances: an eigenvalue is {c.min().item():g}; a covariance has none below 0")
        return cls(c.clamp_min(0), Q)

    def apply(self, f, v):
        coordinates = torch.einsum("kde,nkd->nke", self.Q.conj(), v)
        return torch.einsum("kde,nke->nkd", self.Q, f(self.c) * coordinates)

    def mixed(self, f, rho, v):
        coordinates = torch.einsum("kde,nd->nke", self.Q.conj(), v)
        return torch.einsum("kde,nke->nd", self.Q, rho[..., None] * f(self.c) * coordinates)

    def trace(self, f):
        return f(self.c).sum(-1)

    def affine(self, a, b):
        return Full(a * self.c + b, self.Q)

    def pick(self, k):
        return Full(self.c[k : k + 1], self.Q[k : k + 1])

    def dense(self):
        return (self.Q * self.c[:, None, :]) @ self.Q.mH

    def extremes(self):
        return self.c.min(), self.c.max()


BLOCK = 8192  # coordinates of a low-rank component that are worked on at once


class _Inside(NamedTuple):
    """Offsets from K means as low-rank covariances see them."""

    x: Tensor
    m: Tensor
    squares: Tensor
    inside: Tensor


@dataclass(frozen=True, eq=False)
class LowRank(_Form):
    """C_k = U_k diag(lam_k) U_k^H + delta_k I, never formed.

    U: (K, d, r) with orthonormal columns (checked), lam: (K, r) >= 0, delta: a variance, one number or (K,), >= 0.
    """

    U: Tensor
    lam: Tensor
    delta: float | Tensor = 0.0

    def __post_init__(self):
        # in double precision, as a sum of 10^6 products in single errs by 4e-4
        U = self.U.to(torch.complex128 if self.U.is_complex() else torch.float64)
        gap = (U.mH @ U - torch.eye(U.shape[-1], dtype=U.dtype, device=U.device)).abs().max().item()
        if gap > 1e-4:
            raise BadInput(
                f"LowRank: the columns of U miss orthonormality by {gap:.1e}; use torch.linalg.qr(U).Q"
            )
        if (self.lam < 0).any() or (torch.as_tensor(self.delta) < 0).any():
            raise BadInput("LowRank: lam and delta are variances and should not be negative")

    @property
    def _floor(self):
        delta = torch.as_tensor(self.delta, dtype=self.lam.dtype, device=self.lam.device)
        return delta.expand(len(self.lam))

    def apply(self, f, v):
        low = f(self._floor)[:, None]
        inside = torch.einsum("kdr,nkd->nkr", self.U.conj(), v)
        gain = f(self.lam + self._floor[:, None]) - low
        return low * v + torch.einsum("kdr,nkr->nkd", self.U, gain * inside)

    def mixed(self, f, rho, v):
        low = f(self._floor)
        inside = torch.einsum("kdr,nd->nkr", self.U.conj(), v)
        gain = f(self.lam + self._floor[:, None]) - low[:, None]
        return (rho @ low)[:, None] * v + torch.einsum("kdr,nkr->nd", self.U, rho[..., None] * gain * inside)

    def _blocks(self, x, m):
        """x, m and U by blocks of coordinates that stay in the cache."""
        return zip(x.split(BLOCK, 1), m.split(BLOCK, 1), self.U.split(BLOCK, 1), strict=True)

    def offsets(self, x, m):
        """Squares |x - m_k|^2: (n, K) and coordinates U_k^H (x - m_k): (n, K, r), without anything of (n, K, d)."""
        squares, inside = 0.0, 0.0
        for x_b, m_b, U_b in self._blocks(x, m):
            d = x_b - m_b[:, None]  # (K, n, block)
            squares = squares + torch.linalg.vecdot(d, d).real
            inside = inside + d @ U_b.conj()
        return _Inside(x, m, squares.mT, inside.transpose(0, 1))

    def quadratic(self, f, offsets):
        low = f(self._floor)
        gain = f(self.lam + self._floor[:, None]) - low[:, None]
        return low * offsets.squares + (gain * (offsets.inside.conj() * offsets.inside).real).sum(-1)

    def pulled(self, f, rho, offsets):
        low = f(self._floor)
        gain = f(self.lam + self._floor[:, None]) - low[:, None]
        share = (rho * low).to(offsets.m.dtype)
        inside = (rho[..., None] * gain * offsets.inside).flatten(1)
        both, total = torch.cat([-share, inside], 1), share.sum(1, keepdim=True)
        blocks = [
            torch.addmm(total * x_b, both, torch.cat([m_b, U_b.mT.flatten(0, 1)]))
            for x_b, m_b, U_b in self._blocks(offsets.x, offsets.m)
        ]
        return torch.cat(blocks, 1)

    def trace(self, f):
        d, r = self.U.shape[-2:]
        return (d - r) * f(self._floor) + f(self.lam + self._floor[:, None]).sum(-1)

    def affine(self, a, b):
        return LowRank(self.U, a * self.lam, a * self._floor + b)

    def pick(self, k):
        return LowRank(self.U[k : k + 1], self.lam[k : k + 1], self._floor[k : k + 1])

    def dense(self):
        eye = torch.eye(self.U.shape[-2], dtype=self.U.dtype, device=self.U.device)
        return (self.U * self.lam[:, None, :]) @ self.U.mH + self._floor[:, None, None] * eye

    def extremes(self):
        smallest = self._floor.min() if self._floor.min() > 0 else self.lam.min()
        return smallest, (self.lam + self._floor[:, None]).max()


@dataclass(frozen=True, eq=False)
class Spectral(_Form):
    """C = F^H diag(P) F for the unitary FFT F over the axes of `spectrum`: a stationary covariance, one component.

    spectrum: (*shape) >= 0, in FFT order (zero frequency first); for real signals P(-k) = P(k).
    """

    spectrum: Tensor

    def apply(self, f, v):
        axes = tuple(range(-self.spectrum.ndim, 0))
        x = v.reshape(*v.shape[:-1], *self.spectrum.shape)
        gain = f(self.spectrum)
        if v.is_complex():
            out = torch.fft.ifftn(gain * torch.fft.fftn(x, dim=axes), dim=axes)
        else:
            half = gain[..., : self.spectrum.shape[-1] // 2 + 1]
            out = torch.fft.irfftn(half * torch.fft.rfftn(x, dim=axes), s=self.spectrum.shape, dim=axes)
        return out.reshape(v.shape)

    def mixed(self, f, rho, v):
        return self.apply(f, v)

    def trace(self, f):
        return f(self.spectrum).sum()[None]

    def affine(self, a, b):
        return Spectral(a * self.spectrum + b)

    def pick(self, k):
        return self

    def dense(self):
        d = prod(self.spectrum.shape)
        eye = torch.eye(d, dtype=self.spectrum.dtype.to_complex(), device=self.spectrum.device)
        C = self.apply(lambda c: c, eye[:, None])[:, 0].mT[None]
        even = C.imag.abs().max() < 1e3 * torch.finfo(C.dtype).eps * C.abs().max()
        return C.real if even else C

    def extremes(self):
        positive = self.spectrum[self.spectrum > 0]
        return positive.min(), self.spectrum.max()


def covariance(C, K, d):
    """The form that the shape of C says: (K,) isotropic, (K, d) diagonal, (K, d, d) full, or one of these classes."""
    if not isinstance(C, Tensor):
        return C
    wanted = {1: (K,), 2: (K, d), 3: (K, d, d)}.get(C.ndim)
    if tuple(C.shape) != wanted:
        raise BadInput(
            f"covariances has shape {tuple(C.shape)} for {K} components in dimension {d}; it should be ({K},), "
            f"({K}, {d}), ({K}, {d}, {d}) or LowRank(U, lam, delta)"
        )
    if C.ndim == 3:
        return Full.of(C)
    if (C < 0).any():
        raise BadInput(f"covariances: a variance is {C.min().item():g}; it should not be negative")
    return Isotropic(C, d) if C.ndim == 1 else Diagonal(C)
