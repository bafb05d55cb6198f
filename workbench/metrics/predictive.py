"""Prediction of held-out measurements: chi-square and coverage, where no truth is known."""

from dataclasses import dataclass

import torch
from scipy.stats import t as student

from workbench._errors import BadInput


@dataclass(frozen=True)
class Predictive:
    """What posterior draws say of measurements that were held out: z = (y - E y) / sqrt(Var y + sigma^2).

    chi_square: mean z^2, less what the finite number of draws adds (1 if the model is right).  coverage: the share of z
    inside the central interval of `level`.  count: real numbers held out.  All are for a Gaussian predictive law, which
    draws of a Gaussian posterior have.
    """

    card = dict(family="calibration", needs="held-out data", source="Satterthwaite 1946")

    chi_square: float
    coverage: float
    level: float
    count: int


def predictive(predictions, y, sigma, level=0.9):
    """The `Predictive` of y: (*m) from predictions A(x_i): (n, *m) of n posterior draws, noise sigma per real part.

    The variance is partly an estimate from n draws, so z is Student's t with nu = (n - 1) (V / (V - sigma^2))^2 degrees
    of freedom, V the predictive variance (Satterthwaite 1946), and z^2 nu / (nu - 2) on average: both are taken into
    account. Raises BadInput for fewer than 4 draws, whose z^2 has no mean.
    """
    if len(predictions) < 4:
        raise BadInput(f"predictive: predictions are of {len(predictions)} draws; give at least 4")
    p = torch.view_as_real(predictions) if predictions.is_complex() else predictions
    y = torch.view_as_real(y) if y.is_complex() else y
    p, y = p.double(), y.double()
    spread = p.var(0) * (1 + 1 / len(p))
    V = spread + float(sigma) ** 2
    z = (y - p.mean(0)) / torch.sqrt(V)
    nu = (len(p) - 1) * (V / spread) ** 2
    edge = torch.from_numpy(student.ppf(0.5 + level / 2, nu.cpu().numpy())).to(z)
    chi_square = (z**2 * (1 - 2 / nu)).mean().item()
    return Predictive(chi_square, (z.abs() < edge).double().mean().item(), level, z.numel())
