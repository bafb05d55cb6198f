"""Ptychography: diffraction patterns of an object under a beam that moves across it."""

from dataclasses import dataclass, replace
from math import pi

import torch
from torch import Tensor
from torch.fft import fft2, fftfreq, fftshift, ifft2, ifftshift

from workbench._errors import BadInput
from workbench.operators._linear import Linear, ridge
from workbench.operators._once import once
from workbench.operators._operator import checked
from workbench.operators._sizes import integer, pick, sizes
from workbench.operators.mask import Mask

AXES = (-2, -1)


@dataclass(frozen=True, eq=False)
class Ptychography(Linear):
    """y_k = F(P x[r_k : r_k + h, c_k : c_k + w]): exit waves of a moving probe; Intensity(A.out_shape) @ A is counted.

    probe: (h, w) complex, or (K, h, w), one a position (`subpixel_probes` makes those between the pixels).
    positions: (K, 2) int64, row and column of the probe's top left pixel.  shape: (H, W) of the object.
    x: (*, H, W) complex transmission, no unit, of the probe's dtype.  y: (*, K, h, w), F the centred unitary Fourier
    transform. With a detector of pixel d (m) at a distance z (m) and wavelength lam (m), a pixel of the object is
    lam z / (h d) high and lam z / (w d) wide.

    A^H A is multiplication by sum_k |P|^2 shifted to r_k, so `solve`, `svd` and `norm` are closed forms. Gradients
    flow to x and to the probe (blind ptychography). Raises BadInput for a probe that leaves the object.
    Rodenburg and Faulkner 2004; Thibault et al. 2008.
    """

    card = dict(family="phase retrieval", linear=True, svd=True, source="Rodenburg and Faulkner 2004")

    probe: Tensor
    positions: Tensor
    shape: tuple

    def __post_init__(self):
        probe, positions = self.probe, self.positions
        if not isinstance(probe, Tensor) or not probe.is_complex() or probe.ndim not in (2, 3):
            raise BadInput("Ptychography: probe should be a complex tensor (h, w), or (K, h, w)")
        integers = isinstance(positions, Tensor) and positions.dtype == torch.int64
        if not integers or positions.ndim != 2 or positions.shape[-1] != 2 or not len(positions):
            raise BadInput(
                "Ptychography: positions should be an int64 tensor (K, 2) of rows and columns; use subpixel_probes for others"
            )
        if probe.ndim == 3 and len(probe) != len(positions):
            raise BadInput(
                f"Ptychography: probe has {len(probe)} of them for {len(positions)} positions; give one each"
            )
        last = positions.amax(0) + torch.tensor(self.window, device=positions.device)
        if (positions < 0).any() or last[0] > self.shape[0] or last[1] > self.shape[1]:
            raise BadInput(
                f"Ptychography: positions from {positions.amin(0).tolist()} to {positions.amax(0).tolist()} move the "
                f"probe {self.window} off the object of shape = {tuple(self.shape)}; pad the object"
            )

    window = property(lambda self: tuple(self.probe.shape[-2:]))
    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: (len(self.positions), *self.window))
    in_dtype = out_dtype = property(lambda self: self.probe.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        window, room, count = sizes(rng, 2, 1, 4), sizes(rng, 2, 0, 3), integer(rng, 1, 5)
        positions = torch.tensor([sizes(rng, 2, 0, room) for _ in range(count)])
        probes = rng.normal(torch.empty(count, *window, dtype=dtype.to_complex()))
        return cls(pick(rng, probes[0], probes), positions, tuple(map(sum, zip(window, room, strict=True))))

    @once("positions")
    def _pixels(self):
        """(K, h, w), where in the flattened object each pixel of each probe lies."""
        h, w = (torch.arange(n, device=self.positions.device) for n in self.window)
        rows, columns = self.positions[:, 0, None, None], self.positions[:, 1, None, None]
        return (rows + h[:, None]) * self.shape[1] + columns + w

    def _place(self, patches):
        """The sum of (*, K, h, w), each at its position: (*, H, W)."""
        x = patches.new_zeros(*patches.shape[:-3], self.shape[0] * self.shape[1])
        return x.index_add(-1, self._pixels.flatten(), patches.flatten(-3)).unflatten(-1, self.in_shape)

    def forward(self, x):
        exits = self.probe * x.flatten(-2)[..., self._pixels]
        return fftshift(fft2(ifftshift(exits, AXES), norm="ortho"), AXES)

    def adjoint(self, y):
        return self._place(self.probe.conj() * fftshift(ifft2(ifftshift(y, AXES), norm="ortho"), AXES))

    @once("probe", "positions")
    def power(self):
        """sum_k |P_k|^2, each at its position: (H, W), the diagonal of A^H A, the dose of each pixel."""
        return self._place(self.probe.abs().square().expand(self.out_shape))

    def normal(self, x):
        return self.power * x

    def norm(self):
        return self.power.max().item() ** 0.5

    def gram_spectrum(self, axes, probes=64):
        return self.power.mean(axes, keepdim=True).expand(self.in_shape)

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = b / (sum_k |P_k|^2 + rho)."""
        checked(b, self.in_shape, self.in_dtype, "Ptychography.solve")
        rho = ridge(rho, b, 2)
        if (rho == 0).any() and (self.power == 0).any():
            raise BadInput(
                "solve: rho = 0 and the probe never meets a pixel, so there is no inverse; use rho > 0"
            )
        return b / (self.power + rho)

    def svd(self):
        """The pixels that are lit, the square roots of their doses, and the probes divided by these."""
        lit = self.power > 0
        gain = torch.where(lit, self.power, 1).sqrt()
        V = Mask(lit, self.in_dtype).H
        return replace(self, probe=self.probe / gain.flatten()[self._pixels]) @ V, gain[lit], V


def disc_probe(shape, radius, dtype=torch.complex64):
    """A beam of constant amplitude inside `radius` (pixels) of the middle of (h, w), of power 1: sum |P|^2 = 1."""
    return _normalised((_radius(shape) <= radius).to(torch.float64), f"disc_probe: radius = {radius}", dtype)


def gaussian_probe(shape, sigma, dtype=torch.complex64):
    """A beam of amplitude exp(-r^2 / (2 sigma^2)), sigma in pixels, on (h, w), of power 1: sum |P|^2 = 1."""
    if sigma <= 0:
        raise BadInput(f"gaussian_probe: sigma = {sigma} should be positive, in pixels")
    return _normalised(
        torch.exp(-0.5 * (_radius(shape) / sigma) ** 2), f"gaussian_probe: sigma = {sigma}", dtype
    )


def _radius(shape):
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in shape)
    return torch.hypot(rows[:, None], columns)


def _normalised(amplitude, given, dtype):
    if not amplitude.any():
        raise BadInput(f"{given} lights no pixel; make it larger")
    return (amplitude / torch.linalg.vector_norm(amplitude)).to(dtype)


def raster_positions(shape, window, step):
    """(K, 2) top left corners of a window (h, w) that scans (H, W) in steps of `step` pixels, the last row and column
    touching the border, so that every pixel is lit. The overlap is 1 - step / h."""
    if step < 1 or any(w > n for w, n in zip(window, shape, strict=True)):
        raise BadInput(
            f"raster_positions: step = {step}, window = {tuple(window)}, shape = {tuple(shape)}: the step should be at "
            f"least 1 and the window no larger than the object"
        )
    rows, columns = (
        torch.tensor([*range(0, n - w, step), n - w]) for n, w in zip(shape, window, strict=True)
    )
    return torch.cartesian_prod(rows, columns)


def subpixel_probes(probe, positions):
    """(probes, corners) for `Ptychography` from positions: (K, 2) in pixels, not whole: the probe (h, w) is moved by
    what is left after rounding down, with a phase ramp in Fourier space (periodic: leave a dark margin)."""
    corners = positions.floor()
    left = (positions - corners).to(probe.dtype.to_real())
    fy, fx = (fftfreq(n, dtype=left.dtype, device=probe.device) for n in probe.shape)
    turns = left[:, 0, None, None] * fy[:, None] + left[:, 1, None, None] * fx
    ramp = torch.polar(torch.ones_like(turns), -2 * pi * turns)
    return ifft2(fft2(probe) * ramp), corners.long()
