"""The weighted Helmholtz-Hodge split of a field: a gradient, and a gauge that moves no mass of p."""

from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar, NamedTuple

import torch

from theory.diagnostics._estimate import Estimate, pooled_ratio
from theory.diagnostics._field import axes, coordinates, derivative, field, followed
from workbench._errors import BadInput
from workbench._rng import Rng


class Split(NamedTuple):
    """gradient + gauge = the field."""

    gradient: torch.Tensor
    gauge: torch.Tensor


def linear_split(M, C):
    """M x = S x + R x under N(0, C): S symmetric with S C + C S = M C + C M^T, and R C antisymmetric: a Split.

    M: (d, d), C: (d, d) positive definite. R x is divergence-free for p, E[S x . R x] = 0. It is not the Euclidean
    symmetric part of M unless C is a multiple of the identity.
    """
    c, Q = torch.linalg.eigh(C)
    if not c.min() > 0:
        raise BadInput(
            f"linear_split: C has the eigenvalue {c.min().item():.3g}; give a positive definite covariance"
        )
    N = Q.mT @ (M @ C + C @ M.mT) @ Q
    S = Q @ (N / (c[:, None] + c)) @ Q.mT
    return Split(S, M - S)


@dataclass(frozen=True, eq=False)
class FourierFeatures:
    """phi_j(x) = cos(w_j . x + b_j), with its gradients and Laplacians.  frequencies: (J, d), phases: (J,)."""

    frequencies: torch.Tensor
    phases: torch.Tensor

    def _angle(self, x):
        return x @ self.frequencies.mT + self.phases

    def __call__(self, x):
        return torch.cos(self._angle(x))

    def gradients(self, x):
        return -torch.sin(self._angle(x))[..., None] * self.frequencies

    def laplacians(self, x):
        return -torch.cos(self._angle(x)) * self.frequencies.square().sum(1)


def fourier_features(x, count=64, scale=None, seed=0):
    """`count` random potentials cos(w . x + b), w ~ N(0, I / scale^2), b uniform: FourierFeatures in the d coordinates of x.

    x: (n, *shape) sets d and dtype.  scale: a length in units of x; None for the root of the summed variances of x, for
    which w . x is of order one. Rahimi and Recht 2007.
    """
    u = coordinates(x)
    scale = u.var(0).sum().sqrt().item() if scale is None else scale
    rng = Rng(seed, "features")
    w = rng.normal(u.new_empty(count, u.shape[1])) / scale
    return FourierFeatures(w, (2 * pi * rng.uniform(count)).to(u))


@dataclass(frozen=True, eq=False)
class HodgeSplit(Estimate):
    """value: share of E ||s||^2 that no gradient of the basis explains: the gauge's share from above as
    the basis grows.  coefficients: (J,) of the potential.  gradient, gauge: (n, d) at the points.  size: E ||s||^2."""

    name: ClassVar[str] = "gauge share"

    size: float
    coefficients: torch.Tensor
    gradient: torch.Tensor
    gauge: torch.Tensor


def hodge_split(score, x, t, basis):
    """score = grad phi + r, E[r . grad phi_j] = 0 for every phi_j of `basis`, at draws x of p_t: a HodgeSplit.

    basis: (n, d) -> (n, J) potentials in real coordinates; with `gradients(x)`: (n, J, d) if it has it, else by autograd.
    Galerkin: G_ij = E[grad phi_i . grad phi_j], b_j = E[s . grad phi_j], coefficients G^+ b. In sample, so that J
    parameters fit about J / (n d) of a pure gauge.
    """
    u = coordinates(x)
    s = field(score, x, t)(u).detach().double()
    grads = _gradients(basis, u).double()
    G, inner = _gram(grads), torch.einsum("nd,njd->nj", s, grads)
    c = torch.linalg.pinv(G, hermitian=True, rtol=1e-10) @ inner.mean(0)
    gradient = torch.einsum("j,njd->nd", c, grads)
    gauge = s - gradient
    share, error = pooled_ratio(gauge.square().sum(1), s.square().sum(1))
    return HodgeSplit(share, error, len(u), None, s.square().sum(1).mean().item(), c, gradient, gauge)


@dataclass(frozen=True, eq=False)
class GradientError(Estimate):
    """value: unbiased for b^T G^+ b <= E ||s_hat - s||^2, up to the noise of G; it may be negative."""

    name: ClassVar[str] = "gradient error (lower bound)"


def gradient_error(score, x, t, basis):
    """b^T G^+ b with b_j = E[s_hat . grad phi_j + Lap phi_j]: part of E ||s_hat - s||^2 seen by `basis`, without s.

    E_p[(s_hat - s) . grad phi] = E_p[s_hat . grad phi + Lap phi] for every phi, so that the bound needs draws x of p_t
    and the model alone, and gauge fields do not count.  basis: as in `hodge_split`, with `laplacians(x)`: (n, J) if it
    has it. b is split over samples, over all pairs i != j of them rather than over two halves.
    """
    u = coordinates(x)
    s = field(score, x, t)(u).detach().double()
    grads = _gradients(basis, u).double()
    b = torch.einsum("nd,njd->nj", s, grads) + _laplacians(basis, u).double()
    metric = torch.linalg.pinv(_gram(grads), hermitian=True, rtol=1e-10)
    n, total = len(b), b.sum(0)
    value = (total @ metric @ total - ((b @ metric) * b).sum()) / (n * (n - 1))
    spread = 4 * (b @ metric @ b.mean(0)).var() / n
    noise = metric @ torch.cov(b.mT, correction=1).reshape(b.shape[1], -1)
    error = sqrt((spread + 2 * (noise @ noise).trace() / (n * (n - 1))).item())
    return GradientError(value.item(), error, n, None)


@dataclass(frozen=True, eq=False)
class GridSplit:
    """gauge_share: E_p ||r||^2 / E_p ||s||^2.  size: E_p ||s||^2.  potential: (N, N), up to a constant.  spacing: of the grid."""

    gauge_share: float
    size: float
    potential: torch.Tensor
    spacing: tuple

    def __str__(self):
        N = len(self.potential)
        return f"gauge share = {self.gauge_share:.4g} of E ||s||^2 = {self.size:.4g} ({N} x {N} grid)"


def grid_split(score, log_p, t, low, high, size=96):
    """div(p grad phi) = div(p score) on a rectangle in two dimensions, no flux through its rim: a GridSplit.

    score: (n, 2), t -> (n, 2); log_p: (n, 2), t -> (n,), up to a constant.  low, high: the corners, (2,) each; they
    should hold nearly all of p.  size: nodes a side. Finite volumes, field and density at the middle of each link:
    gradient and gauge are orthogonal exactly as discretised; the error of phi is of second order in the spacing.
    """
    from scipy.sparse.linalg import spsolve

    low, high = (torch.as_tensor(c, dtype=torch.float64) for c in (low, high))
    h = (high - low) / (size - 1)
    D, middle, axis = _links(low, h, size)
    s = score(middle, t).double().detach()[torch.arange(len(axis)), axis].numpy()
    weight = torch.softmax(log_p(middle, t).double().detach(), 0).clamp_min(1e-14).numpy()
    normal = (D.T.multiply(weight) @ D).tocsc()
    rhs = D.T @ (weight * s)
    phi = torch.zeros(size * size, dtype=torch.float64)
    phi[1:] = torch.from_numpy(spsolve(normal[1:, 1:], rhs[1:]))  # the first node is 0
    r = s - D @ phi.numpy()
    whole = (weight * s**2).sum()
    share = float((weight * r**2).sum() / whole)
    # the links of the two directions hold one component each, hence the factor
    return GridSplit(share, float(2 * whole), phi.reshape(size, size), tuple(h.tolist()))


def _links(low, h, size):
    """The difference matrix of all links of a grid (links, size^2), their midpoints (links, 2) and directions (links,)."""
    from scipy.sparse import diags, identity, kron, vstack

    step = diags([-1.0, 1.0], [0, 1], shape=(size - 1, size))
    D = vstack([kron(step / h[0].item(), identity(size)), kron(identity(size), step / h[1].item())])
    i = torch.arange(size, dtype=torch.float64)
    across = torch.cartesian_prod(i[:-1] + 0.5, i)
    up = torch.cartesian_prod(i, i[:-1] + 0.5)
    axis = torch.cat([torch.zeros(len(across)), torch.ones(len(up))]).long()
    return D.tocsr(), low + torch.cat([across, up]) * h, axis


def _gram(grads):
    """G_ij = mean of grad phi_i . grad phi_j, grads: (n, J, d): (J, J)."""
    flat = grads.transpose(0, 1).flatten(1)
    return flat @ flat.mT / len(grads)


def _gradients(basis, u):
    if hasattr(basis, "gradients"):
        return basis.gradients(u)
    phi, x = _potentials(basis, u)
    return torch.stack([derivative(column.sum(), x) for column in phi.T], 1)


def _laplacians(basis, u):
    if hasattr(basis, "laplacians"):
        return basis.laplacians(u)
    phi, x = _potentials(basis, u)
    return torch.stack([_laplacian(column, x) for column in phi.T], 1)


def _laplacian(phi, x):
    """sum_i d^2 phi / dx_i^2 of phi: (n,), made from x: (n, d)."""
    slope = derivative(phi.sum(), x, create_graph=True)
    if not slope.requires_grad:  # a linear potential
        return torch.zeros_like(phi)
    rows = [derivative((slope * e).sum(), x) @ e for e in axes(x)]
    return sum(rows).detach()


def _potentials(basis, u):
    phi, x = followed(basis, u)
    if not phi.requires_grad:
        raise BadInput(
            "basis cannot be differentiated; write it in torch, or give it gradients(x) and laplacians(x)"
        )
    return phi, x
