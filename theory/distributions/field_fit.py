"""Empirical Bayes: the spectrum of a stationary field and the noise level that a scan itself supports.

Expectation maximisation with exact posterior draws (Monte Carlo EM, Wei and Tanner 1990): the evidence has no closed
log-determinant for a multi-coil or tomographic operator, its EM map has only posterior second moments.
"""

from dataclasses import dataclass
from math import prod

import torch

from theory.distributions.gaussian_field import FieldPosterior, GaussianField, radius
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.noise.gaussian import Gaussian

FIT_TOLERANCE = (
    0.03  # of solves under a fitted field, well conditioned as it is: 1 % of a pixel's posterior variance
)


@dataclass(frozen=True)
class FieldFit:
    """What `fit_field` found: the prior, the noise, and one row an iteration (sigma, rms of the field, change)."""

    prior: GaussianField
    noise: Gaussian
    history: list


@dataclass(frozen=True)
class Rings:
    """Frequencies in rings of nearly equal width in log radius; the spectrum is log-linear between ring centres."""

    shape: tuple
    count: int = 24

    def __post_init__(self):
        r = radius(self.shape)
        edges = torch.logspace(
            torch.log10(r[r > 0].min()).item() - 1e-6,
            torch.log10(r.max()).item() + 1e-6,
            self.count + 1,
            dtype=r.dtype,
        )
        ring = torch.bucketize(r, edges).clamp(1, self.count) - 1
        ring = torch.where(r == 0, -1, ring) + 1  # zero frequency is a ring of its own
        _, self_ring = ring.unique(return_inverse=True)
        rings = int(self_ring.max()) + 1
        size = torch.bincount(self_ring.flatten(), minlength=rings).double()
        centre = (
            torch.bincount(self_ring.flatten(), r.flatten().clamp_min(1e-12).log(), minlength=rings) / size
        )
        object.__setattr__(self, "ring", self_ring)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "centre", centre)
        object.__setattr__(self, "log_radius", r.clamp_min(1e-12).log())

    def mean(self, power):
        """The mean of `power` (*shape) over each ring."""
        total = torch.bincount(self.ring.flatten(), power.double().cpu().flatten(), minlength=len(self.size))
        return total / self.size

    def spectrum(self, level):
        """The spectrum (*shape) that has `level` at the ring centres."""
        log_level, x, c = level.log(), self.log_radius, self.centre
        i = torch.searchsorted(c, x.contiguous(), right=True).clamp(1, len(c) - 1)
        share = ((x - c[i - 1]) / (c[i] - c[i - 1])).clamp(0, 1)
        between = log_level[i - 1] * (1 - share) + log_level[i] * share
        return torch.where(self.ring == 0, log_level[0], torch.where(x < c[1], log_level[1], between)).exp()


def fit_field(A, y, sigma, iterations=30, draws=4, rings=24, seed=0, fit_noise=True, tol=0.01):
    """The GaussianField prior and Gaussian noise under which y = A x + n is most likely, by EM from y alone.

    A: linear, complex or real signal.  sigma: first guess of the noise, per real component.  draws: exact posterior
    draws an E-step, the same random numbers in each, so that the iteration settles.  Stops when no ring and not the
    noise changes by more than `tol` relative, or after `iterations`.
    M-step, exact for a spectrum that is constant on rings: P_ring = E mean_ring |F x|^2 / c, sigma^2 = E ||y - A x||^2 / (c m), with c = 2 real parts if complex.
    Raises BadInput when y is all zero.
    """
    if not (y.abs() > 0).any():
        raise BadInput("fit_field: y is all zeros, so nothing can be fitted; check the data file")
    c, axes = (2 if A.in_dtype.is_complex else 1), tuple(range(-len(A.in_shape), 0))
    reals, shells, start, history = (
        y.numel() * (2 if y.is_complex() else 1),
        Rings(tuple(A.in_shape), rings),
        None,
        [],
    )
    level = _first_level(A, y, shells, axes, c)
    gain = A.gram_spectrum(axes).to(y.device)  # an operator without tensors of its own is nowhere
    path = []
    for step in range(iterations):
        prior = GaussianField(shells.spectrum(level).to(y.device, y.dtype.to_real()), dtype=A.in_dtype)
        law = FieldPosterior(prior, (1 / sigma) * A, y / sigma, tol=FIT_TOLERANCE)
        law.__dict__["gain"] = gain / sigma**2
        x, start = law.draws(Rng(seed, "fit"), draws, start)
        power = (torch.fft.fftn(x, dim=axes, norm="ortho").abs() ** 2).mean(0) / c
        new_level = shells.mean(power)
        residual = y - A.forward(x)
        new_sigma = (
            (residual.abs().double().pow(2).sum().item() / (draws * reals)) ** 0.5 if fit_noise else sigma
        )
        change = max((new_level / level).log().abs().max().item(), abs(new_sigma / sigma - 1))
        path = [*path, level.log()]
        level, sigma = new_level, new_sigma
        history.append(
            dict(
                sigma=sigma,
                rms=level.mul(shells.size).sum().div(prod(A.in_shape)).sqrt().item(),
                change=change,
            )
        )
        if change < tol:
            break
        if len(path) == 3 and step < iterations - 1:  # what is returned has been through the map
            level, path = aitken(*path[-2:], level.log()).exp(), []
    prior = GaussianField(
        shells.spectrum(level).to(y.device, y.dtype.to_real()), dtype=A.in_dtype, tol=FIT_TOLERANCE
    )
    return FieldFit(prior, Gaussian(sigma), history)


def aitken(a, b, c, most=0.9):
    """Where the sequence a, b, c of a linearly convergent iteration is heading, each entry on its own: c + (c - b)
    rate / (1 - rate), rate = (c - b) / (b - a) kept within [0, most] (Aitken 1926)."""
    rate = ((c - b) / torch.where(b == a, 1e-300, b - a)).clamp(0, most)
    return c + (c - b) * rate / (1 - rate)


def _first_level(A, y, shells, axes, c):
    """Ring levels of the back-projected data, over the share of each frequency that was seen."""
    gain = A.gram_spectrum(axes, probes=16).clamp_min(0)
    power = torch.fft.fftn(A.adjoint(y), dim=axes, norm="ortho").abs() ** 2 / c
    seen = shells.mean(gain**2).clamp_min(1e-12 * gain.max().item() ** 2)
    return (shells.mean(power) / seen).clamp_min(1e-30)
