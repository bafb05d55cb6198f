"""Published experiments with exact posteriors, run again in their settings: our figure beside each published one."""

from workbench._export import export

__getattr__, __dir__ = export(__name__, __file__)
