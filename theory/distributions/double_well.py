"""Double wells: two Gaussian modes that a sampler has to weigh, and the quartic one that physicists know."""

import torch

from theory.distributions._posterior_grid import change
from theory.distributions.grid import Grid
from theory.distributions.independent_laplace import real
from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput

F64 = torch.float64


def two_modes(process=None):
    """N(-5, 1) / 2 + N(5, 1) / 2 on the line."""
    return GaussianMixture(
        [0.5, 0.5], torch.tensor([[-5.0], [5.0]], dtype=F64), torch.ones(2).double(), process
    )


def unequal_modes(process=None):
    """N(-(5, 5), I) / 5 + 4 N((5, 5), I) / 5 in the plane."""
    means = torch.tensor([[-5.0, -5.0], [5.0, 5.0]], dtype=F64)
    return GaussianMixture([0.2, 0.8], means, torch.ones(2).double(), process)


class QuarticWell(Grid):
    """p(x) prop. to exp(-beta (x^2 - 1)^2) on the line: two wells at +-1, a barrier of beta between them.

    On `cells` intervals of the part where all but e^-40 of the density is; `tolerance` is what half as many change.
    """

    card = dict(engine="grid", exact=True, source="")

    def __init__(self, beta=2.0, cells=600, dtype=F64, process=None, noise_range=None):
        real(dtype, "QuarticWell")
        if not beta > 0 or cells < 4:
            raise BadInput(f"QuarticWell: beta = {beta} should be positive, cells = {cells} at least 4")
        self.beta = float(beta)
        edge = torch.tensor([(1 + (40 / beta) ** 0.5) ** 0.5], dtype=dtype)
        half, log_p = (self._log_density(_centres(edge.item(), n)) for n in (cells // 2, cells))
        super().__init__(-edge, edge, log_p, self._density, None, dtype, process, noise_range)
        self.tolerance = change(Grid(-edge, edge, half), self)

    @classmethod
    def example(cls, rng, dtype=F64):
        return cls(2.0, 200, dtype)

    def _log_density(self, x):
        return -self.beta * (x**2 - 1) ** 2

    def _density(self, x):
        """-beta (x^2 - 1)^2 for x: (n, 1)."""
        return self._log_density(x[:, 0])


def _centres(edge, n):
    return edge * (2 * torch.arange(n, dtype=F64) + 1 - n) / n
