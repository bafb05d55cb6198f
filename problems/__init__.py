"""Problems by name: an operator, a prior, noise and data, ready to sample. One file each, scanned recursively."""

import json
from functools import partial
from pathlib import Path

from workbench import catalogue as _catalogue

catalogue = partial(_catalogue.names, "problems")


def load(name, seed=0, **sizes):
    """The Problem called `name` (for example `mri/brain-cartesian-4x`), drawn with `seed`; `sizes` are its arguments."""
    return _catalogue.load("problems", name)(seed=seed, **sizes)


def settings(name):
    """sampler -> its tuned `fields` on the problem called `name`, with steps, scores, seeds and what made them; or {}."""
    path = settings_file(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def settings_file(name):
    """Where they are: problems/settings/<name>.json."""
    _catalogue.find("problems", name)
    return Path(__file__).parent / "settings" / f"{name}.json"
