"""How far apart are two exact samples? The floor under which no sampler can be told from the truth.

Claims A15, A16 and A17 over a longer sweep. Exact W2 of n draws of the unit cube falls as n^(-1/d), sliced W2 of N(0, I)
as n^(-1/2) in every dimension; two modes put it up to n^(-1/4), and as many draws in each mode bring it back.
Fournier and Guillin 2015; Nadjahi et al. 2020; Bobkov and Ledoux 2019.
"""

import sys

import torch
from matplotlib.figure import Figure

from theory.claims._claim import slope
from theory.claims.wasserstein_floors import EmpiricalW2Rate, MultimodalFloor, SlicedW2Floor
from theory.distributions.mixture import GaussianMixture
from theory.experiments import command


def curve(counts, floors):
    """One line of a panel, with its log-log slope."""
    return dict(counts=[*counts], floors=floors, slope=slope(counts, floors))


def exact(d, counts, budget, seed):
    """Exact W2 on the unit cube, of budget / n pairs of sets and no fewer than 2."""
    return curve(counts, [EmpiricalW2Rate._floor(n, d, max(2, budget // n), seed) for n in counts])


def sliced(d, counts, budget, seed):
    """Sliced W2 of N(0, I_d), of 2 budget / n pairs and no fewer than 8."""
    mean = lambda n: SlicedW2Floor._mean(n, d, max(8, 2 * budget // n), seed, SlicedW2Floor._sliced)
    return curve(counts, [mean(n) for n in counts])


def two_modes(counts, repeats, seed, stratified):
    """W2 on a line with modes at -5 and 5."""
    means = torch.tensor([[-5.0], [5.0]], dtype=torch.float64)
    law = GaussianMixture([1, 1], means, torch.ones(2, dtype=torch.float64))
    pair = lambda n, i: MultimodalFloor._pair(law, n, seed, i, stratified)[0].item()
    return curve(counts, [sum(pair(n, i) for i in range(repeats)) / repeats for n in counts])


def measure(seed, small):
    """Curves over n for each dimension and metric."""
    counts, budget = ([32, 128], 256) if small else ([64, 128, 256, 512, 1024, 2048], 4096)
    many, repeats = ([64, 256], 20) if small else ([128, 512, 2048, 8192, 32768], 100)
    dimensions, wide = ((1, 2, 8), (2, 8)) if small else ((1, 2, 3, 5, 8, 16, 32), (2, 8, 32, 128))
    return dict(
        exact={d: exact(d, counts, budget, seed) for d in dimensions},
        sliced={d: sliced(d, counts, budget, seed) for d in wide},
        two_modes=dict(
            plain=two_modes(many, repeats, seed, False), stratified=two_modes(many, repeats, seed, True)
        ),
    )


def plot(found):
    """Floors over n in three panels, slopes over the dimension in the fourth."""
    figure = Figure(figsize=(11.5, 7.2), layout="constrained")
    axes = figure.subplots(2, 2).flat
    panels = dict(exact="exact W2, unit cube", sliced="sliced W2, N(0, I)", two_modes="W2, modes at -5 and 5")
    for ax, (panel, title) in zip(axes, panels.items(), strict=False):
        for i, (name, line) in enumerate(found[panel].items()):
            label = f"d = {name}" if panel != "two_modes" else f"{name} draws"
            style = dict(marker="osv^Dxp"[i], ms=4, label=f"{label}, slope {line['slope']:.2f}")
            ax.loglog(line["counts"], line["floors"], **style)
        ax.set(title=title, xlabel="draws n in each set", ylabel="distance of two exact sets")
        ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    _slopes(axes[3], found)
    return figure


def _slopes(ax, found):
    for name, style in (("exact", "o-"), ("sliced", "s-")):
        lines = {int(d): line["slope"] for d, line in found[name].items()}
        ax.semilogx([*lines], [*lines.values()], style, base=2, label=name)
    d = [int(d) for d in found["exact"]]
    ax.semilogx(d, [-1 / max(v, 2) for v in d], "k:", base=2, label="limit: -1/2, then -1 / d")
    ax.set(title="how fast the floor falls", xlabel="dimension d", ylabel="slope of log floor over log n")
    ax.legend(fontsize=7)


if __name__ == "__main__":
    sys.exit(command("wasserstein_floors", __doc__, measure, plot))
