"""What a claim is: a measurement, rows that compare two sides, controls that must break, and a figure."""

from dataclasses import asdict, dataclass, field
from math import inf, isfinite, log
from time import perf_counter
from typing import Any

import numpy as np

SLACK = {  # how far inside its margin a row is
    "=": lambda left, right, margin: margin - abs(left - right),
    "<=": lambda left, right, margin: right + margin - left,
    ">=": lambda left, right, margin: left + margin - right,
}


@dataclass(frozen=True)
class Row:
    """`left relation right` within `margin`, of one case; relation is =, <= or >=."""

    case: str
    left: float
    right: float
    relation: str
    margin: float

    @property
    def slack(self):
        """Not negative where the relation holds; NaN where a side is."""
        return SLACK[self.relation](self.left, self.right, self.margin)

    @property
    def holds(self):
        """Whether the relation holds. A row with NaN neither holds nor breaks."""
        return self.slack >= 0

    @property
    def breaks(self):
        """Whether the relation is violated by more than the margin; an infinite side is a violation too."""
        return self.slack < 0

    @property
    def tightness(self):
        """The slack in units of what there was to lose: the row with the least is shown first."""
        size = self.margin + (0 if self.relation == "=" else max(abs(self.left), abs(self.right)))
        return self.slack / size if size > 0 and isfinite(self.slack) else -inf if not self.holds else inf


def equal(case, left, right, margin):
    """|left - right| <= margin."""
    return Row(case, float(left), float(right), "=", float(margin))


def close(case, left, right, relative):
    """|left - right| <= relative |right|."""
    return equal(case, left, right, relative * abs(float(right)))


def within_errors(case, left, right, error, z=5.0):
    """|left - right| <= z standard errors: once in 1.7 million for z = 5 where both sides are the same."""
    return equal(case, left, right, z * float(error))


def at_most(case, left, right, margin=0.0):
    """left <= right + margin."""
    return Row(case, float(left), float(right), "<=", float(margin))


def at_least(case, left, right, margin=0.0):
    """left >= right - margin."""
    return Row(case, float(left), float(right), ">=", float(margin))


def slope(x, y):
    """The least-squares slope of log y against log x: the order of a convergence."""
    return float(np.polyfit([log(float(v)) for v in x], [log(float(v)) for v in y], 1)[0])


class Claim:
    """A statement that can be checked; its derivation and source are the docstring of the class.

    `card` is literal: code ("B1"), tier (0 identity, 1 Monte Carlo, 2 nightly, 3 trains a network), topic, paper (arXiv
    id), source (authors, equation), and `found`, where what is measured differs from print. `measure` does the work once;
    `rows`, `controls` and `plot` read what it returns. A row of `controls` states the relation in a case where it must
    not hold: the claim is an error, not a pass, if it does.
    """

    card: dict

    def measure(self, seed):
        """Everything the rows, the controls and the figure need."""
        raise NotImplementedError(f"{type(self).__name__} should define measure(seed)")

    def rows(self, m):
        """The cases in which the relation holds."""
        raise NotImplementedError(f"{type(self).__name__} should define rows(m)")

    def controls(self, m):
        """The cases in which it must break."""
        raise NotImplementedError(f"{type(self).__name__} should define controls(m)")

    def plot(self, m, figure):
        """One readable figure of the claim."""
        raise NotImplementedError(f"{type(self).__name__} should define plot(m, figure)")

    def verify(self, name, seed=0):
        """The Finding of this claim."""
        start = perf_counter()
        m = self.measure(seed)
        rows, controls = tuple(self.rows(m)), tuple(self.controls(m))
        return Finding(name, self.card["code"], rows, controls, seed, perf_counter() - start, self, m)


@dataclass(frozen=True)
class Finding:
    """What one claim came to. `claim` and `measured` are kept for the figure, and are not in the JSON."""

    name: str
    code: str
    rows: tuple
    controls: tuple
    seed: int
    seconds: float
    claim: Claim = field(repr=False)
    measured: Any = field(repr=False)
    error: str = ""  # what was raised in place of rows

    @property
    def holds(self):
        """Whether every row holds, of at least one."""
        return len(self.rows) > 0 and all(row.holds for row in self.rows)

    @property
    def control_fails(self):
        """Whether every control broke as it should, of at least one."""
        return len(self.controls) > 0 and all(row.breaks for row in self.controls)

    @property
    def tightest(self):
        """The row nearest to breaking."""
        return min(self.rows, key=lambda row: row.tightness)

    @property
    def mildest(self):
        """The control nearest to holding."""
        return max(self.controls, key=lambda row: row.tightness)

    def plot(self):
        """The claim's figure, with its name and its first line."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        self.claim.plot(self.measured, figure)
        for ax in figure.axes:
            _legible(ax)
        if not figure.get_suptitle():
            figure.suptitle(f"{self.code}  {self.name}", fontsize=10)
        return figure

    def json(self):
        """Both sides, margins, controls, seed and seconds, as plain numbers and words."""
        plain = lambda v: v if not isinstance(v, float) or isfinite(v) else str(v)  # JSON knows no NaN
        side = lambda row, key, verdict: {**{k: plain(v) for k, v in asdict(row).items()}, key: verdict}
        return dict(
            id=self.name,
            code=self.code,
            tier=self.claim.card["tier"],
            statement=self.statement,
            holds=self.holds,
            control_fails=self.control_fails,
            rows=[side(row, "holds", row.holds) for row in self.rows],
            controls=[side(row, "breaks", row.breaks) for row in self.controls],
            seed=self.seed,
            seconds=round(self.seconds, 3),
            **(dict(error=self.error) if self.error else {}),
        )

    def block(self):
        """The statement, and every row and control with both sides, as text."""
        lines = [
            f"{self.code} {self.name}: {self.statement}",
            *([f"  raised {self.error}"] if self.error else []),
        ]
        for row in self.rows:
            verdict = "holds" if row.holds else "FAILS"
            lines.append(f"  {sides(row)} +- {row.margin:<8.2g} {verdict:14} {row.case}")
        for row in self.controls:
            verdict = "breaks" if row.breaks else "DOES NOT BREAK"
            lines.append(f"  {sides(row)} +- {row.margin:<8.2g} {verdict:14} control: {row.case}")
        return "\n".join(lines)

    @property
    def statement(self):
        """The first sentence of the claim's docstring."""
        return " ".join((self.claim.__doc__ or "").strip().split("\n\n")[0].split())


def _legible(ax):
    """On a short logarithmic axis of few points, ticks at the points and not at 2, 3, 4, ... of each decade."""
    low, high = ax.get_xlim()
    if ax.get_xscale() != "log" or low <= 0 or high / low > 150:
        return
    points = sorted({float(v) for line in ax.get_lines()[:1] for v in line.get_xdata() if v > 0})
    if 1 < len(points) <= 7:
        ax.set_xticks(points, [f"{v:g}" for v in points], fontsize=8)
        ax.set_xticks([], minor=True)


@dataclass(frozen=True)
class Evidence:
    """What `claims.verify` found: one claim, or the claims of a family or a topic."""

    findings: tuple
    left_out: tuple = ()  # names of a family that are of a higher tier

    @property
    def holds(self):
        """Whether every row of every claim holds."""
        return all(finding.holds for finding in self.findings)

    @property
    def control_fails(self):
        """Whether every control broke as it should."""
        return all(finding.control_fails for finding in self.findings)

    @property
    def table(self):
        """Every row and control with both sides, as text."""
        return "\n\n".join(finding.block() for finding in self.findings)

    def plot(self):
        """The figure of the claim, or a list of figures of a family."""
        figures = [finding.plot() for finding in self.findings]
        return figures[0] if len(figures) == 1 else figures

    def json(self):
        """A list, one entry a claim."""
        return [finding.json() for finding in self.findings]

    def __str__(self):
        return self.table


def number(value):
    """A side in at most nine characters."""
    return f"{value:.4g}"


def sides(row):
    """`left relation right` of a row."""
    return f"{number(row.left):>10} {row.relation:2} {number(row.right):<10}"
