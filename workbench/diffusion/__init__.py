"""Noise schedules x_t = alpha(t) x_0 + sigma(t) eps, and time grids over them."""

from functools import partial

from workbench._export import export
from workbench.catalogue import names

__getattr__, __dir__ = export(__name__, __file__)
catalogue = partial(names, "processes")
