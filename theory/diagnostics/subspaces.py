"""Angles and distances between subspaces, and points clustered by the subspace that they lie on."""

from dataclasses import dataclass
from math import sqrt

import torch

from workbench._errors import BadInput
from workbench._rng import Rng


def principal_angles(U, V):
    """theta_1 <= theta_2 <= ... in [0, pi / 2] between the spans of U: (d, r) and V: (d, q): (min(r, q),).

    cos theta_i are the singular values of Q_U^T Q_V; small angles are read from their sines. Bjorck and Golub 1973.
    """
    P, Q = sorted((_orthonormal(U, "U"), _orthonormal(V, "V")), key=lambda q: -q.shape[1])
    cross = P.mH @ Q
    cos = torch.linalg.svdvals(cross).clamp(max=1)
    sin = torch.linalg.svdvals(Q - P @ cross).flip(0).clamp(max=1)
    return torch.where(cos**2 < 0.5, torch.arccos(cos), torch.arcsin(sin))


def chordal_distance(U, V):
    """||P_U - P_V||_F = sqrt(2 sum sin^2 theta_i + |r - q|), P the projections onto the spans: a float."""
    theta = principal_angles(U, V)
    return sqrt(2 * theta.sin().square().sum().item() + abs(U.shape[1] - V.shape[1]))


def geodesic_distance(U, V):
    """sqrt(sum theta_i^2), the length of the shortest path between the spans: a float. Edelman, Arias, Smith 1998."""
    return principal_angles(U, V).norm().item()


@dataclass(frozen=True, eq=False)
class KSubspaces:
    """labels: (n,).  bases: (K, d, r) orthonormal.  residual: share of ||x||^2 off the subspaces.  start: number of the
    restart that won, -1 for the spectral one."""

    labels: torch.Tensor
    bases: torch.Tensor
    residual: float
    start: int

    def __str__(self):
        return f"{len(self.bases)} subspaces leave {self.residual:.3g} of the energy (start {self.start})"


def k_subspaces(x, K, r, restarts=50, seed=0, steps=100):
    """min over bases U_k and labels of sum_i ||x_i - U_k U_k^T x_i||^2, x: (n, d) real: a KSubspaces.

    Alternates label = argmax_k ||U_k^T x|| with an SVD of each cluster, from one spectral start and `restarts` random
    ones; the best is kept. Subspaces pass through 0. Bradley and Mangasarian 2000; Tseng 2000.
    """
    n, d = x.shape
    if not 0 < r < d or not 0 < K <= n // r:
        raise BadInput(f"k_subspaces: K = {K} subspaces of dimension r = {r} do not suit {n} points in {d}")
    best = None
    for start in range(-1, restarts):
        if start < 0:
            bases = _fitted(x, spectral_labels(x, K), K, r, None)
        else:
            frames = Rng(seed, "subspaces").at(start).normal(x.new_empty(K, d, r))
            bases = torch.linalg.qr(frames).Q
        labels, bases, residual = _alternated(x, bases, steps)
        if best is None or residual < best.residual - 1e-12:
            best = KSubspaces(labels, bases, residual, start)
    return best


def spectral_labels(x, K, power=8):
    """Labels (n,) from the K leading eigenvectors of the affinity |cos(x_i, x_j)|^power, normalised by its degrees.

    Ng, Jordan, Weiss 2001; labels from eigenvectors by pivoted QR and a polar factor: Damle, Minden, Ying 2019.
    """
    from scipy.linalg import qr

    y = (x / x.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)).double()
    W = (y @ y.mT).abs().pow(power).fill_diagonal_(0)
    root = W.sum(1).clamp_min(1e-300).rsqrt()
    V = torch.linalg.eigh(root[:, None] * W * root).eigenvectors[:, -K:]
    pivots = qr(V.mT.cpu().numpy(), mode="r", pivoting=True)[1][:K]
    left, _, right = torch.linalg.svd(V[pivots].mT)
    return (V @ (left @ right)).abs().argmax(1)


def clustering_accuracy(found, true):
    """The share of points whose label is right under the best matching of labels, found, true: (n,) integers: a float.

    Kuhn 1955 (the Hungarian method).
    """
    from scipy.optimize import linear_sum_assignment

    if found.shape != true.shape:
        raise BadInput(
            f"found has shape {tuple(found.shape)} and true {tuple(true.shape)}; they should be alike"
        )
    size = int(max(found.max(), true.max())) + 1
    counts = torch.bincount(found.long() * size + true.long(), minlength=size**2).reshape(size, size)
    rows, columns = linear_sum_assignment(-counts.numpy())
    return counts[rows, columns].sum().item() / len(found)


def subspace_error(found, true):
    """sqrt(sum_k ||P_found(k) - P_true(k)||_F^2) under the best matching, found, true: (K, d, r) bases: a float."""
    from scipy.optimize import linear_sum_assignment

    squares = torch.tensor([[chordal_distance(U, V) ** 2 for V in true] for U in found])
    return sqrt(squares[linear_sum_assignment(squares.numpy())].sum().item())


def _orthonormal(U, name):
    if U.ndim != 2 or U.shape[1] > U.shape[0]:
        raise BadInput(f"{name} has shape {tuple(U.shape)}, it should be (d, r) with r <= d basis columns")
    return torch.linalg.qr(U).Q


def _alternated(x, bases, steps):
    """Labels, bases and the share of energy left over, when labels no longer change."""
    K, r = len(bases), bases.shape[2]
    labels = None
    for _ in range(steps):
        seen = torch.einsum("nd,kdr->nkr", x, bases).square().sum(2)
        new = seen.argmax(1)
        if labels is not None and torch.equal(new, labels):
            break
        labels, bases = new, _fitted(x, new, K, r, bases)
    total = x.square().sum()
    return labels, bases, ((total - seen.amax(1).sum()) / total).item()


def _fitted(x, labels, K, r, bases):
    """The r leading right singular vectors of each cluster; a cluster of fewer than r points keeps its basis, or takes
    that of all points."""
    found = []
    for k in range(K):
        rows = x[labels == k]
        if len(rows) >= r:
            found.append(torch.linalg.svd(rows, full_matrices=False).Vh[:r].mT)
        else:
            found.append(torch.linalg.svd(x, full_matrices=False).Vh[:r].mT if bases is None else bases[k])
    return torch.stack(found)
