"""Which non-conservative score errors hurt: one that turns along the level lines of p_t, and one that turns about the origin.

Claims C2 and C3 over a longer sweep on gmm-3: kappa A s (a gauge, div(p A s) = 0), omega A x (a rotation), and
eps grad cos(x_1) (a gradient, no curl at all). Top: the fields added to the score over log p_t. Bottom: samples of the
probability-flow ODE, and W2 to exact draws over the size of the error. Horvat and Pfister 2024 (arXiv 2402.03845).
"""

import sys

import torch
from matplotlib.figure import Figure

from theory.claims.gauge import T_MIN, VP2, T, _w2, generated
from theory.diagnostics._estimate import averaged
from theory.diagnostics.conservative import conservativity
from theory.diagnostics.hodge import grid_split
from theory.distributions.perturbed import gauged, quarter_turn, rotated, tilted
from theory.distributions.toys import gmm_3
from theory.experiments import command

SEEN = 0.3  # the time at which fields are shown and split
REACH = 3.2  # half the side of the pictures


def models(law):
    """Size of the error -> the model, for three kinds of field."""
    A, wave = quarter_turn(2), lambda x, t: torch.cos(x[:, 0])
    return dict(
        gauge=lambda kappa: gauged(law, A, kappa),
        rotation=lambda omega: rotated(law, A, omega),
        gradient=lambda eps: tilted(law, wave, eps),
    )


def relative_size(model, x, t):
    """sqrt(E |error|^2 / E |s|^2) at draws of p_t: sizes of unlike fields on one scale."""
    rms = lambda v: v.square().sum(1).mean().sqrt()
    return (rms(model.error(x, t)) / rms(model.law.score(x, t))).item()


def swept(model_of, law, sizes, starts, exact, steps, seed):
    """One row for each size, and where the first starts end: the error's relative size, asymmetry index, W2 to exact draws."""
    x = law.at(SEEN).sample(1000, seed)
    for size in sizes:
        model = model_of(size)
        index = conservativity(model.score, x[:200], SEEN, probes=None).value
        ends = generated(model, starts.flatten(0, 1), steps).reshape(starts.shape)
        mean, error = averaged(torch.tensor([_w2(a, b) for a, b in zip(ends, exact, strict=True)]))
        row = dict(size=size, relative=relative_size(model, x, SEEN), asymmetry=index, w2=mean, error=error)
        yield row, ends[0]


def gauge_share(model, law, nodes):
    """The share of E |error|^2 that moves no mass of p_t, by the weighted split on a grid."""
    corner = torch.full((2,), 5.0, dtype=torch.float64)
    return grid_split(model.error, law.log_prob, SEEN, -corner, corner, nodes).gauge_share


def measure(seed, small):
    """Sweeps of three fields, with common starts and common exact draws; the floor is of further exact sets."""
    n, sets, steps, nodes, shown = (200, 2, 50, 40, 50) if small else (1000, 4, 150, 96, 500)
    sizes = [0.0, 1.0] if small else [0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0]
    law = gmm_3(VP2)
    draws = lambda t, name: law.at(t).sample(n * sets, seed, stream=name).reshape(sets, n, 2)
    starts, exact, others = draws(T, "starts"), draws(T_MIN, "exact"), draws(T_MIN, "floor")
    floors = torch.tensor([_w2(a, b) for a, b in zip(others, exact, strict=True)])
    found = dict(n=n, sets=sets, floor=floors.mean().item(), sweeps={}, samples={}, gauge_share={})
    found["exact"] = exact[0, :shown].tolist()
    for name, model_of in models(law).items():
        rows, ends = zip(*swept(model_of, law, sizes, starts, exact, steps, seed), strict=True)
        found["sweeps"][name] = [*rows]
        found["samples"][name] = ends[sizes.index(1.0)][:shown].tolist()
        found["gauge_share"][name] = gauge_share(model_of(1.0), law, nodes)
    return found


def plot(found):
    """Two rows: fields, then W2 and samples."""
    figure = Figure(figsize=(13.5, 6.6), layout="constrained")
    axes = figure.subplots(2, 4)
    law = gmm_3(VP2)
    arrows(
        axes[0, 0], law, law.score, "score s of p_t, t = 0.3, and level lines\n(all arrows times sqrt p_t)"
    )
    titles = dict(
        gauge="gauge: kappa A s", rotation="rotation: omega A x", gradient="gradient: eps grad cos(x1)"
    )
    for k, (name, model_of) in enumerate(models(law).items()):
        share = found["gauge_share"][name]
        arrows(axes[0, k + 1], law, model_of(1.0).error, f"added, {titles[name]}\ngauge share {share:.2f}")
        _samples(axes[1, k + 1], found, name)
    _distances(axes[1, 0], found, titles)
    return figure


def arrows(ax, law, field, title, nodes=17):
    """Arrows of a field, shortened by sqrt(p_t) to be seen where p_t is, over the level lines of p_t."""
    u = torch.linspace(-REACH, REACH, 81, dtype=torch.float64)
    fine = torch.cartesian_prod(u, u)
    log_p = law.log_prob(fine, SEEN).reshape(81, 81).mT
    ax.contour(u, u, log_p.exp(), 8, cmap="Greys", linewidths=0.8)
    v = torch.linspace(-REACH, REACH, nodes, dtype=torch.float64)
    x = torch.cartesian_prod(v, v)
    arrows = field(x, SEEN) * law.log_prob(x, SEEN).exp().sqrt()[:, None]
    ax.quiver(*x.mT, *arrows.mT, color="C0", angles="xy", width=0.005)
    ax.set(title=title, aspect="equal", xticks=[], yticks=[])
    ax.title.set_fontsize(9)


def _samples(ax, found, name):
    exact, ends = (torch.tensor(v) for v in (found["exact"], found["samples"][name]))
    row = next(row for row in found["sweeps"][name] if row["size"] == 1.0)
    ax.plot(*exact.mT, ".", ms=2, color="0.7", label="exact draws")
    ax.plot(*ends.mT, ".", ms=2, color="C0" if name == "gauge" else "tab:red", label="ODE of the model")
    ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[], yticks=[])
    title = (
        f"{name}, size 1: asymmetry {row['asymmetry']:.2g}\nW2 {row['w2']:.2f}, floor {found['floor']:.2f}"
    )
    ax.set_title(title, fontsize=9)
    ax.legend(fontsize=7, markerscale=3, loc="lower right")


def _distances(ax, found, titles):
    for (name, rows), style in zip(found["sweeps"].items(), ("o-", "s--", "^-."), strict=True):
        relative, w2, error = ([row[k] for row in rows] for k in ("relative", "w2", "error"))
        ax.errorbar(relative, w2, error, fmt=style, ms=4, capsize=2, label=titles[name])
    ax.axhline(found["floor"], color="black", ls=":", label="floor of exact draws")
    ax.set(xlabel="rms of the error over that of s, t = 0.3", ylabel="W2 to exact draws", ylim=(0, None))
    ax.set_title("kappa, omega, eps from 0 to 3", fontsize=9)
    ax.legend(fontsize=7)


if __name__ == "__main__":
    sys.exit(command("gauge_fields", __doc__, measure, plot))
