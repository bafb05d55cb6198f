"""The folders are the catalogues: names, summaries, cards, loading by name."""

import re

import pytest

from workbench import BadInput
from workbench.catalogue import ROOMS, entries, find, kebab, load, names

EVERY = [entry for room in ROOMS for entry in entries(room)]


@pytest.mark.parametrize(
    "name, want",
    [
        ("CircularBlur", "circular-blur"),
        ("CartesianMRI", "cartesian-mri"),
        ("DPMSolver2M", "dpm-solver-2m"),
        ("EDM", "edm"),
        ("DPS", "dps"),
        ("AsComplex", "as-complex"),
    ],
)
def test_kebab(name, want):
    assert kebab(name) == want


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: f"{entry.room}:{entry.name}")
def test_exhibit(entry):
    part = "[a-z0-9]+(-[a-z0-9]+)*"
    assert re.fullmatch(f"{part}(/{part})*", entry.name)
    assert 10 <= len(entry.summary) <= 160 and entry.summary.strip() == entry.summary
    assert entry.card, f"{entry.module} has no literal card = dict(...)"
    assert find(entry.room, entry.name) == entry


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: f"{entry.room}:{entry.name}")
def test_exhibit_loads(entry):
    thing = load(entry.room, entry.name)
    assert callable(thing) and thing.__module__ == entry.module
    if entry.room != "problems":
        assert thing.card == entry.card


@pytest.mark.parametrize("room", ROOMS)
def test_names_are_distinct(room):
    assert len(set(names(room))) == len(names(room)) and names(room) == sorted(names(room))


def test_nearest_name():
    with pytest.raises(
        BadInput, match="operator 'circular-blurr' is not known; did you mean 'circular-blur'"
    ):
        load("operators", "circular-blurr")
    with pytest.raises(BadInput, match="did you mean 'operators'"):
        entries("operator")


def test_rooms_list_themselves():
    import workbench as wb

    assert wb.operators.catalogue() == names("operators") and "mask" in wb.operators.catalogue()


def test_furniture_is_no_exhibit():
    assert not {"linear", "adjoint", "product", "composition"} & set(names("operators"))
