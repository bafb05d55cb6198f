"""Beer and Lambert's law: the photons that come through matter, and what their logarithm is worth."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._checks import check_precision, check_real, check_spread
from workbench.operators._linear import Linear
from workbench.operators._operator import Operator
from workbench.operators._sizes import integer, pick, signal_shape
from workbench.operators.dense import Dense


@dataclass(frozen=True, eq=False)
class BeerLambert(Operator):
    """y = I0 exp(-A x) + background: the expected counts of a transmission scan, for data with noise.Poisson().

    A: the linear projector, line integrals without unit (x in 1/mm where lengths are in mm).  I0: counts per ray
    without an object (1e3 to 1e6 in CT), > 0; background: expected counts that do not come through (scatter, dark),
    >= 0; numbers, or tensors that broadcast to A's measurements.  y: (*, *A.out_shape) expected counts.
    Its Jacobian at x is -diag(I0 exp(-A x)) A. Electronic noise is the noise's affair. Lange and Carson 1984.
    """

    card = dict(family="tomography", linear=False, svd=False, source="Lange and Carson 1984")

    A: Linear
    I0: float | Tensor
    background: float | Tensor = 0.0

    def __post_init__(self):
        if not isinstance(self.A, Linear):
            raise BadInput(
                f"BeerLambert: A = {type(self.A).__name__} should be a linear operator, a projector"
            )
        check_real(self.A.out_dtype, "BeerLambert: A")
        for name in ("I0", "background"):
            check_precision(getattr(self, name), self.out_dtype, f"BeerLambert: {name}")
            check_spread(getattr(self, name), self.out_shape, f"BeerLambert: {name}")
        if not (torch.as_tensor(self.I0) > 0).all():
            raise BadInput(f"BeerLambert: I0 = {self.I0} should be positive counts per ray")
        if (torch.as_tensor(self.background) < 0).any():
            raise BadInput(f"BeerLambert: background = {self.background} should not be negative")

    in_shape = property(lambda self: tuple(self.A.in_shape))
    out_shape = property(lambda self: tuple(self.A.out_shape))
    in_dtype = property(lambda self: self.A.in_dtype)
    out_dtype = property(lambda self: self.A.out_dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        check_real(dtype, "BeerLambert")
        shape, m = signal_shape(rng, 36), integer(rng, 1, 9)
        A = Dense(0.2 * rng.normal(torch.empty(m, prod(shape), dtype=dtype)).abs(), shape)
        background = pick(rng, 0.0, 2.5, rng.uniform(m).to(dtype))
        return cls(A, 10 + 90 * rng.uniform(pick(rng, 1, m)).to(dtype), background)

    def forward(self, x):
        return self.I0 * torch.exp(-self.A.forward(x)) + self.background


def line_integrals(counts, I0, background=0.0, floor=0.1):
    """p = -log(max(counts - background, floor) / I0), without unit: what `A x` is, up to noise.

    floor: what no photons count as, in counts (LoDoPaB takes 0.1). Raises BadInput for a floor that is not positive.
    """
    return -torch.log(_through(counts, background, floor) / I0)


def line_integral_weights(counts, background=0.0, floor=0.1):
    """1 / var(p) for `line_integrals` of Poisson counts, to first order: (counts - background)^2 / counts.

    Without background these are the counts, I0 exp(-p): the weights of post-log least squares, so that
    noise.Gaussian(weights ** -0.5) is the noise of p (Sauer and Bouman 1993). Biased where counts are few.
    """
    return _through(counts, background, floor) ** 2 / counts.clamp_min(floor)


def _through(counts, background, floor):
    if not floor > 0:
        raise BadInput(f"line_integrals: floor = {floor} should be positive, in counts; 0.1 is common")
    return (counts - background).clamp_min(floor)
