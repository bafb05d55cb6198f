"""The discrete wavelet transform, periodized."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import torch

from workbench._errors import BadInput, unknown
from workbench.operators._checks import check_shape, transformed_axes
from workbench.operators._fold import fold
from workbench.operators._linear import Linear, ridge
from workbench.operators._operator import checked
from workbench.operators._sizes import integer, pick, signal_shape, some_axes


@dataclass(frozen=True, eq=False)
class Wavelet(Linear):
    """y = W x, the discrete wavelet transform of several levels (Mallat's pyramid), periodic at the border.

    shape: of the signal, real or complex.  wavelet: a name of PyWavelets ("haar", "db4", "sym8", "bior4.4", ...).
    levels: how often the low-pass band is split again.  axes: those that are transformed, by default all.
    y: (*, m), the bands one after the other, coarsest first; `split(y)` gives them as `pywt.wavedecn` does with
    mode="periodization", and the numbers are the same.

    An axis of odd length has its last entry repeated before each split (pywt's rule), so m may be more than the signal's
    size. `A.H` is the transpose, exactly; `inverse(y)` undoes A. They agree for an orthonormal wavelet and even sizes,
    where W is orthonormal; for a biorthogonal one they differ. Mallat 1989; Cohen, Daubechies, Feauveau 1992.
    """

    card = dict(family="transform", linear=True, svd=False, source="Mallat 1989")

    shape: tuple
    wavelet: str = "db4"
    levels: int = 3
    axes: tuple | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_shape(self.shape, "Wavelet")
        transformed_axes("Wavelet", self.shape, self.axes)
        if self.levels < 1:
            raise BadInput(f"Wavelet: levels = {self.levels} should be at least 1")
        _filter_bank(self.wavelet)

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: (sum(map(prod, self._bands)),))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = signal_shape(rng)
        name = pick(rng, "haar", "db2", "db4", "sym5", "coif1", "bior2.2", "bior3.1", "bior4.4", "dmey")
        return cls(shape, name, integer(rng, 1, 3), some_axes(rng, len(shape)), dtype)

    @cached_property
    def _bank(self):
        return _filter_bank(self.wavelet)

    @cached_property
    def _axes(self):
        return transformed_axes("Wavelet", self.shape, self.axes)

    @cached_property
    def _sizes(self):
        """The signal's shape, and that of the low-pass band after each split."""
        sizes = [list(self.shape)]
        for _ in range(self.levels):
            half = list(sizes[-1])
            for a in self._axes:
                half[a] = -(-half[a] // 2)
            sizes.append(half)
        return sizes

    @cached_property
    def _kinds(self):
        """Which bands a split makes, low-pass (0) or high-pass (1) along each axis; all low-pass first."""
        return list(product((0, 1), repeat=len(self._axes)))

    @cached_property
    def _bands(self):
        """The shapes of the bands, in the order of y."""
        details = len(self._kinds) - 1
        return [self._sizes[-1]] + [size for size in self._sizes[:0:-1] for _ in range(details)]

    @cached_property
    def isometry(self):
        """Whether A^H A = I to rounding: a wavelet orthonormal as it is tabulated, and no odd length on the way."""
        even = all(s[a] % 2 == 0 for s in self._sizes[:-1] for a in self._axes)
        return even and self._bank.orthogonal and _defect(self._bank) < 20 * torch.finfo(self.dtype).eps

    def split(self, y):
        """The bands of y as `pywt.wavedecn` gives them: [approximation, {"ad": ..., "da": ..., "dd": ...}, ...]."""
        low, *rest = [
            part.unflatten(-1, band)
            for part, band in zip(y.split([prod(b) for b in self._bands], dim=-1), self._bands, strict=True)
        ]
        names = ["".join("ad"[i] for i in kind) for kind in self._kinds[1:]]
        step = len(names)
        return [low, *(dict(zip(names, rest[i : i + step], strict=True)) for i in range(0, len(rest), step))]

    def forward(self, x):
        first, parts = x.ndim - len(self.shape), []
        for _ in range(self.levels):
            bands = [x]
            for a in self._axes:
                bands = [half for band in bands for half in _analyse(band, a, *self._analysis)]
            x, *details = bands
            parts[:0] = [band.flatten(first) for band in details]
        return torch.cat([x.flatten(first), *parts], dim=-1)

    def adjoint(self, y):
        return self._merge(y, self._analysis, _fold_last)

    def inverse(self, y):
        """The signal whose transform is y: A.inverse(A(x)) = x, with the synthesis filters. y: (*, m)."""
        checked(y, self.out_shape, self.out_dtype, "Wavelet.inverse")
        return self._merge(y, (self._bank.rec_lo, self._bank.rec_hi), _drop_last)

    @property
    def _analysis(self):
        """The low-pass and the high-pass filter, in the order in which they meet the signal."""
        return self._bank.dec_lo[::-1], self._bank.dec_hi[::-1]

    def _merge(self, y, filters, shorten):
        """From the coarsest level up: the bands of a split become the low-pass band of the one before."""
        low, *details = self.split(y)
        for size, bands in zip(self._sizes[-2::-1], details, strict=True):
            bands = [low, *bands.values()]
            for a in self._axes[::-1]:
                pairs = zip(bands[::2], bands[1::2], strict=True)
                bands = [shorten(_synthesise(*pair, a, *filters), a, size[a]) for pair in pairs]
            (low,) = bands
        return low

    def normal(self, x):
        return x.clone() if self.isometry else super().normal(x)

    def norm(self):
        return 1.0 if self.isometry else super().norm()

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b: b / (1 + rho) where W is orthonormal, otherwise by conjugate gradients."""
        if not self.isometry:
            return super().solve(b, rho, x0, tol)
        return checked(b, self.in_shape, self.in_dtype, "Wavelet.solve") / (
            1 + ridge(rho, b, len(self.shape))
        )


def _filter_bank(name):
    """The filters of a wavelet by PyWavelets: dec_lo, dec_hi, rec_lo, rec_hi, all of one even length."""
    import pywt

    if name not in pywt.wavelist(kind="discrete"):
        raise unknown("wavelet", name, pywt.wavelist(kind="discrete"), "pywt.wavelist()")
    return pywt.Wavelet(name)


def _defect(bank):
    """max over k of |sum_i h_i h_(i + 2 k) - [k = 0]|, h the low-pass filter: how far from orthonormal its digits are.

    Of PyWavelets' orthonormal families 1e-14 and less, but up to 1e-11 for "sym20", and 2e-3 for "dmey".
    """
    h = torch.tensor(bank.dec_lo, dtype=torch.float64)
    return max(abs((h[: len(h) - k] @ h[k:]).item() - (k == 0)) for k in range(0, len(h), 2))


def _covered(n, taps, device):
    """Which entries of a periodic signal of even length n the windows of `taps` entries, two apart, cover in order."""
    return (torch.arange(n + taps - 2, device=device) - (taps // 2 - 1)) % n


def _analyse(x, axis, low, high):
    """(n) -> two of (ceil(n / 2)) along an axis: low-pass and high-pass, every second value."""
    if x.shape[axis] % 2:
        x = torch.cat([x, x.narrow(axis, -1, 1)], dim=axis)
    half, covered = x.shape[axis] // 2, _covered(x.shape[axis], len(low), x.device)
    phases = [x.index_select(axis, covered[p::2]) for p in (0, 1)]  # what the even taps meet, and the odd
    start = phases[0].narrow(axis, 0, half)
    a, d = low[0] * start, high[0] * start
    for t in range(1, len(low)):
        part = phases[t % 2].narrow(axis, t // 2, half)
        a.add_(part, alpha=low[t])  # in place: half the memory traffic
        d.add_(part, alpha=high[t])
    return a, d


def _synthesise(a, d, axis, low, high):
    """The transpose of _analyse for an even length: two of (half) -> (2 half) along an axis."""
    axis, half, reach = axis % a.ndim, a.shape[axis], len(low) // 2 - 1
    phases = [a.new_zeros(*a.shape[:axis], half + reach, *a.shape[axis + 1 :]) for _ in range(2)]
    for t in range(len(low)):
        phases[t % 2].narrow(axis, t // 2, half).add_(a, alpha=low[t]).add_(d, alpha=high[t])
    covered = _covered(2 * half, len(low), a.device)
    return fold(torch.stack(phases, dim=axis + 1).flatten(axis, axis + 1), axis, reach, 2 * half, covered)


def _fold_last(x, axis, n):
    """The transpose of repeating the last entry of n, where n is odd."""
    if x.shape[axis] == n:
        return x
    last = x.narrow(axis, n - 1, 2).sum(axis, keepdim=True)
    return torch.cat([x.narrow(axis, 0, n - 1), last], dim=axis)


def _drop_last(x, axis, n):
    """Undoes repeating the last entry of n."""
    return x.narrow(axis, 0, n)
