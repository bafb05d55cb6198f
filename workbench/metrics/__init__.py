"""Metrics: a reconstruction, or a cloud of them, against one truth."""

from functools import partial

from workbench._export import export
from workbench.catalogue import names

__getattr__, __dir__ = export(__name__, __file__)
catalogue = partial(names, "metrics")
