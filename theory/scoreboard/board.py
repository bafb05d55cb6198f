"""The board: every case x entrant x seed that the ledger lacks, measured and written down at once."""

from dataclasses import dataclass, field

from theory.scoreboard.ledger import Ledger
from theory.scoreboard.measure import Yardstick, measured
from workbench._errors import BadInput


@dataclass
class Board:
    """cases x entrants x seeds in `folder`, which may hold a part of it already."""

    cases: list
    entrants: list
    seeds: list
    folder: str
    ledger: Ledger = field(init=False)

    def __post_init__(self):
        self.ledger = Ledger(self.folder)
        self.ledger.agree(self.cases, self.entrants)

    def run(self, say=None):
        """The rows, those that were there included; whole boards of one seed come first.  say: called with each new row
        and how many are left."""
        left = [where for where in self.plan() if self.key(*where) not in self.ledger]
        sticks = {}
        for i, (seed, case, entrant) in enumerate(left):
            n = entrant.draws(case)
            if (seed, case.name) not in sticks:
                sticks = {(seed, case.name): {}}  # of one case at a time
            held = sticks[seed, case.name]
            if n not in held:
                held[n] = Yardstick.of(case, seed, n, self.folder)
            row = result(case, entrant, seed, held[n])
            self.ledger.add(row)
            if say is not None:
                say(row, len(left) - i - 1)
        return self.rows()

    def plan(self):
        """(seed, case, entrant), in order."""
        return [(seed, case, e) for seed in self.seeds for case in self.cases for e in self.entrants]

    def rows(self):
        """The rows of this board that are there."""
        keys = (self.key(*where) for where in self.plan())
        return [self.ledger.rows[k] for k in keys if k in self.ledger]

    @staticmethod
    def key(seed, case, entrant):
        return case.name, entrant.name, seed


def result(case, entrant, seed, yardstick):
    """The row of one entrant: its numbers, or why it cannot."""
    n = entrant.draws(case)
    row = dict(
        case=case.name, family=case.family, entrant=entrant.name, exactness=entrant.exactness, seed=seed
    )
    row |= dict(draws=n, settings=entrant.settings(case))
    try:
        x, post = entrant.run(yardstick.problem, n, seed)
    except BadInput as error:
        return row | dict(cannot=" ".join(str(error).split()))
    except Exception as error:  # a night's work does not end with one sampler
        return row | dict(cannot=" ".join(f"failed: {type(error).__name__}: {error}".split()))
    return row | measured(x, post, yardstick)
