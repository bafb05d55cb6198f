"""The page of the board: docs/scoreboard.md and its figures, from the rows of a ledger."""

from pathlib import Path

from theory.scoreboard.figures import heat_map, pareto
from theory.scoreboard.tables import case_table, cells, chance, columns, head, lines, markdown
from workbench._checkpoint import replace_with
from workbench._errors import BadInput

ABOUT = """# Scoreboard

Every sampler that claims a posterior, on problems whose posterior is known exactly. A number is the sliced Wasserstein
distance of a set of draws to as many exact draws, over the same distance between two sets that are both exact: **1 is
perfect**, and what one in twenty exact sets exceeds is the first row. Medians over seeds and problems. Every sampler has its default settings and the same budget, 100 denoiser calls a draw; a sampler that needs more for ten steps
makes fewer draws, and is compared with as few exact ones. x: the sampler cannot take the problem.

Classes: E0 exact up to time steps, E1 exact as particles or iterations grow, B biased (towards a known law where there
is one), P a point estimate or a heuristic. `exact-draws` is the floor itself, `exact` the exact conditional score under
DDPM: what is left is discretisation. `calls`: denoiser calls and twice the products with its Jacobian, of a draw.
"""
METRICS = """## Problem by problem

Medians over seeds. ratio: sw2 over its floor. modes: total variation of mode weights. mean: shift over the
posterior's standard deviation. trace, spread: total variance and the median coordinate's standard deviation over exact
ones. residual: rms of y - A x over that of exact draws. cover90: share of exact draws in the sampler's 90 % intervals. ksd:
kernel Stein discrepancy. evidence: |log Z_hat - log Z|. seconds: of a draw.
"""


def write_page(rows, folder, facts=""):
    """scoreboard.md and its figures in `folder`: their paths.  facts: a line on what it was measured on."""
    if not rows:
        raise BadInput("--page: the ledger has no rows of these samplers, problems and seeds; run some first")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in drawings(rows):
        written.append(folder / name)
        replace_with(written[-1], lambda beside, figure=figure: figure.savefig(beside, dpi=80, format="png"))
    written.append(folder / "scoreboard.md")
    replace_with(written[-1], lambda beside: beside.write_text(words(rows, facts), encoding="utf-8"))
    return written


def drawings(rows):
    """(file name, figure), one after the other."""
    yield "scoreboard-heat-map.png", heat_map(rows)
    for family in columns(lines(rows)):
        yield panel_name(family), pareto(rows, family)


def panel_name(family):
    return f"scoreboard-cost-{family.replace(' ', '-')}.png"


def words(rows, facts=""):
    """The text."""
    found = lines(rows)
    families = columns(found)
    seeds, cases = (list(dict.fromkeys(row[k] for row in rows)) for k in ("seed", "case"))
    count = f"{len(found)} samplers, {len(cases)} problems, {len(seeds)} seed{'s' * (len(seeds) > 1)}."
    table = markdown(head(found), [chance(rows, found), *[cells(e, families) for e in found]])
    sections = [problem(rows, case) for case in cases]
    parts = [ABOUT, f"{count} {facts}", table, pictures(families), METRICS, *sections, cannot(rows)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def pictures(families):
    """The figures, with what they show."""
    panels = [
        f"![{family}: ratio to the floor against calls and seconds]({panel_name(family)})"
        for family in families
    ]
    about = "Error against cost, down and left is better; grey: the floor. The line joins what no other beats in both, but for those that know the answer."
    return "\n\n".join(["![Median ratio to the floor](scoreboard-heat-map.png)", about, *panels])


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
