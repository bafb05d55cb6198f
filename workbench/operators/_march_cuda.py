"""Marching rays on a GPU: drives the kernels of _march.cu by cupy, on torch's tensors and torch's stream."""

from functools import cache
from pathlib import Path

import torch

from workbench._errors import BadInput

THREADS = 256  # a block


def project(rays, model, x):
    """x: (H, W, n) -> (rays, n)."""
    y = x.new_zeros(len(rays), x.shape[-1])
    _launch(
        "gather", model.__name__, (len(rays), *x.shape), _numbers(rays, x.device, "length"), x, y, y.numel()
    )
    return y


def back(rays, model, y):
    """y: (rays, n) -> (H, W, n), the transpose of `project`."""
    x = y.new_zeros(*rays.shape, y.shape[-1])
    _launch(
        "scatter", model.__name__, (len(rays), *x.shape), _numbers(rays, y.device, "length"), x, y, y.numel()
    )
    return x


def cone_project(cone, x):
    """x: (H, W, slices) -> (rays, rows)."""
    y = x.new_zeros(len(cone.rays), cone.rows)
    _launch(
        "cone_gather", "joseph", (len(cone.rays), *x.shape, cone.rows), _cone(cone, x.device), x, y, y.numel()
    )
    return y


def cone_back(cone, y):
    """y: (rays, rows) -> (H, W, slices), the transpose of `cone_project`."""
    x = y.new_zeros(*cone.rays.shape, cone.slices)
    _launch(
        "cone_scatter",
        "joseph",
        (len(cone.rays), *x.shape, cone.rows),
        _cone(cone, y.device),
        x,
        y,
        y.numel(),
    )
    return x


def _cone(cone, device):
    return (
        *_numbers(cone.rays, device, "length", "begin", "advance"),
        *_numbers(cone, device, "run", "base", kept=()),
        float(cone.bottom),
        float(cone.rise),
    )


def _numbers(value, device, *names, kept=("steep", "start", "slope")):
    """Fields of a value as tensors on `device`, moved there once."""
    moved = value.__dict__.setdefault("_on_devices", {}).setdefault(device, {})
    for name in (*kept, *names):
        if name not in moved:
            part = torch.from_numpy(getattr(value, name))
            moved[name] = (part.byte() if part.dtype == torch.bool else part).to(device)
    return [moved[name] for name in (*kept, *names)]


def _launch(name, model, sizes, numbers, x, y, threads):
    """Run a kernel with one thread for each of `threads` rays."""
    cupy, kernel = _cupy(), _module(model, x.dtype).get_function(name)
    as_cupy = lambda v: cupy.from_dlpack(v) if isinstance(v, torch.Tensor) else v
    stream = cupy.cuda.ExternalStream(torch.cuda.current_stream(x.device).cuda_stream)
    with cupy.cuda.Device(x.device.index), stream:
        arguments = (*map(cupy.int32, sizes), *map(as_cupy, numbers), as_cupy(x.detach()), as_cupy(y))
        kernel((-(-threads // THREADS),), (THREADS,), arguments)


@cache
def _module(model, dtype):
    """The kernels for one ray model and one precision."""
    if model not in ("joseph", "siddon"):
        raise BadInput(f"model: {model} has no form for the GPU; use joseph or siddon, or the CPU")
    real = {torch.float32: "float", torch.float64: "double"}[dtype]
    source = Path(__file__).with_name("_march.cu").read_text()
    return _cupy().RawModule(code=source, options=(f"-DREAL={real}", f"-DMODEL={model}"))


def _cupy():
    try:
        import cupy
    except ImportError:
        raise BadInput(
            "device: marching rays on a GPU needs cupy, which is not installed; pip install 'inverse-workbench[gpu]', "
            "or use A.to('cpu')"
        ) from None
    return cupy
