"""The board as text: one row a sampler, one column a family of problems."""

from dataclasses import dataclass, field
from math import exp, inf, isfinite, log, nan
from statistics import fmean, median


@dataclass
class Line:
    """One sampler over all rows of a board.

    cases: case -> mean over seeds of sliced W2 over its floor, None where it cannot.  families: family -> mean over its
    cases that it can, worst: family -> the largest, infinite where one is not there.  calls: denoiser + 2 vjp of a
    draw, seconds: of a draw; medians over all rows.
    """

    name: str
    exactness: str
    cases: dict = field(default_factory=dict)
    families: dict = field(default_factory=dict)
    worst: dict = field(default_factory=dict)
    calls: float = nan
    seconds: float = nan

    @property
    def rank(self):
        """Names of the exact rows first; then the geometric mean over the families it can do."""
        known = [log(max(v, 1.0)) for v in self.families.values() if v is not None]
        first = {"exact-draws": 0, "exact": 1}.get(self.name, 2)
        return first, exp(min(sum(known) / len(known), 700)) if known else inf, self.name


def lines(rows):
    """The Lines of the rows of a ledger, the nearest to the exact posterior first."""
    names = dict.fromkeys(row["entrant"] for row in rows)
    cases = dict.fromkeys((row["case"], row["family"]) for row in rows)
    found = [line(name, [r for r in rows if r["entrant"] == name], cases) for name in names]
    return sorted(found, key=lambda e: e.rank)


def line(name, rows, every):
    """The Line of one sampler.  every: the (case, family) of all."""
    found = Line(name, rows[0]["exactness"])
    families = {}
    for case, family in dict.fromkeys((r["case"], r["family"]) for r in rows):
        found.cases[case] = mean([r["ratio"] for r in rows if r["case"] == case and "ratio" in r])
        families.setdefault(family, []).append(found.cases[case])
    found.families = {k: mean([v for v in values if v is not None]) for k, values in families.items()}
    for case, family in every:
        value = found.cases.get(case)
        found.worst[family] = max(found.worst.get(family, 0.0), inf if value is None else value)
    done = [r for r in rows if "ratio" in r]
    if done:
        found.calls = median(r["denoiser"] + 2 * r["vjp"] for r in done)
        found.seconds = median(r["seconds"] for r in done)
    return found


def mean(values):
    """The mean, None of nothing."""
    return fmean(values) if values else None


def columns(found):
    """The families of the Lines, in order."""
    return list(dict.fromkeys(family for e in found for family in e.families))


def table(rows):
    """The rows as text: ratios of sliced W2 to its floor, x where a sampler cannot."""
    found = lines(rows)
    if not found:
        return "no rows yet"
    return aligned([head(found), chance(rows, found), *[cells(e, columns(found)) for e in found]])


def head(found):
    """The names of the columns."""
    return "sampler", "class", *columns(found), "calls", "ms a draw"


def chance(rows, found):
    """The words of what one in twenty exact sets exceeds: the 95 % quantile over the mean, means over all rows."""
    limits = [
        mean([r["sw2_floor95"] / r["sw2_floor"] for r in rows if r["family"] == family and "ratio" in r])
        for family in columns(found)
    ]
    return "95 % of exact sets", "", *["" if v is None else f"< {v:.2f}" for v in limits], "", ""


def cells(e, families):
    """The words of one sampler."""
    ratios = [ratio(e.families[family]) if family in e.families else "" for family in families]
    calls = "" if not isfinite(e.calls) else f"{e.calls:.0f}"
    return e.name, e.exactness, *ratios, calls, "" if not isfinite(e.seconds) else f"{1e3 * e.seconds:.2g}"


def ratio(value):
    """A ratio on few digits."""
    if value is None:
        return "x"
    if not isfinite(value):
        return "diverges"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.3g}"


def aligned(rows):
    """Columns of the same width, the first two to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(titles, rows):
    """A table of a page."""
    rule = ["---", "---", *["---:"] * (len(titles) - 2)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [titles, rule, *rows])


def case_table(rows, case):
    """(head, rows) of one problem: means over seeds of every metric of every sampler."""
    keys = (
        "ratio",
        "sw2",
        "modes",
        "mean",
        "trace",
        "spread",
        "residual",
        "cover90",
        "ksd",
        "evidence",
        "seconds",
    )
    here = [row for row in rows if row["case"] == case]
    order = [e.name for e in lines(here)]
    found = []
    for name in order:
        mine = [row for row in here if row["entrant"] == name]
        values = [mean([r[k] for r in mine if k in r]) for k in keys]
        if values[0] is None:
            continue
        found.append((name, mine[0]["exactness"], *["" if v is None else f"{v:.3g}" for v in values]))
    return ("sampler", "class", *keys), found
