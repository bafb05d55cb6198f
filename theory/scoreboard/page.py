"""The page of the board: docs/scoreboard.md and its figures, from the rows of a ledger."""

from pathlib import Path

from theory.scoreboard.curves import figure as curve_figure
from theory.scoreboard.figures import EXACT, heat_map, pareto
from theory.scoreboard.tables import case_table, cells, chance, columns, head, lines, markdown
from workbench._checkpoint import replace_with
from workbench._errors import BadInput

GOOD = 1.5  # times the floor, up to which the worst problem of a family lets one trust a sampler there
ABOUT = """# Scoreboard

Which posterior sampler is right, and what it costs. Every sampler that claims a posterior runs on problems whose posterior
is known exactly. A number is the sliced Wasserstein distance of a set of draws to as many exact draws, over the same
distance between two sets that are both exact: **1 is perfect**. The first row of the table is what one in twenty single
sets of exact draws exceeds; means over seeds and problems, which the rest are, should be nearer to 1. Every sampler has its
default settings and at most 100 denoiser calls a draw, derivatives of the denoiser not counted; one that needs more for ten steps makes fewer draws, and is compared with as few exact ones. x: the sampler
cannot take the problem; an empty square: not run, too slow for this board.

Classes: E0 exact up to time steps, E1 exact as particles or iterations and steps grow, B biased (towards a known law where there
is one), P a point estimate or a heuristic. A family's number is the mean over those of its problems that were run; the order
is by the geometric mean over families, so that a sampler not run on a hard one is flattered. `exact-draws` is the floor itself, `exact` the exact conditional score under
DDPM: what is left is discretisation. `calls`: denoiser calls and twice the products with its Jacobian, of a draw.
`moment-matched-smc` is the workbench's own; it takes two particles a draw and half the steps.
"""
METRICS = """## Problem by problem

Means over seeds. ratio: sw2 over its floor. modes: total variation of mode weights. mean: shift over the
posterior's standard deviation. trace, spread: total variance and the median coordinate's standard deviation over exact
ones. residual: rms of y - A x over that of exact draws. cover90: share of exact draws in the sampler's 90 % intervals. ksd:
kernel Stein discrepancy. evidence: |log Z_hat - log Z|. seconds: of a draw.
"""
CURVES = "scoreboard-curves.png"
ALONG = f"""## More particles, more steps

What particles and steps buy, at 100 steps above and 1000 particles below: means over five seeds of sets of 1000 draws,
against what the whole set costs. Samplers without particles have their curves below alone. Dotted: 1.5 times the floor.

![Ratio to the floor against the calls of a set of draws]({CURVES})
"""
SPLITS = """## Where the error comes from

Sliced W2 in units of the floor, on the data of one seed, eight runs. discretisation: what the exact conditional score adds
with the same stepper and steps. guidance: what the sampler adds to that once its draws are pooled. Monte Carlo: what one
run of particles adds to the pool. Parts of a few hundredths are noise, of any sign.
"""


def write_page(rows, folder, facts="", splits=(), curves=()):
    """scoreboard.md and its figures in `folder`: their paths.  facts: a line on what it was measured on.  splits: dicts of
    case, entrant and the parts of a Split.  curves: points of them."""
    if not rows:
        raise BadInput("--page: the ledger has no rows of these samplers, problems and seeds; run some first")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in drawings(rows, curves):
        written.append(folder / name)
        replace_with(written[-1], lambda beside, figure=figure: figure.savefig(beside, dpi=80, format="png"))
    written.append(folder / "scoreboard.md")
    replace_with(
        written[-1], lambda beside: beside.write_text(words(rows, facts, splits, curves), encoding="utf-8")
    )
    return written


def drawings(rows, curves=()):
    """(file name, figure), one after the other."""
    if curves:
        yield CURVES, curve_figure(curves)
    yield "scoreboard-heat-map.png", heat_map(rows)
    for family in columns(lines(rows)):
        yield panel_name(family), pareto(rows, family)


def panel_name(family):
    return f"scoreboard-cost-{family.replace(' ', '-')}.png"


def words(rows, facts="", splits=(), curves=()):
    """The text."""
    found = lines(rows)
    families = columns(found)
    seeds, cases = (list(dict.fromkeys(row[k] for row in rows)) for k in ("seed", "case"))
    count = f"{len(found)} samplers, {len(cases)} problems, {len(seeds)} seed{'s' * (len(seeds) > 1)}."
    table = markdown(head(found), [chance(rows, found), *[cells(e, families) for e in found]])
    sections = [problem(rows, case) for case in cases]
    parts = [ABOUT, short(found, families), "## The table", f"{count} {facts}", table, pictures(families)]
    parts += [ALONG if curves else "", split_table(splits), METRICS, *sections, cannot(rows)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def short(found, families):
    """Whom to trust for what: the samplers that are near the floor on every problem of a family, the cheapest first."""
    lines = [
        f"## In short\n\nAt most {GOOD:g} times the floor on every problem of a family, the cheapest first (worst problem; calls a draw):\n"
    ]
    for family in families:
        good = [e for e in found if e.name not in EXACT and e.worst.get(family, GOOD + 1) <= GOOD]
        good = [
            f"{e.name} ({e.worst[family]:.2f}; {e.calls:.0f})" for e in sorted(good, key=lambda e: e.calls)
        ]
        lines.append(f"- **{family}**: {', '.join(good) or 'none'}")
    return "\n".join(lines)


def split_table(splits):
    """The section of the parts of the error, nothing without them."""
    if not splits:
        return ""
    titles = ("problem", "sampler", "ratio", "discretisation", "guidance", "Monte Carlo")
    keys = ("value", "discretisation", "guidance", "monte_carlo")
    found = [(s["case"], s["entrant"], *[f"{s[k] / s['floor']:.2f}" for k in keys]) for s in splits]
    return f"{SPLITS}\n{markdown(titles, found)}"


def pictures(families):
    """The figures, with what they show."""
    panels = [
        f"![{family}: ratio to the floor against calls and seconds]({panel_name(family)})"
        for family in families
    ]
    about = "Error against cost, down and left is better; grey: the floor. The line joins what no other beats in both, but for those that know the answer."
    return "\n\n".join(["![Mean ratio to the floor](scoreboard-heat-map.png)", about, *panels])


def problem(rows, case):
    """The section of one problem."""
    n = max(row["draws"] for row in rows if row["case"] == case)
    return f"### {case}\n\n{n} draws.\n\n{markdown(*case_table(rows, case))}"


def cannot(rows):
    """Who cannot take what, and why."""
    reasons = {}
    for row in rows:
        if "cannot" in row:
            reasons.setdefault((row["entrant"], row["cannot"].split(";")[0]), {})[row["case"]] = None
    lines = [f"- {name}, on {', '.join(cases)}: {why}" for (name, why), cases in sorted(reasons.items())]
    return "## What cannot be done\n\n" + "\n".join(lines) if lines else ""
