"""Prediction of held-out measurements: chi-square and coverage, where no truth is known."""

from dataclasses import dataclass
from statistics import NormalDist

import torch


@dataclass(frozen=True)
class Predictive:
    """What posterior draws say of measurements that were held out: z = (y - E y) / sqrt(Var y + sigma^2).

    chi_square: mean z^2 (1 if the model is right).  coverage: the share of |z| inside the central interval of `level`.
    count: real numbers held out.  Both are for a Gaussian predictive law, which draws of a Gaussian posterior have.
    """

    card = dict(family="calibration", needs="held-out data", source="")

    chi_square: float
    coverage: float
    level: float
    count: int


def predictive(predictions, y, sigma, level=0.9):
    """The `Predictive` of y: (*m) from predictions A(x_i): (n, *m) of n posterior draws, noise sigma per real part."""
    p = torch.view_as_real(predictions) if predictions.is_complex() else predictions
    y = torch.view_as_real(y) if y.is_complex() else y
    p, y = p.double(), y.double()
    z = (y - p.mean(0)) / torch.sqrt(p.var(0) * (1 + 1 / len(p)) + float(sigma) ** 2)
    edge = NormalDist().inv_cdf(0.5 + level / 2)
    return Predictive((z**2).mean().item(), (z.abs() < edge).double().mean().item(), level, z.numel())
