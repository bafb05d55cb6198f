"""What every test gets: one thread, and the folder of real scans where there is one."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def scans():
    """The folder of real scans, WORKBENCH_SCANS (relative to the repository root); a skip where it is absent."""
    folder = (ROOT / os.environ.get("WORKBENCH_SCANS", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip("no real scans: WORKBENCH_SCANS names no folder")
    return folder
