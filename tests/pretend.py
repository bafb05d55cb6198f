"""A GPU that is not there: tensors that say they are elsewhere, hold their numbers on the CPU, and refuse, as CUDA ones
do, to meet tensors that were left behind. It finds a forgotten `device=` on a machine without a GPU."""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")  # the one device that every torch knows and nothing of ours uses
aten = torch.ops.aten
COPIES = {aten.copy_, aten._to_copy}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
STRICT = {
    aten.cat,
    aten.stack,
    aten.searchsorted,
    aten.bucketize,
    aten.bincount,
    aten.gather,
    aten.index_select,
}


class Elsewhere(torch.Tensor):
    """A tensor whose numbers are in `here`, on the CPU."""

    @staticmethod
    def __new__(cls, here):
        strided = here.layout is torch.strided
        layout = dict(strides=here.stride(), storage_offset=here.storage_offset()) if strided else {}
        made = torch.Tensor._make_wrapper_subclass(
            cls, here.size(), dtype=here.dtype, layout=here.layout, device=ELSEWHERE, **layout
        )
        made.here = here
        return made

    def __repr__(self, **_):
        return f"Elsewhere({self.here})"

    def tolist(self):
        return self.here.tolist()

    def numpy(self, *_, **__):
        raise TypeError("a tensor on the GPU is no numpy array; use .cpu() first")

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


def computed(function, args, kwargs):
    """The result of a torch function, on the device it would have; RuntimeError where the devices do not fit."""
    packet, name = function.overloadpacket, function._schema.name.split("::")[1]
    moved = any(isinstance(t, Elsewhere) for t in tree_leaves((args, kwargs)))
    if moved and packet not in COPIES:
        left = [t for t in left_behind(packet, name, args, kwargs)]
        if left:
            raise RuntimeError(f"{function}: a tensor {tuple(left[0].shape)} was left on the CPU")
    inside = lambda t: t.here if isinstance(t, Elsewhere) else t
    flags = tree_map(inside, kwargs)
    if kwargs.get("device") is not None:
        flags["device"], moved = torch.device("cpu"), torch.device(kwargs["device"]) == ELSEWHERE
    out = function(*tree_map(inside, args), **flags)
    if name.endswith("_") and isinstance(args[0], torch.Tensor):
        return args[0]
    wrap = lambda t: Elsewhere(plain(t)) if moved and isinstance(t, torch.Tensor) else t
    return tree_map(wrap, out.clone() if packet is aten._to_copy and out is inside(args[0]) else out)


def plain(t):
    """t without a conjugation or a sign that waits to be applied, of which the outer tensor would not know."""
    return t.resolve_conj().resolve_neg() if t.layout is torch.strided else t


def left_behind(packet, name, args, kwargs):
    """The CPU tensors that CUDA would not take beside its own: indices may be such, and numbers without dimension."""
    cpu = [
        t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and not isinstance(t, Elsewhere)
    ]
    if packet in INDEXING and isinstance(args[0], Elsewhere):
        return [
            t
            for t in tree_leaves(args[2:])
            if isinstance(t, torch.Tensor) and not isinstance(t, Elsewhere) and t.ndim
        ]
    if packet in STRICT or packet in INDEXING or (name.endswith("_") and not isinstance(args[0], Elsewhere)):
        return cpu
    return [t for t in cpu if t.ndim]


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


class _Build(TorchFunctionMode):
    """torch.tensor(..., device=ELSEWHERE) makes its numbers on the CPU first."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            return function(*args, **{**kwargs, "device": None}).to(kwargs["device"])
        return function(*args, **kwargs)


@contextmanager
def pretended():
    """Within it, tensors can be sent ELSEWHERE."""
    with _Build(), _Dispatch():
        yield ELSEWHERE
