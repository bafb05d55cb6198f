"""Scans and results on disk: one format per file; arrays and geometry out."""

from workbench._export import export

__getattr__, __dir__ = export(__name__, __file__)
