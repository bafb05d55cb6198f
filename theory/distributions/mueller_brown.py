"""The Mueller-Brown potential: three wells along a bent valley, a model of a reaction."""

import torch

from theory.distributions._cells import centres
from theory.distributions._posterior_grid import change
from theory.distributions.grid import Grid
from theory.distributions.independent_laplace import real
from workbench._errors import BadInput

F64 = torch.float64
HEIGHT = (-200.0, -100.0, -170.0, 15.0)
XX = (-1.0, -1.0, -6.5, 0.7)
XY = (0.0, 0.0, 11.0, 0.6)
YY = (-10.0, -10.0, -6.5, 0.7)
X = (1.0, 0.0, -0.5, -1.0)
Y = (0.0, 0.5, 1.5, 1.0)
BOX = ((-1.8, -0.5), (1.1, 2.0))


def energy(x):
    """sum_k A_k exp(a_k dx^2 + b_k dx dy + c_k dy^2) with dx = x - X_k, dy = y - Y_k, for x: (..., 2)."""
    A, a, b, c, X0, Y0 = torch.tensor([HEIGHT, XX, XY, YY, X, Y], dtype=x.dtype, device=x.device)
    dx, dy = x[..., :1] - X0, x[..., 1:] - Y0
    return (A * torch.exp(a * dx**2 + b * dx * dy + c * dy**2)).sum(-1)


class MuellerBrown(Grid):
    """p(x) prop. to exp(-E(x) / kT) on [-1.8, 1.1] x [-0.5, 2].  Mueller and Brown 1979.

    kT: in the unit of E, whose wells are -146.7, -108.2 and -80.8 deep.  cells: along each axis; a row costs cells^2
    multiplications and `tolerance` is what half as many cells change.
    """

    card = dict(engine="grid", exact=True, source="Mueller and Brown 1979")

    def __init__(self, kT=23.0, cells=512, dtype=F64, process=None, noise_range=None):
        real(dtype, "MuellerBrown")
        if not kT > 0 or cells < 4:
            raise BadInput(f"MuellerBrown: kT = {kT} should be positive, cells = {cells} at least 4")
        self.kT = float(kT)
        low, high = (torch.tensor(corner, dtype=dtype) for corner in BOX)
        half, log_p = (self._listed(low, high, n) for n in (cells // 2, cells))
        super().__init__(low, high, log_p, self._density, None, dtype, process, noise_range)
        self.tolerance = change(Grid(low, high, half), self)

    @classmethod
    def example(cls, rng, dtype=F64):
        return cls(23.0, 96, dtype)

    def _density(self, x):
        """-E(x) / kT for x: (n, 2)."""
        return -energy(x) / self.kT

    def _listed(self, low, high, n):
        """-E / kT at the centres of n x n cells."""
        x = torch.cartesian_prod(*centres(low.double(), high.double(), (n, n)))
        return self._density(x).reshape(n, n)
