"""All that can be measured about a prior's score at several noise levels, as one table, figure and JSON."""

import json
from dataclasses import dataclass, field
from math import isfinite, isnan, nan
from time import perf_counter

import torch

from theory.diagnostics._measures import MEASURES, Level
from theory.diagnostics.memorisation import Memorisation, memorised
from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True, eq=False)
class Certificate:
    """What `report` found.  levels: kappa = sigma / alpha, decreasing.  values, errors: measure -> one number a level
    (nan: does not apply, `notes` says why).  memorisation: where training data were given.  seconds: by measure."""

    name: str
    shape: tuple
    n: int
    levels: list
    values: dict
    errors: dict
    notes: dict
    seconds: dict = field(default_factory=dict)
    memorisation: Memorisation | None = None

    @property
    def table(self):
        """One row a noise level, one column a measure that applies; notes below."""
        shown = [k for k in MEASURES if any(not isnan(v) for v in self.values[k])]
        head = ["sigma/alpha", *shown]
        rows = [
            [f"{kappa:.3g}", *(_with_error(self.values[k][i], self.errors[k][i]) for k in shown)]
            for i, kappa in enumerate(self.levels)
        ]
        widths = [max(len(row[j]) for row in [head, *rows]) for j in range(len(head))]
        lines = [
            "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in [head, *rows]
        ]
        tail = [f"{MEASURES[k].title}: {note}" for k, note in self.notes.items()]
        if self.memorisation is not None:
            tail.append(str(self.memorisation))
        return "\n".join([f"{self.name}, signals {self.shape}, n = {self.n}", *lines, *tail])

    def __str__(self):
        return self.table

    def json(self):
        """The same numbers as a JSON text; null where a measure does not apply."""
        plain = lambda v: v if isfinite(v) else None
        measures = {
            k: dict(
                title=MEASURES[k].title,
                ideal=plain(MEASURES[k].ideal),
                values=[plain(v) for v in self.values[k]],
                errors=[plain(v) for v in self.errors[k]],
                seconds=round(self.seconds.get(k, 0.0), 3),
            )
            for k in MEASURES
        }
        kept = None
        if self.memorisation is not None:
            names = ("value", "error", "fresh", "excess", "z")
            kept = {name: plain(getattr(self.memorisation, name)) for name in names}
        whole = dict(
            name=self.name,
            shape=list(self.shape),
            n=self.n,
            levels=self.levels,
            measures=measures,
            notes=self.notes,
            memorisation=kept,
        )
        return json.dumps(whole, indent=1)

    def plot(self, *beside):
        """A matplotlib figure: one panel a measure over sigma / alpha, one standard error, dashed where ideal.

        beside: certificates of other priors, such as the exact law, drawn into the same panels."""
        from matplotlib.figure import Figure

        everyone = (self, *beside)
        shown = [k for k in MEASURES if any(not isnan(v) for c in everyone for v in c.values[k])]
        columns = min(3, len(shown))
        lines = -(-len(shown) // columns)
        figure = Figure(figsize=(4 * columns, 2.9 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True).flat
        for k, ax in zip(shown, panels, strict=False):
            _panel(ax, k, everyone)
        for ax in figure.axes[len(shown) :]:
            ax.set_axis_off()
        if beside:
            figure.axes[0].legend(fontsize=8)
        figure.suptitle(f"{' beside '.join(c.name for c in everyone)}, signals {self.shape}, n = {self.n}")
        return figure


def _panel(ax, name, certificates):
    """One measure of several priors."""
    measure = MEASURES[name]
    for c in certificates:
        errors = [0.0 if isnan(e) else e for e in c.errors[name]]
        ax.errorbar(c.levels, c.values[name], errors, marker="o", markersize=4, capsize=2, label=c.name)
    ax.set_xscale("log")
    if measure.log and any(v > 0 for c in certificates for v in c.values[name]):
        ax.set_yscale("log", nonpositive="mask")
    elif not isnan(measure.ideal):
        ax.axhline(measure.ideal, color="0.5", linestyle="--", linewidth=1)
    ax.set_title(measure.title, fontsize=10)
    ax.set_xlabel("noise level sigma / alpha (units of the signal)", fontsize=8)
    ax.grid(alpha=0.3)


def report(prior, x=None, n=256, seed=0, exact=None, train=None, levels=7):
    """Every measure above for one prior, at `levels` noise levels over its noise_range: a Certificate.

    prior: shape, dtype, process, noise_range, denoise(x, t) and score(x, t): a law or a network.  x: (N, *shape) clean
    signals of the law that the prior should know, of which n are used; None for the prior's own `sample`, and without
    one for draws along its probability-flow ODE, with which MSE and trace speak of self-consistency alone.  exact: the
    true law, for the relative score error.  train: (N, *shape) what the prior was trained on: draws of its ODE are then
    tested for copies, beside the share among x. Measures cost from n to 4 d^2 score evaluations a level.
    """
    if not hasattr(prior, "denoise") or not hasattr(prior, "grid"):
        raise BadInput(
            f"report: prior = {type(prior).__name__} should be a prior: a law, a network of wb.priors"
        )
    if levels < 2 or n < 8:
        raise BadInput(f"report: levels = {levels} and n = {n} should be at least 2 and 8")
    prior = _doubled(prior)
    clean = _clean(prior, x, n, seed)
    if exact is not None and hasattr(exact, "under"):
        exact = exact.under(prior.process)
    low, high = prior.noise_range
    ladder = [high * (low / high) ** (i / (levels - 1)) for i in range(levels)]
    values, errors, notes, seconds = {k: [] for k in MEASURES}, {k: [] for k in MEASURES}, {}, {}
    for i, kappa in enumerate(ladder):
        level = _level(prior, exact, clean, float(kappa), seed, i)
        for name, measure in MEASURES.items():
            start = perf_counter()
            found, error = _tried(measure, level, name, notes)
            seconds[name] = seconds.get(name, 0.0) + perf_counter() - start
            values[name].append(found)
            errors[name].append(error)
    copies = None
    if train is not None:
        if x is None:
            raise BadInput("report: train needs x, signals that were not trained on, to compare with")
        copies = memorised(_generated(prior, len(clean), seed), train.to(clean), clean)
    name = type(prior).__name__
    return Certificate(name, tuple(prior.shape), len(clean), ladder, values, errors, notes, seconds, copies)


def _doubled(prior):
    """The prior in double precision where it can be moved: a score in single precision is noise at low noise levels."""
    double = {torch.float32: torch.float64, torch.complex64: torch.complex128}.get(prior.dtype)
    return prior.to(dtype=double) if double is not None and hasattr(prior, "to") else prior


def _clean(prior, x, n, seed):
    if x is not None:
        if tuple(x.shape[1:]) != tuple(prior.shape) or len(x) < 8:
            raise BadInput(f"x is {tuple(x.shape)}, it should be 8 or more signals of {tuple(prior.shape)}")
        if x.is_complex() and not prior.dtype.is_complex:
            raise BadInput(f"x is {x.dtype}, the prior takes {prior.dtype}; give real signals")
        return x[:n].to(prior.dtype)
    return prior.sample(n, seed) if hasattr(prior, "sample") else _generated(prior, n, seed)


def _level(prior, exact, clean, kappa, seed, i):
    t = prior.process.time(kappa)
    z = Rng(seed, "certificate").at(i).normal(clean)
    noised = prior.process.alpha(t) * clean + prior.process.sigma(t) * z
    return Level(prior, exact, clean, noised, t, kappa, seed)


def _tried(measure, level, name, notes):
    """Value and error of a measure; nan where it does not apply, or torch cannot differentiate it, with a note."""
    try:
        return measure.of(level)
    except (BadInput, NotImplementedError, RuntimeError) as reason:
        notes.setdefault(name, f"not at sigma/alpha = {level.kappa:.3g}: {str(reason).splitlines()[0]}")
        return nan, nan


def _generated(prior, n, seed, steps=40):
    """n draws along the probability-flow ODE in x / alpha over kappa, Heun on the prior's grid, a last denoise."""
    times = prior.grid(steps)
    times = times[:-1] if times[-1] == 0 else times
    process = prior.process
    slope = lambda y, t: (y - prior.denoise(process.alpha(t) * y, t).detach()) / process.kappa(t)
    y = prior.initial(n, times[0], Rng(seed, "generated")) / process.alpha(times[0])
    for t, s in zip(times[:-1], times[1:], strict=True):
        h = process.kappa(s) - process.kappa(t)
        k = slope(y, t)
        y = y + 0.5 * h * (k + slope(y + h * k, s))
    return prior.denoise(process.alpha(times[-1]) * y, times[-1]).detach()


def _with_error(value, error):
    if isnan(value):
        return "-"
    return f"{value:.3g}" if isnan(error) or error == 0 else f"{value:.3g} +- {error:.1g}"
