"""Levy processes: cumulative sums of independent increments, with denoiser and posterior by Gibbs sampling."""

from functools import cached_property

import numpy as np
import torch

from theory.distributions import _gibbs
from theory.distributions._condition import matrix, whitened
from theory.distributions.increments import Gauss, Laplace
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM
from workbench.priors._prior import Prior, needs_gaussian


class _Walk(Prior):
    """p(x) exp(-x^T K x / 2 + k^T x) for a Levy process p: what a prior, a posterior and their denoisers are.

    Every row has a chain of its own, whose numbers depend on the seed, the time and the row's index alone, so the
    denoiser is a function: the same x in the same row gives the same number.
    """

    def _gibbs(self, seeds, precision, shift, burn_in, draws, second=False):
        """E[x], Cov[x] if `second`, and the last draw, with precision ||x||^2 / 2 and shift^T x more: (n, L)."""
        law, p = self.increments, self.increments.parameters
        if isinstance(law, Gauss):  # one sweep is exact: no variance is random
            burn_in, draws = min(burn_in, 1), min(draws, 1)
        K, b = self.K + precision * np.eye(self.L), shift + self.k
        if np.count_nonzero(K - np.diag(np.diag(K))) == 0:
            q = np.ascontiguousarray(np.broadcast_to(np.diag(K), b.shape))
            return _gibbs.walk(seeds, law.code, p, q, b, burn_in, draws, second)
        S = np.tril(np.ones((self.L, self.L)))
        mean, cov, last = _gibbs.linear(seeds, law.code, p, S.T @ K @ S, b @ S, burn_in, draws, second)
        return mean @ S.T, S @ cov @ S.T if second else cov, last @ S.T

    def _seen(self, x, t, second=False):
        """E[x0 | x_t = x] and Cov[x0 | x_t = x], in double precision."""
        needs_gaussian(self.process)
        alpha, sigma = self.process.alpha(t).item(), self.process.sigma(t).item()
        shift = alpha / sigma**2 * x.detach().double().cpu().numpy()
        rows = seeds(Rng(self.seed, f"gibbs/{float(t)!r}"), len(x))
        mean, cov, _ = self._gibbs(rows, alpha**2 / sigma**2, shift, self.burn_in, self.draws, second)
        like = lambda a: torch.from_numpy(a).to(x.device, x.dtype)  # noqa: E731
        return like(mean), like(cov)

    def denoise(self, x, t):
        """E[x0 | x_t = x], the average over `draws` sweeps after `burn_in`; differentiable, by its covariance."""
        return _Denoise.apply(x, self, t)

    def tweedie(self, x, t):
        """E[x0 | x_t = x], and v -> Cov[x0 | x_t = x] v, from the same sweeps."""
        mean, cov = self._seen(x, t, second=True)
        return mean, lambda v: (cov @ v[..., None])[..., 0]

    def denoiser_jvp(self, x, t, v):
        """(alpha / sigma^2) Cov[x0 | x_t = x] v."""
        scale = (self.process.alpha(t) / self.process.sigma(t) ** 2).item()
        return scale * self.tweedie(x, t)[1](v)


class _Denoise(torch.autograd.Function):
    """The denoiser with the derivative that Tweedie's second formula gives it, symmetric."""

    @staticmethod
    def forward(ctx, x, law, t):
        mean, cov = law._seen(x, t, second=ctx.needs_input_grad[0])
        ctx.scale = (law.process.alpha(t) / law.process.sigma(t) ** 2).item()
        ctx.save_for_backward(cov)
        return mean

    @staticmethod
    def backward(ctx, v):
        (cov,) = ctx.saved_tensors
        return ctx.scale * (cov @ v[..., None])[..., 0], None, None


class Levy(_Walk):
    """x_i = u_1 + ... + u_i with independent increments: Gauss, Laplace, BernoulliLaplace or StudentT.

    L: samples, float64.  increments: their law.  burn_in, draws: sweeps of the denoiser, 100 and 300 as published.
    Every increment is a Gaussian of random variance, so given the variances all is a Kalman smoother; see `_gibbs`.
    Gaussian increments need no sampling and are exact. Bohra et al. 2023; Zach, Haouchat and Unser 2026.
    """

    card = dict(engine="gibbs", exact=True, source="Zach, Haouchat and Unser 2026")
    stream = "prior"

    def __init__(self, L, increments=None, process=None, noise_range=None, burn_in=100, draws=300, seed=0):
        if L < 1 or burn_in < 0 or draws < 1:
            raise BadInput(
                f"Levy: L = {L} and draws = {draws} should be at least 1, burn_in = {burn_in} at least 0"
            )
        self.L, self.increments, self.process = L, increments or Laplace(), process or EDM()
        self.burn_in, self.draws, self.seed = burn_in, draws, seed
        self.shape, self.dtype, self.device = (L,), torch.float64, torch.device("cpu")
        self.K, self.k = np.zeros((L, L)), np.zeros(L)
        scale = self.increments.scale
        self.noise_range = noise_range or (0.02 * scale, 10 * scale * L**0.5)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        if dtype != torch.float64:
            raise BadInput("Levy is a law of float64 signals")
        return cls(8, Laplace(0.7))

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, (n, L)."""
        u = self.increments.draw(Rng(seed, stream or self.stream, first=first), n, self.L)
        return u.cumsum(1).to(self.device)

    def mean(self):
        """The centre of symmetry, 0 (the mean where there is one)."""
        return torch.zeros(self.L, dtype=self.dtype, device=self.device)

    def log_prob(self, x, t=None):
        """log p(x) without noise, (n,); BadInput with noise, or where increments have no density."""
        if t is not None:
            raise BadInput("Levy has no closed-form density under noise; use t = None, or compare samples")
        return self.increments.log_density(torch.diff(x, dim=1, prepend=torch.zeros_like(x[:, :1]))).sum(1)

    def condition(self, A, y, noise):
        """The posterior of x given y = A x + Gaussian noise, to be drawn from; BadInput for any other data."""
        return LevyPosterior(self, A, y, noise)

    def __repr__(self):
        return f"Levy({self.L}, {self.increments})"


class LevyPosterior(_Walk):
    """p(x | y) of a Levy process under y = A x + Gaussian noise, by Gibbs sampling: as exact as its chains are long.

    `sample` ends a chain of `burn_in_of_draws` sweeps (500, and 5000 for StudentT) for each draw, so draws are
    independent; `mean` and `cov` average `draws` sweeps of each of `chains` chains. `tolerance` is the largest standard error of the mean, in standard deviations.
    """

    stream = "posterior"
    chains = 64

    def __init__(self, prior, A, y, noise):
        B, w, _ = whitened(prior, A, y, noise)
        M, w = (a.double().cpu().numpy() for a in matrix(B, w))
        self.K, self.k = prior.K + clean(M.T @ M), prior.k + w @ M
        self.L, self.increments, self.process = prior.L, prior.increments, prior.process
        self.burn_in, self.draws, self.seed = prior.burn_in, prior.draws, prior.seed
        self.burn_in_of_draws = self.increments.burn_in
        self.shape, self.dtype, self.device = prior.shape, prior.dtype, y.device
        self.noise_range = prior.noise_range

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, (n, L): each the end of a chain of its own."""
        rows = seeds(Rng(seed, stream or self.stream, first=first), n)
        last = self._gibbs(rows, 0.0, np.zeros((n, self.L)), self.burn_in_of_draws, 0)[2]
        return torch.from_numpy(last).to(self.device)

    @cached_property
    def _pool(self):
        """The means and covariances of each chain: (chains, L), (chains, L, L)."""
        rows = seeds(Rng(self.seed, "gibbs/mean"), self.chains)
        shift = np.zeros((self.chains, self.L))
        return self._gibbs(rows, 0.0, shift, self.burn_in_of_draws, self.draws, second=True)[:2]

    def mean(self):
        """E[x | y]."""
        return torch.from_numpy(self._pool[0].mean(0)).to(self.device)

    def cov(self):
        """Cov[x | y], (L, L)."""
        means, covs = self._pool
        centred = means - means.mean(0)
        return torch.from_numpy(covs.mean(0) + centred.T @ centred / self.chains).to(self.device)

    @property
    def tolerance(self):
        """The largest standard error of `mean`, in posterior standard deviations, from the spread between chains."""
        error = self._pool[0].std(0, ddof=1) / self.chains**0.5
        return float((error / self.cov().diagonal().sqrt().cpu().numpy().clip(1e-300)).max())


def seeds(rng, n):
    """A 53-bit seed for each row, (n,) uint64."""
    return (rng.uniform(n).numpy() * 2.0**53).astype(np.uint64)


def clean(K):
    """A diagonal matrix where all else is rounding, so that data point by point are seen as such."""
    diagonal = np.diag(np.diag(K))
    return diagonal if np.abs(K - diagonal).max() <= 1e-13 * np.abs(K).max() else K
