"""Claims: two sides, a margin, and a control that must fail."""

from functools import partial

from workbench._export import export
from workbench.catalogue import names

__getattr__, __dir__ = export(__name__, __file__)
catalogue = partial(names, "claims")
