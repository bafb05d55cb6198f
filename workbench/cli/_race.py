"""A race: two ways to the same numbers, timed in turn, with the accuracy of each."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from statistics import median

WARM = 2  # calls of each before the clock counts


@dataclass(frozen=True)
class Race:
    """Two ways to the same numbers: `ours`, and the `peer` called `against` (None where it is not installed).

    least: the goal, time of the peer over ours.  most: the goal, milliseconds of ours.  repeats: timed calls of each.
    errors: gives the relative error of ours and of the peer, against the same truth; the peer's is None without one.
    """

    name: str
    ours: Callable
    against: str
    peer: Callable | None
    least: float | None = None
    most: float | None = None
    repeats: int = 20
    errors: Callable | None = None


def race(entry, repeats=None):
    """The times of both in ms, their calls alternating so that the machine's drift meets them alike."""
    runners = [entry.ours] if entry.peer is None else [entry.ours, entry.peer]
    times = [[] for _ in runners]
    for i in range(WARM + (repeats or entry.repeats)):
        for run, kept in zip(runners, times, strict=True):
            spent = clocked(run)
            if i >= WARM:
                kept.append(spent)
    errors = (None, None) if entry.errors is None else entry.errors()
    return summary(entry, *times) | dict(zip(("error", "peer_error"), errors, strict=True))


def clocked(run):
    """Milliseconds of one call."""
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def summary(entry, ours, peer=None):
    """One line of the table: medians, minima, the ratio of the medians, the goal and whether it is met."""
    row = dict(
        name=entry.name, repeats=len(ours), ours_ms=median(ours), ours_min_ms=min(ours), against=entry.against
    )
    row |= dict(peer_ms=None, peer_min_ms=None, ratio=None, goal=goal(entry), met=None)
    if peer is not None:
        row |= dict(peer_ms=median(peer), peer_min_ms=min(peer), ratio=median(peer) / row["ours_ms"])
    if entry.most is not None:
        row["met"] = row["ours_ms"] <= entry.most
    elif entry.least is not None and peer is not None:
        row["met"] = row["ratio"] >= entry.least
    return row


def goal(entry):
    """The goal in words."""
    if entry.most is not None:
        return f"<= {entry.most:g} ms"
    return None if entry.least is None else f">= {entry.least:g}x"


def optional(module):
    """The module, or None where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        return None
