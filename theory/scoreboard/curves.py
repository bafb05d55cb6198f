"""Curves of error against cost: a sampler at more and more particles, or steps, beside the best of the others."""

import json
from pathlib import Path
from statistics import fmean

from theory.scoreboard.cases import find_cases
from theory.scoreboard.entrants import entrant
from theory.scoreboard.measure import Yardstick, sliced
from workbench._checkpoint import replace_with
from workbench.run import sample

CASES = ("toy/g2", "mixture/gmm-25-8-1")
PARTICLES, STEPS = (250, 500, 1000, 2000, 4000), (10, 25, 50, 100, 200)
USUAL = 1000, 100  # particles while steps vary, steps while particles vary
OURS, OTHERS = "moment-matched-smc", ("tds", "mcgdiff", "afdps-ode", "pigdm", "moment-matching", "exact")
COLOURS = ("tab:red", "tab:blue", "tab:cyan", "tab:purple", "tab:orange", "tab:olive", "black")


def curves(folder, seeds=range(5), cases=CASES, names=(OURS, *OTHERS), say=None):
    """One dict a point: case, entrant, along ("particles" or "steps"), particles, steps, ratio, calls and seconds of a set
    of draws: means over seeds. Read from `folder`/curves.json, or made and kept there.  say: called with each new one."""
    path = Path(folder) / "curves.json"
    found = json.loads(path.read_text()) if path.exists() else []
    there = {(p["case"], p["entrant"], p["along"], p["particles"], p["steps"]) for p in found}
    for case in find_cases(cases):
        for name in names:
            for where in points(entrant(name).sampler):
                if (case.name, name, *where) in there:
                    continue
                found.append(dict(case=case.name, entrant=name) | measured(case, name, *where, seeds, folder))
                replace_with(path, lambda beside: beside.write_text(json.dumps(found, indent=1) + "\n"))
                if say is not None:
                    say(found[-1])
    return found


def points(sampler):
    """(along, particles, steps) of a sampler's curves; particles only where rows are particles."""
    particles = [("particles", n, USUAL[1]) for n in PARTICLES] if getattr(sampler, "couples", False) else []
    return particles + [("steps", USUAL[0], k) for k in STEPS]


def measured(case, name, along, particles, steps, seeds, folder):
    """The point: the sliced W2 of as many draws as the case has, over its floor."""
    ratios, calls, seconds = [], [], []
    for seed in seeds:
        stick = Yardstick.of(case, seed, case.draws, folder)
        sampler = entrant(name).sampler
        n = particles if getattr(sampler, "couples", False) else case.draws
        post = sample(stick.problem, sampler, n=n, steps=steps, seed=seed, progress=False)
        x = (
            post.samples[: case.draws]
            if post.log_weights is None
            else post.resampled(case.draws, seed).samples
        )
        ratios.append(sliced(x, stick.y, stick.theta) / stick.floors["sw2"][0])
        calls.append(post.cost.denoiser + 2 * post.cost.vjp)
        seconds.append(post.cost.seconds)
    point = dict(along=along, particles=particles, steps=steps, seeds=len(ratios))
    return point | dict(ratio=fmean(ratios), calls=fmean(calls), seconds=fmean(seconds))


def figure(found):
    """Ratio to the floor against denoiser + 2 vjp calls of the whole set, a column a case: particles above, steps below."""
    from matplotlib.figure import Figure

    cases, names = (list(dict.fromkeys(p[k] for p in found)) for k in ("case", "entrant"))
    drawing = Figure(figsize=(4.6 * len(cases), 7.6), layout="constrained")
    axes = drawing.subplots(2, len(cases), squeeze=False, sharey="col")
    for column, case in zip(axes.T, cases, strict=True):
        for ax, along in zip(column, ("particles", "steps"), strict=True):
            panel(ax, [p for p in found if p["case"] == case and p["along"] == along], names)
            ax.set_title(
                f"{case}: {', '.join(str(k) for k in (PARTICLES if along == 'particles' else STEPS))} {along}",
                fontsize=9,
            )
    for ax in axes[1]:
        ax.set_xlabel("denoiser + 2 vjp calls of a set of draws")
    for ax in axes[:, 0]:
        ax.set_ylabel("sliced W2 / floor of exact draws")
    handles = {t: h for ax in axes.flat for h, t in zip(*ax.get_legend_handles_labels(), strict=True)}
    drawing.legend(handles.values(), handles, loc="outside upper center", ncols=min(len(handles), 7))
    return drawing


def panel(ax, found, names):
    """One line a sampler."""
    for colour, name in zip(COLOURS, names, strict=False):
        mine = sorted((p["calls"], p["ratio"]) for p in found if p["entrant"] == name)
        if mine:
            ax.plot(
                *zip(*mine, strict=True),
                "o-",
                color=colour,
                label=name,
                markersize=4,
                linewidth=2 if name == OURS else 1,
            )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.tick_params(axis="y", which="minor", labelsize=6)
    ax.axhline(1, color="0.7", linewidth=0.8, zorder=0)
    ax.axhline(1.5, color="0.7", linewidth=0.8, linestyle=":", zorder=0)
