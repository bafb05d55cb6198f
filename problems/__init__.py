"""Problems by name: an operator, a prior, noise and data, ready to sample. One file each, scanned recursively."""

from functools import partial

from workbench import catalogue as _catalogue

catalogue = partial(_catalogue.names, "problems")


def load(name, seed=0, **sizes):
    """The Problem called `name` (for example `mri/brain-cartesian-4x`), drawn with `seed`; `sizes` are its arguments."""
    return _catalogue.load("problems", name)(seed=seed, **sizes)
