"""The reduced board: a few fast entrants on three problems, held to a band of what they did when it was recorded.

`python -m theory.scoreboard.reduced FILE` records the bands: for a change that is meant, its reason in the commit.
"""

import json
import sys
from math import exp, log
from pathlib import Path
from statistics import mean, stdev

from theory.scoreboard.cases import find_cases
from theory.scoreboard.entrants import line_up
from theory.scoreboard.measure import Yardstick, sliced
from workbench._checkpoint import replace_with

CASES = ("toy/g2", "toy/ring", "mixture/gmm-25-8-1")
ENTRANTS = (
    "exact-draws",
    "exact",
    "afdps-ode",
    "ddrm",
    "diffpir",
    "dps",
    "mcgdiff",
    "moment-matched-smc",
    "moment-matching",
    "pigdm",
    "tds",
)
RECORDED, RUNS = 10, 3  # runs behind a band, and of one comparison with it
LONGER = {
    "moment-matched-smc": 40
}  # runs behind the bands of those near the floor of gmm-25, which ten do not tell
WIDTH = 4.0  # standard deviations of the mean of RUNS that a band allows
LEAST = 0.05  # and of the logarithm besides: a band is known from RECORDED runs alone


def logarithms(runs, samplers=ENTRANTS, problems=CASES):
    """case -> entrant -> [log of sliced W2 of each run]: sampler seeds 0, ..., runs - 1 on the data of seed 0."""
    return {case.name: on(case, line_up(samplers), runs) for case in find_cases(problems)}


def on(case, entrants, runs):
    """entrant -> [log of sliced W2 of each run] on one case."""
    stick, found = Yardstick.bare(case, 0), {}
    for e in entrants:
        draws = (e.run(stick.problem, e.draws(case), seed)[0] for seed in range(runs))
        found[e.name] = [log(sliced(x, stick.y[: len(x)], stick.theta)) for x in draws]
    return found


def bands(found):
    """case -> entrant -> dict(value, band): the distance, and the factor that RUNS runs on average stay within."""
    width = lambda logs: WIDTH * stdev(logs) / RUNS**0.5 + LEAST  # noqa: E731
    return {
        case: {name: dict(value=exp(mean(logs)), band=exp(width(logs))) for name, logs in some.items()}
        for case, some in found.items()
    }


def outside(found, recorded):
    """One sentence for each entrant that is worse than its band, or for which there is none."""
    for case, some in found.items():
        for name, logs in some.items():
            band, value = recorded.get(case, {}).get(name), exp(mean(logs))
            if band is None:
                yield f"{name} on {case}: no band; record them again"
            elif not value <= band["value"] * band["band"]:
                yield f"{name} on {case}: sliced W2 {value:.4g}, recorded {band['value']:.4g} within {band['band']:.3g} times"


def record(path):
    """Write the bands of RECORDED runs, or of as many as LONGER says."""
    found = logarithms(RECORDED)
    for name, runs in LONGER.items():
        for case, some in logarithms(runs, [name]).items():
            found[case] |= some
    text = json.dumps(bands(found), indent=1) + "\n"
    replace_with(Path(path), lambda beside: beside.write_text(text))


if __name__ == "__main__":
    record(sys.argv[1])
