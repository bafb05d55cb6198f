"""How many directions the data have at a point: from a score, from a denoiser's Jacobian, from the flow, from neighbours."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from theory.diagnostics._estimate import Estimate, averaged
from theory.diagnostics._field import coordinates, field, jacobian_of, products
from theory.diagnostics.fokker_planck import _divergence, _rates
from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True, eq=False)
class LocalDimension(Estimate):
    """value: mean over the points.  dimensions: (n,) at each."""

    name: ClassVar[str] = "local dimension"

    dimensions: torch.Tensor


def local_dimension(score, x, t, process, probes=None, seed=0):
    """d + sigma^2 (div s + ||s||^2) at alpha x, d real coordinates: FLIPD, a LocalDimension.

    x: (n, *shape) CLEAN data points, where it tends to the dimension of the data as sigma falls below their curvature and
    stays above their spacing; at noised points alpha x0 + sigma eps its mean is d identically, whatever the data.
    probes: None for the exact divergence. Kamkari et al. 2024.
    """
    if probes is not None and probes < 1:
        raise BadInput(
            f"local_dimension: probes = {probes} should be at least 1, or None for the exact divergence"
        )
    u = coordinates(x) * float(process.alpha(t))
    f = field(score, x, t)
    spread = _divergence(f, u, probes, seed).detach() + f(u).detach().square().sum(1)
    found = u.shape[1] + float(process.sigma(t)) ** 2 * spread
    return LocalDimension(*averaged(found), len(u), probes, found)


@dataclass(frozen=True, eq=False)
class NormalBundle(Estimate):
    """value: mean of `dimensions`: (n,) integers.  gaps: (n,) s_k / s_k+1 at the cut; below 3 it means nothing.
    spectra: (n, d) singular values, decreasing."""

    name: ClassVar[str] = "normal-bundle dimension"

    gap: float
    dimensions: torch.Tensor
    gaps: torch.Tensor
    spectra: torch.Tensor


def normal_bundle_dimension(score, x, t, process, seed=0):
    """d - k, k the largest drop s_k - s_k+1 of the singular values of scores at alpha x + sigma z: a NormalBundle.

    x: (n, *shape) clean data points; 4 d noised copies of each. Near the data scores span the normal space. The mean
    score of the copies is taken off first. `gap` is the median of `gaps`. For data of full dimension the drop is only
    where their variances fall most: compare with FLIPD. Stanczuk et al. 2024.
    """
    u = coordinates(x)
    n, d = u.shape
    if d < 2:
        raise BadInput("normal_bundle_dimension: x has one real coordinate; there is no gap to look for")
    z = Rng(seed, "copies").normal(u.new_empty(n, 4 * d, d))
    copies = float(process.alpha(t)) * u[:, None] + float(process.sigma(t)) * z
    s = field(score, x, t)(copies.flatten(0, 1)).detach().reshape(n, 4 * d, d)
    spectra = torch.linalg.svdvals(s - s.mean(1, keepdim=True))
    k = (spectra[:, :-1] - spectra[:, 1:]).argmax(1, keepdim=True)
    gaps = (spectra.gather(1, k) / spectra.gather(1, k + 1))[:, 0]
    dimensions = d - 1 - k[:, 0]
    return NormalBundle(*averaged(dimensions), n, 4 * d, gaps.median().item(), dimensions, gaps, spectra)


def jacobian_spectrum(denoise, x, t, k=None, seed=0):
    """Singular values of d D / d x at the points x: (n, *shape), decreasing: (n, d), or the largest k: (n, k).

    k = None: the whole Jacobian, d products. k: a randomised SVD, its range from k + 10 products J v and its core from
    as many J^T v; it misses about the (k + 1)-th value. Halko, Martinsson, Tropp 2011, Alg. 4.1, 5.1.
    """
    u, f = coordinates(x), field(denoise, x, t)
    d = u.shape[1]
    if k is None or k + 10 >= d:
        return torch.linalg.svdvals(jacobian_of(f, u))[:, :k]
    _, jvp, vjp = products(f, u)
    v = Rng(seed, "range").normal(u.new_empty(len(u), k + 10, d))
    Q = torch.linalg.qr(torch.stack([jvp(v[:, i]) for i in range(k + 10)], 2)).Q
    core = torch.stack([vjp(Q[:, :, i].contiguous()) for i in range(k + 10)], 1)
    return torch.linalg.svdvals(core)[:, :k]


def effective_rank(s, share=0.99):
    """The smallest r with sqrt(s_1^2 + ... + s_r^2) >= share sqrt(sum s_i^2): integers, s: (..., d) singular values.

    The root of the energy, and not the energy, is what is thresholded: 0.99 is 98 % of the energy. Wang et al. 2024.
    """
    energy = s.double().square().sort(-1, descending=True).values.cumsum(-1)
    return (energy.sqrt() < share * energy[..., -1:].sqrt()).sum(-1) + 1


def participation_ratio(s):
    """(sum s)^2 / sum s^2, between 1 and d: a smooth count of the singular values s: (..., d)."""
    return s.sum(-1).square() / s.square().sum(-1)


def flow_jacobian(score, x, process, grid):
    """Singular values of sigma_T dX_t0 / dX_T along the probability-flow ODE, decreasing: (n, d).

    x: (n, *shape) at the first of the decreasing times `grid`; a last 0 is left out. As t0 falls, directions along the
    data keep their size and those across it vanish like sigma(t0). The exact derivative of the Heun map, d products a step.
    """
    times = torch.as_tensor(grid, dtype=torch.float64)
    times = times[:-1] if times[-1] == 0 else times
    u = coordinates(x)
    V = torch.eye(u.shape[1], dtype=u.dtype, device=u.device).expand(len(u), -1, -1)
    for t, s in zip(times[:-1], times[1:], strict=True):
        h = (s - t).item()
        v, A = _linearised(score, x, u, t, process)
        v1, A1 = _linearised(score, x, u + h * v, s, process)
        u, V = u + 0.5 * h * (v + v1), V + 0.5 * h * (A @ V + A1 @ (V + h * A @ V))
    return float(process.sigma(times[0])) * torch.linalg.svdvals(V)


def mle_dimension(x, k=20):
    """mean over points of (k - 2) / sum_{j<k} log(T_k / T_j), T_j the distance to the j-th neighbour: a LocalDimension.

    x: (n, *shape) draws. Points share neighbours, so that the error is a little too small. Levina and Bickel 2004.
    """
    if k < 3:
        raise BadInput(f"mle_dimension: k = {k} should be 3 or more")
    T = _neighbours(x, k).values
    found = (k - 2) / torch.log(T[:, -1:] / T[:, :-1]).sum(1)
    return LocalDimension(*averaged(found), len(found), None, found)


def two_nn_dimension(x):
    """1 / mean log(r_2 / r_1), r_1, r_2 the distances to the two nearest neighbours, x: (n, *shape): an Estimate.

    Facco, d'Errico, Rodriguez, Laio 2017, by maximum likelihood; the error is that of independent ratios, of which
    mutual neighbours make it a third too small in the plane.
    """
    r = _neighbours(x, 2).values
    value = 1 / torch.log(r[:, 1] / r[:, 0]).mean().item()
    return Estimate(value, value / len(r) ** 0.5, len(r), None)


def local_pca_dimension(x, k=20, share=0.95):
    """How many principal axes of the k nearest neighbours hold `share` of their variance, x: (n, *shape): a LocalDimension.

    Fukunaga and Olsen 1971.
    """
    u = coordinates(x)
    near = u[_neighbours(x, k).indices]
    s = torch.linalg.svdvals(near - near.mean(1, keepdim=True))
    found = effective_rank(s, share**0.5)
    return LocalDimension(*averaged(found), len(u), None, found)


def _linearised(score, x, u, t, process):
    """The probability-flow velocity at u: (n, d), and its Jacobian: (n, d, d)."""
    f, g2 = _rates(process, t)
    F = field(score, x, t)
    eye = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
    return f * u - 0.5 * g2 * F(u).detach(), f * eye - 0.5 * g2 * jacobian_of(F, u)


def _neighbours(x, k):
    """Distances to the k nearest others and their indices, (n, k) each, increasing."""
    u = coordinates(x).double()
    if not 2 <= k < len(u):
        raise BadInput(f"k = {k} neighbours of {len(u)} points; it should be from 2 to {len(u) - 1}")
    apart = torch.cdist(u, u, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(float("inf"))
    near = apart.topk(k, largest=False)
    if not near.values[:, 0].min() > 0:
        raise BadInput("x has points that coincide; drop the repeated ones")
    return near
