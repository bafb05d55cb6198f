"""Weighted particles that carry p_t(x) p(y | x) from noise to the posterior, and what their weights cost."""

from itertools import pairwise
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, slope, within_errors
from theory.claims._reverse import quadratic, rk4
from theory.diagnostics.fokker_planck import divergence
from theory.distributions.mixture import Gaussian
from theory.distributions.perturbed import scaled
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving
from workbench.noise.gaussian import Gaussian as GaussianNoise
from workbench.operators.dense import Dense
from workbench.problem import Problem
from workbench.run import sample
from workbench.samplers.afdps import AFDPSSDE

VP2 = VariancePreserving(2.0, 2.0)


def centred(variance):
    """N(0, variance) on a line, under vp2."""
    return Gaussian(torch.zeros(1, dtype=torch.float64), variance, VP2)


def resampled(x, log_w, u):
    """Systematic resampling of each row of particles: x, log_w: (R, N), u: (R, 1) uniform."""
    edges = torch.softmax(log_w, 1).cumsum(1)
    comb = (torch.arange(x.shape[1], dtype=torch.float64) + u) / x.shape[1]
    index = torch.searchsorted(edges, comb).clamp(max=x.shape[1] - 1)
    return torch.gather(x, 1, index)


class Ensemble:
    """R ensembles of N particles on p_t e^-mu, mu = (x - y)^2 / 2 sigma_y^2: Euler-Maruyama with V^2 = eta g^2, trapezoidal weights.

    prior: whatever has `score` under vp2; drift c - V^2 mu', c = -f x + (g^2 + V^2) s / 2; log w gains
    V^2 (mu'^2 - mu'') / 2 - c mu' per unit of reverse time. least: the share of effective particles that resamples (0: never).
    """

    def __init__(self, prior, y, sigma_y, eta, weighted=True, least=0.5):
        self.prior, self.y, self.sharp, self.eta, self.weighted, self.least = (
            prior,
            y,
            sigma_y**-2,
            eta,
            weighted,
            least,
        )

    def run(self, x, times, seed):
        """(mean, variance, share of effective particles) of each ensemble at the end, from particles x: (R, N) of p_T."""
        rng, log_w = Rng(seed, "particles"), -0.5 * self.weighted * self.sharp * (x - self.y) ** 2
        drift, rate, V2 = self._rates(x, times[0])
        for i, (t, s) in enumerate(pairwise(times)):
            noise = rng.at(i).normal(x.reshape(-1, 1)).reshape(x.shape)
            x = x + (t - s) * drift + torch.sqrt(V2 * (t - s)) * noise
            drift, later, V2 = self._rates(x, s)
            log_w = log_w + 0.5 * self.weighted * (t - s) * (rate + later)
            low = effective(log_w) < self.least
            if low.any():
                chosen = resampled(x, log_w, rng.at(i).fork("comb").uniform(len(x), 1))
                x, log_w = torch.where(low[:, None], chosen, x), torch.where(low[:, None], 0.0, log_w)
                drift, later, V2 = self._rates(x, s)
            rate = later
        w = torch.softmax(log_w, 1)
        mean = (w * x).sum(1)
        return mean, (w * (x - mean[:, None]) ** 2).sum(1), effective(log_w)

    def _rates(self, x, t):
        g2 = VP2.g2(t)
        V2, pull = self.eta * g2, self.sharp * (x - self.y)
        c = -VP2.f(t) * x + 0.5 * (g2 + V2) * self.prior.score(x.reshape(-1, 1), t).reshape(x.shape)
        return c - V2 * pull, 0.5 * V2 * (pull**2 - self.sharp) - c * pull, V2


def effective(log_w):
    """The effective share of each ensemble, 1 / (N sum w^2)."""
    return 1 / (log_w.shape[1] * torch.softmax(log_w, 1).square().sum(1))


def many(v, eps, y, sigma_y, eta, times):
    """(mean, variance) of infinitely many particles for N(0, v) and the score (1 + eps) s, in continuous time, by RK4.

    Drift B x + b, noise V and log-weights r2 x^2 / 2 + r1 x keep a Gaussian: dS = 2 B S + V^2 + r2 S^2, dm = B m + b + S (r2 m + r1).
    """
    k = sigma_y**-2

    def slopes(state, t):
        m, S = state
        g2, M = VP2.g2(t), -1 / (VP2.alpha(t) ** 2 * v + VP2.sigma(t) ** 2)
        V2, c = eta * g2, -VP2.f(t) + 0.5 * (1 + eta) * g2 * (1 + eps) * M
        B, r2, r1 = c - V2 * k, V2 * k**2 - 2 * c * k, (c - V2 * k) * k * y
        return -torch.stack([B * m + V2 * k * y + S * (r2 * m + r1), 2 * B * S + V2 + r2 * S**2])

    S = 1 / (1 / (VP2.alpha(times[0]) ** 2 * v + VP2.sigma(times[0]) ** 2) + k)
    m, S = rk4(slopes, torch.stack([S * k * y, S]), times)
    return m.item(), S.item()


class WeightedPde(Claim):
    """Q = p_t e^-mu obeys d_tau Q = -div((c - V^2 grad mu) Q) + (V^2 / 2) Lap Q + [V^2 (|grad mu|^2 - Lap mu) / 2 - c . grad mu] Q.

    p_t obeys d_tau p = -div(c p) + (V^2 / 2) Lap p for c = -f + (g^2 + V^2) s / 2 and any V; put p = Q e^mu there and collect what is
    no divergence. So particles with drift c - V^2 grad mu and log-weights that grow by the bracket carry Q, to the posterior at
    t = 0. Left: d_tau log Q from the library's density and likelihood, by autograd in t. Right: the other terms over Q, with the
    library's score.
    """

    card = dict(code="L1", tier=0, topic="ensembles", paper="2506.03979",
                source="Chen et al. 2025, the ensemble of weighted particles; derived", found="")  # fmt: skip
    margin, times, etas = 1e-10, (0.1, 0.4, 1.0, 2.0), (0.0, 0.25, 1.0)

    def measure(self, seed):
        C = torch.tensor([[1.5, 0.4], [0.4, 0.6]], dtype=torch.float64)
        law = Gaussian(torch.tensor([0.5, -0.3], dtype=torch.float64), C, VP2)
        A = Dense(torch.tensor([[1.0, 0.5], [-0.3, 0.8]], dtype=torch.float64))
        problem = Problem(law, A, GaussianNoise(0.9), torch.tensor([1.0, -0.5], dtype=torch.float64))
        m = SimpleNamespace(exact={}, no_bend={}, no_drift={})
        for eta in self.etas:
            found = [self._residuals(problem, t, eta, seed) for t in self.times]
            m.exact[eta], m.no_bend[eta], m.no_drift[eta] = zip(*found, strict=True)
        return m

    @staticmethod
    def _residuals(problem, t, eta, seed):
        """max |left - right| at 64 points: whole, without Lap mu, without c . grad mu."""
        law, g2 = problem.prior, VP2.g2(t)
        x, V2 = law.at(t).sample(64, seed), eta * g2
        fit = lambda x: problem.noise.log_likelihood(problem.y, problem.A(x))
        c = lambda x: -VP2.f(t) * x + 0.5 * (g2 + V2) * law.score(x, t)
        force = lambda x: (problem.y - problem.A(x)) @ problem.A.matrix / problem.noise.sigma**2  # -grad mu
        steer = lambda x: c(x) + V2 * force(x)
        slope = lambda x: law.score(x, t) + force(x)  # grad log Q
        clock = torch.full((), t, dtype=torch.float64, requires_grad=True)
        left = -torch.stack(
            [torch.autograd.grad(v, clock, retain_graph=True)[0] for v in law.log_prob(x, clock)]
        )
        u = x.clone().requires_grad_()
        assert torch.allclose(torch.autograd.grad(fit(u).sum(), u)[0], force(x))
        bend, work = -divergence(force, x), -(c(x) * force(x)).sum(1)
        weight = 0.5 * V2 * (force(x).square().sum(1) - bend) - work
        moved = -divergence(steer, x) - (steer(x) * slope(x)).sum(1)
        spread = 0.5 * V2 * (divergence(slope, x) + slope(x).square().sum(1))
        miss = left - (moved + spread + weight)
        return [v.abs().max().item() for v in (miss, miss - 0.5 * V2 * bend, miss - work)]

    def rows(self, m):
        for eta, found in m.exact.items():
            yield at_most(f"V^2 = {eta:g} g^2: largest residual over four times", max(found), self.margin)

    def controls(self, m):
        for eta in self.etas[1:]:
            yield at_most(f"V^2 = {eta:g} g^2: Laplacian of mu left out", min(m.no_bend[eta]), 1e-2)
        for eta in self.etas:
            yield at_most(f"V^2 = {eta:g} g^2: c . grad mu left out", min(m.no_drift[eta]), 1e-2)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, eta in enumerate(self.etas):
            ax.semilogy(self.times, m.exact[eta], "o-", color=f"C{i + (i > 2)}", label=f"V^2 = {eta:g} g^2")
        ax.semilogy(self.times, m.no_bend[1.0], "x--", color="tab:red", label="control: no Laplacian of mu")
        ax.semilogy(self.times, m.no_drift[1.0], "s--", color="tab:red", label="control: no c . grad mu")
        ax.set(xlabel="t", ylabel="residual of d log Q / d tau")
        ax.legend(fontsize=8)


class ParticleAndScoreError(Claim):
    """The mean of N weighted particles is off by N^-1/2 and by a multiple of the score's error, which no N removes.

    Weights are exact in continuous time for the exact score (`weighted-pde`), so what is left is Monte Carlo, of order
    N^-1/2; a score (1 + eps) s changes c, that is drift and weights, to first order in eps. Left: root mean square errors of
    the mean, prior N(0, 1.5) by the library's score, sigma_y = 2, y = 2. Right: slope -0.53 +- 0.08; errors linear in eps; the
    posterior N(0.5455, 1.0909). The library's AFDPSSDE, which lets the likelihood in by degrees, agrees.
    """

    card = dict(code="L2", tier=1, topic="ensembles", paper="2506.03979",
                source="Chen et al. 2025, the two terms of the error bound", found="")  # fmt: skip
    counts, repeats, rms = (
        (64, 256, 1024, 4096, 16384),
        (128, 64, 48, 16, 8),
        (0.171, 0.082, 0.046, 0.021, 0.0080),
    )
    errors, bias, narrow = (
        (0.05, 0.1, 0.2, 0.4),
        (-0.034, -0.075, -0.123, -0.194),
        (-0.08, -0.12, -0.24, -0.39),
    )
    T, t_min, steps, y, sigma_y, v = 4.0, 1e-3, 200, 2.0, 2.0, 1.5
    mean, var = 6 / 11, 12 / 11

    def measure(self, seed):
        times, law = quadratic(self.T, self.t_min, self.steps), centred(self.v)
        start = lambda R, N: law.at(self.T).sample(R * N, seed).reshape(R, N)
        ensemble = lambda prior, eta, **how: Ensemble(prior, self.y, self.sigma_y, eta, **how)
        m = SimpleNamespace(rms=[], wrong=[], misses=[])
        for N, R in zip(self.counts, self.repeats, strict=True):
            found = ensemble(law, 0.25).run(start(R, N), times, seed)[0] - self.mean
            m.rms.append(found.square().mean().sqrt().item())
            m.misses.append((found.mean().item(), (found.std() / R**0.5).item()))
        limit = lambda eps: many(self.v, eps, self.y, self.sigma_y, 1.0, times)
        for eps in (0.0, *self.errors):
            found = ensemble(scaled(law, eps), 1.0).run(start(4, 8192), times, seed)
            m.wrong.append((found[0].mean().item() - self.mean, found[1].mean().item() - self.var))
        m.limit = [(a - self.mean, S - self.var) for a, S in map(limit, (0.0, *self.errors))]
        small = [abs(limit(eps)[0] - limit(0.0)[0]) for eps in (0.005, 0.01, 0.02)]
        m.power = slope((0.005, 0.01, 0.02), small)
        plain = ensemble(law, 1.0, weighted=False, least=0.0).run(start(4, 8192), times, seed)
        m.plain = plain[0].mean().item() - self.mean, plain[1].mean().item() - self.var
        m.library = self._library(law, seed)
        return m

    def _library(self, law, seed):
        """(error of the mean, its standard error) of eight ensembles of the library's sampler."""
        problem = Problem(law, Dense(torch.ones(1, 1, dtype=torch.float64)), GaussianNoise(self.sigma_y),
                          torch.tensor([self.y], dtype=torch.float64))  # fmt: skip
        post = [
            sample(problem, AFDPSSDE(), n=2000, steps=300, seed=8 * seed + k, progress=False)
            for k in range(8)
        ]
        means = torch.tensor([p.mean().item() for p in post], dtype=torch.float64)
        return means.mean().item() - self.mean, (means.std() / 8**0.5).item()

    def rows(self, m):
        yield equal("power of N of the rms error", slope(self.counts, m.rms), -0.53, 0.08)
        for N, value, expected in zip(self.counts, m.rms, self.rms, strict=True):
            yield close(f"N = {N}: rms error of the mean, reference number", value, expected, 0.6)
        for N, (miss, error) in zip(self.counts[2:], m.misses[2:], strict=True):
            yield within_errors(f"N = {N}: mean and posterior", miss, 0.0, error)
        yield within_errors(
            "AFDPSSDE, the same idea with part of the likelihood: mean and posterior",
            m.library[0],
            0.0,
            m.library[1],
        )
        for i, eps in enumerate(self.errors, start=1):
            yield equal(f"eps = {eps:g}: error of the mean, reference", m.wrong[i][0], self.bias[i - 1], 0.04)
            yield equal(f"eps = {eps:g}: error of the variance, reference", m.wrong[i][1], self.narrow[i - 1], 0.05)  # fmt: skip
            yield equal(f"eps = {eps:g}: error of the mean, and of infinitely many", m.wrong[i][0], m.limit[i][0], 0.04)  # fmt: skip
        yield equal("power of eps of the error of the mean of infinitely many", m.power, 1.0, 0.05)
        yield equal("infinitely many, exact score: mean and variance", sum(map(abs, m.limit[0])), 0.0, 5e-3)

    def controls(self, m):
        yield equal("no weights: error of the mean", m.plain[0], 0.0, 0.1)
        yield equal("no weights: error of the variance", m.plain[1], 0.0, 0.05)

    def plot(self, m, figure):
        left, right = figure.subplots(1, 2)
        left.loglog(self.counts, m.rms, "o-", label="exact score")
        left.loglog(self.counts, [m.rms[0] * (64 / n) ** 0.5 for n in self.counts], "k:", label="N^-1/2")
        left.axhline(abs(m.plain[0]), color="tab:red", ls="--", label="control: no weights")
        left.set(xlabel="particles", ylabel="rms error of the mean")
        right.plot((0, *self.errors), [w[0] for w in m.wrong], "o-", label="mean")
        right.plot((0, *self.errors), [w[1] for w in m.wrong], "s-", label="variance")
        right.plot((0, *self.errors), [w[0] for w in m.limit], "k:", label="infinitely many")
        right.set(xlabel="eps of the score (1 + eps) s", ylabel="error at N = 8192")
        left.legend(fontsize=7)
        right.legend(fontsize=7)


class WeightTail(Claim):
    """Unweighted particles relax to variance 1 / (1 + 2 kappa), the target has 1 / (1 + kappa), kappa = sigma_y^-2: N must grow with kappa.

    For unit marginals c = -V^2 x / 2, so the drift -V^2 [x / 2 + kappa (x - y)] has the stationary precision 1 + 2 kappa. Of the
    weight, target over proposal, the square has a mean since 2 (1 + kappa) - (1 + 2 kappa) = 1 > 0, which is 1 / (1 + 2 kappa) of the
    proposal's precision and goes to 0. Left: the effective share of 4096 particles without resampling, prior N(0, 1) by the
    library's score, y = 1. Right: numbers seen before, heavy-tailed where they are small.
    """

    card = dict(code="L3", tier=1, topic="ensembles", paper="2506.03979", source="derived", found="")  # fmt: skip
    sigmas, N, R, y = (5.0, 2.0, 1.0, 0.7, 0.5), 4096, 8, 1.0
    shares = {0.25: (0.997, 0.87, 0.08, 0.05, 0.05), 1.0: (0.98, 0.31, 0.05, 0.003, 0.000)}

    def measure(self, seed):
        law, times = centred(1.0), quadratic(4.0, 1e-3, 200)
        x = law.at(4.0).sample(self.R * self.N, seed).reshape(self.R, self.N)
        m = SimpleNamespace(share={}, spread={}, variance=[])
        for eta in self.shares:
            found = [Ensemble(law, self.y, s, eta, least=0.0).run(x, times, seed)[2] for s in self.sigmas]
            m.share[eta] = [f.mean().item() for f in found]
            m.spread[eta] = [f.std().item() for f in found]
        for s in self.sigmas[1:3]:
            v = Ensemble(law, self.y, s, 1.0, weighted=False, least=0.0).run(x, times, seed)[1]
            m.variance.append((v.mean().item(), (v.std() / self.R**0.5).item()))
        return m

    def rows(self, m):
        for s, (value, error) in zip(self.sigmas[1:3], m.variance, strict=True):
            yield equal(f"sigma_y = {s:g}: variance without weights, and 1 / (1 + 2 kappa)", value, 1 / (1 + 2 / s**2), 5 * error + 0.02)  # fmt: skip
        for eta, expected in self.shares.items():
            for i, s in enumerate(self.sigmas[:2]):
                near = 4 * m.spread[eta][i] + 0.05 * expected[i]
                yield equal(f"eta = {eta:g}, sigma_y = {s:g}: effective share, reference of one ensemble", m.share[eta][i], expected[i], near)  # fmt: skip
            for i, bound in ((2, 0.3), (3, 0.12), (4, 0.12)):
                yield at_most(f"eta = {eta:g}, sigma_y = {self.sigmas[i]:g}: effective share", m.share[eta][i], bound * (1 if eta < 1 else 0.3))  # fmt: skip
        yield at_least("more noise wastes more: share at eta = 0.25 over eta = 1, sigma_y = 2", m.share[0.25][1] / m.share[1.0][1], 2.0)  # fmt: skip

    def controls(self, m):
        for eta in self.shares:
            yield at_most(f"eta = {eta:g}, sigma_y = 5, vague data: effective share", m.share[eta][0], 0.9)

    def plot(self, m, figure):
        ax = figure.subplots()
        kappas = [s**-2 for s in self.sigmas]
        for eta, found in m.share.items():
            ax.loglog(kappas, found, "o-", label=f"V^2 = {eta:g} g^2")
            ax.loglog(
                kappas[0],
                found[0],
                "x",
                color="tab:red",
                ms=9,
                label="control: vague data" if eta == 1 else None,
            )
        ax.loglog(kappas, [1 / (1 + 2 * k) for k in kappas], "k:", label="1 / (1 + 2 kappa)")
        ax.set(xlabel="kappa = 1 / sigma_y^2", ylabel=f"effective share of {self.N} particles")
        ax.legend(fontsize=8)
