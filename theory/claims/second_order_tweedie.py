"""What a covariance adds to a guided step: bounds of log p(y | x_t), and traces from finite probes."""

from math import log, pi
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, within_errors
from theory.distributions.mixture import Gaussian, GaussianMixture
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving
from workbench.noise.gaussian import Gaussian as GaussianNoise
from workbench.operators.dense import Dense
from workbench.problem import Problem
from workbench.samplers.stsl import IdentityTrace

VP2 = VariancePreserving(2.0, 2.0)
ALPHA, SIGMA_Y = 0.6, 0.4
T = VP2.time(torch.tensor((1 - ALPHA**2) ** 0.5 / ALPHA, dtype=torch.float64))
A = Dense(torch.tensor([[1.0, 0.5]], dtype=torch.float64))


def two_modes():
    """Two Gaussians in the plane, far apart beside their width."""
    means = torch.tensor([[1.5, 0.5], [-1.2, -0.8]], dtype=torch.float64)
    C = [[[0.2, 0.05], [0.05, 0.1]], [[0.1, -0.03], [-0.03, 0.3]]]
    return GaussianMixture([0.4, 0.6], means, torch.tensor(C, dtype=torch.float64), VP2)


def covariance(law, x, t):
    """Cov[x0 | x_t = x] by the law's own formula: (n, d, d)."""
    times = law.tweedie(x, t)[1]
    return torch.stack([times(e.expand_as(x)) for e in torch.eye(x.shape[1], dtype=x.dtype)], -1)


def hessian(law, x, t):
    """Hess log p_t by automatic differentiation of the score: (n, d, d)."""
    return torch.func.vmap(torch.func.jacrev(lambda u: law.score(u[None], t)[0]))(x)


def posterior(law, x, t):
    """Weights (n, K), means (n, K, d) and covariances (K, d, d) of x0 given x_t = x, from each component's parameters."""
    a, s = law.process.alpha(t), law.process.sigma(t)
    C = law.covariances.dense()
    gain = a * C @ torch.linalg.inv(a**2 * C + s**2 * torch.eye(2, dtype=x.dtype))
    means = law.means + torch.einsum("kde,nke->nkd", gain, x[:, None] - a * law.means)
    return law.responsibilities(x, t), means, C - a * gain @ C


def values(law, x, y):
    """(log p(y | x_t), its first-order value, Jensen's bound, the bound with |A|^2 tr Cov, with the trace's sign flipped)."""
    row, s2 = A.matrix[0], SIGMA_Y**2
    rho, means, covs = posterior(law, x, T)
    var = s2 + torch.einsum("d,kde,e->k", row, covs, row)
    parts = rho.log() - 0.5 * (y - means @ row) ** 2 / var - 0.5 * torch.log(2 * torch.pi * var)
    fit = GaussianNoise(SIGMA_Y).log_likelihood(torch.zeros(1, dtype=x.dtype), A(law.denoise(x, T)) - y)
    cov = covariance(law, x, T)
    seen = torch.einsum("d,nde,e->n", row, cov, row) / (2 * s2)
    trace = row.square().sum() * cov.diagonal(dim1=1, dim2=2).sum(1) / (2 * s2)
    return torch.logsumexp(parts, 1), fit, fit - seen, fit - trace, fit + trace


def drawn(law, n, seed):
    """x_t and y of one and the same signal, n times."""
    x0, rng = law.sample(n, seed), Rng(seed, "noise")
    x = VP2.alpha(T) * x0 + VP2.sigma(T) * rng.normal(x0)
    return x, A(x0) + SIGMA_Y * rng.normal(x0[:, :1])


def along(law, n=121):
    """Points on the line through the means of x_t, with the coordinate on it."""
    u = torch.linspace(-0.5, 1.5, n, dtype=torch.float64)
    return u, ALPHA * (u[:, None] * law.means[0] + (1 - u[:, None]) * law.means[1])


def mean_fit(law, x, y):
    """E[log p(y | x0) | x_t], from each component's Gaussian posterior: (n,)."""
    row, s2 = A.matrix[0], SIGMA_Y**2
    rho, means, covs = posterior(law, x, T)
    squares = (y - means @ row) ** 2 + torch.einsum("d,kde,e->k", row, covs, row)
    return (rho * (-0.5 * squares / s2)).sum(1) - 0.5 * log(2 * pi * s2)


def posterior_trace(law, x):
    """tr Hess log p_t at the point x: (1, 2), from the components' posterior covariance of x0; a float."""
    rho, means, covs = posterior(law, x, T)
    spread = (means - (rho[..., None] * means).sum(1, keepdim=True)).square().sum(2)
    trace = (rho * (covs.diagonal(dim1=1, dim2=2).sum(1) + spread)).sum(1)
    s2 = VP2.sigma(T) ** 2
    return ((ALPHA**2 / s2 * trace - 2) / s2).item()


class SecondOrderLowerBound(Claim):
    """log p(y | x_t) >= -[(y - A D)^2 + tr(A Cov[x0 | x_t] A')] / (2 sigma_y^2) - m log(2 pi sigma_y^2) / 2.

    log p(y | x_t) = log E[p(y | x0) | x_t] >= E[log p(y | x0) | x_t] by Jensen; the mean of the square is that of the mean and
    the variance. Left: log p(y | x_t) of a mixture of two, from its components. Right: the bound, from the library's denoiser and
    covariance, at 2000 draws. Without the trace the value is no bound.
    """

    card = dict(code="M1", tier=0, topic="second-order-tweedie", paper="2312.00852",
                source="Rout et al. 2024; derived", found="")  # fmt: skip

    def measure(self, seed):
        law = two_modes()
        x, y = drawn(law, 2000, seed)
        exact, first, bound, _, _ = values(law, x, y)
        miss = (bound - mean_fit(law, x, y)).abs().max()
        return SimpleNamespace(gap=exact - bound, first=exact - first, miss=miss)

    def rows(self, m):
        yield at_least("least of log p(y | x_t) less the bound, 2000 draws", m.gap.min(), 0.0, 1e-10)
        yield at_most("bound and E[log p(y | x0) | x_t] from the components", m.miss, 1e-10)
        yield at_least("mean of it, nats", m.gap.mean(), 0.1)

    def controls(self, m):
        yield at_least("first order: least of log p(y | x_t) less the value", m.first.min(), 0.0, 1e-10)
        yield at_most("first order: share of draws that it exceeds", (m.first < 0).double().mean(), 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        bins = torch.linspace(-4, 25, 59)
        ax.hist(m.gap.clamp(-4, 25), bins, alpha=0.7, label="with the trace of the covariance")
        ax.hist(m.first.clamp(-4, 25), bins, histtype="step", color="tab:red", label="control: first order")
        ax.axvline(0, color="black", lw=0.8, ls=":")
        ax.set(xlabel="log p(y | x_t) - value, nats", ylabel="draws", yscale="log")
        ax.legend(fontsize=8)


class TraceSurrogate(Claim):
    """tr Cov[x0 | x_t] = (sigma^2 / alpha^2)(d + sigma^2 tr Hess log p_t), and |A|^2 tr Cov in place of tr(A Cov A') is a bound too.

    The trace of second-order Tweedie; and tr(A Cov A') <= |A|^2 tr Cov for a covariance. So log p(y | x_t) is at least
    -(y - A D)^2 / (2 sigma_y^2) - (|A|^2 sigma^4 / (2 alpha^2 sigma_y^2)) tr Hess log p_t + const, whose gradient is the paper's
    drift with a trace. Left: the library's covariance, and the bound by the penalty of its IdentityTrace. Right: the Hessian of log p_t
    by autograd, and log p(y | x_t).
    """

    card = dict(code="M2", tier=0, topic="second-order-tweedie", paper="2312.00852",
                source="Rout et al. 2024, eq. of the surrogate loss, latent case", found="")  # fmt: skip

    def measure(self, seed):
        law = two_modes()
        x, y = drawn(law, 2000, seed)
        exact, _, bound, weaker, flipped = values(law, x, y)
        trace = covariance(law, x, T).diagonal(dim1=1, dim2=2).sum(1)
        curved = hessian(law, x, T).diagonal(dim1=1, dim2=2).sum(1)
        s2 = VP2.sigma(T) ** 2
        m = SimpleNamespace(gap=exact - weaker, extra=bound - weaker, flipped=exact - flipped)
        m.trace = (s2 / ALPHA**2 * (2 + s2 * curved) / trace - 1).abs().max()
        m.penalty = self._penalty(law, x[:200], y[0], (exact - exact + trace)[:200], seed)
        m.line, points = along(law)
        m.values = [v.tolist() for v in values(law, points, torch.tensor([0.4], dtype=torch.float64))]
        return m

    @staticmethod
    def _penalty(law, x, y, trace, seed):
        """(mean of the library's penalty over that of |A|^2 tr Cov / (2 sigma_y^2), less 1; its standard error)."""
        problem, rng = Problem(law, A, GaussianNoise(SIGMA_Y), y), Rng(seed, "probes")
        many = x.repeat(100, 1)
        found = IdentityTrace(delta=1e-4).penalty(problem, many, law.denoise(many, T), T, rng)
        exact = (0.5 * 1.25 / SIGMA_Y**2 * trace).repeat(100)
        ratio = (found - exact).reshape(100, -1).mean(1) / exact.mean()
        return ratio.mean().item(), (ratio.std() / 10).item()

    def rows(self, m):
        yield at_most("trace by Tweedie and of the covariance: relative error", m.trace, 1e-8)
        yield at_least("least of log p(y | x_t) less the weaker bound", m.gap.min(), 0.0, 1e-10)
        yield at_least("least of Jensen's bound less the weaker one", m.extra.min(), 0.0, 1e-10)
        yield within_errors("library's penalty by random signs, over the exact one, less 1", *m.penalty[:1], 0.0, m.penalty[1])  # fmt: skip

    def controls(self, m):
        yield at_least("sign of the trace flipped: least of log p(y | x_t) less the value", m.flipped.min(), 0.0, 1e-10)  # fmt: skip

    def plot(self, m, figure):
        ax = figure.subplots()
        names = (
            "log p(y | x_t)",
            None,
            "bound with tr(A Cov A')",
            "bound with |A|^2 tr Cov",
            "control: sign flipped",
        )
        for v, name, style in zip(m.values, names, ("k-", "", "C0-", "C1-", "r--"), strict=True):
            if name:
                ax.plot(m.line, v, style, label=name)
        ax.set(xlabel="x_t on the line through the modes", ylabel="nats")
        ax.legend(fontsize=8)


class FiniteProbeTrace(Claim):
    """E[v . (s(x + delta v) - s(x))] / delta = tr Hess log p_t + O(delta^2), v ~ N(0, I): exact at delta = 1 for linear s alone.

    Expand s in delta: odd terms have no mean, and the third derivative leaves delta^2. The printed estimator has delta = 1. Left:
    means over 100 000 pairs +-v of the library's score, at a point between two modes. Right: the trace from the components, and the order of
    the bias. The score of a Gaussian is linear: no bias at any delta.
    """

    card = dict(code="M3", tier=0, topic="second-order-tweedie", paper="2312.00852",
                source="Rout et al. 2024, the estimator of Alg. 1", found="printed with unit probes, which are biased for non-linear scores")  # fmt: skip
    deltas, n = (1.0, 0.3, 0.1, 0.03), 100000

    def measure(self, seed):
        law, x = two_modes(), torch.tensor([[0.5, 0.2]], dtype=torch.float64)
        plain = Gaussian(
            torch.zeros(2, dtype=torch.float64), torch.tensor([[0.5, 0.1], [0.1, 0.3]]).double(), VP2
        )
        v = Rng(seed, "probes").normal(torch.empty(self.n, 2, dtype=torch.float64))
        m = SimpleNamespace()
        for name, case in (("mixture", law), ("gaussian", plain)):
            H = hessian(case, x, T)[0]
            by_parts = posterior_trace(case, x)
            control = (v * (v @ H)).sum(1) - H.trace()  # of mean zero: what is left is the bias
            found = [self._probed(case, x, v, d) - control for d in self.deltas]
            setattr(
                m,
                name,
                (by_parts, [(f.mean().item(), (f.std() / self.n**0.5).item()) for f in found]),
            )
        return m

    @staticmethod
    def _probed(law, x, v, delta):
        return (v * (law.score(x + delta * v, T) - law.score(x - delta * v, T))).sum(1) / (2 * delta)

    def rows(self, m):
        exact, found = m.mixture
        bias = [abs(f[0] - exact) for f in found]
        yield at_most("mixture: bias at delta = 0.1, relative", bias[2] / abs(exact), 0.02)
        yield close("mixture: bias at 0.3 over that at 0.1", bias[1] / bias[2], 9.0, 0.25)
        exact, found = m.gaussian
        for delta, (value, error) in zip(self.deltas, found, strict=True):
            yield equal(f"Gaussian, delta = {delta:g}: mean and trace", value, exact, 5 * error + 1e-10)

    def controls(self, m):
        yield equal("mixture, delta = 1 as printed: mean and trace", m.mixture[1][0][0], m.mixture[0], max(0.05 * abs(m.mixture[0]), 5 * m.mixture[1][0][1]))  # fmt: skip

    def plot(self, m, figure):
        ax = figure.subplots()
        for name, color in (("mixture", "C0"), ("gaussian", "C1")):
            exact, found = getattr(m, name)
            ax.semilogx(self.deltas, [f[0] - exact for f in found], "o-", color=color, label=name)
        ax.semilogx(
            1.0, m.mixture[1][0][0] - m.mixture[0], "x", color="tab:red", ms=10, label="control: unit probes"
        )
        ax.axhline(0, color="black", lw=0.8, ls=":")
        ax.set(xlabel="delta", ylabel="mean of the estimate - tr Hess log p_t")
        ax.legend(fontsize=8)
