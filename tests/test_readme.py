"""The example of the README runs as it is written, and is as short as it says."""

import contextlib
import io
import re

import torch
from conftest import ROOT


def example():
    """The first python block."""
    return re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[1]


def test_fifteen_lines():
    assert len([line for line in example().splitlines() if line.strip()]) <= 15


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(example(), "README.md", "exec"), names)
    post, exact = names["post"], names["problem"].exact
    assert (post.mean() - exact.mean()).abs().max() < 0.2 and torch.isfinite(post.samples).all()
    assert "two exact sets are" in said.getvalue()
    assert list(tmp_path.iterdir()) == []
