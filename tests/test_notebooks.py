"""Every notebook runs, small; and the one for a first look keeps its promise of fifteen lines."""

import nbclient
import nbformat
import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4)


def small(book, monkeypatch):
    """The notebook after a small run from the top of the repository, on one thread."""
    for name, value in dict(WORKBENCH_SMALL="1", OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT)).items():
        monkeypatch.setenv(name, value)
    resources = {"metadata": {"path": str(ROOT)}}
    return nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=resources).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_small(path, monkeypatch):
    book = small(read(path), monkeypatch)
    assert all(cell.execution_count for cell in book.cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_is_stored_with_its_figures_and_is_light(path):
    outputs = [output for cell in read(path).cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
    assert path.stat().st_size < 600_000 and str(ROOT.parent) not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_sentence_follows_each_figure(path):
    cells = read(path).cells
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        figure = any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        if figure and after is not None and after.cell_type == "code":  # numbers may come between
            after = cells[cells.index(after) + 1]
        assert not figure or (after is not None and after.cell_type == "markdown")


def test_your_own_in_fifteen_lines():
    cells = read(ROOT / "notebooks" / "01_quickstart.ipynb").cells
    own = next(cell.source for cell in cells if cell.cell_type == "code" and "from_function" in cell.source)
    assert len([line for line in own.splitlines() if line.strip()]) <= 15
    for part in ("(wb.Prior)", "def denoise(", "wb.operators.from_function(", "wb.Problem(", "wb.sample("):
        assert part in own
