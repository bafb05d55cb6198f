"""Samplers: algorithms that draw from the posterior, each reading like its paper's box."""

from functools import partial

from workbench._export import export
from workbench.catalogue import names

__getattr__, __dir__ = export(__name__, __file__)
catalogue = partial(names, "samplers")
