"""The reduced scoreboard: no sampler is worse than the band that was recorded of it."""

import json
from math import log
from pathlib import Path

import pytest

from theory.scoreboard import reduced

BANDS = json.loads((Path(__file__).parent / "data" / "scoreboard_bands.json").read_text())


@pytest.mark.parametrize("case", BANDS)
def test_no_sampler_is_worse_than_its_band(case):
    found = reduced.logarithms(reduced.RUNS, problems=[case])
    assert list(reduced.outside(found, BANDS)) == []


def test_a_worse_sampler_is_seen():
    """A distance beyond the band is; biased samplers have narrow ones, those of few particles wide ones."""
    for case, some in BANDS.items():
        for name, band in some.items():
            assert 1 < band["band"] < 4.0, (case, name)
            worse = {case: {name: [log(band["value"] * band["band"] * 1.01)] * 3}}
            assert len(list(reduced.outside(worse, BANDS))) == 1
            same = {case: {name: [log(band["value"])] * 3}}
            assert list(reduced.outside(same, BANDS)) == []
    assert all(some[name]["band"] < 1.6 for some in BANDS.values() for name in ("ddrm", "dps", "pigdm"))
    assert "no band" in next(reduced.outside({"toy/g2": {"new": [0.0]}}, BANDS))
    assert len(list(reduced.outside({"toy/g2": {"tds": [float("nan")]}}, BANDS))) == 1


def test_every_entrant_has_a_band():
    assert all(set(BANDS[case]) == set(reduced.ENTRANTS) for case in BANDS) and len(BANDS) >= 2
