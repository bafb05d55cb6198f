"""Figures of the board: error against cost, and who does what well."""

from math import isfinite

import numpy as np

from theory.scoreboard.tables import lines

COLOURS = {"E0": "black", "E1": "tab:blue", "B": "tab:orange", "P": "tab:green"}
NAMES = {
    "E0": "exact but for steps",
    "E1": "exact as particles or iterations grow",
    "B": "biased",
    "P": "point or heuristic",
}
EXACT = ("exact-draws", "exact")  # know the answer, so that no front is theirs
WORST = 100.0  # ratios beyond are drawn here


def pareto(rows, family):
    """Ratio to the floor on one family against denoiser + 2 vjp calls of a draw, and against its seconds."""
    from matplotlib.figure import Figure

    found = lines([row for row in rows if row["family"] == family])
    figure = Figure(figsize=(7.6 * 2, 7.4), layout="constrained")
    costs = (("calls", "denoiser + 2 vjp calls of a draw"), ("seconds", "seconds of a draw"))
    for ax, (cost, words) in zip(figure.subplots(1, 2), costs, strict=True):
        panel(ax, [(getattr(e, cost), e.families[family], e) for e in found if shown(e, family, cost)])
        ax.set_xlabel(words)
        ax.set_ylabel("sliced W2 / floor of exact draws")
        ax.set_title(family)
    handles = [marker(c) for c in COLOURS]
    figure.legend(handles, [f"{c}: {NAMES[c]}" for c in COLOURS], loc="outside upper center", ncols=4)
    return figure


def shown(e, family, cost):
    """Whether the sampler has a point in the panel."""
    return e.families.get(family) is not None and isfinite(getattr(e, cost)) and getattr(e, cost) > 0


def marker(exactness):
    from matplotlib.lines import Line2D

    return Line2D([], [], marker="o", linestyle="", color=COLOURS[exactness])


def panel(ax, points):
    """Points with their names in a column at the right, each joined to its point; the front of the best is a line."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    if not points:
        return
    points = sorted(((x, min(y, WORST), e) for x, y, e in points), key=lambda p: p[1])
    xs, ys = (np.array([p[i] for p in points]) for i in (0, 1))
    ax.set_xlim(xs.min() / 1.6, xs.max() * (xs.max() / xs.min() * 4) ** 0.75)
    ax.set_ylim(min(ys.min(), 1) / 1.25, max(ys.max(), 4) * 1.25)
    ax.axhspan(ax.get_ylim()[0], 1, color="0.93", zorder=0)
    ax.scatter(xs, ys, c=[COLOURS.get(e.exactness, "grey") for *_, e in points], s=22, zorder=3)
    front = front_of([(x, y) for x, y, e in points if e.name not in EXACT])
    ax.step([x for x, _ in front], [y for _, y in front], where="post", color="0.6", linewidth=1, zorder=1)
    places = apart(ax.transAxes.inverted().transform(ax.transData.transform(np.stack([xs, ys], 1)))[:, 1])
    for (x, y, e), place in zip(points, places, strict=True):
        ax.annotate(
            e.name, (x, y), xytext=(0.74, place), textcoords="axes fraction", fontsize=7, va="center",
            color=COLOURS.get(e.exactness, "grey"),
            arrowprops=dict(arrowstyle="-", linewidth=0.35, color="0.7", shrinkA=0, shrinkB=2),
        )  # fmt: skip
    ax.yaxis.set_major_formatter("{x:g}")


def front_of(points):
    """The points that no other beats in both."""
    best, found = float("inf"), []
    for x, y in sorted(points):
        if y < best:
            best = y
            found.append((x, y))
    return found


def apart(wanted, gap=0.0188, low=0.015, high=0.985):
    """Heights at least `gap` apart, from low to high, as near to the `wanted` in squares as that allows; they increase."""
    from scipy.optimize import isotonic_regression

    n = len(wanted)
    gap = min(gap, (high - low) / max(n - 1, 1))
    steps = gap * np.arange(n)
    return np.clip(isotonic_regression(np.asarray(wanted) - steps).x, low, high - gap * (n - 1)) + steps


def heat_map(rows):
    """Mean ratio to the floor, a row a sampler and a column a problem, in logarithmic colours; x: cannot."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    found = lines(rows)
    cases = list(dict.fromkeys(row["case"] for row in rows))
    grid = np.array(
        [[np.nan if e.cases.get(c) is None else e.cases[c] for c in cases] for e in found], dtype=float
    )
    figure = Figure(figsize=(0.5 * len(cases) + 3.4, 0.24 * len(found) + 2.2), layout="constrained")
    ax = figure.subplots()
    drawn = np.ma.masked_invalid(np.clip(grid, None, WORST))
    picture = ax.imshow(drawn, norm=LogNorm(1, WORST), cmap="viridis_r", aspect="auto")
    ax.set_facecolor("0.9")
    ax.set_xticks(range(len(cases)), cases, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    ax.set_yticks(range(len(found)), [e.name for e in found], fontsize=8)
    for i, e in enumerate(found):
        for j, case in enumerate(cases):
            write(ax, i, j, e.cases.get(case), case in e.cases)
    bar = figure.colorbar(picture, ax=ax, label="sliced W2 / floor of exact draws", shrink=0.5, extend="max")
    bar.ax.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    return figure


def write(ax, i, j, value, tried):
    """The number of one square."""
    if value is None:
        text, colour = ("x" if tried else "", "0.4")
    else:
        text = "inf" if not isfinite(value) else f"{value:.1f}" if value < 10 else f"{value:.0f}"
        colour = "white" if value > 12 else "black"
    ax.text(j, i, text, ha="center", va="center", fontsize=6, color=colour)
