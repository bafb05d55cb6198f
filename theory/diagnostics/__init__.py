"""Diagnostics: they take a score or denoiser callable, or samples; any network, ours or a user's."""

from workbench._export import export

__getattr__, __dir__ = export(__name__, __file__)
