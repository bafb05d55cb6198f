"""One environment, said three times: pyproject.toml, constraints.txt and environment.yml agree."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
OPTIONAL = [Requirement(line) for lines in EXTRAS.values() for line in lines]
NEVER = {
    "torchvision",
    "azula",
    "deepinv",
    "piq",
    "lpips",
    "torchmetrics",
    "particles",
    "astra-toolbox",
    "cupy",
}


def pins():
    """name -> the version strings pinned in constraints.txt."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line).groups()
            found.setdefault(canonical(name), []).append(version)
    return found


def conda():
    """The conda lines and the pip lines of environment.yml."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return [line for line in listed if isinstance(line, str)], next(
        d["pip"] for d in listed if isinstance(d, dict)
    )


@pytest.mark.parametrize("need", [r for r in CORE + OPTIONAL if r.name != PROJECT["name"]], ids=str)
def test_each_dependency_is_pinned_once_inside_its_range(need):
    versions = pins().get(canonical(need.name), [])
    assert len(versions) == 1
    assert need.specifier.contains(versions[0]) and Version(versions[0]).local is None


def test_every_pin_is_a_plain_version():
    assert all(len(versions) == 1 for versions in pins().values())


def test_what_is_never_depended_on():
    names = {canonical(r.name) for r in CORE + OPTIONAL} | set(pins())
    assert not names & NEVER and not [name for name in names if name.startswith("nvidia")]


def test_extras_refer_to_extras():
    for need in OPTIONAL:
        if need.name == PROJECT["name"]:
            assert need.extras <= set(EXTRAS)


def test_gpu_is_for_linux():
    for line in EXTRAS["gpu"]:
        marker = Requirement(line).marker
        assert marker.evaluate({"platform_system": "Linux"})
        assert not marker.evaluate({"platform_system": "Darwin"})


def test_environment_file_is_the_same_set():
    lines = conda()[1]
    assert "-c constraints.txt" in lines
    editable = next(line for line in lines if line.startswith("-e "))
    assert Requirement("x" + editable.removeprefix("-e .")).extras <= set(EXTRAS)
    named = [Requirement(line) for line in lines if not line.startswith("-")]
    assert {canonical(r.name) for r in named} <= {canonical(r.name) for r in CORE + OPTIONAL}
    markers = {canonical(r.name): str(r.marker) for r in named}
    assert markers["cupy-cuda13x"] == 'platform_system == "Linux"'
    wanted = {"torch", "scipy", "numpy", "matplotlib", "jupyterlab", "sigpy", "pot"}
    assert all(markers[name] == "None" for name in wanted)


def test_environment_file_takes_the_same_python():
    python = next(line for line in conda()[0] if line.startswith("python"))
    assert PROJECT["requires-python"] in python


def test_citation_is_of_this_version():
    import workbench

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == workbench.__version__ and cited["license"] == PROJECT["license"]
    assert f"## {workbench.__version__}" in (ROOT / "CHANGELOG.md").read_text()
