"""The weighted h-transform: towards a coarse reference, less and less."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.samplers._guidance import Guidance


@dataclass(frozen=True)
class Power:
    """omega = (sigma / sqrt(alpha^2 + sigma^2))^power: 1 in noise, 0 at the data.  Published: 5."""

    power: float = 5.0

    def __call__(self, kappa):
        return (kappa / torch.sqrt(1 + kappa**2)) ** self.power


@dataclass(frozen=True)
class Calibrated:
    """omega = S / (S + noise^2), S = variance kappa^2 / (variance + kappa^2): exact where y = x0 + noise n and x0 is
    Gaussian with that variance, independent in every entry."""

    noise: float
    variance: float = 1.0

    def __call__(self, kappa):
        S = self.variance * kappa**2 / (self.variance + kappa**2)
        return S / (S + self.noise**2)


@dataclass(frozen=True)
class HTransform(Guidance):
    """x0 <- (1 - omega) x0 + omega y, y a coarse reference in the signal's space: eps + omega (eps_y - eps).

    The drift towards y whose weight fades with the noise; the operator is not used if a reference is given.
    reference: (*shape); None makes one of the data, xhat + (W^H W + ridge I)^{-1} W^H (w - W xhat) with the whitened
    operator, the pseudo-inverse where y measures and xhat where it does not (linear A).  weight: omega(kappa), Power()
    or Calibrated(). With a reference no operator is asked for, so A may be of any kind; without one it must be linear.
    A point of view, not a posterior, unless calibrated. Coarse-guided generation 2026, eq. 9.
    """

    card = dict(kind="guidance", exactness="P", needs="prox", complex=True, nonlinear=False, poisson=True,
                cost="1 NFE", source="HKUST 2026")  # fmt: skip
    published = dict(coarse=dict(weight=Power(5.0)))

    reference: Tensor | None = None
    weight: Any = field(default_factory=Power)
    ridge: float = 1e-3

    def denoise(self, problem, x, t, rng):
        x0, omega = problem.prior.denoise(x, t), self.weight(problem.prior.process.kappa(t))
        if self.reference is None:
            W, w = problem.white
            # not so small beside ||W||^2 that rounding in what y does not measure is blown up
            rho = self.ridge + torch.finfo(x.dtype.to_real()).eps ** 0.5 * problem.steepness
            return x0 + omega * W.solve(W.H(w - W(x0)), rho)
        if tuple(self.reference.shape) != tuple(problem.prior.shape):
            raise BadInput(
                f"HTransform: reference has shape {tuple(self.reference.shape)}, a signal is {tuple(problem.prior.shape)}"
            )
        return x0 + omega * (self.reference.to(x0) - x0)
