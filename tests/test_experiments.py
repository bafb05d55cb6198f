"""Each experiment, small, by `python -m`: the two files, and numbers that its claims know."""

import json
import runpy
import sys

import pytest
from conftest import ROOT

from theory.claims.ode_sde_gap import FpResidualW2Bound

NAMES = sorted(path.stem for path in (ROOT / "theory" / "experiments").glob("[!_]*.py"))


def run(name, *flags):
    """The exit status of `python -m theory.experiments.NAME FLAGS`."""
    sys.modules.pop(f"theory.experiments.{name}", None)  # a module that is run should not be there yet
    before, sys.argv = sys.argv, [name, *map(str, flags)]
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_module(f"theory.experiments.{name}", run_name="__main__")
    finally:
        sys.argv = before
    return end.value.code


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """name -> its record, small, at seed 0; each is run once."""
    folder, records = tmp_path_factory.mktemp("experiments") / "new", {}

    def get(name):
        if name not in records:
            assert run(name, "--out", folder, "--small") == 0
            records[name] = json.loads((folder / f"{name}.json").read_text())
            assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
            assert not [path for path in folder.iterdir() if path.suffix not in (".png", ".json")]
        return records[name]

    return get


def test_there_are_experiments():
    assert {"gauge_fields", "ode_sde_gap", "subspace_transition", "wasserstein_floors"} <= {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_writes_a_figure_and_its_numbers(name, found):
    record = found(name)
    assert (record["experiment"], record["seed"], record["small"]) == (name, 0, True)
    assert {"workbench", "torch", "python"} <= set(record["versions"])


def test_gaps_are_those_of_the_claims_and_below_their_bounds(found):
    found = found("ode_sde_gap")["found"]
    for row, gap, bound in zip(
        found["tilted"], FpResidualW2Bound.gaps[::2], FpResidualW2Bound.bounds[::2], strict=True
    ):
        assert row["gap"] == pytest.approx(gap, rel=0.02)
        assert row["residual_bound"] == pytest.approx(bound, rel=0.02)
        assert row["gap"] < row["velocity_bound"] < row["residual_bound"]
    last = found["tilted"][-1]  # eps = 0.4, of which the claim knows the distances to the data
    assert (last["ode_to_data"], last["sde_to_data"]) == pytest.approx((0.138, 0.102), rel=0.03)
    for row in found["scaled"]:
        assert row["gap"] == pytest.approx(row["velocity_bound"], rel=0.01)
    assert found["wrong"][0]["gap"] < 1e-7 < 1e-2 < found["wrong"][0]["score_error"]


def test_a_gauge_leaves_the_samples_and_a_gradient_does_not(found):
    found = found("gauge_fields")["found"]
    share, last = found["gauge_share"], {name: rows[-1] for name, rows in found["sweeps"].items()}
    assert share["gauge"] > 0.999 and share["gradient"] < 1e-10 and 0.5 < share["rotation"] < 0.9
    assert last["gauge"]["asymmetry"] > 0.3 and last["gradient"]["asymmetry"] < 1e-20
    assert last["gauge"]["relative"] == pytest.approx(1.0)  # |A s| = |s|
    unchanged = found["sweeps"]["gauge"][0]["w2"]
    assert last["gauge"]["w2"] < 1.5 * max(unchanged, found["floor"]) < last["gradient"]["w2"]


def test_subspaces_are_found_from_as_many_points_as_dimensions(found):
    found = found("subspace_transition")["found"]
    for cell in (cell for rows in found["grid"] for cell in rows if cell["n"] != cell["r"]):
        assert cell["success"] == float(cell["n"] > cell["r"])
    half, at, twice = (row["error"] / (2 * row["r"]) ** 0.5 for row in found["curves"][0])
    assert half == pytest.approx(0.5**0.5, abs=0.05) and twice < 0.1 and twice < at < half


def test_floors_fall_as_their_theorems_say(found):
    found = found("wasserstein_floors")["found"]
    slopes = {name: {key: line["slope"] for key, line in lines.items()} for name, lines in found.items()}
    assert slopes["exact"]["1"] == pytest.approx(-0.5, abs=0.12)
    assert slopes["exact"]["8"] == pytest.approx(-0.15, abs=0.08)
    assert all(value == pytest.approx(-0.47, abs=0.1) for value in slopes["sliced"].values())
    plain, even = (found["two_modes"][name]["floors"] for name in ("plain", "stratified"))
    assert all(a > 2.5 * b for a, b in zip(plain, even, strict=True))


def test_the_seed_enters():
    from theory.experiments import subspace_transition

    first, again, other = (subspace_transition.trial(12, 3, 4, seed, 0) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("flags", [("--out", "x", "--seed", "-1"), (), ("--out", ROOT / "README.md")])
def test_bad_input_is_one_line(flags, capsys):
    assert run("subspace_transition", *flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("theory.experiments.subspace_transition: ") and said.count("\n") == 1
