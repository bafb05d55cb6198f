"""Full-waveform inversion: the sound that a velocity map sends from sources to receivers."""

from dataclasses import dataclass
from functools import cached_property
from math import factorial, log, pi

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._checks import check_real
from workbench.operators._operator import Operator
from workbench.operators._sizes import integer, pick, sizes

REFLECTED = 0.1  # of the fastest wave's amplitude, were it to cross the border twice: less makes the border itself reflect


@dataclass(frozen=True, eq=False)
class FullWaveform(Operator):
    """y[s, n, r] = p(receiver r, time (n + 1) step) of source s, where (1 / x^2) d2p/dt2 = laplacian p + wavelet(t) delta.

    x: (*, H, W) wave velocity in km/s, row 0 the shallowest; only x^2 counts.  shape: (H, W).  spacing: of the grid,
    km.  step: of time, s.  wavelet: (T,) source strength, sample n at time n step, in units of pressure (`ricker`).
    sources: (S, 2), receivers: (R, 2) int64, rows and columns.  fastest: km/s, the highest velocity allowed.
    absorbing: cells added on every side, filled by repeating the border, in which waves die out (the top too: there
    is no free surface); of a trace, 2.5 % comes back from 2.4 wavelengths of them, 0.5 % from 4.8.  order: of the differences in space, even.  y: (*, S, T, R) pressure, of the wavelet's dtype.

    Constant density, leapfrog in time (second order). The equation is self-adjoint, so sources and receivers may be
    exchanged. Raises BadInput where `step` is unstable for `fastest` (Courant, Friedrichs, Lewy 1928), and where a
    velocity exceeds `fastest`. Memory of a gradient grows with T. Tarantola 1984; Virieux and Operto 2009.
    """

    card = dict(family="physics", linear=False, svd=False, source="Tarantola 1984")

    shape: tuple
    spacing: float
    step: float
    wavelet: Tensor
    sources: Tensor
    receivers: Tensor
    fastest: float
    absorbing: int = 20
    order: int = 8

    def __post_init__(self):
        if not isinstance(self.wavelet, Tensor) or self.wavelet.ndim != 1 or not len(self.wavelet):
            raise BadInput("FullWaveform: wavelet should be a tensor (T,) of samples at intervals of step")
        check_real(self.wavelet.dtype, "FullWaveform: wavelet")
        for name in ("sources", "receivers"):
            self._check_points(name, getattr(self, name))
        if self.order < 2 or self.order % 2 or self.absorbing < 0:
            raise BadInput(
                f"FullWaveform: order = {self.order} should be even, absorbing = {self.absorbing} not negative"
            )
        if not min(self.spacing, self.step, self.fastest) > 0:
            raise BadInput(
                f"FullWaveform: spacing = {self.spacing} km, step = {self.step} s and fastest = {self.fastest} km/s "
                f"should be positive"
            )
        if self.step > self.longest_step:
            raise BadInput(
                f"FullWaveform: step = {self.step:g} s is unstable for fastest = {self.fastest:g} km/s on a grid of "
                f"{self.spacing:g} km; use at most {self.longest_step:.4g} s"
            )

    def _check_points(self, name, points):
        if not isinstance(points, Tensor) or points.dtype != torch.int64 or points.shape[1:] != (2,):
            raise BadInput(f"FullWaveform: {name} should be an int64 tensor (count, 2) of rows and columns")
        H, W = self.shape
        if not len(points) or points.min() < 0 or points[:, 0].max() >= H or points[:, 1].max() >= W:
            raise BadInput(f"FullWaveform: {name} should hold at least one point inside shape = {(H, W)}")

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: (len(self.sources), len(self.wavelet), len(self.receivers)))
    in_dtype = out_dtype = property(lambda self: self.wavelet.dtype)

    @property
    def longest_step(self):
        """The longest stable step, s: 2 over the largest frequency of the grid, which is that of a checkerboard."""
        weights = second_difference(self.order)
        return (
            2
            * self.spacing
            / (self.fastest * (2 * (abs(weights[0]) + 2 * sum(map(abs, weights[1:])))) ** 0.5)
        )

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        check_real(dtype, "FullWaveform")
        shape, wavelet = sizes(rng, 2, 1, 8), ricker(12.0, 0.008, integer(rng, 1, 9), 0.03, dtype)
        sources, receivers = (
            torch.tensor([sizes(rng, 2, 0, [n - 1 for n in shape]) for _ in range(integer(rng, 1, 3))])
            for _ in range(2)
        )
        border, order = integer(rng, 0, 3), pick(rng, 2, 4, 8)
        return cls(shape, 0.1, 0.008, wavelet, sources, receivers, 5.0, border, order)

    @cached_property
    def _laplacian(self):
        """The second differences along rows and along columns, 1/km^2: symmetric matrices, zero outside."""
        weights = second_difference(self.order)
        matrices = []
        for n in (extent + 2 * self.absorbing for extent in self.shape):
            D = torch.zeros(n, n, dtype=torch.float64)
            for k, weight in enumerate(weights[:n]):
                ones = torch.full((n - k,), weight / self.spacing**2, dtype=torch.float64)
                D += torch.diag(ones, k) + (torch.diag(ones, -k) if k else 0)
            matrices.append(D.to(self.wavelet))
        return matrices

    @cached_property
    def _decay(self):
        """The rate of decay in the border, 1/s, growing with the square of the depth in it."""
        depths = [
            (torch.arange(n + 2 * self.absorbing) - self.absorbing).clamp(max=0).abs()
            + (torch.arange(n + 2 * self.absorbing) - self.absorbing - n + 1).clamp(min=0)
            for n in self.shape
        ]
        width = max(self.absorbing, 1)
        rate = 3 * self.fastest * log(1 / REFLECTED) / (2 * width * self.spacing)
        rows, columns = (rate * (depth.double() / width) ** 2 for depth in depths)
        return (rows[:, None] + columns).to(self.wavelet)

    @cached_property
    def _spots(self):
        """A unit source at each place: (S, rows, columns), over the area of a cell."""
        rows, columns = (self.sources + self.absorbing).unbind(-1)
        grid = [extent + 2 * self.absorbing for extent in self.shape]
        spots = torch.zeros(len(self.sources), *grid, dtype=self.wavelet.dtype, device=self.sources.device)
        spots[torch.arange(len(rows), device=rows.device), rows, columns] = self.spacing**-2
        return spots

    def _bordered(self, x):
        """x with its border repeated into the absorbing cells."""
        rows, columns = (
            torch.arange(-self.absorbing, n + self.absorbing, device=x.device).clamp(0, n - 1)
            for n in self.shape
        )
        return x[..., rows[:, None], columns]

    def forward(self, x):
        if (x.detach().abs() > self.fastest).any():
            raise BadInput(
                f"FullWaveform: x has a velocity of {x.detach().abs().max().item():.4g} km/s, above fastest = "
                f"{self.fastest:g}; clip x, or build the operator for it"
            )
        speed = (self.step * self._bordered(x)).square().unsqueeze(-3)
        rows, columns = (self.receivers + self.absorbing).unbind(-1)
        Dz, Dx = self._laplacian
        damp = self.step * self._decay
        before = p = torch.zeros_like(speed * self._spots)
        traces = []
        for strength in self.wavelet:
            force = Dz @ p + p @ Dx + strength * self._spots
            before, p = p, (2 * p - (1 - damp) * before + speed * force) / (1 + damp)
            traces.append(p[..., rows, columns])
        return torch.stack(traces, dim=-2)


def second_difference(order):
    """The weights of f(0), f(h) = f(-h), f(2h), ... in h^2 f''(0), exact for polynomials up to degree order + 1.

    w_k = 2 (-1)^(k+1) p!^2 / (k^2 (p - k)! (p + k)!) with p = order / 2 (Fornberg 1988).
    """
    p = order // 2
    sides = [
        2 * (-1) ** (k + 1) * factorial(p) ** 2 / (k**2 * factorial(p - k) * factorial(p + k))
        for k in range(1, p + 1)
    ]
    return [-2 * sum(sides), *sides]


def ricker(frequency, step, count, delay=None, dtype=torch.float32):
    """(count,) samples of (1 - 2 a) exp(-a), a = (pi f (t - delay))^2: Ricker's wavelet of peak frequency f (Hz).

    step and delay in s; the default delay 1.5 / f leaves 1e-8 of the peak before t = 0. Ricker 1953.
    """
    if not frequency > 0:
        raise BadInput(f"ricker: frequency = {frequency} should be positive, in Hz")
    t = step * torch.arange(count, dtype=torch.float64) - (1.5 / frequency if delay is None else delay)
    a = (pi * frequency * t) ** 2
    return ((1 - 2 * a) * torch.exp(-a)).to(dtype)
