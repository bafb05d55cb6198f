"""Gaussian closures: p(x0 | x_t) taken as the normal law with its first two moments, from products with the Jacobian."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.samplers._reals import as_reals, from_reals, unit_vectors

ENTRIES = 2**24  # of a sketch that are worked on at a time


@dataclass(frozen=True)
class Closure:
    """N(mean, v I + sum_i D_i q_i q_i^T) of each row, float64, complex signals as real ones of twice the size.

    mean: (n, d).  v: (n,) >= 0.  Q: (n, r, d), its rows q_i orthonormal or zero.  D: (n, r) >= 0. Where the Jacobian is
    taken whole, r = d and v = 0.
    """

    mean: Tensor
    v: Tensor
    Q: Tensor
    D: Tensor

    @property
    def whole(self):
        """Whether it holds all directions."""
        return self.Q.shape[1] == self.Q.shape[2]

    def apply(self, f, z):
        """f(covariance) z, f acting on eigenvalues: (n, d)."""
        low, high = f(self.v)[:, None], f(self.v[:, None] + self.D)
        along = torch.einsum("nrd,nd->nr", self.Q, z)
        return low * z + torch.einsum("nrd,nr->nd", self.Q, (high - low) * along)

    def draw(self, rng):
        """A draw of each row, less the mean."""
        return self.apply(torch.sqrt, rng.normal(self.mean))

    def given(self, u, precision):
        """The closure once u = x0 + N(0, I / precision) is seen too, in the same directions."""
        shrunk = lambda c: c / (1 + precision * c)  # noqa: E731
        mean = self.mean + precision * self.apply(shrunk, u - self.mean)
        v = shrunk(self.v)
        return Closure(mean, v, self.Q, shrunk(self.v[:, None] + self.D) - v[:, None])


def close(prior, x, t, directions):
    """The Closure at x: (n, *shape), from products with Cov[x0 | x_t] along `directions`: (1 or n, r, d), orthonormal.

    With r = d it is exact. With fewer it is Nystrom's approximation of what the covariance has above its least value v
    along them: right in products with the directions (but for the least one), and everywhere for v I plus a matrix of
    lower rank. Gittens and Mahoney 2016.
    """
    size = max(1, ENTRIES // directions[0].numel())
    parts = []
    for i in range(0, len(x), size):
        some = directions if len(directions) == 1 else directions[i : i + size]
        parts.append(_close(prior, x[i : i + size], t, some))
    return Closure(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _close(prior, x, t, directions):
    """The fields of a Closure of some rows."""
    n, (r, d) = len(x), directions.shape[1:]
    x0, covariance = prior.tweedie(x, t)
    omega = directions.expand(n, r, d)
    Y = torch.stack([as_reals(covariance(from_reals(w, x[0]))).double() for w in omega.unbind(1)], 1)
    T = Y @ omega.mT
    l, U = torch.linalg.eigh(0.5 * (T + T.mT))
    mean = as_reals(x0).double()
    if r == d:
        return mean, torch.zeros_like(l[:, 0]), U.mT @ omega, l.clamp_min(0)
    v = l[:, 0].clamp_min(0)
    above = l - v[:, None]
    kept = above > 1e-9 * l[:, -1:]
    scale = torch.where(kept, above, 1.0).rsqrt() * kept
    F = (scale[:, :, None] * U.mT) @ (Y - v[:, None, None] * omega)  # covariance = v I + F^T F
    g, P = torch.linalg.eigh(F @ F.mT)
    kept = g > 1e-12 * g[:, -1:]
    Q = (torch.where(kept, g, 1.0).rsqrt() * kept)[:, :, None] * (P.mT @ F)
    return mean, v, Q, torch.where(kept, g, 0.0)


def orthonormal(directions):
    """An orthonormal basis of the rows of (n, r, d), r <= d."""
    return torch.linalg.qr(directions.mT).Q.mT.contiguous()


def whole(like):
    """All coordinate directions of a signal like (*shape), (1, d, d)."""
    d = as_reals(like[None]).shape[1]
    return torch.eye(d, dtype=torch.float64, device=like.device)[None]


def square_root(covariance, z, steps=16):
    """covariance^(1/2) z by Lanczos' method, each row on its own: z (n, *shape), covariance symmetric on real coordinates.

    sum_k |z| q_k (T^(1/2) e_1)_k after `steps` products, with new vectors made orthogonal to all before. Chow, Saad 2014.
    """
    like, x = z[0], as_reals(z).double()
    size = x.norm(dim=1)
    q, vectors, diagonal, beside = x / size[:, None], [], [], []
    for _ in range(min(steps, x.shape[1])):
        vectors.append(q)
        y = as_reals(covariance(from_reals(q, like))).double()
        diagonal.append((q * y).sum(1))
        basis = torch.stack(vectors, 1)
        for _ in range(2):
            y = y - torch.einsum("nkd,nk->nd", basis, torch.einsum("nkd,nd->nk", basis, y))
        beside.append(y.norm(dim=1))
        q = y / beside[-1].clamp_min(1e-30)[:, None]
    off = torch.stack(beside[:-1], 1) if beside[1:] else x.new_zeros(len(x), 0)
    small = off < 1e-8 * torch.stack(diagonal, 1).amax(
        1, keepdim=True
    )  # an invariant subspace: what follows is noise
    off = torch.where(small.long().cumsum(1) > 0, 0.0, off)
    T = torch.diag_embed(torch.stack(diagonal, 1)) + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    l, P = torch.linalg.eigh(T)
    first = torch.einsum("nij,nj->ni", P, l.clamp_min(0).sqrt() * P[:, 0])
    return from_reals(torch.einsum("nkd,nk->nd", torch.stack(vectors, 1), size[:, None] * first), like)


def coordinates(V, like):
    """The images of the real coordinates under the linear V, as rows (r, d)."""
    probe = torch.zeros(tuple(V.in_shape), dtype=V.in_dtype, device=like.device)
    return torch.cat([as_reals(V(e)) for e in unit_vectors(probe, 1)]).double()
