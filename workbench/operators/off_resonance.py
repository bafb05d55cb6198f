"""Off-resonance: the phase that an inhomogeneous field adds while a scan is read out."""

from bisect import bisect_left
from dataclasses import dataclass, replace
from math import ceil, pi, prod

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._once import once
from workbench.operators._operator import Alike
from workbench.operators._sizes import integer, pick
from workbench.operators.non_cartesian_mri import NonCartesianMRI
from workbench.operators.nufft import NUFFT

BINS = 512  # of the histogram of the field map, at least, and 16 a cycle
CUTOFF = (
    1e-6  # of the singular values of the fit: a lower one makes large b_l, which amplify what A rounds off
)
BLOCK = 4096  # times fitted at once
GROUP = 2**22  # numbers of the segments that are applied at once: small signals are quicker together


@dataclass(frozen=True, eq=False)
class OffResonance(Alike, Linear):
    """y_k = sum_n A_kn x_n exp(-2 pi i f_n t_k): A with the field map f, by segments in time.

    A: a `NUFFT`, `NonCartesianMRI` or `CartesianMRI`, or any linear map between complex signals.
    field_map: f in Hz, real, of the image's shape.  The sign: spins that precess faster (f > 0) gain the phase
    -2 pi f t, as in Sutton's paper; negate a map of the other convention.
    times: t in s, real, broadcastable to A.out_shape, so (samples,) or (shots, samples) for every coil; counted from
    where the image has no off-resonance phase (excitation, or the echo). For CartesianMRI they are in the order of its
    measurements, A.sample(grid of times).
    segments: L; each costs one A. About 1.2 cycles + 4 of them reach an error of 1e-3, `cycles` being (max f - min f)
    (max t - min t); `OffResonance.within(A, field_map, times, error)` takes as many as it needs.

    exp(-2 pi i f t_k) = sum_l b_l(t_k) exp(-2 pi i f tau_l) with L times tau_l evenly over the readout, and b_l(t) the
    least-squares fit over the histogram of f: y = sum_l b_l A (exp(-2 pi i f tau_l) x). `error` says how close that is;
    the adjoint is exact for the sum as it stands. Gradients flow to x and to field_map (with the b_l held fixed).
    Sutton, Noll, Fessler 2003.
    """

    card = dict(family="MRI", linear=True, svd=False, source="Sutton, Noll, Fessler 2003")

    A: Linear
    field_map: Tensor
    times: Tensor
    segments: int

    def __post_init__(self):
        A, f, t = self.A, self.field_map, self.times
        if not isinstance(A, Linear) or not A.in_dtype.is_complex or not A.out_dtype.is_complex:
            raise BadInput(
                f"OffResonance: A is {type(A).__name__}, it should be linear between complex signals"
            )
        if not _real(f) or tuple(f.shape) != tuple(A.in_shape) or not f.isfinite().all():
            raise BadInput(
                f"OffResonance: field_map is {_kind(f)}, it should be real and finite, in Hz, of the image's shape "
                f"{tuple(A.in_shape)}"
            )
        if not _real(t) or not _broadcasts(t.shape, A.out_shape) or not t.isfinite().all():
            raise BadInput(
                f"OffResonance: times is {_kind(t)}, it should be real and finite, in s, and broadcast to "
                f"{tuple(A.out_shape)}, one time per sample"
            )
        if self.segments < 1:
            raise BadInput(f"OffResonance: segments = {self.segments} should be at least 1")

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        A = pick(rng, NUFFT, NonCartesianMRI).example(rng, dtype)
        field_map = pick(rng, 0, 100) * rng.normal(torch.empty(1, *A.in_shape, dtype=dtype.to_real()))[0]
        times = 0.02 * rng.uniform(*A.out_shape[-1:]).to(dtype.to_real())
        return cls(A, field_map, times, integer(rng, 1, 6))

    @classmethod
    def within(cls, A, field_map, times, error=1e-3):
        """The operator with the fewest segments whose `error` is at most `error`, from 1e-5 up."""
        if not 1e-5 <= error < 1:
            raise BadInput(f"OffResonance.within: error = {error} should be from 1e-5 to 1")
        made, enough = cls(A, field_map, times, 1), 1
        met = lambda segments: replace(made, segments=segments).error <= error
        while not met(enough):
            enough *= 2
        return replace(made, segments=bisect_left(range(enough), True, lo=enough // 2 + 1, key=met))

    @property
    def cycles(self):
        """The turns that the fastest spins gain on the slowest ones during the readout: a float."""
        return ((self.field_map.max() - self.field_map.min()) * (self.times.max() - self.times.min())).item()

    @once("field_map", "times", detached=True)
    def error(self):
        """The root mean square of |exp(-2 pi i f t) - its approximation| over samples and pixels: a float.

        The relative error that the segments cause in A x for white noise x.
        """
        times, where = self._instants
        f, share = self._histogram
        gap = [
            share @ (_waves(f, self._knots) @ fit - _waves(f, t)).abs().square()
            for fit, t in zip(self._fit.split(BLOCK, 1), times.split(BLOCK), strict=True)
        ]
        return torch.cat(gap)[where].mean().sqrt().item()

    def forward(self, x):
        batch = x.shape[: x.ndim - len(self.in_shape)]
        total = 0
        for phases, weights in self._groups(batch):
            total = total + (weights * self.A.forward(phases * x)).sum(0)
        return total

    def adjoint(self, y):
        batch = y.shape[: y.ndim - len(self.out_shape)]
        total = 0
        for phases, weights in self._groups(batch):
            total = total + (phases.conj() * self.A.adjoint(weights.conj() * y)).sum(0)
        return total

    def _groups(self, batch):
        """The phases and weights of as many segments as are applied at once to signals of this batch, by turns."""
        ndim, numbers = len(batch) + len(self.in_shape), max(prod(self.in_shape), prod(self.out_shape))
        step = max(1, GROUP // max(1, prod(batch) * numbers))
        return zip(self._phases(ndim).split(step), self._weights(ndim).split(step), strict=True)

    def _phases(self, ndim):
        """exp(-2 pi i f tau_l): (L, *1, *in_shape) for signals with ndim axes in all."""
        return self._waves_of_map.reshape(self.segments, *[1] * (ndim - len(self.in_shape)), *self.in_shape)

    def _weights(self, ndim):
        """b_l(t_k): (L, *1, *out_shape), or what broadcasts to it, for signals with ndim axes in all."""
        ones = ndim - len(self.in_shape) + len(self.out_shape) - self.times.ndim
        return self._coefficients.reshape(self.segments, *[1] * ones, *self.times.shape)

    @once("field_map", "times")
    def _waves_of_map(self):
        return _waves(self._knots, self.field_map.double().flatten()).to(self.in_dtype)

    @once("times", detached=True)
    def _knots(self):
        """The times tau_l: (L,)."""
        first, last = self.times.detach().double().aminmax()
        share = (torch.arange(self.segments) + 0.5 * (self.segments == 1)).to(first)
        return first + (last - first) * share / max(self.segments - 1, 1)

    @once("field_map", "times", detached=True)
    def _histogram(self):
        """The mean frequency in Hz of each bin of the field map, and the share of its pixels in each: (bins,) both.

        Even bins, cut again where they hold more than one in BINS of the pixels; empty ones are left out.
        """
        f, bins = self.field_map.detach().double().flatten().sort().values, max(BINS, 16 * ceil(self.cycles))
        even = (bins * (f - f[0]) / (f[-1] - f[0])).nan_to_num(0).long().clamp_max(bins - 1)
        rank = torch.arange(f.numel(), device=f.device) * BINS // f.numel()
        first = torch.diff(even * BINS + rank, prepend=even[:1] - 1) > 0
        where = first.cumsum(0) - 1
        count = torch.bincount(where).to(f)
        above = torch.zeros_like(count).index_add(0, where, f - f[0])
        return f[0] + above / count, count / f.numel()

    @once("field_map", "times", detached=True)
    def _fit(self):
        """b_l at each of the times of `_instants`, in double precision: (L, times)."""
        f, share = self._histogram
        weight = share.sqrt()[:, None]
        U, s, Vh = torch.linalg.svd(weight * _waves(f, self._knots), full_matrices=False)
        inverse = torch.where(s > CUTOFF * s[0], 1 / s, 0)[:, None]
        blocks = [U.mH @ (weight * _waves(f, t)) for t in self._instants[0].split(BLOCK)]
        return Vh.mH @ (inverse * torch.cat(blocks, 1))

    @once("field_map", "times", detached=True)
    def _coefficients(self):
        """b_l(t_k): (L, *times.shape)."""
        where = self._instants[1]
        return self._fit[:, where].to(self.out_dtype).unflatten(1, self.times.shape)

    @once("times", detached=True)
    def _instants(self):
        """The times that occur, each once, and which of them each sample has."""
        return torch.unique(self.times.detach().double().flatten(), return_inverse=True)


def _waves(u, v):
    """exp(-2 pi i u v): (len(u), len(v))."""
    phase = -2 * pi * u[:, None] * v
    return torch.polar(torch.ones_like(phase), phase)


def _real(value):
    return isinstance(value, Tensor) and value.is_floating_point()


def _broadcasts(small, large):
    small = (1,) * (len(large) - len(small)) + tuple(small)
    return len(small) == len(large) and all(s in (1, n) for s, n in zip(small, large, strict=True))


def _kind(value):
    return (
        f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    )
