"""Flip a sign or a constant of the library: the claims that speak of it must go red."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from mutations import MUTATIONS

MUTATE = str(Path(__file__).with_name("mutate.py"))


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_line_is_there(name):
    mutation = MUTATIONS[name]
    assert (ROOT / mutation.file).read_text(encoding="utf-8").count(mutation.old) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_turns_red(name):
    done = subprocess.run([sys.executable, MUTATE, name], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout)
    assert all(word.startswith("red") for word in verdicts.values()), verdicts
