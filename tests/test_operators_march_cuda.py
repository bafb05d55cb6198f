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
    """Geometries of every kind: large enough for more than one block of threads, and small ones at random."""
    angles = torch.cumsum(0.3 + 0.9 * Rng(3).uniform(7), 0)
    plane = dict(spacing=0.4, pixel=0.9, centre=16.3, dtype=dtype)
    space = dict(spacing=(1.4, 0.7), pixel=0.9, thickness=1.1, centre=(2.8, 6.3), dtype=dtype)
    large = [
        ParallelBeam(angles, (6, 9), 41, **plane),
        FanBeam(angles, (6, 9), 41, dso=11.0, dsd=17.0, **plane),
        ParallelBeam3D(angles, (5, 6, 7), (6, 14), **space),
        ConeBeam(angles, (5, 6, 7), (6, 14), dso=9.0, dsd=14.0, heights=0.2 * torch.arange(7.0), **space),
    ]
    upright = replace(large[0], angles=torch.tensor([0.0, torch.pi / 2, torch.pi, 0.3], dtype=torch.float64))
    exact = [replace(A, model=siddon) for A in (*large[:3], upright)] if dtype == torch.float64 else []
    kinds = (ParallelBeam, FanBeam, ParallelBeam3D, ConeBeam)
    small = [kind.example(Rng(seed, "example"), dtype) for kind in kinds for seed in range(6)]
    return [*large, upright, *exact, *small]


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
