"""The GPU kernels of tomography, without a GPU: their source, compiled as C++ and run one thread after the other.

What differs on a GPU is the order of the threads, so these are the kernels' numbers; `test_cuda.py` runs the real thing.
"""

import shutil
import sys
from dataclasses import replace

import fake_cupy
import pytest
import torch
from laws import close, measurements, signals

from workbench import BadInput, Rng
from workbench.operators import ConeBeam, FanBeam, ParallelBeam, ParallelBeam3D, _march_cuda, _planar, siddon

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """The tomographs take the kernels of the GPU, and no matrix."""
    fake_cupy.install(monkeypatch, tmp_path)
    monkeypatch.setattr(_planar, "marching", lambda device: _march_cuda)
    monkeypatch.setattr("workbench.operators.cone_beam.marching", lambda device: _march_cuda)
    monkeypatch.setattr(_planar, "BUDGET", 0)


def examples(dtype):
    """Geometries of every kind; large enough for more than one block of threads."""
    kinds = (ParallelBeam, FanBeam, ParallelBeam3D, ConeBeam)
    found = [kind.example(Rng(3, "example"), dtype) for kind in kinds]
    upright = replace(found[0], angles=torch.tensor([0.0, torch.pi / 2, torch.pi, 0.3], dtype=torch.float64))
    exact = [replace(A, model=siddon) for A in (*found[:3], upright)] if dtype == torch.float64 else []
    return [*found, upright, *exact]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex128])
def test_the_numbers_are_those_of_the_cpu(dtype, request):
    wanted = [(A(signals(A, 2)), A.H(measurements(A, 2))) for A in examples(dtype)]
    request.getfixturevalue("gpu")
    for A, (y, x) in zip(examples(dtype), wanted, strict=True):
        assert close(A(signals(A, 2)), y) and close(A.H(measurements(A, 2)), x)


def test_another_model_of_rays_says_so(gpu):
    def strips(at, slope):
        return at, at

    A = replace(ParallelBeam.example(Rng(0)), model=strips)
    with pytest.raises(BadInput, match="strips.*joseph or siddon"):
        A(signals(A, 1))


def test_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BadInput, match="pip install"):
        _march_cuda._cupy()
