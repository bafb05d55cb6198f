"""Entropy of a point cloud from the spectrum of a diffusion on it, and the information that labels have of it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from theory.diagnostics._estimate import Estimate
from theory.diagnostics._field import coordinates
from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True, eq=False)
class SpectralEntropy(Estimate):
    """value, in bits.  most: log2 n, its largest value."""

    name: ClassVar[str] = "diffusion spectral entropy"

    most: float


def diffusion_spectral_entropy(x, t=1, width=1.0, repeats=8, seed=0):
    """-sum p_i log2 p_i, p_i = |lambda_i|^t / sum, lambda the eigenvalues of D^-1/2 G D^-1/2: a SpectralEntropy.

    G_ij = exp(-||x_i - x_j||^2 / (2 width^2)), D its row sums.  x: (n, *shape).  t: steps of the diffusion; more of them
    suppress noise.  width: a length in units of x; far above the spread of x the value is 0, far below the spacing log2 n.
    m tight clusters far apart have log2 m.  error: the spread over `repeats` random halves of x (the delete-half
    jackknife), which is blind to the bias of finite n. O(n^3). Liao et al. 2023.
    """
    G = _kernel(x, width)
    halves = [_entropy(G[rows][:, rows], t) for rows in _halves(len(G), repeats, seed)]
    most = torch.log2(torch.tensor(float(len(G)))).item()
    return SpectralEntropy(_entropy(G, t), _spread(halves), len(G), None, most)


@dataclass(frozen=True, eq=False)
class SpectralInformation(Estimate):
    """value, in bits: about 0 where labels say nothing of x."""

    name: ClassVar[str] = "diffusion spectral mutual information"


def spectral_mutual_information(x, labels, t=1, width=1.0, repeats=8, seed=0):
    """sum_b p(b) [DSE(a random subset as large as b) - DSE(x | b)], labels: (n,) integers: a SpectralInformation.

    Subsets of equal size, because the entropy grows with the number of points; `repeats` of them are averaged.
    error: the spread over random halves. The rest as in `diffusion_spectral_entropy`. Liao et al. 2023.
    """
    if labels.shape != (len(x),):
        raise BadInput(f"labels has shape {tuple(labels.shape)}, it should be ({len(x)},)")
    G, labels = _kernel(x, width), labels.cpu()
    value = _information(G, labels, t, Rng(seed, "subsets"), repeats)
    halves = [
        _information(G[rows][:, rows], labels[rows], t, Rng(seed, "subsets").at(i + 1), 1)
        for i, rows in enumerate(_halves(len(G), repeats, seed))
    ]
    return SpectralInformation(value, _spread(halves), len(G), None)


def _information(G, labels, t, rng, repeats):
    total = 0.0
    for b in labels.unique():
        rows = (labels == b).nonzero()[:, 0]
        subsets = [rng.uniform(len(G)).argsort()[: len(rows)] for _ in range(repeats)]
        typical = sum(_entropy(G[s][:, s], t) for s in subsets) / repeats
        total += len(rows) / len(G) * (typical - _entropy(G[rows][:, rows], t))
    return total


def _kernel(x, width):
    if not width > 0 or len(x) < 4:
        raise BadInput(f"width = {width} should be positive, and x ({len(x)} points) should have 4 or more")
    u = coordinates(x).double().cpu()
    apart = torch.cdist(u, u, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.exp(-0.5 * (apart / width) ** 2)


def _entropy(G, t):
    root = G.sum(1).rsqrt()
    p = torch.linalg.eigvalsh(root[:, None] * G * root).abs() ** t
    p = p / p.sum()
    return -torch.special.xlogy(p, p).sum().item() / torch.log(torch.tensor(2.0)).item()


def _halves(n, repeats, seed):
    for i in range(repeats):
        yield Rng(seed, "halves").at(i).uniform(n).argsort()[: n // 2]


def _spread(values):
    return torch.tensor(values, dtype=torch.float64).std().item()
