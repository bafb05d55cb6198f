"""A finite set of signals with weights: exact under any noise process, any operator and any noise law."""

import copy
from math import pi, prod

import torch

from theory.distributions._analytic import Analytic
from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.pfgm import PoissonFlow
from workbench.diffusion.variance_exploding import EDM


class Points(Analytic):
    """p(x) = sum_k w_k delta(x - x_k): E[x0 | x_t] = sum_k rho_k x_k, rho = softmax(log w_k + log p(x_t | x_k)).

    points: (K, *shape), real or complex.  weights: (K,) >= 0, normalised here (default: equal). What any data set is,
    so that the best denoiser of a training set can be looked at. Under a Gaussian process Tweedie's formulas hold;
    under PoissonFlow `score` is the gradient of log p_t, no view of the denoiser, and `tweedie` gives the true
    covariance. `condition` takes any operator, also a nonlinear one, and any noise law. Each row costs K distances,
    in float64.
    """

    card = dict(engine="points", exact=True, source="")

    def __init__(self, points, weights=None, process=None, noise_range=None):
        if not (points.ndim and len(points) and (points.is_floating_point() or points.is_complex())):
            raise BadInput(
                f"points of shape {tuple(points.shape)} and {points.dtype} should be (K, *shape), K >= 1, real or complex "
                f"floating point"
            )
        if not torch.isfinite(points).all():
            raise BadInput("points hold NaN or infinity; remove those signals first")
        count = len(points)
        weights = torch.as_tensor([1.0] * count if weights is None else weights, dtype=torch.float64)
        if weights.shape != (count,) or not (weights >= 0).all() or not weights.sum() > 0:
            raise BadInput(
                f"weights = {weights.tolist()} should be {count} numbers >= 0, one a row of points"
            )
        self.points, self.process = points, process or EDM()
        self.weights = (weights / weights.sum()).to(points.device)
        self.shape, self.dtype, self.device = tuple(points.shape[1:]), points.dtype, points.device
        self.reals = prod(self.shape) * (2 if points.is_complex() else 1)
        self._check(self.process)
        self.noise_range = noise_range or self._range()

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(0.5 * rng.normal(torch.empty(600, 2, dtype=dtype)))

    def _check(self, process):
        if isinstance(process, PoissonFlow) and process.N != self.reals:
            raise BadInput(
                f"PoissonFlow: N = {process.N}, a signal of {self.shape} {self.dtype} has {self.reals} real numbers"
            )

    def _range(self):
        """From a tenth of the usual distance of two neighbours to ten times the size of the set."""
        some = self._points[:1000]
        apart = torch.cdist(some, some).fill_diagonal_(torch.inf).min(1).values
        apart = apart[(apart > 0) & (apart < torch.inf)]
        size = self._points.norm(dim=1).max().item() or 1.0
        return 0.1 * (apart.median().item() if len(apart) else size), 10 * size

    @property
    def _points(self):
        return _reals(self.points)

    def under(self, process):
        """The same points seen through another process, whatever its kernel."""
        self._check(process)
        twin = copy.copy(self)
        twin.process = process
        return twin

    def _seen(self, x, t):
        """x as reals, log(w_k p(x_t | x_k)): (n, K), and the pull of each point, 1 / sigma^2 if Gaussian: (n, K)."""
        if t is None:
            raise BadInput("Points has no density without noise; give a time t > 0")
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        x, points = _reals(x), self._points
        cross = x @ points.mT
        squares = x.square().sum(1, keepdim=True) - 2 * alpha * cross + alpha**2 * points.square().sum(1)
        squares = squares.clamp_min(0)
        if isinstance(self.process, PoissonFlow):
            log_p, rate = self.process.log_kernel(squares, t), self.process.rate(squares, t)
        else:
            log_p = -0.5 * squares / sigma**2 - 0.5 * self.reals * torch.log(2 * pi * sigma**2)
            rate = (1 / sigma**2).to(x.device).expand_as(squares)
        return x, self.weights.log() + log_p, rate

    def _signal(self, flat):
        """(n, reals) in the shape and dtype of the signals."""
        if self.dtype.is_complex:
            flat = torch.view_as_complex(flat.reshape(len(flat), *self.shape, 2))
        return flat.reshape(len(flat), *self.shape).to(self.dtype)

    def log_prob(self, x, t=None):
        """log p_t(x), (n,); t = None has no density."""
        return torch.logsumexp(self._seen(x, t)[1], 1)

    def responsibilities(self, x, t):
        """The posterior probability of each point given x_t = x, (n, K)."""
        return torch.softmax(self._seen(x, t)[1], 1)

    def score(self, x, t):
        """grad log p_t(x) = -sum_k rho_k rate_k (x - alpha x_k)."""
        x, log_p, rate = self._seen(x, t)
        pull = torch.softmax(log_p, 1) * rate
        return self._signal(self.process.alpha(t) * (pull @ self._points) - pull.sum(1, keepdim=True) * x)

    def denoise(self, x, t):
        """E[x0 | x_t = x] = sum_k rho_k x_k."""
        return self._signal(self.responsibilities(x, t) @ self._points)

    def denoiser_jvp(self, x, t, v):
        """sum_k rho_k (x_k - E x0) <grad log p(x_t | x_k), v>."""
        x, log_p, rate = self._seen(x, t)
        v, alpha = _reals(v), self.process.alpha(t)
        turn = -rate * ((x * v).sum(1, keepdim=True) - alpha * (v @ self._points.mT))
        return self._signal(self._covaried(torch.softmax(log_p, 1), turn))

    def tweedie(self, x, t):
        """E[x0 | x_t = x], and v -> Cov[x0 | x_t = x] v of the points themselves, whatever the kernel."""
        rho = self.responsibilities(x, t)
        covariance = lambda v: self._signal(self._covaried(rho, _reals(v) @ self._points.mT))  # noqa: E731
        return self._signal(rho @ self._points), covariance

    def _covaried(self, rho, numbers):
        """sum_k rho_k (x_k - E x0) (number_k - E number): (n, reals)."""
        centred = numbers - (rho * numbers).sum(1, keepdim=True)
        return (rho * centred) @ self._points

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws of the points."""
        u = Rng(seed, stream or self.stream, first=first).uniform(n)
        k = torch.searchsorted(torch.cumsum(self.weights, 0)[:-1].cpu(), u, right=True)
        return self.points[k.to(self.device)]

    def mean(self):
        """E[x], of the signal's shape."""
        return self._signal((self.weights @ self._points)[None])[0]

    def cov(self):
        """Cov[x] as (d, d), per real component; for complex points the Hermitian part E[(x - m)(x - m)^H] / 2."""
        d = (self.points - self.mean()).flatten(1)
        cov = torch.einsum("k,kd,ke->de", self.weights.to(d.dtype), d, d.conj())
        return cov / 2 if self.dtype.is_complex else cov

    def at(self, t):
        """The law of x_t under a Gaussian process: a mixture."""
        if isinstance(self.process, PoissonFlow):
            raise BadInput("Points.at: under PoissonFlow x_t is no Gaussian mixture; use log_prob(x, t)")
        level = (self.process.sigma(t) ** 2).to(self.device, self.dtype.to_real()).expand(len(self.points))
        return GaussianMixture(self.weights, self.process.alpha(t) * self.points, level, self.process)

    def condition(self, A, y, noise):
        """The exact posterior of x given y: the same points, w_k p(y | x_k) / p(y). It carries `log_evidence` = log p(y).

        A: any operator on these signals, linear or not.  noise: any law.
        """
        if (
            tuple(A.in_shape) != self.shape
            or A.in_dtype != self.dtype
            or tuple(y.shape) != tuple(A.out_shape)
        ):
            raise BadInput(
                f"condition: A maps {tuple(A.in_shape)} {A.in_dtype} to {tuple(A.out_shape)}, the points are "
                f"{self.shape} {self.dtype} and y is {tuple(y.shape)}; they should agree"
            )
        log_w = self.weights.log() + noise.log_likelihood(y, A(self.points)).to(self.device)
        q = Points(self.points, torch.softmax(log_w, 0), self.process, self.noise_range)
        q.log_evidence, q.stream = torch.logsumexp(log_w, 0).item(), "posterior"
        return q

    def __repr__(self):
        return f"Points(K={len(self.points)}, shape={self.shape}, {self.dtype})"


def _reals(x):
    """(n, *shape) as (n, real numbers) in float64."""
    return (torch.view_as_real(x) if x.is_complex() else x).flatten(1).double()
