"""How many samples recover the subspaces of a mixture of low-rank Gaussians? N = r in each, whatever the dimension.

Claims E3 and E4 over a longer sweep: K orthogonal subspaces of dimension r in R^d, N points on each and noise 0.02 off
them, clustered by K-subspaces from a spectral start. Left: the share of data sets whose subspaces are found, over N and
r; the transition is the diagonal. Middle: the mean chordal error of a subspace over sqrt(2 r), its greatest value, over
N / r: sqrt(1 - N / r) below 1, for every r and d, and the noise above. Right: the same over N. Wang et al. 2024
(arXiv 2409.02426).
"""

import sys

import torch
from matplotlib.figure import Figure

from theory.claims._subspaces import orthogonal_frames
from theory.claims.subspace_clustering import points, principal
from theory.diagnostics.subspaces import clustering_accuracy, k_subspaces, spectral_labels, subspace_error
from theory.experiments import command
from workbench._rng import Rng

K = 3
FOUND = 0.5  # chordal error of a subspace below which it counts as found; sqrt(2) for a direction missed


def trial(d, r, n, seed, part):
    """(mean chordal error of a subspace, clustering accuracy) of one data set of n points on each of K subspaces.

    Fewer than r points leave directions of any basis free: K-subspaces has nothing to fit, and the spectral clusters are
    completed at will.
    """
    U = orthogonal_frames(d, K, r, Rng(seed, f"frames {r} in {d}").at(part))
    x, labels = points(U, n, seed, part)
    if n >= r:
        clusters = k_subspaces(x, K, r, restarts=0)
        found, bases = clusters.labels, clusters.bases
    else:
        found = spectral_labels(x, K)
        bases = [principal(x[found == k], r) for k in range(K)]
    return subspace_error(bases, U) / K**0.5, clustering_accuracy(found, labels)


def cell(d, r, n, repeats, seed):
    """Averages over data sets: error, accuracy, share of sets whose subspaces are found."""
    errors, accuracies = zip(*(trial(d, r, n, seed, part) for part in range(repeats)), strict=True)
    return dict(
        d=d,
        r=r,
        n=n,
        error=sum(errors) / repeats,
        accuracy=sum(accuracies) / repeats,
        success=sum(error < FOUND for error in errors) / repeats,
    )


def measure(seed, small):
    """The grid over N and r at one d, and curves over N / r at several d."""
    d, repeats = 48, 3 if small else 20
    ranks, counts = ([3, 6], [3, 6, 12]) if small else ([*range(2, 15, 2)], [*range(2, 33, 2)])
    ratios = [0.5, 1.0, 2.0] if small else [0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0]
    shapes = [(d, 4)] if small else [(24, 4), (48, 4), (96, 4), (48, 8), (96, 8), (96, 16)]
    curve = lambda d, r: [cell(d, r, round(ratio * r), repeats, seed) for ratio in ratios]
    return dict(
        K=K,
        repeats=repeats,
        grid=[[cell(d, r, n, repeats, seed) for n in counts] for r in ranks],
        curves=[curve(*shape) for shape in shapes],
    )


def plot(found):
    """The heat map, and the curves over N / r and over N."""
    figure = Figure(figsize=(12.5, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _heat_map(left, found["grid"], figure)
    for i, rows in enumerate(found["curves"]):
        d, r = rows[0]["d"], rows[0]["r"]
        n, error = ([row[k] for row in rows] for k in ("n", "error"))
        error = [e / (2 * r) ** 0.5 for e in error]
        style = dict(marker="osv^Dx"[i % 6], ms=4, label=f"d = {d}, r = {r}")
        middle.plot([v / r for v in n], error, **style)
        right.semilogx(n, error, **style)
    below = torch.linspace(0.4, 1, 50)
    middle.plot(below, (1 - below).sqrt(), "k:", label="sqrt(1 - N / r)")
    middle.legend(fontsize=7)
    middle.set(title="over N / r: one curve", xlabel="N / r, points a dimension")
    right.set(title="over N: the transition moves with r", xlabel="N, points on each subspace")
    for ax in (middle, right):
        ax.set(ylabel="chordal error / sqrt(2 r)", ylim=(0, None))
    right.legend(fontsize=7)
    return figure


def _heat_map(ax, grid, figure):
    ranks, counts = [rows[0]["r"] for rows in grid], [row["n"] for row in grid[0]]
    image = ax.pcolormesh(counts, ranks, [[row["success"] for row in rows] for rows in grid], vmin=0, vmax=1)
    figure.colorbar(image, ax=ax, label=f"share of data sets with error < {FOUND:g}")
    ax.plot(ranks, ranks, "--", color="tab:red", lw=2, label="N = r")
    ax.legend(fontsize=7, loc="lower right")
    ax.set_yticks(ranks)
    ax.set(
        title=f"{K} subspaces found, d = {grid[0][0]['d']}", xlabel="N, points on each", ylabel="r, dimension"
    )


if __name__ == "__main__":
    sys.exit(command("subspace_transition", __doc__, measure, plot))
