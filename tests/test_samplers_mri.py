"""Every sampler on complex multi-coil MRI beside the exact posterior: the table of `workbench bench mri`, held."""

import pytest

from workbench.cli import _mri

NEAR = {  # what its defaults should bring within half a posterior deviation of the mean, and to the right spread
    "adaptive-guidance", "ald", "diffpir", "exact", "exact-draws", "mala", "moment-matching", "ot-ode", "pigdm",
    "pnp-dm", "replacement", "rising-ot-ode", "sk-rock", "ula",
}  # fmt: skip


@pytest.fixture(scope="module")
def small():
    """At 16 x 16 with two coils: the samplers that take seconds."""
    slow = {"adaptive-guidance", "moment-matching", "ula", "mala", "ald", "replacement"}
    names = NEAR - slow | {"ddrm", "dps", "lgd-mc", "stsl", "tmpd"}
    return {row["name"]: row for row in _mri.rows(only=names, size=16, coils=2)}


def test_small(small):
    for name, row in small.items():
        assert "cannot" not in row and row["error"] < 2, (name, row)
    for name in NEAR & set(small):
        row = small[name]
        assert row["error"] < 0.6 and 0.75 < row["spread"] < 1.3 and 0.75 < row["misfit"] < 1.35, row
    assert small["exact-draws"]["error"] < 0.4 and abs(small["exact-draws"]["spread"] - 1) < 0.1


@pytest.mark.slow
def test_every_sampler_at_full_size():
    """64 x 64, four coils: nothing diverges; what should be near the posterior is."""
    found = {row["name"]: row for row in _mri.rows()}
    wrong = [row for row in found.values() if "cannot" in row or not row["error"] < 20]
    assert wrong == []
    for name in NEAR:
        row = found[name]
        assert row["error"] < 0.5 and 0.85 < row["spread"] < 1.15 and 0.85 < row["misfit"] < 1.2, row
