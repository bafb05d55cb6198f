"""Hounsfield units: the two fixed points, the inverse, and units that cannot be."""

import pytest
import torch

from workbench import BadInput
from workbench.operators import from_hounsfield, to_hounsfield


def test_air_and_water_are_the_fixed_points():
    assert to_hounsfield(0.0193) == 0 and to_hounsfield(0.0) == -1000
    assert to_hounsfield(2e-5, water=0.02, air=2e-5) == -1000
    assert from_hounsfield(1000, water=0.02) == pytest.approx(0.04)


def test_there_and_back():
    mu = torch.linspace(0, 0.08, 9, dtype=torch.float64)
    assert torch.allclose(from_hounsfield(to_hounsfield(mu, 0.0205, 2e-5), 0.0205, 2e-5), mu, atol=1e-16)


@pytest.mark.parametrize("words", [dict(water=0.0), dict(water=0.01, air=0.02), dict(air=-1.0)])
def test_bad_units(words):
    with pytest.raises(BadInput, match="water"):
        to_hounsfield(0.02, **words)
