"""Student's law in d dimensions: a Gaussian of one random variance, so everything is one integral over it."""

import copy
from functools import cached_property
from math import lgamma, log, pi

import torch
from scipy.special import gammaincinv

from theory.distributions._analytic import Analytic
from theory.distributions._condition import matrix, whitened
from theory.distributions.covariance import Full
from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM

NEAR, FAR = 40.0, 60.0  # how far under the best a log weight may be, for small and for large variances
FOUND = 1e-20  # the posterior weight from which a variance is kept


class MultivariateT(Analytic):
    """p(x) ~ (1 + |x|^2 / nu)^{-(nu + d) / 2}: x = sqrt(v) n, v ~ InvGamma(nu / 2, nu / 2), n ~ N(0, I).

    nu > 0 degrees of freedom; 1 is Cauchy's.  p_t = int N(0, (alpha^2 v + sigma^2) I) dv by the trapezoidal rule in
    log v, whose error falls exponentially in the number of nodes; `tolerance` says what doubling them changes. The
    posterior under y = A x + Gaussian noise is the same integral with p(v | y): a Gaussian mixture, no Gibbs sampling.
    Kotz and Nadarajah 2004, eq. 1.1 and 1.2.
    """

    card = dict(engine="scale mixture", exact=True, source="Kotz and Nadarajah 2004")

    def __init__(self, nu, d, dtype=torch.float64, process=None, noise_range=None, refine=1):
        if dtype.is_complex:
            raise BadInput(f"MultivariateT: dtype = {dtype} should be real")
        if not (0 < nu < float("inf") and d >= 1 and refine >= 1):
            raise BadInput(
                f"MultivariateT: nu = {nu} should be positive, d = {d} and refine = {refine} at least 1"
            )
        self.nu, self.dimension, self.shape, self.refine = float(nu), d, (d,), refine
        self.process, self.dtype, self.device = process or EDM(), dtype, torch.device("cpu")
        self.v, self.log_w = self._nodes()
        size = (self.nu / (self.nu - 2)) ** 0.5 if nu > 2.5 else 2.3  # a usual one where there is no variance
        self.noise_range = noise_range or (0.01, 10 * size * d**0.5)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        if dtype.is_complex:
            raise BadInput("MultivariateT is a law of real signals")
        return cls(5.0, 3, dtype)

    def _nodes(self):
        """v: (Q,) and the logarithms of their weights; log v runs over all that x = 0 or the tail of v make likely."""
        step = min(0.2, 0.5 * (2 / (self.nu + self.dimension)) ** 0.5) / self.refine
        s = step * torch.arange(-round(40 / step), round((2 * FAR / self.nu + 3) / step), dtype=torch.float64)
        log_p = -0.5 * self.nu * (s + torch.expm1(-s))
        likeliest = log_p + 0.5 * self.dimension * (-s).clamp_min(0)  # N(0; 0, v I) favours the small ones
        kept = ((likeliest > likeliest.max() - NEAR).cumsum(0) > 0) & ((s < 0) | (log_p > -FAR))
        return s[kept].exp(), torch.log_softmax(log_p[kept], 0)

    def _seen(self, x, t):
        """log w_v N(x; 0, (alpha^2 v + sigma^2) I): (n, Q), and the variances alpha^2 v + sigma^2: (Q,)."""
        alpha, sigma = self.process.alpha(t).item(), self.process.sigma(t).item()
        level = alpha**2 * self.v + sigma**2
        square = x.double().square().sum(1, keepdim=True)
        log_n = -0.5 * (square / level + self.dimension * torch.log(2 * pi * level))
        return self.log_w + log_n, level

    def log_prob(self, x, t=None):
        """log p_t(x), (n,); in closed form for t = None."""
        if t is not None:
            return torch.logsumexp(self._seen(x, t)[0], 1)
        nu, d = self.nu, self.dimension
        front = lgamma((nu + d) / 2) - lgamma(nu / 2) - 0.5 * d * log(nu * pi)
        return front - 0.5 * (nu + d) * torch.log1p(x.double().square().sum(1) / nu)

    def score(self, x, t=None):
        """-E[1 / (alpha^2 v + sigma^2) | x] x; -(nu + d) x / (nu + |x|^2) for t = None."""
        if t is None:
            return -(self.nu + self.dimension) * x / (self.nu + x.square().sum(1, keepdim=True))
        log_w, level = self._seen(x, t)
        return (-(torch.softmax(log_w, 1) @ (1 / level))[:, None] * x.double()).to(x.dtype)

    def denoise(self, x, t):
        """E[alpha v / (alpha^2 v + sigma^2) | x] x."""
        log_w, level = self._seen(x, t)
        gain = torch.softmax(log_w, 1) @ (self.process.alpha(t).item() * self.v / level)
        return (gain[:, None] * x.double()).to(x.dtype)

    def denoiser_jvp(self, x, t, v):
        """E[g] v - Cov[g, 1 / (alpha^2 v + sigma^2) | x] <x, v> x with g = alpha v / (alpha^2 v + sigma^2)."""
        log_w, level = self._seen(x, t)
        rho, gain, pull = torch.softmax(log_w, 1), self.process.alpha(t).item() * self.v / level, 1 / level
        mean = (rho @ gain)[:, None]
        turn = (rho * (gain - mean)) @ pull
        x64, v64 = x.double(), v.double()
        return (mean * v64 - (turn * (x64 * v64).sum(1))[:, None] * x64).to(v.dtype)

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, v by the inverse distribution function."""
        rng = Rng(seed, stream or self.stream, first=first)
        z = rng.normal(torch.empty(n, self.dimension, dtype=torch.float64))
        half = torch.from_numpy(gammaincinv(0.5 * self.nu, rng.uniform(n).clamp_min(2.0**-54).numpy()))
        return (torch.sqrt(0.5 * self.nu / half)[:, None] * z).to(self.device, self.dtype)

    def mean(self):
        """The centre of symmetry, 0 (the mean for nu > 1)."""
        return torch.zeros(self.dimension, dtype=self.dtype, device=self.device)

    def cov(self):
        """nu / (nu - 2) I, (d, d); BadInput for nu <= 2, which has none."""
        if self.nu <= 2:
            raise BadInput(f"cov: nu = {self.nu:g} has no finite variance; take nu > 2, or quantiles")
        eye = torch.eye(self.dimension, dtype=self.dtype, device=self.device)
        return self.nu / (self.nu - 2) * eye

    def entropy(self):
        """-E log p, in nats: log(Gamma(nu/2) (nu pi)^{d/2} / Gamma((nu+d)/2)) + (nu+d)/2 (psi((nu+d)/2) - psi(nu/2))."""
        nu, d = self.nu, self.dimension
        psi = torch.digamma(torch.tensor([(nu + d) / 2, nu / 2], dtype=torch.float64))
        front = lgamma(nu / 2) - lgamma((nu + d) / 2) + 0.5 * d * log(nu * pi)
        return front + 0.5 * (nu + d) * (psi[0] - psi[1]).item()

    @cached_property
    def tolerance(self):
        """The largest change of the score when the nodes are doubled, relative, over draws at three noise levels."""
        twin, worst = self.refined(), 0.0
        for kappa in (0.05, 0.7, 10.0):
            t = self.process.time(kappa)
            eps = Rng(0, "tolerance").normal(torch.empty(200, self.dimension, dtype=torch.float64))
            x = self.process.alpha(t) * self.sample(200, 0).double() + self.process.sigma(t) * eps
            gap = (self.score(x, t) - twin.score(x, t)).norm() / twin.score(x, t).norm()
            worst = max(worst, gap.item())
        return worst

    def refined(self):
        """The same law with twice the nodes."""
        twin = copy.copy(self)
        twin.__dict__.pop("tolerance", None)
        twin.refine = 2 * self.refine
        twin.v, twin.log_w = (a.to(self.device) for a in twin._nodes())
        return twin

    def condition(self, A, y, noise):
        """The posterior of x given y = A x + Gaussian noise: the mixture over the variances that y leaves likely.

        It carries `log_evidence`. BadInput where A is not linear or the noise not Gaussian.
        """
        A, y, log_jacobian = whitened(self, A, y, noise)
        M, y = (a.double() for a in matrix(A, y))
        m, d = M.shape
        U, size, Vh = torch.linalg.svd(M, full_matrices=m < d)
        a = U.mT @ y
        seen, coordinate = (torch.zeros(d, dtype=torch.float64, device=self.device) for _ in range(2))
        seen[: len(size)], coordinate[: len(size)] = size, a[: len(size)]
        one = 1 + self.v[:, None] * seen**2
        fit = (coordinate**2 / one + torch.log(one)).sum(1) + (y - U @ a).square().sum() + m * log(2 * pi)
        log_w = self.log_w - 0.5 * fit
        weights, c = torch.softmax(log_w, 0), self.v[:, None] / one
        kept = weights > FOUND
        means = (c * seen * coordinate)[kept] @ Vh
        form = Full(c[kept].to(self.dtype), Vh.mT.to(self.dtype).expand(len(means), d, d))
        q = GaussianMixture(weights[kept], means.to(self.dtype), form, self.process, self.noise_range)
        q.log_evidence, q.stream = torch.logsumexp(log_w, 0).item() + log_jacobian, "posterior"
        return q

    def __repr__(self):
        return f"MultivariateT(nu={self.nu:g}, d={self.dimension})"
