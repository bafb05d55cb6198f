"""cupy's names without a GPU: kernels are compiled as C++ and run one thread after the other, on the CPU's memory."""

import ctypes
import subprocess
from contextlib import nullcontext
from functools import cache
from types import SimpleNamespace

import torch

from workbench.operators import _march_cuda

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
        function, values = getattr(self.library, self.name), [*map(as_c, arguments)]
        for block in range(blocks[0]):
            for thread in range(threads[0]):
                self.library.at_thread(block, thread, threads[0])
                function(*values)


def as_c(value):
    if isinstance(value, torch.Tensor):
        value = getattr(value, "here", value)  # of a pretended device
        assert value.is_contiguous()
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_double(value) if isinstance(value, float) else value


def install(monkeypatch, folder):
    """Put it where the projectors look for cupy; compiled kernels go to `folder`."""

    def compiled(code, options):
        name = "_".join(o.strip("-").replace("=", "-") for o in options)
        source, library = folder / f"{name}.cpp", folder / f"{name}.so"
        source.write_text(PREFIX + code)
        subprocess.run(["g++", "-O1", "-shared", "-fPIC", *options, source, "-o", library], check=True)
        loaded = ctypes.CDLL(str(library))
        return SimpleNamespace(get_function=lambda name: Kernel(loaded, name))

    cuda = SimpleNamespace(ExternalStream=lambda pointer: nullcontext(), Device=lambda index: nullcontext())
    fake = SimpleNamespace(RawModule=compiled, from_dlpack=lambda v: v, int32=ctypes.c_int, cuda=cuda)
    monkeypatch.setattr(_march_cuda, "_cupy", lambda: fake)
    monkeypatch.setattr(_march_cuda, "_module", cache(_march_cuda._module.__wrapped__))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
