"""Hounsfield units: attenuation on the scale of clinical CT, air at -1000 and water at 0."""

from workbench._errors import BadInput

WATER = 0.0193  # 1/mm, near 70 keV


def to_hounsfield(mu, water=WATER, air=0.0):
    """HU = 1000 (mu - water) / (water - air).  mu: attenuation in 1/mm, a number or tensor; not clipped.

    water, air: their attenuation at the scanner's energy, in 1/mm; raises BadInput unless water > air >= 0.
    """
    return 1000 * (mu - water) / _span(water, air)


def from_hounsfield(hu, water=WATER, air=0.0):
    """mu = water + HU (water - air) / 1000, in 1/mm: the inverse of `to_hounsfield`."""
    return water + hu * (_span(water, air) / 1000)


def _span(water, air):
    if not water > air >= 0:
        raise BadInput(
            f"hounsfield: water = {water} and air = {air} should be attenuations in 1/mm, water above air"
        )
    return water - air
