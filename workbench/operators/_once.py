"""What an operator prepares from its fields: made once, and again where the fields or their gradients ask for it."""

from dataclasses import fields
from functools import wraps

import torch
from torch import Tensor


def once(*names, detached=False):
    """A property that is made once from the tensor fields `names` (all tensor fields, if none is named).

    It is made again after one of them was changed in place, and at every use while one requires gradients, so that each
    backward pass finds a graph of its own; with detached=True (no gradients flow through it) it is kept then too.
    Under a transform of torch.func it is made at every use.
    """

    def decorate(make):
        name = f"_once_{make.__name__}"

        @wraps(make)
        def get(self):
            state = _state(self, names, detached)
            if state is None:
                return make(self)
            if self.__dict__.get(name, (None,))[0] != state:
                with torch.inference_mode(False):  # what is kept may be used in a backward pass later
                    self.__dict__[name] = state, make(self)
            return self.__dict__[name][1]

        return property(get)

    return decorate


def _state(self, names, detached):
    """Which tensors the fields are and how often each was changed in place, or None where nothing may be kept."""
    values = [getattr(self, name) for name in names or [f.name for f in fields(self)]]
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not detached and any(t.requires_grad for t in tensors):
        return None
    if any(t.is_inference() or torch._C._functorch.is_functorch_wrapped_tensor(t) for t in tensors):
        return None  # such tensors do not count their changes
    return tuple((id(t), t._version) for t in tensors)
