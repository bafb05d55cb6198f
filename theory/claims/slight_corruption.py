"""Slight corruption of the condition: what noise on a label does to a linear conditional diffusion model."""

from math import log, sqrt
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, slope
from theory.claims._linear import moments
from theory.claims._reverse import quadratic
from theory.diagnostics.transport import bures_wasserstein
from theory.distributions.mixture import Gaussian
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)  # dx = -x dt + sqrt(2) dw


def class_law(d, size):
    """N(mu, I) with ||mu|| = size, the law of one class."""
    return Gaussian(torch.full((d,), size / sqrt(d), dtype=torch.float64), 1.0, VP2)


def fitted(x):
    """Mean (..., d) and covariance (..., d, d), divided by n, of samples x: (..., n, d)."""
    mean = x.mean(-2)
    u = x - mean[..., None, :]
    return mean, u.mT @ u / x.shape[-2]


def share(gamma):
    """gamma^2 / (1 + gamma^2)."""
    return gamma**2 / (1 + gamma**2)


def rank_one(mean, cov, gamma):
    """The law that least squares makes of a corrupted condition: mean / (1 + gamma^2), cov + share mean mean'."""
    return mean / (1 + gamma**2), cov + share(gamma) * mean[..., :, None] * mean[..., None, :]


def isotropic(mean, cov, gamma):
    """The law as printed: cov + share ||mean||^2 I."""
    lift = share(gamma) * mean.square().sum(-1)[..., None, None]
    return mean / (1 + gamma**2), cov + lift * torch.eye(mean.shape[-1], dtype=mean.dtype)


def least_squares(mean, cov, gamma, t, labels=4):
    """W: (d, d) and V c: (d,) that minimise E ||W x_t + V (c + gamma xi) - eps||^2, by the normal equations.

    x_t = alpha x0 + sigma eps; c a unit vector of `labels` entries and xi standard normal there; only the second
    moments of (x_t, c + gamma xi) and eps enter.
    """
    a, s, d = VP2.alpha(t), VP2.sigma(t), len(mean)
    c = torch.full((labels,), labels**-0.5, dtype=torch.float64)
    eye = torch.eye(d + labels, dtype=torch.float64)
    top = a**2 * (cov + torch.outer(mean, mean)) + s**2 * eye[:d, :d]
    cross = a * torch.outer(mean, c)
    gram = torch.cat([torch.cat([top, cross], 1), torch.cat([cross.mT, torch.outer(c, c)], 1)])
    gram[d:, d:] += gamma**2 * eye[d:, d:]
    WV = torch.linalg.solve(gram, s * eye[:, :d]).mT
    return WV[:, :d], WV[:, d:] @ c


class CorruptedConditionNet(Claim):
    """W = sigma (sigma^2 I + alpha^2 (S + g m m'))^-1 and V c = -alpha W m / (1 + gamma^2), with g = gamma^2 / (1 +
    gamma^2).

    The net is eps_hat = W x_t + V (c + gamma xi), ||c|| = 1, fitted by least squares to one class with sample mean m
    and covariance S. xi enters the loss as gamma^2 ||V||^2, so V = b c' with b = V c, and the loss is E ||W x_t + b -
    eps||^2 + gamma^2 ||b||^2. In b: alpha W m + (1 + gamma^2) b = 0. In W: W (sigma^2 I + alpha^2 (S + m m')) + alpha
    b m' = sigma I; put b in. So the sampler makes N(m / (1 + gamma^2), S + g m m'): the inflation has rank one. Left:
    the normal equations solved in numbers. Right: -sigma times the library's score of that Gaussian.
    """

    card = dict(
        code="F1", tier=0, topic="slight-corruption", paper="2405.20494", source="Chen et al. 2024",
        found="The printed covariance is isotropic, S + g ||m||^2 I; least squares gives S + g m m', of rank one.",
    )  # fmt: skip
    d, n, gammas, times = 6, 30, (0.1, 0.3, 1.0), (0.05, 0.3, 1.0, 3.0)
    margin = 1e-12

    def measure(self, seed):
        mean, cov = fitted(class_law(self.d, 2.0).sample(self.n, seed))
        m = SimpleNamespace(net={}, printed={}, ends={}, spectra={})
        for gamma in self.gammas:
            right, wrong = (Gaussian(*law(mean, cov, gamma), VP2) for law in (rank_one, isotropic))
            m.net[gamma] = max(self._gap(right, mean, cov, gamma, t, seed) for t in self.times)
            m.printed[gamma] = max(self._gap(wrong, mean, cov, gamma, t, seed) for t in self.times)
            m.ends[gamma] = self._generated(right, mean, cov, gamma)
            m.spectra[gamma] = [torch.linalg.eigvalsh(law.cov()).tolist() for law in (right, wrong)]
        m.clean = torch.linalg.eigvalsh(cov).tolist()
        return m

    def _gap(self, law, mean, cov, gamma, t, seed):
        """The largest difference between the net at the clean condition and -sigma s, over the largest entry."""
        x = Rng(seed, "points").normal(torch.empty(20, self.d, dtype=torch.float64))
        W, b = least_squares(mean, cov, gamma, t)
        right = -VP2.sigma(t) * law.score(x, t)
        return ((x @ W.mT + b - right).abs().max() / right.abs().max()).item()

    def _generated(self, law, mean, cov, gamma):
        """The error of mean and covariance at t = 0.01 of what the deterministic sampler makes with the fitted net."""
        net = lambda t: least_squares(mean, cov, gamma, t)
        matrix = lambda t: -net(t)[0] / VP2.sigma(t)
        bias = lambda t: -net(t)[1] / VP2.sigma(t)
        start, end = law.at(4.0), law.at(0.01)
        found = moments(matrix, VP2, start.mean(), start.cov(), quadratic(4.0, 0.01, 80), bias=bias)
        return max((a - b).abs().max().item() for a, b in zip(found, (end.mean(), end.cov()), strict=True))

    def rows(self, m):
        for gamma in self.gammas:
            yield at_most(f"gamma = {gamma:g}: net and rank-one score, four times", m.net[gamma], self.margin)
            yield at_most(f"gamma = {gamma:g}: mean and covariance generated", m.ends[gamma], 1e-5)

    def controls(self, m):
        for gamma in self.gammas:
            yield at_most(f"gamma = {gamma:g}: net and isotropic score, as printed", m.printed[gamma], 1e-2)

    def plot(self, m, figure):
        ax = figure.subplots()
        right, wrong = m.spectra[1.0]
        k = range(1, self.d + 1)
        ax.plot(k, m.clean, "k:", marker="o", ms=3, label="clean: S")
        ax.plot(k, right, "o-", label="least squares: S + g m m'")
        ax.plot(k, wrong, "x--", color="tab:red", label="as printed: S + g ||m||^2 I")
        ax.set(xlabel="number of the eigenvalue, from the least", ylabel="variance generated, gamma = 1")
        ax.legend(fontsize=8)


class CorruptionEntropy(Claim):
    """Delta H = log(1 + g m' S^-1 m) / 2 > 0, about gamma^2 ||mu||^2 / 2 whatever the dimension, g = gamma^2 / (1 +
    gamma^2).

    det(S + g m m') = det S (1 + g m' S^-1 m), for the law of F1. With the isotropic inflation as printed the gain is
    sum_i log(1 + g ||m||^2 / s_i) / 2, about d gamma^2 ||mu||^2 / 2. Left: the difference of the library's entropies.
    Right: the formula, numbers seen before (||mu|| = 2, n = 100, gamma sqrt(n) = 1), and slopes.
    """

    card = dict(
        code="F2", tier=0, topic="slight-corruption", paper="2405.20494", source="Chen et al. 2024",
        found="Theta(gamma^2 d) needs the isotropic inflation; that of least squares gives Theta(gamma^2), free of d.",
    )  # fmt: skip
    dimensions, n, repeats = (5, 10, 20), 100, 200
    reference = dict(rank_one=(0.021, 0.023, 0.026), isotropic=(0.106, 0.224, 0.517))

    def measure(self, seed):
        gamma = self.n**-0.5
        m = SimpleNamespace(gains=dict(rank_one=[], isotropic=[]), errors=[], formula=[])
        for d in self.dimensions:
            x = class_law(d, 2.0).sample(self.n * self.repeats, seed).reshape(self.repeats, self.n, d)
            mean, cov = fitted(x)
            for name, law in dict(rank_one=rank_one, isotropic=isotropic).items():
                gains = [gain(law, *pair, gamma) for pair in zip(mean, cov, strict=True)]
                m.gains[name].append(sum(gains) / self.repeats)
                if name == "rank_one":
                    pull = (mean * torch.linalg.solve(cov, mean)).sum(1)
                    formula = 0.5 * torch.log1p(share(gamma) * pull)
                    m.errors.append(max(abs(a - b) for a, b in zip(gains, formula.tolist(), strict=True)))
        m.gammas, m.sizes = (0.01, 0.02, 0.04), (0.5, 1.0, 2.0)
        m.by_gamma = [self._exact(10, 2.0, gamma) for gamma in m.gammas]
        m.by_size = [self._exact(10, size, 0.02) for size in m.sizes]
        m.no_mean = self._exact(10, 0.0, gamma)
        return m

    @staticmethod
    def _exact(d, size, gamma):
        """The gain for the moments of the law itself, S = I."""
        law = class_law(d, size)
        return gain(rank_one, law.mean(), law.cov(), gamma)

    def rows(self, m):
        for d, error in zip(self.dimensions, m.errors, strict=True):
            yield equal(f"d = {d}: formula and entropies, {self.repeats} data sets", error, 0.0, 1e-12)
        for name, found in m.gains.items():
            for d, value, seen in zip(self.dimensions, found, self.reference[name], strict=True):
                yield close(f"{name.replace('_', '-')}, d = {d}: mean gain in nats", value, seen, 0.06)
        yield equal("slope over gamma", slope(m.gammas, m.by_gamma), 2.0, 0.02)
        yield equal("slope over ||mu||", slope(m.sizes, m.by_size), 2.0, 0.02)
        yield at_most("gain at d = 20 over d = 5", m.gains["rank_one"][2] / m.gains["rank_one"][0], 1.35)
        ratio = m.gains["isotropic"][2] / m.gains["isotropic"][0]
        yield at_least("isotropic as printed: gain at d = 20 over d = 5", ratio, 4.0)

    def controls(self, m):
        yield at_least(
            "mu = 0: gain, and half of that at ||mu|| = 2", m.no_mean, 0.5 * m.gains["rank_one"][1]
        )
        ratio = m.gains["isotropic"][2] / m.gains["isotropic"][0]
        yield at_most("isotropic as printed: gain at d = 20 over d = 5, free of d", ratio, 1.35)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(self.dimensions, m.gains["rank_one"], "o-", label="least squares, rank one")
        ax.loglog(
            self.dimensions, m.gains["isotropic"], "x--", color="tab:red", label="as printed, isotropic"
        )
        ax.axhline(0.5 * log(1 + 4 / (self.n + 1)), color="black", ls=":", lw=0.8, label="exact moments")
        ax.set(xlabel="dimension d", ylabel="entropy gain, nats (gamma sqrt(n) = 1)", xticks=self.dimensions)
        ax.set_xticks(self.dimensions, [str(d) for d in self.dimensions])
        ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
        ax.minorticks_off()
        ax.legend(fontsize=8)


def gain(law, mean, cov, gamma):
    """The entropy of the corrupted law less that of the clean one, nats."""
    return Gaussian(*law(mean, cov, gamma)).entropy() - Gaussian(mean, cov).entropy()


class CorruptionW2Gain(Claim):
    """E [W2^2(P, clean) - W2^2(P, corrupted)] > 0 for gamma sqrt(n) <= 1 and < 0 at 6: a little corruption
    generalises.

    P = N(mu, I); clean is N(m, S), fitted to n samples, and corrupted that of F1. To first order in gamma^2 the mean
    shrinks, which wins 2 m'(m - mu), 2 d / n on average, and the spread along m grows, which wins m'(S^-1/2 - I) m: S
    is small on average, E tr S^-1/2 > d. So the gain is about gamma^2 (d / n)(2 + 3 ||mu||^2 / 8). Its next orders are
    negative. Left: means over data sets, in terms of eigenvalues. Right: zero, and numbers seen before.
    """

    card = dict(
        code="F3", tier=0, topic="slight-corruption", paper="2405.20494", source="Chen et al. 2024",
        found="The sign survives the rank-one inflation of least squares; the gain is a fifth of the isotropic one.",
    )  # fmt: skip
    d, n, repeats = 10, 50, 2000
    steps, seen = (0.5, 1.0, 3.0, 6.0), (0.0043, 0.0142, -0.066, -0.95)
    seen_isotropic = (0.0225, 0.0756, -0.49, -4.5)

    def measure(self, seed):
        P = class_law(self.d, 2.0)
        m = SimpleNamespace(gains=[], isotropic=[])
        pair = self._fits(self.d, self.n, seed)
        for step in self.steps:
            gamma = step / sqrt(self.n)
            m.gains.append(estimate(gains(rank_one, *pair, gamma, P.mean())))
            m.isotropic.append(estimate(gains(isotropic, *pair, gamma, P.mean())))
        m.small = [estimate(gains(rank_one, *pair, g, P.mean()))[0] for g in (0.005, 0.01, 0.02)]
        m.by_d = {d: self._gain(d, self.n, seed) for d in (5, 10, 20)}
        m.by_n = {n: self._gain(self.d, n, seed) for n in (25, 50, 100)}
        m.grid = torch.linspace(0.1, 6, 25, dtype=torch.float64).tolist()
        m.curve = [estimate(gains(rank_one, *pair, g / sqrt(self.n), P.mean()))[0] for g in m.grid]
        m.library = self._by_library(P, pair)
        return m

    def _fits(self, d, n, seed):
        return fitted(class_law(d, 2.0).sample(n * self.repeats, seed).reshape(self.repeats, n, d))

    def _gain(self, d, n, seed):
        """The gain over gamma^2 at a small gamma, as mean and error."""
        found = gains(rank_one, *self._fits(d, n, seed), 0.02, class_law(d, 2.0).mean())
        return estimate(found / 0.02**2)

    def _by_library(self, P, pair):
        """The largest difference from `bures_wasserstein` on ten data sets at gamma sqrt(n) = 1."""
        gamma = self.n**-0.5
        mine = gains(rank_one, *pair, gamma, P.mean())[:10].tolist()
        square = lambda law: bures_wasserstein(P.mean(), P.cov(), *law) ** 2
        clean = [law for law, _ in zip(zip(*pair, strict=True), range(10), strict=False)]
        found = [square(law) - square(rank_one(*law, gamma)) for law in clean]
        return max(abs(a - b) for a, b in zip(mine, found, strict=True))

    def rows(self, m):
        for step, (mean, error) in zip(self.steps[:2], m.gains[:2], strict=True):
            yield at_least(f"gamma sqrt(n) = {step:g}: gain, and 5 standard errors", mean, 5 * error)
        yield at_most("gamma sqrt(n) = 6: gain, and -5 standard errors", m.gains[3][0], -5 * m.gains[3][1])
        for name, found, seen in (
            ("rank-one", m.gains, self.seen),
            ("isotropic", m.isotropic, self.seen_isotropic),
        ):
            for step, (mean, error), value in zip(self.steps, found, seen, strict=True):
                yield equal(
                    f"{name}, gamma sqrt(n) = {step:g}: gain", mean, value, 5 * error + 0.1 * abs(value)
                )
        yield equal("slope over small gamma", slope((0.005, 0.01, 0.02), m.small), 2.0, 0.05)
        yield from (grows("d", m.by_d, (5, 10, 20)), grows("1 / n", m.by_n, (100, 50, 25)))
        yield equal("W2 of the library, ten data sets", m.library, 0.0, 1e-9)

    def controls(self, m):
        mean, error = m.gains[3]
        yield at_least("gamma sqrt(n) = 6: gain, and -5 standard errors", mean, 0.0, 5 * error)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.plot(m.grid, m.curve, "-", label=f"mean over {self.repeats} data sets")
        ax.errorbar(
            self.steps[:3],
            [g[0] for g in m.gains[:3]],
            [5 * g[1] for g in m.gains[:3]],
            fmt="o",
            color="tab:blue",
            label="+- 5 standard errors",
        )
        ax.errorbar(6, m.gains[3][0], 5 * m.gains[3][1], fmt="x", color="tab:red", label="control: too much")
        ax.axhline(0, color="black", lw=0.8)
        ax.set_yscale("symlog", linthresh=0.01)
        ax.set(xlabel="gamma sqrt(n)", ylabel="W2^2(P, clean) - W2^2(P, corrupted)")
        ax.legend(fontsize=8)


def gains(law, mean, cov, gamma, mu):
    """W2^2(N(mu, I), N(mean, cov)) less that to the corrupted law, of a batch (B, d), (B, d, d): (B,)."""
    return to_unit(mean, cov, mu) - to_unit(*law(mean, cov, gamma), mu)


def to_unit(mean, cov, mu):
    """W2^2 to N(mu, I): ||mean - mu||^2 + sum_i (sqrt(s_i) - 1)^2."""
    return (mean - mu).square().sum(-1) + (torch.linalg.eigvalsh(cov).sqrt() - 1).square().sum(-1)


def estimate(values):
    """Mean and standard error."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


def grows(what, found, order):
    """The least z by which the gain rises from each case to the next of `order`, and 5."""
    z = [
        (found[b][0] - found[a][0]) / sqrt(found[a][1] ** 2 + found[b][1] ** 2)
        for a, b in zip(order[:-1], order[1:], strict=True)
    ]
    return at_least(f"least z of the rise with {what}", min(z), 5.0)
