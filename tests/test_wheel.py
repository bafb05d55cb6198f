"""What is published: the three packages and their licence, and nothing else of the folder."""

from zipfile import ZipFile

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built offline by the build tool itself."""
    builders = pytest.importorskip("hatchling.builders.wheel")
    (path,) = builders.WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]
    )
    return ZipFile(path)


def test_wheel_holds_three_packages(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    info = {top for top in tops if top.endswith(".dist-info")}
    assert tops - info == {"workbench", "problems", "theory"} and len(info) == 1
    assert not [name for name in wheel.namelist() if "test" in name.split("/") or name.endswith(".ipynb")]


def test_wheel_holds_every_module(wheel):
    ours = {
        path.relative_to(ROOT).as_posix()
        for top in ("workbench", "problems", "theory")
        for path in (ROOT / top).rglob("*.py")
    }
    assert ours <= set(wheel.namelist()) and "workbench/py.typed" in wheel.namelist()


def test_wheel_says_what_it_is(wheel):
    import workbench

    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    (entry,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    text = wheel.read(metadata).decode()
    assert f"Name: inverse-workbench\nVersion: {workbench.__version__}\n" in text
    assert "License-Expression: BSD-3-Clause" in text
    assert "workbench = workbench.cli:main" in wheel.read(entry).decode()
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())
