"""Tuned settings: samplers beside exact posteriors at held-out seeds, kept in problems/settings with their provenance.

`python -m theory.scoreboard.tuned [PROBLEM ...]` makes those that are missing: remove a file to make it anew.
"""

import json
import sys
from dataclasses import dataclass, field
from functools import partial

import problems
from theory.diagnostics.floors import _flat
from theory.diagnostics.transport import _directions
from theory.scoreboard.measure import sliced, sound
from workbench import catalogue
from workbench._checkpoint import replace_with
from workbench._errors import BadInput
from workbench.provenance import digest
from workbench.tuning import tune

REFERENCE = 10**6  # seeds of exact draws, apart from those of problems and samplers
STEPS, TRIALS = 100, 20
SEEDS = (1000, 1001, 1002)
RANGES = {
    "dps": dict(zeta=(0.01, 100)),
    "mcg": dict(zeta=(0.01, 100)),
    "diffpir": dict(lam=(0.01, 100), zeta=(0.01, 1)),
    "red-diff": dict(lam=(0.01, 100), lr=(0.001, 1)),
    "ddrm": dict(eta=(0.01, 1), eta_b=(0.01, 1)),
    "published-flowchef": dict(gain=(0.001, 100)),
    "flowchef": dict(gain=(0.01, 10)),
    "published-lgd": dict(zeta=(0.01, 100), variance=(0.01, 10)),
    "lgd-mc": dict(variance=(0.01, 10)),
    "pigdm": dict(variance=(0.01, 10), reach=(0.1, 10)),
    "likelihood-dps": dict(reach=(0.1, 10)),
    "ula": dict(delta=(1e-4, 1)),
    "pnp-dm": dict(decay=(0.5, 0.98), rho_min=(0.001, 1)),
    "daps": dict(beta=(0.01, 10)),
}
PROBLEMS = {  # their arguments, and draws
    "toy/ring": (dict(), 300),
    "mixture/gmm-25": (dict(size=8, measurements=1), 300),
    "mixture/accuracy-trap": (dict(), 300),
    "field/blur": (dict(size=32), 50),
    "toy/phase": (dict(), 300),
}


@dataclass
class ToExact:
    """Sliced W2 of the draws to exact ones over what two exact sets of that size have: 1 is exact.

    slices: directions.  pairs: of exact sets behind the floor, and exact sets that the draws are compared with.
    """

    slices: int = 256
    pairs: int = 5
    sets: dict = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, problem, draw, seed):
        if problem.exact is None:
            raise BadInput(
                f"problem {problem.name!r} has no exact posterior; tune by its truth or held-out data"
            )
        post = draw(problem)
        x = (post.samples if post.log_weights is None else post.resampled(len(post), seed).samples).cpu()
        exact, theta, floor = self.of(problem, len(x), seed)
        if not sound(x, exact[0]).all():
            return float("inf")
        return sum(sliced(x, y, theta) for y in exact) / self.pairs / floor

    def of(self, problem, n, seed):
        """Exact sets, directions and the floor: the mean distance of those sets to as many others."""
        key = digest(problem.y), n, seed
        if key not in self.sets:
            draws = problem.exact.sample(2 * n * self.pairs, REFERENCE + seed).cpu().split(n)
            flat = _flat(draws[0], "exact draws")
            theta = _directions(self.slices, flat.shape[1], seed).to(flat)
            exact, others = draws[: self.pairs], draws[self.pairs :]
            floor = sum(sliced(x, y, theta) for x, y in zip(exact, others, strict=True)) / self.pairs
            self.sets[key] = exact, theta, floor
        return self.sets[key]


def settle(name, sampler, objective=None, say=None, trials=TRIALS):
    """The record of one sampler tuned on the problem `name`, at PROBLEMS' sizes and RANGES: a dict for JSON."""
    sizes, draws = PROBLEMS[name]
    make, start = partial(made, name, sizes), catalogue.load("samplers", sampler)()
    how = dict(n=draws, steps=STEPS, trials=trials, seeds=SEEDS, say=say)
    found = tune(make, start, RANGES[sampler], objective or ToExact(), **how)
    return found.record() | dict(arguments=sizes, command=f"python -m theory.scoreboard.tuned {name}")


def made(name, sizes, seed):
    """The problem of a seed."""
    return problems.load(name, seed=seed, **sizes)


def settle_all(names=None, samplers=None, say=print):
    """Every setting that problems/settings lacks, written as soon as it is there."""
    for name in names or PROBLEMS:
        if name not in PROBLEMS:
            raise BadInput(f"problem {name!r} is not tuned here; it is one of {', '.join(PROBLEMS)}")
        objective = ToExact()
        for sampler in samplers or RANGES:
            if sampler in problems.settings(name):
                continue
            try:
                record = settle(name, sampler, objective)
            except BadInput as error:
                say(f"{name}, {sampler}: cannot: {str(error)[:160]}")
                continue
            keep(name, sampler, record)
            score = record["score"]
            parts = (score[k] for k in ("default", "tuned", "fresh_default", "fresh_tuned"))
            say(f"{name}, {sampler}: {' '.join(str(v)[:5] for v in parts)} {record['best']}")


def keep(name, sampler, record):
    """Write a record into the problem's file of settings, which stays whole at any moment."""
    path = problems.settings_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = dict(sorted((problems.settings(name) | {sampler: record}).items()))
    text = json.dumps(found, indent=1) + "\n"
    replace_with(path, lambda beside: beside.write_text(text))


if __name__ == "__main__":
    settle_all(sys.argv[1:])
