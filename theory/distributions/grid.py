"""Laws on a box in one or two dimensions: any density, and its posterior under any operator and any noise."""

from math import log

import torch

from theory.distributions._analytic import Analytic
from theory.distributions._cells import centres, contract, kernel
from theory.distributions._likelihood import Joint, Likelihood
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM

FLOOR = -600.0  # of log weights under their maximum, so that no product of weight and kernels underflows
ROWS = 2048  # signals that are denoised at once


class Grid(Analytic):
    """p(x) = sum_c w_c [x in cell c] / h, w_c ~ exp(log density at the centre): piecewise constant on a regular grid.

    low, high: (d,) corners of the box, d = 1 or 2.  log_density: (N_1, ..., N_d) at the cells' centres, unnormalised,
    -inf where there is nothing.  density: the callable (n, *shape) -> (n,) it came from, which `log_prob` and `score`
    then use without noise.  shape: of a signal (default (d,)).  Exact at every noise level for the law so defined: the
    kernel of a Gaussian process factors over the axes, so a row costs N_1 N_2 multiplications and no exponential of
    every cell. Against the smooth density means are as good as the trapezoidal rule and variances are h^2 / 12 too
    large; `tolerance` says what halving the resolution changes. `log_evidence` is the log of the integral.
    """

    card = dict(engine="grid", exact=True, source="")

    def __init__(
        self, low, high, log_density, density=None, shape=None, dtype=None, process=None, noise_range=None
    ):
        _check(low, high, log_density)
        self.low, self.high, self.density = low.double(), high.double(), density
        self.process, self.dtype, self.device = process or EDM(), dtype or low.dtype, low.device
        self.shape = tuple(shape or low.shape)
        log_w = log_density.double()
        self.cell = (self.high - self.low) / torch.tensor(
            log_w.shape, dtype=torch.float64, device=self.device
        )
        self.log_evidence = torch.logsumexp(log_w.flatten(), 0).item() + self.cell.log().sum().item()
        self.log_weights = torch.log_softmax((log_w - log_w.max()).clamp_min(FLOOR).flatten(), 0).view_as(
            log_w
        )
        self.noise_range = noise_range or self._range()

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        if dtype.is_complex:
            raise BadInput("Grid is a law of real signals")
        low = torch.tensor([-2.0, -1.5], dtype=dtype)
        u, v = 0.7 * rng.uniform(1).item(), torch.linspace(-1.5, 1.5, 60, dtype=torch.float64)
        x, y = torch.meshgrid(torch.linspace(-2, 2, 70, dtype=torch.float64), v, indexing="ij")
        return cls(low, -low, -4 * (x**2 + y**2 - 1) ** 2 + u * x)

    def _range(self):
        """From a quarter of a cell to ten times the size of the box."""
        return 0.25 * self.cell.min().item(), 10 * self.low.abs().maximum(self.high.abs()).norm().item()

    @property
    def weights(self):
        """The probability of each cell, (N_1, ..., N_d)."""
        return self.log_weights.exp()

    def centres(self):
        """The cells' centres along each axis: d tensors (N_i,)."""
        return centres(self.low, self.high, self.log_weights.shape)

    def log_prob(self, x, t=None):
        """log p_t(x), (n,): at t=None the density's own where it is known, else that of the cell x lies in."""
        if t is None:
            return self._log_cell(x) if self.density is None else self.density(x) - self.log_evidence
        return torch.cat([self._seen(rows, t)[1] for rows in x.split(ROWS)])

    def _log_cell(self, x):
        """log w_c - log h, -inf outside the box."""
        x = x.reshape(len(x), -1).double()
        sizes = torch.tensor(self.log_weights.shape, device=self.device)
        c = ((x - self.low) / self.cell).floor().long()
        inside = ((c >= 0) & (c < sizes)).all(1)
        at = tuple(c.clamp_min(0).minimum(sizes - 1).mT)
        log_p = self.log_weights[at] - self.cell.log().sum()
        return torch.where(inside, log_p, torch.full_like(log_p, -torch.inf))

    def score(self, x, t=None):
        """grad log p_t(x); at t=None that of the density, which has to be known."""
        if t is not None:
            return super().score(x, t)
        if self.density is None:
            raise BadInput(
                "Grid.score: t = None of a piecewise constant law is no score; give a time t > 0, or `density`"
            )
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(self.density(leaf).sum(), leaf)[0]

    def _seen(self, x, t):
        """E[x0 | x_t = x] as (n, d), log p_t(x): (n,), and the axes' kernels and references, which `_cov` takes."""
        alpha, sigma = self.process.alpha(t).item(), self.process.sigma(t).item()
        W, axes = self.weights, []
        for i, c in enumerate((x.reshape(len(x), -1).double() / alpha).unbind(1)):
            edges = torch.linspace(
                self.low[i].item(),
                self.high[i].item(),
                W.shape[i] + 1,
                dtype=torch.float64,
                device=self.device,
            )
            axes.append(kernel(c, edges, sigma / alpha))
        total = contract(W, [k[0] for k, _, _ in axes])
        mean = torch.stack([self._moment(W, axes, {i: 1}) for i in range(len(axes))], 1) / total[:, None]
        log_p = total.log() + sum(top for _, _, top in axes) - self.cell.log().sum() - len(axes) * log(alpha)
        reference = torch.stack([ref for _, ref, _ in axes], 1)
        return mean + reference, log_p, (W, axes, total, mean)

    @staticmethod
    def _moment(W, axes, powers):
        """sum_c w_c prod_i of the cell's integral of (z_i - ref_i)^power_i: (n,)."""
        return contract(W, [k[powers.get(i, 0)] for i, (k, _, _) in enumerate(axes)])

    def _cov(self, seen):
        """Cov[x0 | x_t], (n, d, d)."""
        W, axes, total, mean = seen
        d = len(axes)
        rows = [
            [self._moment(W, axes, {i: 2} if i == j else {i: 1, j: 1}) / total for j in range(d)]
            for i in range(d)
        ]
        second = torch.stack([torch.stack(row, 1) for row in rows], 1)
        return second - mean[:, :, None] * mean[:, None, :]

    def _signal(self, flat):
        return flat.to(self.dtype).reshape(-1, *self.shape)

    def denoise(self, x, t):
        """E[x0 | x_t = x], cell by cell in closed form."""
        return self._signal(torch.cat([self._seen(rows, t)[0] for rows in x.split(ROWS)]))

    def denoiser_jvp(self, x, t, v):
        """(alpha / sigma^2) Cov[x0 | x_t = x] v."""
        scale = self.process.alpha(t).item() / self.process.sigma(t).item() ** 2
        cov = torch.cat([self._cov(self._seen(rows, t)[2]) for rows in x.split(ROWS)])
        return self._signal(scale * (cov @ v.reshape(len(x), -1, 1).double())[..., 0])

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws: a cell by the inverse distribution function, then uniform in it."""
        u = Rng(seed, stream or self.stream, first=first).uniform(n, 1 + len(self.low))
        edges = torch.cumsum(self.weights.flatten(), 0)[:-1].cpu()
        k = torch.searchsorted(edges, u[:, 0].contiguous(), right=True)
        index = torch.stack(torch.unravel_index(k, self.log_weights.shape), 1)
        return self._signal(self.low + self.cell * (index + u[:, 1:]).to(self.device))

    def mean(self):
        """E[x], of the signal's shape."""
        return self._signal(self.flat_mean()[None])[0]

    def flat_mean(self):
        axes = self.centres()
        return torch.stack([(self.marginal(i) * g).sum() for i, g in enumerate(axes)])

    def marginal(self, i):
        """The probability of each slab of cells along axis i."""
        others = [j for j in range(self.log_weights.ndim) if j != i]
        return self.weights.sum(others) if others else self.weights

    def cov(self):
        """Cov[x] as (d, d), with the cells' own h^2 / 12."""
        mean = self.flat_mean()
        points = torch.cartesian_prod(*self.centres()).reshape(-1, len(mean)) - mean
        cov = torch.einsum("k,kd,ke->de", self.weights.flatten(), points, points)
        return (cov + torch.diag(self.cell**2 / 12)).to(self.dtype)

    def condition(self, A, y, noise):
        """The posterior of x given y on the same cells, w_c p(y | centre of c). It carries `log_evidence` = log p(y).

        A: any operator on these signals.  noise: any law.
        """
        likelihood = Likelihood(A, y, noise).fitting(self)
        points = torch.cartesian_prod(*self.centres()).reshape(-1, *self.shape).to(self.dtype)
        log_w = self.log_weights + likelihood(points).view_as(self.log_weights)
        density = None if self.density is None else Joint(self.density, likelihood, -self.log_evidence)
        q = Grid(self.low, self.high, log_w, density, self.shape, self.dtype, self.process, self.noise_range)
        q.stream, q.tolerance = "posterior", self.tolerance
        q.log_evidence = torch.logsumexp(log_w.flatten(), 0).item()
        return q

    def __repr__(self):
        return f"Grid({' x '.join(map(str, self.log_weights.shape))} cells, shape={self.shape}, {self.dtype})"


def _check(low, high, log_density):
    """Raise BadInput unless this is a box in one or two dimensions with a density somewhere."""
    if low.ndim != 1 or low.shape != high.shape or not (low < high).all() or len(low) not in (1, 2):
        raise BadInput(
            f"Grid: low = {low.tolist()} and high = {high.tolist()} should be the corners of a box in 1 or 2 dimensions"
        )
    if log_density.ndim != len(low) or log_density.isnan().any() or not torch.isfinite(log_density.max()):
        raise BadInput(
            f"Grid: log_density of shape {tuple(log_density.shape)} should have {len(low)} axes, no NaN and a finite maximum"
        )
