"""Where an operator lives that has no tensor to tell it by."""

from dataclasses import dataclass

import torch

from workbench.operators._linear import Linear


@dataclass(frozen=True, eq=False)
class Placed(Linear):
    """A linear map that remembers the device `to` put it on, so that what it makes (its singular values) is there."""

    def to(self, device=None, dtype=None):
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        moved = super().to(device, dtype)
        moved.__dict__["place"] = self.device if device is None else torch.device(device)
        return moved

    @property
    def device(self):
        return self.__dict__.get("place") or super().device
