"""Forward operators: values that map a signal to a measurement, with exact adjoints."""

from functools import partial

from workbench._export import export
from workbench.catalogue import names

__getattr__, __dir__ = export(__name__, __file__)
catalogue = partial(names, "operators")
