"""Extensions of a signal beyond its border: what makes a circular blur one with another boundary."""

from dataclasses import dataclass
from functools import reduce

import torch

from workbench.operators._fold import fold
from workbench.operators._orthogonal import OrthogonalColumns
from workbench.operators._sizes import pick, signal_shape, sizes
from workbench.operators.crop import inside, offsets


@dataclass(frozen=True, eq=False)
class Extension(OrthogonalColumns):
    """Every entry of y is one entry of x: y[i] = x[source(i)] along each axis.  x: (*, *small), y: (*, *big)."""

    small: tuple
    big: tuple
    offset: tuple | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        inside(type(self).__name__, self.big, self.small, self.offset)

    in_shape = property(lambda self: tuple(self.small))
    out_shape = property(lambda self: tuple(self.big))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        small = signal_shape(rng, 12)
        before, after = (sizes(rng, len(small), 0, 5 // len(small)) for _ in range(2))
        big = tuple(map(sum, zip(small, before, after, strict=True)))
        return cls(small, big, pick(rng, None, before), dtype)

    def _sources(self, device=None):
        """For each axis, counted from the end, the entries of x that the entries of y are."""
        first = offsets(self.big, self.small, self.offset)
        for axis, (o, n, b) in enumerate(
            zip(first, self.small, self.big, strict=True), start=-len(self.small)
        ):
            yield axis, self.source(torch.arange(-o, b - o, device=device), n)

    @property
    def column_power(self):
        counts = [index.bincount(minlength=self.small[axis]) for axis, index in self._sources()]
        return reduce(lambda a, b: a[..., None] * b, counts).to(self.dtype.to_real())

    def forward(self, x):
        for axis, index in self._sources(x.device):
            x = x.index_select(x.ndim + axis, index)
        return x

    def adjoint(self, y):
        first = offsets(self.big, self.small, self.offset)
        for axis, index in self._sources(y.device):
            y = fold(y, axis, first[axis], self.small[axis], index)
        return y


@dataclass(frozen=True, eq=False)
class Reflect(Extension):
    """y = x reflected about the edges of its border pixels: d c b a | a b c d | d c b a (half-sample symmetric).

    small, big: shapes of x and y.  offset: index in y of the first entry of x on each axis, by default
    big // 2 - small // 2.  The border pixel is repeated: `scipy.ndimage` calls this mode 'reflect', `numpy.pad`
    'symmetric'; what torch and numpy call 'reflect' and scipy 'mirror' (d c b | a b c d | c b a) is another one.
    """

    card = dict(family="structure", linear=True, svd=True, source="")

    @staticmethod
    def source(i, n):
        """The entry of x, of length n, that stands at index i of its extension."""
        i = i % (2 * n)
        return torch.minimum(i, 2 * n - 1 - i)


@dataclass(frozen=True, eq=False)
class Replicate(Extension):
    """y = x with its border pixels repeated: a a a a | a b c d | d d d d.

    small, big: shapes of x and y.  offset: index in y of the first entry of x on each axis, by default
    big // 2 - small // 2.  `scipy.ndimage` calls this mode 'nearest', `numpy.pad` 'edge'.
    """

    card = dict(family="structure", linear=True, svd=True, source="")

    @staticmethod
    def source(i, n):
        """The entry of x, of length n, that stands at index i of its extension."""
        return i.clamp(0, n - 1)
