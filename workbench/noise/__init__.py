"""Noise: what turns A(x) into data, with its normalised log-likelihood."""

from functools import partial

from workbench._export import export
from workbench.catalogue import names

__getattr__, __dir__ = export(__name__, __file__)
catalogue = partial(names, "noise")
