"""The scoreboard: samplers x problems x seeds, each beside the exact posterior and the floor of exact draws."""

from workbench._export import export

__getattr__, __dir__ = export(__name__, __file__)
