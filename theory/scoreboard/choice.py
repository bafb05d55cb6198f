"""Which sampler for a problem: the lines of the board that can take it at a cost, the nearest to the posterior first."""

from math import inf

from theory.scoreboard.figures import EXACT
from theory.scoreboard.tables import aligned, lines, ratio
from workbench import catalogue
from workbench._errors import unknown

ORDER = (
    "denoiser",
    "black box",
    "gradient",
    "prox",
    "svd",
)  # of the operator, from the least asked to the most


def choose(rows, family, calls=inf, complex=False, nonlinear=False, poisson=False, operator="svd"):
    """Lines of the samplers that qualify, by their worst problem of `family`.

    calls: denoiser + 2 vjp calls a draw at the most.  complex, nonlinear, poisson: what they must take.  operator: what it
    can do: "black box" (A alone), "gradient" (A and its adjoint), "prox" (regularised solves) or "svd". Raises BadInput
    for a family or an operator that is none.
    """
    known = sorted({row["family"] for row in rows})
    if family not in known:
        raise unknown("family", family, known, "docs/scoreboard.md")
    if operator not in ORDER:
        raise unknown("operator", operator, [*ORDER], "docs/samplers.md")
    cards = {entry.name: entry.card for entry in catalogue.entries("samplers")}
    wanted = [k for k, on in dict(complex=complex, nonlinear=nonlinear, poisson=poisson).items() if on]

    def qualifies(e):
        card = cards.get(e.name) or cards[e.name.rpartition("-")[0]]  # fk-steering-4 is fk-steering
        asked = ORDER.index(card["needs"]) if card["needs"] in ORDER else len(ORDER)
        return asked <= ORDER.index(operator) and all(card[k] for k in wanted) and e.calls <= calls

    found = [e for e in lines(rows) if e.name not in EXACT and family in e.families and qualifies(e)]
    return sorted(found, key=lambda e: (e.worst[family], e.calls))


def table(found, family):
    """The lines as text."""
    rows = [
        (
            e.name,
            e.exactness,
            ratio(e.families[family]),
            worst(e, family),
            f"{e.calls:.0f}",
            f"{1e3 * e.seconds:.2g}",
        )
        for e in found
    ]
    return aligned([("sampler", "class", "mean", "worst", "calls", "ms a draw"), *rows])


def worst(e, family):
    """The worst problem, x where the sampler cannot take one."""
    return ratio(e.worst[family]) if e.worst[family] < inf else "x"
