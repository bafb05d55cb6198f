"""Imports point one way: the table of the architecture, read from the source."""

import ast

import pytest
from conftest import ROOT

OPERATORS, DIFFUSION = {"workbench.operators"}, {"workbench.diffusion"}
NOISE = {"workbench.noise"}
PRIORS = {"workbench.priors"} | DIFFUSION
LAWS = PRIORS | OPERATORS | NOISE
SAMPLERS = {"workbench.samplers", "workbench.problem"} | LAWS
LOOP = {f"workbench.{name}" for name in ("_cost", "_checkpoint", "provenance", "run", "posterior", "tuning")}
AROUND = {"workbench.metrics", "workbench.viz", "workbench.io"} | LOOP | SAMPLERS
WORKBENCH = {"workbench.classical"} | AROUND
THEORY = {"theory.distributions", "theory.diagnostics", "theory.claims", "theory.scoreboard"}

MAY = {  # the longest name decides; a room may always import its own files
    "workbench.operators": set(),
    "workbench.noise": {"workbench.operators"},  # whitening is an operator
    "workbench.diffusion": set(),
    "workbench.priors": DIFFUSION,
    "theory.distributions": LAWS,
    "workbench.samplers": SAMPLERS,
    "workbench.problem": SAMPLERS,
    "workbench.classical": SAMPLERS,
    **dict.fromkeys(LOOP, AROUND),
    "workbench.metrics": AROUND,
    "workbench.viz": AROUND,
    "workbench.io": AROUND,
    "theory.diagnostics": set(),  # callables and samples
    "problems": WORKBENCH | {"theory.distributions"},
    "theory.claims": WORKBENCH | THEORY | {"problems"},
    "theory.scoreboard": WORKBENCH | THEORY | {"problems"},
    "theory.experiments": WORKBENCH | THEORY | {"problems"},
    "workbench.cli": WORKBENCH | THEORY | {"problems"},
    "workbench.__main__": {"workbench.cli"},
}
FURNITURE = (
    "workbench._",
    "workbench.catalogue",
)  # unless it is named above; `import workbench` gives its version


def modules():
    """(dotted name, path) of every file of ours."""
    for top in ("workbench", "problems", "theory"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path):
    """The modules of ours that a file names in an import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; name the module in full"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            if name.split(".")[0] in ("workbench", "problems", "theory"):
                yield node.lineno, name


def within(name, room):
    return name == room or name.startswith(room + ".")


def room_of(name):
    """The longest key of MAY that holds the module, or None for the top-level packages themselves."""
    return max((room for room in MAY if within(name, room)), key=len, default=None)


def wrong(name, path):
    """The imports of a file that point the wrong way."""
    home = room_of(name)
    allowed = MAY[home] | {home} if home else set()  # a top-level __init__ imports furniture alone
    return [
        f"{path.name}:{line} {target}"
        for line, target in imported(path)
        if not any(within(target, room) for room in allowed)
        and not (room_of(target) is None and (target.startswith(FURNITURE) or target == "workbench"))
    ]


@pytest.mark.parametrize(
    "name, path", list(modules()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_imports_point_one_way(name, path):
    assert wrong(name, path) == []


def test_an_upward_import_is_seen(tmp_path):
    path = tmp_path / "dps.py"
    path.write_text("def f():\n    from workbench.run import sample\n    import theory.claims.tweedie\n")
    assert wrong("workbench.samplers.dps", path) == [
        "dps.py:2 workbench.run.sample",
        "dps.py:3 theory.claims.tweedie",
    ]
    path.write_text("from workbench.priors.network import Network\nfrom workbench._rng import Rng\n")
    assert wrong("workbench.samplers.dps", path) == []
    assert wrong("workbench.operators.mask", path) == ["dps.py:1 workbench.priors.network.Network"]


def test_nothing_of_ours_imports_the_command_line():
    for name, path in modules():
        if room_of(name) not in ("workbench.cli", "workbench.__main__"):
            assert not [line for line, target in imported(path) if within(target, "workbench.cli")], path
