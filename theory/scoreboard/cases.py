"""The problems of the board: their posteriors are known exactly, so that any distance is a sampler's own."""

from dataclasses import dataclass, field

import problems
from workbench._errors import BadInput, unknown
from workbench.catalogue import names

TEST_SEEDS = range(10)  # of the board; settings are chosen on seeds from TUNING_SEEDS on, never on these
TUNING_SEEDS = 1000


@dataclass(frozen=True)
class Case:
    """A problem with its arguments, and how many draws of it are compared.

    name: of the row of the board.  problem: its name in the catalogue.  family: the column of the table.  draws: of
    each sampler and of the exact posterior.  slices: directions of the sliced distance.  slow: left out unless named.
    """

    name: str
    problem: str
    family: str
    arguments: dict = field(default_factory=dict)
    draws: int = 1000
    slices: int = 256
    slow: bool = False

    def load(self, seed):
        """The Problem with that seed; BadInput where its posterior is not known."""
        problem = problems.load(self.problem, seed=seed, **self.arguments)
        if problem.exact is None:
            raise BadInput(f"case {self.name}, seed {seed}: problem {self.problem} has no exact posterior")
        return problem


def every_case():
    """All of them, whether their problem is there or not."""
    toys = [Case(f"toy/{name}", f"toy/{name}", "toy") for name in ("g2", "ring")]
    curved = [Case(f"toy/{name}", f"toy/{name}", "nonlinear") for name in ("phase", "poisson", "saturation")]
    lattices = [
        Case(
            f"mixture/gmm-25-{d}-{m}",
            "mixture/gmm-25",
            "gmm-25",
            dict(size=d, measurements=m),
            1000,
            k,
            d > 80,
        )
        for d, k in ((8, 256), (80, 1000), (800, 1000))
        for m in (1, 2, 4)
    ]
    images = [
        Case("mixture/low-rank-16", "mixture/low-rank", "low rank", dict(size=16), 1000, 1000),
        Case("mixture/low-rank-64", "mixture/low-rank", "low rank", dict(size=64), 100, 1000, slow=True),
    ]
    trap = [Case("mixture/accuracy-trap", "mixture/accuracy-trap", "low rank")]
    fields = [
        Case(f"field/{name}", f"field/{name}", "field", dict(size=64), n, 1000)
        for name, n in (("mri", 50), ("ct", 50), ("blur", 100), ("compressed-sensing", 100))
    ]
    jumps = [
        Case(f"levy/{name}", f"levy/{name}", "levy", {}, 100, 256, slow=True)
        for name in ("denoise", "deconvolve", "impute", "fourier")
    ]
    return [*toys, *curved, *lattices, *images, *trap, *fields, *jumps]


def find_cases(wanted=None):
    """The cases whose problem is in the catalogue; `wanted`: names of cases, or of problems with all their cases.

    Without `wanted` those that are not slow. Raises BadInput for a name that is none, with the nearest.
    """
    known = set(names("problems"))
    there = [case for case in every_case() if case.problem in known]
    if wanted is None:
        return [case for case in there if not case.slow]
    valid = sorted({case.name for case in there} | {case.problem for case in there})
    for name in wanted:
        if name not in valid:
            raise unknown("problem", name, valid, "`theory/scoreboard/cases.py`")
    return [case for case in there if case.name in wanted or case.problem in wanted]
