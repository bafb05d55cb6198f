"""What the tomographs of one plane share: rays, and two ways to sum along them that give the same numbers."""

from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from math import prod

import numpy as np
import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._pair import apply_pair
from workbench.operators._stored import Stored

BUDGET = 2e9  # bytes of a stored matrix and its transpose


def marching(device):
    """The module whose kernels march rays on this device."""
    return import_module("workbench.operators._march" + ("" if device.type == "cpu" else "_cuda"))


def on_parts(x, function):
    """A real linear function of x, or of its real and imaginary parts as one more batch axis."""
    if not x.is_complex():
        return function(x)
    real, imaginary = function(torch.stack([x.real, x.imag]))
    return torch.complex(real, imaginary)


@dataclass(frozen=True, eq=False)
class Marching:
    """y = M x with weights that are computed on the way: slower than `Stored`, no memory but copies of x and y."""

    rays: object
    model: object

    def project(self, x):
        """(n, H, W) -> (n, rays)."""
        return marching(x.device).project(self.rays, self.model, x.movedim(0, -1).contiguous()).mT

    def back(self, y):
        """(n, rays) -> (n, H, W), the transpose of `project`."""
        return marching(y.device).back(self.rays, self.model, y.mT.contiguous()).movedim(-1, 0)


@dataclass(frozen=True, eq=False)
class Planar(Linear):
    """The base of tomographs in one plane: fields angles, shape, detectors, model and dtype, and `rays`."""

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: (len(self.angles), self.detectors))
    in_dtype = out_dtype = property(lambda self: self.dtype)
    axis = property(lambda self: (self.detectors - 1) / 2 if self.centre is None else self.centre)
    memory = property(lambda self: Stored.memory(self.rays, self.dtype.to_real()))

    @cached_property
    def projector(self):
        """The weights of the rays: stored while two matrices fit into BUDGET, else computed on the way."""
        if self.memory <= BUDGET:
            return Stored(self.rays, self.model, self.dtype.to_real(), self.device)
        return Marching(self.rays, self.model)

    def forward(self, x):
        return on_parts(x, self._project)

    def adjoint(self, y):
        return on_parts(y, self._back)

    # The projector is looked up within the pair, where a transform of torch.func does not reach what it is made of.

    def _through(self, x):
        return self.projector.project(x)

    def _against(self, y):
        return self.projector.back(y)

    def _project(self, x):
        rows = x.reshape(prod(x.shape[:-2]), *self.in_shape)
        y = apply_pair(rows, self._through, self._against)
        return y.reshape(*x.shape[:-2], *self.out_shape)

    def _back(self, y):
        rows = y.reshape(prod(y.shape[:-2]), prod(self.out_shape))
        x = apply_pair(rows, self._against, self._through)
        return x.reshape(*y.shape[:-2], *self.in_shape)

    def to(self, device=None, dtype=None):
        """The same operator on `device` and in the precision of `dtype`; the angles keep theirs."""
        moved = super().to(device, dtype)
        if moved.device == self.device and moved.dtype == self.dtype:
            return self
        return replace(moved, angles=self.angles.to(moved.device))


def check(A, **lengths):
    """Raise BadInput where the angles, sizes or dtype of a tomograph A, or one of its lengths in mm, mean nothing."""
    who, angles = type(A).__name__, A.angles
    usable = isinstance(angles, Tensor) and angles.ndim == 1 and len(angles) > 0
    if not usable or not angles.isfinite().all():
        got = tuple(angles.shape) if isinstance(angles, Tensor) else type(angles).__name__
        raise BadInput(f"{who}: angles is {got}, it should be a tensor (n_angles,) of finite numbers in rad")
    for name, value in lengths.items():
        if not 0 < value < float("inf"):
            raise BadInput(f"{who}: {name} = {value} should be a length in mm, above 0")
    if A.dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        raise BadInput(f"{who}: dtype = {A.dtype} should be float32, float64, complex64 or complex128")


def check_plane(A):
    """Raise BadInput where the image, the detector columns or the axis of a planar tomograph A mean nothing."""
    who = type(A).__name__
    if len(A.shape) != 2 or min(A.shape) < 1:
        raise BadInput(f"{who}: shape = {tuple(A.shape)} should be (H, W), the rows and columns of the image")
    if A.detectors < 1:
        raise BadInput(f"{who}: detectors = {A.detectors} should be at least 1")
    if not -float("inf") < A.axis < float("inf"):
        raise BadInput(f"{who}: centre = {A.centre} should be a detector column, a finite number, or None")


def check_source(A, shape):
    """Raise BadInput unless the source stays outside the circle around the image, and in front of the detector."""
    who, radius = type(A).__name__, A.pixel * np.hypot(*shape) / 2
    if A.dso <= radius:
        raise BadInput(
            f"{who}: dso = {A.dso} mm puts the source inside the image, whose corners are {radius:.4g} mm from the axis; "
            f"use a larger dso or a smaller pixel"
        )
    if A.dsd < A.dso:
        raise BadInput(
            f"{who}: dsd = {A.dsd} mm is less than dso = {A.dso} mm; the detector is behind the axis, use dsd >= dso"
        )


def fan(angles, along, across, dso):
    """The source and the vectors from it to the detector, for each view: both (n_angles, columns, 2) in mm.

    angles: (n_angles,).  along, across: (columns,) mm, the detector as seen from the source.
    """
    t = angles.double().cpu().numpy()[:, None]
    forward, lateral = np.stack([-np.sin(t), np.cos(t)], -1), np.stack([np.cos(t), np.sin(t)], -1)
    towards = along[:, None] * forward + across[:, None] * lateral
    return np.broadcast_to(-dso * forward, towards.shape), towards
