"""Lazy names: a folder is its own list, and a file is imported when one of its names is first used."""

import ast
from importlib import import_module
from pathlib import Path


def public_definitions(path):
    """Names of the public classes and functions that a file defines, read without importing it."""
    return [
        node.name
        for node in ast.parse(Path(path).read_text(encoding="utf-8")).body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_")
    ]


def export(package, init):
    """`__getattr__` and `__dir__` of a room: its files' public classes and functions, imported on first use."""
    home = None

    def names():
        nonlocal home
        if home is None:
            files = sorted(Path(init).parent.glob("[!_]*.py"))
            home = {name: file.stem for file in files for name in public_definitions(file)}
        return home

    def __getattr__(name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in names():
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(sorted(names()))}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return __getattr__, lambda: sorted(names())


def rooms(package, packages, names):
    """`__getattr__` and `__dir__` of the top level: `packages` are rooms, `names` maps a name to its file."""

    def __getattr__(name):
        if name in packages:
            return import_module(f"{package}.{name}")
        if name in names:
            return getattr(import_module(f"{package}.{names[name]}"), name)
        raise AttributeError(f"{package} has no {name!r}; it has {', '.join(sorted([*packages, *names]))}")

    return __getattr__, lambda: sorted([*packages, *names])
