"""Claims: two sides, a margin, and a control that must fail."""

import re
from functools import partial

from workbench._errors import unknown
from workbench._export import export
from workbench.catalogue import entries, load, names

__getattr__, __dir__ = export(__name__, __file__)
catalogue = partial(names, "claims")


def select(*words, tier=None):
    """The catalogue's entries that `words` name, in the order of their codes; all of them for no word.

    A word is an id (`tweedie-first-order`), a code (`B1`), a file (`ode-sde-gap`), a letter (`B`) or a topic; with
    `tier`, only claims of tiers up to it. Raises BadInput for a word that names nothing.
    """
    everything = sorted(entries("claims"), key=lambda entry: _order(entry.card["code"]))
    chosen = [entry for entry in everything if not words or any(_answers(entry, word) for word in words)]
    for word in words:
        if not any(_answers(entry, word) for entry in everything):
            raise unknown("claim", word, _words(everything), "`workbench list claims`")
    return [entry for entry in chosen if tier is None or entry.card["tier"] <= tier]


def verify(name, seed=0, tier=None):
    """The Evidence of the claim, family or topic called `name`: measured sides, margins, controls, figures.

    tier: the highest that runs; by default a claim named by itself whatever its tier, of a family those up to 1, with
    the rest in `evidence.left_out`.
    """
    from theory.claims._claim import Evidence

    chosen = select(name)
    highest = tier if tier is not None else 1 if len(chosen) > 1 else chosen[0].card["tier"]
    run = [entry for entry in chosen if entry.card["tier"] <= highest]
    return Evidence(
        tuple(load("claims", entry.name)().verify(entry.name, seed) for entry in run),
        tuple(entry.name for entry in chosen if entry not in run),
    )


def _order(code):
    """B10 after B2."""
    letter, number = re.fullmatch(r"([A-Z]+)(\d+)", code).groups()
    return letter, int(number)


def _names(entry):
    """What a claim answers to."""
    family = entry.module.rsplit(".", 1)[1].replace("_", "-")
    code = entry.card["code"]
    return {entry.name, code.lower(), family, _order(code)[0].lower(), entry.card["topic"]}


def _answers(entry, word):
    return str(word).lower().replace("_", "-") in _names(entry)


def _words(everything):
    return sorted(set().union(*(_names(entry) for entry in everything))) if everything else []
