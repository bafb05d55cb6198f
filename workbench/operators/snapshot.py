"""Coded-aperture snapshots: many frames, or many colours, on one detector image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._orthogonal import OrthogonalRows
from workbench.operators._sizes import integer, signal_shape


@dataclass(frozen=True, eq=False)
class CACTI(OrthogonalRows):
    """y = sum_t mask_t x_t, the coded-aperture snapshot of a video: (*, T, H, W) -> (*, H, W).

    masks: (T, H, W) real or complex, the pattern of the aperture during frame t (0 and 1, or its shifted copies).
    A A^H = diag(sum_t |mask_t|^2), so solve is a closed form. `CACTI.draw(T, shape, seed)` draws binary masks.
    Llull et al. 2013.
    """

    card = dict(family="compressed sensing", linear=True, svd=True, source="Llull et al. 2013")

    masks: Tensor

    def __post_init__(self):
        if not _is_number_tensor(self.masks) or self.masks.ndim < 2 or not self.masks.any():
            raise BadInput(
                f"CACTI: masks should be a tensor (T, H, W) of real or complex numbers, not all 0; it is {_kind(self.masks)}"
            )

    in_shape = property(lambda self: tuple(self.masks.shape))
    out_shape = property(lambda self: tuple(self.masks.shape[1:]))
    in_dtype = out_dtype = property(lambda self: self.masks.dtype)

    @classmethod
    def draw(cls, frames, shape, seed=0, dtype=torch.float32):
        """Independent masks, each pixel open in half of the frames on average."""
        return cls((Rng(seed, "operator").uniform(frames, *shape) < 0.5).to(dtype))

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(rng.normal(torch.empty(integer(rng, 1, 4), *signal_shape(rng, 20), dtype=dtype)))

    @property
    def row_power(self):
        return self.masks.abs().square().sum(0)

    def forward(self, x):
        return (self.masks * x).sum(-self.masks.ndim)

    def adjoint(self, y):
        return self.masks.conj() * y.unsqueeze(-self.masks.ndim)


@dataclass(frozen=True, eq=False)
class CASSI(OrthogonalRows):
    """y[i, j] = sum_l (mask x_l)[i, j - step l], the coded-aperture snapshot of a spectrum: (*, L, H, W) -> (*, H, W').

    mask: (H, W) real or complex, the coded aperture.  bands: L.  step: pixels by which the prism shifts band l + 1
    beyond band l, along the last axis; W' = W + step (L - 1), so that no light is lost.  The single-disperser camera,
    one pixel of the detector a pixel of the mask. A A^H is diagonal. Wagadarikar, John, Willett, Brady 2008.
    """

    card = dict(family="compressed sensing", linear=True, svd=True, source="Wagadarikar et al. 2008")

    mask: Tensor
    bands: int
    step: int = 1

    def __post_init__(self):
        if not _is_number_tensor(self.mask) or self.mask.ndim < 1 or not self.mask.any():
            raise BadInput(
                f"CASSI: mask should be a tensor (H, W) of real or complex numbers, not all 0; it is {_kind(self.mask)}"
            )
        if self.bands < 1 or self.step < 0:
            raise BadInput(
                f"CASSI: bands = {self.bands} should be at least 1, and step = {self.step} at least 0"
            )

    in_shape = property(lambda self: (self.bands, *self.mask.shape))
    in_dtype = out_dtype = property(lambda self: self.mask.dtype)

    @property
    def out_shape(self):
        return (*self.mask.shape[:-1], self.mask.shape[-1] + self.step * (self.bands - 1))

    @classmethod
    def draw(cls, bands, shape, seed=0, step=1, dtype=torch.float32):
        """A mask that is open in half of its pixels on average."""
        mask = (Rng(seed, "operator").uniform(1, *shape)[0] < 0.5).to(dtype)
        return cls(mask, bands, step)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        mask = rng.normal(torch.empty(1, *signal_shape(rng, 16), dtype=dtype))[0]
        return cls(mask, bands=integer(rng, 1, 4), step=integer(rng, 0, 3))

    @property
    def row_power(self):
        return self._disperse(self.mask.abs().square().expand(self.in_shape))

    def _disperse(self, x):
        """(*, L, H, W) -> (*, H, W'): band l moved by step l, and all added."""
        y = x.new_zeros(*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape)
        for l, band in enumerate(x.unbind(-len(self.in_shape))):
            y[..., self.step * l : self.step * l + self.mask.shape[-1]] += band
        return y

    def forward(self, x):
        return self._disperse(self.mask * x)

    def adjoint(self, y):
        windows = [y.narrow(-1, self.step * l, self.mask.shape[-1]) for l in range(self.bands)]
        return self.mask.conj() * torch.stack(windows, dim=-len(self.in_shape))


def _is_number_tensor(value):
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _kind(value):
    return (
        f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    )
