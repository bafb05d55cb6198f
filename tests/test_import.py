"""`import workbench` costs nothing, every file imports, and a shadowed package is named."""

import json
import subprocess
import sys
from importlib import import_module

import pytest
from conftest import ROOT
from test_layers import modules

HEAVY = ("torch", "numpy", "scipy", "sigpy", "matplotlib", "xarray", "zarr", "h5py")


def python(code, cwd=ROOT, path=ROOT):
    """Run code in a fresh interpreter that sees our tree last; its completed process."""
    start = f"import sys; sys.path.append({str(path)!r})\n"
    return subprocess.run([sys.executable, "-c", start + code], cwd=cwd, capture_output=True, text=True)


def loaded(code):
    """The heavy libraries that a piece of code has imported."""
    done = python(f"{code}\nimport sys\nprint([m for m in {HEAVY} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_import_loads_no_library():
    assert loaded("import workbench, problems, theory") == "[]"


def test_catalogues_are_read_without_importing():
    code = "from workbench.catalogue import ROOMS, entries\nassert sum(len(entries(room)) for room in ROOMS) > 10"
    assert loaded(code) == "[]"


def test_listing_loads_no_library():
    code = "import sys; from workbench.cli import main; assert not main(['list', 'operators'])"
    assert loaded(code) == "[]"


def test_list_prints_every_operator():
    from workbench.catalogue import names

    command = [sys.executable, "-m", "workbench", "list", "operators", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {row["name"] for row in json.loads(done.stdout)} == set(names("operators"))


@pytest.mark.parametrize("name", ["problems", "theory"])
def test_a_shadow_is_named(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("x = 1\n")
    done = python(f"sys.path.insert(0, {str(tmp_path)!r})\nimport workbench", cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    assert str(tmp_path / f"{name}.py") in last and str(ROOT / name / "__init__.py") in last


@pytest.mark.parametrize("name", ["problems", "theory"])
def test_a_shadow_on_the_command_line_is_one_sentence(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("x = 1\n")
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "workbench", "list", "operators"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and str(tmp_path / f"{name}.py") in done.stderr


@pytest.mark.parametrize("name", [name for name, _ in modules() if not name.endswith("__main__")])
def test_every_module_imports(name):
    import_module(name)


def test_a_name_that_is_not_there_lists_what_is():
    import workbench

    with pytest.raises(AttributeError, match="'operatorz'; it has .*operators"):
        _ = workbench.operatorz
    with pytest.raises(AttributeError, match="'Maskk'; it has .*Mask"):
        _ = workbench.operators.Maskk
    assert "Mask" in dir(workbench.operators) and "operators" in dir(workbench)
