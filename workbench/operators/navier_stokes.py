"""Navier and Stokes' equations in two dimensions: a flow some time later."""

from dataclasses import dataclass
from functools import cached_property
from math import pi

import torch
from torch import Tensor
from torch.fft import fftfreq, irfft2, rfft2, rfftfreq

from workbench._errors import BadInput
from workbench.operators._checks import check_real, check_spread
from workbench.operators._operator import Operator
from workbench.operators._sizes import integer, number, pick, sizes


@dataclass(frozen=True, eq=False)
class NavierStokes(Operator):
    """y = w(time), where dw/dt + u . grad w = viscosity laplacian w + forcing and w(0) = x: vorticity of a periodic flow.

    shape: (H, W) of the grid, rows along y, columns along x.  x, y: (*, H, W) real vorticity in 1/s, the curl of the
    velocity u = (d psi/dy, -d psi/dx) with -laplacian psi = w.  viscosity: kinematic, in m^2/s, >= 0.  time: in s.
    steps: of equal length; a step should not carry the flow further than a pixel, which is not checked.
    lengths: (height, width) of the box in m.  forcing: in 1/s^2, a number or a tensor that broadcasts to the grid;
    Li et al. 2021 take 0.1 (sin 2 pi (x + y) + cos 2 pi (x + y)) on the unit box with viscosity 1e-3 to 1e-5.
    Units are free as long as they agree. Data on fewer points is a linear operator after it, as in Mask(...) @ A.

    Pseudo-spectral, products without aliases by the 2/3 rule; the viscous term is integrated exactly (integrating
    factor), the others by Runge and Kutta's fourth order, where Li et al. use Crank and Nicolson's rule and Heun's: the
    same equation, a smaller error. Frequencies above the 2/3 only diffuse. Memory of a gradient grows with the steps.
    """

    card = dict(family="physics", linear=False, svd=False, source="Li et al. 2021")

    shape: tuple
    viscosity: float
    time: float
    steps: int
    lengths: tuple = (1.0, 1.0)
    forcing: float | Tensor = 0.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_real(self.dtype, "NavierStokes")
        check_spread(self.forcing, self.shape, "NavierStokes: forcing")
        if len(self.shape) != 2 or min(self.shape) < 4:
            raise BadInput(f"NavierStokes: shape = {tuple(self.shape)} should be (H, W), at least 4 each")
        if not self.viscosity >= 0:
            raise BadInput(f"NavierStokes: viscosity = {self.viscosity} should not be negative, in m^2/s")
        if not self.time > 0 or not isinstance(self.steps, int) or self.steps < 1:
            raise BadInput(
                f"NavierStokes: time = {self.time} should be positive and steps = {self.steps} a whole number from 1"
            )
        if len(self.lengths) != 2 or not min(self.lengths) > 0:
            raise BadInput(f"NavierStokes: lengths = {self.lengths} should be (height, width) in m, positive")

    in_shape = out_shape = property(lambda self: tuple(self.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        check_real(dtype, "NavierStokes")
        shape = sizes(rng, 2, 4, 9)
        forcing = pick(rng, 0.1, *rng.normal(torch.empty(1, *shape, dtype=dtype)))
        lengths = tuple((0.5 + rng.uniform(2)).tolist())
        return cls(
            shape, pick(rng, 0.0, 2e-3), number(rng, 0.1, 0.6), integer(rng, 1, 3), lengths, forcing, dtype
        )

    @cached_property
    def frequencies(self):
        """ky: (H, 1) and kx: (1, W // 2 + 1), float64, in rad/m."""
        (H, W), (height, width) = self.shape, self.lengths
        ky = 2 * pi / height * fftfreq(H, 1 / H, dtype=torch.float64, device=self.device)
        kx = 2 * pi / width * rfftfreq(W, 1 / W, dtype=torch.float64, device=self.device)
        return ky[:, None], kx[None]

    @cached_property
    def resolved(self):
        """Where 3 |k| is below the number of points, so that a product of two waves has no alias: ones and zeros."""
        H, W = self.shape
        rows = 3 * fftfreq(H, 1 / H, device=self.device).abs() < H
        columns = 3 * rfftfreq(W, 1 / W, device=self.device) < W
        return (rows[:, None] & columns).to(self.dtype)

    def velocity(self, w):
        """u_x and u_y, in m/s, of the resolved part of the vorticity w: each (*, H, W)."""
        tables = self._tables(rfft2(w))
        return self._velocity(tables[0] * rfft2(w), tables)

    def _tables(self, spectrum):
        """What is resolved, i ky, i kx, 1 / k^2 and the spectrum of the forcing, where and as precise as `spectrum`."""
        ky, kx = self.frequencies
        power = ky**2 + kx**2
        inverse = 1 / torch.where(power > 0, power, torch.inf)
        force = rfft2(torch.as_tensor(self.forcing, dtype=self.dtype).expand(self.shape))
        real, device = spectrum.dtype.to_real(), spectrum.device
        keep, iky, ikx, inverse = (
            self.resolved.to(device, real),
            1j * ky.to(device, real),
            1j * kx.to(device, real),
            inverse.to(device, real),
        )
        return keep, iky, ikx, inverse, force.to(device, spectrum.dtype)

    def _velocity(self, w, tables):
        _, iky, ikx, inverse, _ = tables
        psi = inverse * w
        return irfft2(iky * psi, s=self.shape), irfft2(-ikx * psi, s=self.shape)

    def _slope(self, w, tables):
        """The spectrum of forcing - u . grad w, the latter as -div(u w)."""
        keep, iky, ikx, _, force = tables
        u, v = self._velocity(keep * w, tables)
        w = irfft2(keep * w, s=self.shape)
        return force - keep * (ikx * rfft2(u * w) + iky * rfft2(v * w))

    def forward(self, x):
        w, dt = rfft2(x), self.time / self.steps
        tables, (ky, kx) = self._tables(w), self.frequencies
        decay = torch.exp(-self.viscosity * (ky**2 + kx**2) * dt / 2)  # in half a step
        half = decay.to(w.device, w.dtype.to_real())
        for _ in range(self.steps):
            a = self._slope(w, tables)
            b = self._slope(half * (w + dt / 2 * a), tables)
            c = self._slope(half * w + dt / 2 * b, tables)
            d = self._slope(half * (half * w + dt * c), tables)
            w = half**2 * w + dt / 6 * (half**2 * a + 2 * half * (b + c) + d)
        return irfft2(w, s=self.shape)
