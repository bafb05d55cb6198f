"""The GPU kernels of tomography, without a GPU: their source, compiled as C++ and run one thread after the other.

What differs on a GPU is the order of the threads, so these are the kernels' numbers; `test_cuda.py` runs the real thing.
"""

import ctypes
import shutil
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from laws import close, measurements, signals

from workbench import BadInput, Rng
from workbench.operators import ConeBeam, FanBeam, ParallelBeam, ParallelBeam3D, _march_cuda, _planar, siddon

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

PREFIX = """
#include <cmath>
using namespace std;
#define __global__
#define __device__
struct Dim { int x; };
thread_local Dim blockIdx, threadIdx, blockDim;
template <class T> void atomicAdd(T *place, T value) { *place += value; }
extern "C" void at_thread(int block, int thread, int size) { blockIdx.x = block; threadIdx.x = thread; blockDim.x = size; }
"""


class Kernel:
    """A compiled kernel, called as cupy calls one."""

    def __init__(self, library, name):
        self.library, self.name = library, name

    def __call__(self, blocks, threads, arguments):
        function = getattr(self.library, self.name)
        for block in range(blocks[0]):
            for thread in range(threads[0]):
                self.library.at_thread(block, thread, threads[0])
                function(*map(as_c, arguments))


def as_c(value):
    if isinstance(value, torch.Tensor):
        assert value.is_contiguous()
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_double(value) if isinstance(value, float) else value


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """cupy's names, on the CPU; the tomographs take the kernels of the GPU, and no matrix."""

    def compiled(code, options):
        name = "_".join(o.strip("-").replace("=", "-") for o in options)
        source, library = tmp_path / f"{name}.cpp", tmp_path / f"{name}.so"
        source.write_text(PREFIX + code)
        subprocess.run(["g++", "-O1", "-shared", "-fPIC", *options, source, "-o", library], check=True)
        loaded = ctypes.CDLL(str(library))
        return SimpleNamespace(get_function=lambda name: Kernel(loaded, name))

    cuda = SimpleNamespace(ExternalStream=lambda pointer: nullcontext(), Device=lambda index: nullcontext())
    fake = SimpleNamespace(RawModule=compiled, from_dlpack=lambda v: v, int32=ctypes.c_int, cuda=cuda)
    monkeypatch.setattr(_march_cuda, "_cupy", lambda: fake)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(_planar, "marching", lambda device: _march_cuda)
    monkeypatch.setattr("workbench.operators.cone_beam.marching", lambda device: _march_cuda)
    monkeypatch.setattr(_planar, "BUDGET", 0)
    _march_cuda._module.cache_clear()
    yield
    _march_cuda._module.cache_clear()


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
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(BadInput, match="pip install"):
        _march_cuda._cupy()
