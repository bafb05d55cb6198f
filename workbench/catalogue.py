"""What there is, read from the folders without importing anything: names, one-line summaries, cards, loading by name.

An exhibit is a public class that carries a literal `card = dict(...)`; a problem is a file with a function `problem`
and a card. Its name is the class name in kebab-case (`CircularBlur` -> `circular-blur`), the `name` of its card where
the field writes another (`PnPFlow` is `pnp-flow`), or the problem's path.
"""

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path

from workbench._errors import unknown

HOME = Path(__file__).resolve().parent.parent
ROOMS = {
    "operators": "workbench.operators",
    "noise": "workbench.noise",
    "processes": "workbench.diffusion",
    "priors": "workbench.priors",
    "samplers": "workbench.samplers",
    "classical": "workbench.classical",
    "metrics": "workbench.metrics",
    "distributions": "theory.distributions",
    "claims": "theory.claims",
    "problems": "problems",
}


@dataclass(frozen=True)
class Entry:
    """One line of a catalogue: `load(entry.room, entry.name)` gives the class or the function itself."""

    name: str
    room: str
    module: str
    attribute: str
    summary: str
    card: dict = field(default_factory=dict)
    published: dict = field(default_factory=dict)


def kebab(name):
    """`CartesianMRI` -> `cartesian-mri`, `DPMSolver2M` -> `dpm-solver-2m`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z0-9])(?=[A-Z][a-z])", "-", name).lower()


def _card(body):
    """The literal `card = dict(...)` of a class or module body, or None."""
    for node in body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "card":
            return {k.arg: ast.literal_eval(k.value) for k in node.value.keywords}
    return None


def _published(body):
    """name -> its fields as written, of a literal `published = dict(name=dict(field=value))`, or {}."""
    for node in body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "published":
            return {k.arg: ast.unparse(k.value)[5:-1] for k in node.value.keywords}
    return {}


@cache
def _parsed(path, changed):
    """The syntax tree of a file, read again when it has `changed`."""
    return ast.parse(path.read_text(encoding="utf-8"))


def _summary(node, fallback):
    return (ast.get_docstring(node) or fallback or "").strip().split("\n")[0]


def entries(room):
    """The exhibits of a room (`operators`, `samplers`, ... , `problems`), sorted by name."""
    if room not in ROOMS:
        raise unknown("catalogue", room, list(ROOMS), "`workbench list --help`")
    package = ROOMS[room]
    folder = HOME / package.replace(".", "/")
    pattern = "**/[!_]*.py" if room == "problems" else "[!_]*.py"
    found = []
    for path in sorted(folder.glob(pattern)):
        tree = _parsed(path, path.stat().st_mtime_ns)
        stem = path.relative_to(folder).with_suffix("").as_posix()
        module = f"{package}.{stem.replace('/', '.')}"
        if room == "problems":
            found.append(
                Entry(
                    stem.replace("_", "-"),
                    room,
                    module,
                    "problem",
                    _summary(tree, ""),
                    _card(tree.body) or {},
                )
            )
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                card = _card(node.body)
                if card is not None:
                    summary = _summary(node, ast.get_docstring(tree))
                    name = card.get("name", kebab(node.name))
                    found.append(Entry(name, room, module, node.name, summary, card, _published(node.body)))
    return sorted(found, key=lambda entry: entry.name)


def names(room):
    """The names of a room's exhibits."""
    return [entry.name for entry in entries(room)]


def find(room, name):
    """The entry called `name`; a BadInput that suggests the nearest name otherwise."""
    for entry in entries(room):
        if entry.name == name:
            return entry
    raise unknown(room.removesuffix("s"), name, names(room), f"`workbench list {room}`")


def load(room, name):
    """The class (or, for problems, the function) called `name`."""
    entry = find(room, name)
    return getattr(import_module(entry.module), entry.attribute)
