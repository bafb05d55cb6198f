"""Priors: what the signal looks like, as a denoiser E[x0 | x_t] at every noise level."""

from functools import partial

from workbench._export import export
from workbench.catalogue import names

__getattr__, __dir__ = export(__name__, __file__)
catalogue = partial(names, "priors")
