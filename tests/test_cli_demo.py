"""The demo, small: a table, a report beside a known truth, and intervals whose coverage is said."""

import re
from contextlib import redirect_stdout
from io import StringIO
from math import log10

import pytest

from workbench.cli import main

METHODS = [
    "exact posterior mean",
    "zero-filled",
    "CG-SENSE",
    "L1-wavelet",
    "total variation",
    "DDPM + moment",
    "DPS",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What `workbench demo` printed, and its report."""
    folder = tmp_path_factory.mktemp("demo") / "new"
    with redirect_stdout(StringIO()) as said:
        assert main(["demo", "--size", "64", "-n", "20", "--threads", "1", "--out", str(folder)]) == 0
    return said.getvalue(), (folder / "report.html").read_text(encoding="utf-8"), folder


def table(said):
    """name of a reconstruction -> its numbers: PSNR, relative error, ..."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in said.splitlines() if line.startswith("  ")]
    return {
        row[0]: [float(v) for v in row[1:]] for row in rows if len(row) > 2 and row[0] != "reconstruction"
    }


def test_the_table(demo):
    rows = table(demo[0])
    for name in METHODS:
        assert sum(row.startswith(name) for row in rows) == 1
    exact, worst = rows["exact posterior mean"], rows["zero-filled"]
    assert exact[0] > worst[0] + 2 and exact[1] < 0.8 * worst[1]
    for psnr, error, *_ in rows.values():  # the same error in two units
        assert abs(psnr + 20 * log10(error) - exact[0] - 20 * log10(exact[1])) < 0.2


def test_the_coverage_is_said(demo):
    said, page, _ = demo
    share = float(re.search(r"hold ([\d.]+) % of the true pixels", said)[1])
    assert 20 < share < 95 and f"{share / 100:.3g}"[:4] in page
    assert "held out (90 % expected" in said and "not anatomy" in said


def test_the_report(demo):
    said, page, folder = demo
    assert [p.name for p in folder.iterdir()] == ["report.html"] and str(folder / "report.html") in said
    assert not re.search(r"https?:", page) and page.count("data:image/png;base64,") == 3
    assert "The truth is known here" in page and "Against the truth, inside the head" in page
    for name in table(said):
        assert name.split(" (")[0] in page


@pytest.mark.parametrize(
    "flags, said", [(["--size", "100"], "size = 100"), (["--size", "x"], "--size"), (["-n", "0"], "-n")]
)
def test_refusals(flags, said, tmp_path, capsys):
    try:
        status = main(["demo", *flags, "--out", str(tmp_path / "out")])
    except SystemExit as stop:
        status = stop.code
    err = capsys.readouterr().err
    assert status == 2 and said in err and err.count("\n") == 1
