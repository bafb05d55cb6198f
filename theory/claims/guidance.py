"""Guidance by data on Gaussians: what approximations of p(y | x_t) do to mean and variance, in closed form."""

from math import exp, log, sqrt
from types import SimpleNamespace

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import dawsn

from theory.claims import _linear
from theory.claims._claim import Claim, at_least, close, equal
from theory.claims._coordinates import moments, observed
from theory.claims._reverse import quadratic
from theory.distributions.mixture import Gaussian
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving
from workbench.noise.gaussian import Gaussian as GaussianNoise
from workbench.operators.dense import Dense
from workbench.problem import Problem
from workbench.samplers.dps import LikelihoodDPS
from workbench.samplers.moment_matching import MomentMatching
from workbench.samplers.pigdm import PiGDM
from workbench.samplers.red_diff import REDDiff

VP2 = VariancePreserving(2.0, 2.0)
TIMES = quadratic(14.0, 1e-7, 200)
PLAIN = LikelihoodDPS(reach=float("inf"))


def guided(guidance, s, sigma, eta, y=1.0, times=TIMES):
    """(mean, variance), (d,) each: the prior N(0, s), y = 1 seen with deviation sigma, s and sigma (d,), coordinate by coordinate."""
    s, sigma = torch.broadcast_tensors(*(torch.as_tensor(v, dtype=torch.float64) for v in (s, sigma)))
    s, sigma = s.reshape(-1), sigma.reshape(-1)
    law = Gaussian(torch.zeros_like(s), s, VP2)
    prior = guidance.bind(observed(law, torch.full_like(s, y), sigma))
    return moments(prior.score, VP2, torch.zeros_like(s), law.at(times[0]).cov().diagonal(), times, eta)


def truth(s, sigma, y=1.0):
    """The posterior's mean and variance."""
    ratio = s / sigma**2
    return y * ratio / (1 + ratio), s / (1 + ratio)


def sde_law(strength, s, y=1.0):
    """(y (1 - e^-c), s (1 - e^-2c) / (2 c)) with c = zeta s / sigma_y^2 the strength of the guidance."""
    return y * (1 - np.exp(-strength)), s * (1 - np.exp(-2 * strength)) / (2 * strength)


def ode_law(strength, s, y=1.0):
    """(y sqrt(2 c) Dawson(sqrt(c / 2)), s e^-c)."""
    return y * np.sqrt(2 * strength) * dawsn(np.sqrt(strength / 2)), s * np.exp(-strength)


class DPSGaussianBias(Claim):
    """Guiding N(0, s) by zeta grad log N(y; D(x), sigma_y^2) makes N(y (1 - e^-c), s (1 - e^-2c) / (2 c)) of the reverse SDE
    and N(y sqrt(2 c) Dawson(sqrt(c / 2)), s e^-c) of the ODE, c = zeta s / sigma_y^2, not the posterior.

    With u = x / alpha, v = (sigma / alpha)^2 and p = s / (s + v), which runs from 0 to 1: the score in u is p (-u + c (y - p u)) / s
    and dv = -s dp / p^2, so that the SDE is du = (-u + c (y - p u)) dp / p + sqrt(s) dw / p and the ODE has half that drift.
    Integrate: e^{c p} p u, and e^{c p / 2} p^{1/2} u. No schedule enters. Left: moments of LikelihoodDPS(reach=inf) of the
    library under the constant-rate process. Right: the closed forms. A zeta is a noise of variance sigma_y^2 / zeta.
    Another A is the case a_i x_i of each singular value, and what is not seen keeps its prior.
    """

    card = dict(code="O1", name="dps-gaussian-bias", tier=0, topic="guidance-and-statistics", paper="2209.14687",
                source="Chung et al. 2023, eq. 11 and 16; closed form derived", found="")  # fmt: skip
    ratios = (0.25, 1.0, 4.0, 16.0, 40.0)
    reference = dict(sde=(0.98168, 0.12496), ode=(1.2800, 0.01832))

    def measure(self, seed):
        eta = torch.tensor(self.ratios, dtype=torch.float64)
        m = SimpleNamespace(
            sde=guided(PLAIN, 1.0, eta.rsqrt(), 1.0), ode=guided(PLAIN, 1.0, eta.rsqrt(), 0.0)
        )
        exact = MomentMatching(tol=1e-12)
        m.matched = {
            e: guided(exact, 1.0, torch.tensor(0.5), e, times=quadratic(14.0, 1e-7, 100)) for e in (0.0, 1.0)
        }
        m.weak = guided(PLAIN, 2.0, torch.tensor(2.0 / sqrt(0.5)), 1.0)
        m.general = self._matrix(seed)
        return m

    @staticmethod
    def _matrix(seed, zeta=1.0, s=1.5, sigma=0.6):
        """Largest errors of the mean and of the covariance for a random 2 by 3 matrix of singular values 1.5 and 0.6.

        100 steps of RK4 are stable for these, c = zeta a^2 s / sigma^2 = 9.4 and 1.5, and not for c = 50.
        """
        rng = Rng(seed, "matrix")
        draw = lambda *shape: rng.normal(torch.empty(shape, dtype=torch.float64))
        left, right = torch.linalg.qr(draw(2, 2)).Q, torch.linalg.qr(draw(3, 3)).Q
        M = left * torch.tensor([1.5, 0.6], dtype=torch.float64) @ right[:2]
        y = draw(2)
        zero, eye = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
        law, times = Gaussian(zero, s, VP2), quadratic(10.0, 1e-7, 100)
        prior = PLAIN.bind(Problem(law, Dense(M), GaussianNoise(sigma), y))
        bias = lambda t: prior.score(zero[None], t)[0]
        matrix = lambda t: (prior.score(eye, t) - bias(t)).mT
        mean, cov = _linear.moments(matrix, VP2, zero, law.at(times[0]).cov(), times, 1.0, bias)
        U, a, Vh = torch.linalg.svd(M)
        centre, spread = sde_law(((a / sigma) ** 2 * s).numpy(), (a**2 * s).numpy(), (U.mT @ y).numpy())
        centre, spread = torch.tensor([*centre / a.numpy(), 0.0]), torch.tensor([*spread / a.numpy() ** 2, s])
        return (mean - Vh.mT @ centre).abs().max().item(), (cov - Vh.mT * spread @ Vh).abs().max().item()

    def rows(self, m):
        for kind, law in (("sde", sde_law), ("ode", ode_law)):
            mean, variance = getattr(m, kind)
            for i, eta in enumerate(self.ratios):
                expected = law(eta, 1.0)
                yield equal(f"{kind.upper()}, s / sigma_y^2 = {eta:g}: mean", mean[i], expected[0], 2e-5)
                yield equal(
                    f"{kind.upper()}, s / sigma_y^2 = {eta:g}: variance", variance[i], expected[1], 2e-5
                )
            yield equal(
                f"{kind.upper()}, s = 1, sigma_y = 1/2: mean as quoted",
                mean[2],
                self.reference[kind][0],
                1e-4,
            )
            yield equal(f"{kind.upper()}: variance as quoted", variance[2], self.reference[kind][1], 1e-5)
        weak = sde_law(0.25, 2.0)
        yield equal("SDE, s = 2, zeta = 1/2, sigma_y = 2: mean", m.weak[0], weak[0], 2e-5)
        yield equal("SDE, s = 2, zeta = 1/2, sigma_y = 2: variance", m.weak[1], weak[1], 2e-5)
        yield close("SDE, precise data: variance over the posterior's", m.sde[1][-1] * 41, 0.5, 0.03)
        yield equal("random 2 by 3 matrix: error of the mean", m.general[0], 0.0, 2e-5)
        yield equal("random 2 by 3 matrix: error of the covariance", m.general[1], 0.0, 2e-5)
        for e, (mean, variance) in m.matched.items():
            yield equal(f"A Cov A' added, eta = {e:g}: posterior mean", mean[0], 0.8, 1e-5)
            yield equal(f"A Cov A' added, eta = {e:g}: posterior variance", variance[0], 0.2, 1e-5)

    def controls(self, m):
        for e, law in ((1.0, sde_law), (0.0, ode_law)):
            mean, variance = m.matched[e]
            yield equal(f"A Cov A' added, eta = {e:g}: DPS' mean", mean[0], law(4.0, 1.0)[0], 0.05)
            yield equal(f"A Cov A' added, eta = {e:g}: DPS' variance", variance[0], law(4.0, 1.0)[1], 0.05)

    def plot(self, m, figure):
        eta = np.logspace(-1, 2.3, 100)
        centre, spread = truth(1.0, 1 / np.sqrt(eta))
        axes = figure.subplots(1, 2)
        for k, (ax, exact) in enumerate(zip(axes, (centre, spread), strict=True)):
            for kind, law, colour in (("sde", sde_law, "tab:blue"), ("ode", ode_law, "tab:orange")):
                ax.loglog(eta, law(eta, 1.0)[k] / exact, color=colour, label=f"{kind.upper()}, closed form")
                ratio = getattr(m, kind)[k].numpy() / truth(1.0, 1 / np.sqrt(self.ratios))[k]
                ax.loglog(self.ratios, ratio, "o", color=colour)
            ax.loglog(
                4,
                m.matched[1.0][k][0] / (0.8, 0.2)[k],
                "x",
                color="tab:red",
                ms=9,
                label="control: A Cov A' added",
            )
            ax.axhline(1, color="black", ls=":")
            ax.set(xlabel="s / sigma_y^2", ylabel=("mean", "variance")[k] + " over the posterior's")
        axes[1].set_ylim(1e-3, 2)
        axes[0].legend(fontsize=7)


class DPSNoSingleScale(Claim):
    """No scale zeta makes DPS right: the mean of its SDE on N(0, s) asks for zeta = log(1 + e) / e, e = s / sigma_y^2, and the
    variance is then (s / (2 log(1 + e))) (1 - (1 + e)^-2), not s / (1 + e).

    By `dps-gaussian-bias` the mean is y (1 - e^{-zeta e}) and the posterior's y (1 - 1 / (1 + e)): equal only for that zeta.
    The two variances differ by s e^2 / 6 as e -> 0. Left: moments of the library's guidance at that zeta, and the least over zeta
    of the larger of both relative errors. Right: the formula, and zero.
    """

    card = dict(code="O2", name="dps-no-single-scale", tier=0, topic="guidance-and-statistics", paper="2209.14687",
                source="derived from Chung et al. 2023, eq. 16", found="")  # fmt: skip
    ratios = (0.01, 1.0, 4.0, 16.0)

    def measure(self, seed):
        eta = torch.tensor(self.ratios, dtype=torch.float64)
        zeta = torch.log1p(eta) / eta
        m = SimpleNamespace(zeta=zeta, right=guided(PLAIN, 1.0, (eta * zeta).rsqrt(), 1.0))
        m.scales = torch.logspace(-1.3, 0.7, 61, dtype=torch.float64)
        grid = (eta[:, None] * m.scales).flatten()
        mean, variance = (v.reshape(4, -1) for v in guided(PLAIN, 1.0, grid.rsqrt(), 1.0))
        centre, spread = truth(1.0, eta.rsqrt())
        m.errors = mean / centre[:, None] - 1, variance / spread[:, None] - 1
        m.best = torch.maximum(m.errors[0].abs(), m.errors[1].abs()).min(1).values
        m.centre, m.spread = centre, spread
        return m

    def rows(self, m):
        for i, eta in enumerate(self.ratios):
            expected = (1 - (1 + eta) ** -2) / (2 * log(1 + eta))
            yield equal(
                f"s / sigma_y^2 = {eta:g}: mean at zeta = log(1 + e) / e", m.right[0][i], m.centre[i], 1e-5
            )
            yield equal(f"s / sigma_y^2 = {eta:g}: variance at that zeta", m.right[1][i], expected, 1e-5)
        yield equal("s / sigma_y^2 = 4: variance as quoted", m.right[1][2], 0.298, 5e-4)
        for i in (1, 2, 3):
            excess = m.right[1][i] / m.spread[i] - 1
            yield at_least(f"s / sigma_y^2 = {self.ratios[i]:g}: excess of the variance", excess, 0.05)
            yield at_least(f"s / sigma_y^2 = {self.ratios[i]:g}: least error over all zeta", m.best[i], 0.04)

    def controls(self, m):
        yield at_least("s / sigma_y^2 = 0.01: excess of the variance", m.right[1][0] / m.spread[0] - 1, 0.05)
        yield at_least("s / sigma_y^2 = 0.01: least error over all zeta", m.best[0], 0.04)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, colour in ((2, "tab:blue"), (0, "tab:red")):
            name = f"s / sigma_y^2 = {self.ratios[i]:g}" + (" (control)" if i == 0 else "")
            ax.semilogx(m.scales, m.errors[0][i], "-", color=colour, label=f"mean, {name}")
            ax.semilogx(m.scales, m.errors[1][i], "--", color=colour, label=f"variance, {name}")
        ax.plot(m.zeta[2], 0, "o", color="black", label="log(1 + e) / e")
        ax.axhline(0, color="black", lw=0.8, ls=":")
        ax.set(xlabel="zeta", ylabel="relative error, SDE under DPS", ylim=(-1, 1.5))
        ax.legend(fontsize=8)


class PiGDMExactness(Claim):
    """Guidance with the covariance r^2 = sigma^2 / (alpha^2 + sigma^2) in place of Cov[x0 | x_t] is exact for N(0, s) iff s = 1.

    Cov[x0 | x_t] = s v / (s + v), v = (sigma / alpha)^2, is r^2 = v / (1 + v) at s = 1 alone. In p = s / (s + v) as in
    `dps-gaussian-bias`, with K(p) = int_p^1 dq / (sigma_y^2 + r^2(q)): the SDE's mean is y (1 - e^{-s K(0)}) and its variance
    s int_0^1 e^{-2 s K(p)} dp; r^2 = s (1 - q) / (q + s (1 - q)) makes K elementary. Left: moments of the library's PiGDM. Right: these
    integrals. At s = 1 they are the posterior's.
    """

    card = dict(code="O3", name="pigdm-exactness", tier=0, topic="guidance-and-statistics", paper="Song et al. 2023",
                source="Song et al. 2023, eq. 7 and 8; bias derived", found="")  # fmt: skip
    variances, sigma = (0.25, 0.5, 1.0, 2.0, 4.0), 0.5

    def measure(self, seed):
        s = torch.tensor(self.variances, dtype=torch.float64)
        guidance = PiGDM(variance=1.0, reach=float("inf"), tol=1e-13)
        m = SimpleNamespace(sde=guided(guidance, s, torch.tensor(self.sigma), 1.0))
        m.ode = guided(guidance, s, torch.tensor(self.sigma), 0.0)
        m.expected = [self._integrals(v) for v in self.variances]
        m.centre, m.spread = truth(s, self.sigma)
        return m

    def _integrals(self, s):
        """The mean and the variance of the SDE, y = 1."""
        a, b = s, 1 - s  # 1 / (sigma_y^2 + r^2) = (a + b q) / (c + e q)
        c, e = s * (1 + self.sigma**2), self.sigma**2 * (1 - s) - s
        K = lambda p: b / e * (1 - p) + (a - b * c / e) / e * log((c + e) / (c + e * p))
        return 1 - exp(-s * K(0.0)), s * quad(lambda p: exp(-2 * s * K(p)), 0, 1)[0]

    def rows(self, m):
        for i, s in enumerate(self.variances):
            yield equal(f"prior variance {s:g}: mean of the SDE", m.sde[0][i], m.expected[i][0], 1e-5)
            yield equal(f"prior variance {s:g}: variance of the SDE", m.sde[1][i], m.expected[i][1], 1e-5)
        yield equal("prior variance 4: mean as quoted", m.sde[0][4], 0.990, 5e-4)
        yield equal("prior variance 4: variance as quoted", m.sde[1][4], 0.198, 5e-4)
        for kind in ("sde", "ode"):
            mean, variance = getattr(m, kind)
            yield equal(f"prior variance 1, {kind.upper()}: posterior mean", mean[2], 0.8, 1e-5)
            yield equal(f"prior variance 1, {kind.upper()}: posterior variance", variance[2], 0.2, 1e-5)
        for i in (0, 1, 3, 4):
            bias = abs(m.sde[0][i] / m.centre[i] - 1)
            yield at_least(f"prior variance {self.variances[i]:g}: bias of the mean", bias, 0.02)

    def controls(self, m):
        yield at_least("prior variance 1: bias of the mean", abs(m.sde[0][2] / m.centre[2] - 1), 0.02)
        yield at_least("prior variance 1: bias of the variance", abs(m.sde[1][2] / m.spread[2] - 1), 0.02)

    def plot(self, m, figure):
        ax = figure.subplots()
        for kind, mark in (("sde", "-"), ("ode", "--")):
            for k, (name, exact) in enumerate((("mean", m.centre), ("variance", m.spread))):
                line = dict(color=("tab:blue", "tab:orange")[k], label=f"{name}, {kind.upper()}")
                ax.semilogx(self.variances, getattr(m, kind)[k] / exact, "o" + mark, **line)
        ax.plot(1, 1, "x", color="tab:red", ms=10, label="control: unit prior")
        ax.axhline(1, color="black", lw=0.8, ls=":")
        ax.set(xlabel="prior variance", ylabel="over the posterior's, sigma_y = 1/2")
        ax.legend(fontsize=8)


class RedDiffFixedPoint(Claim):
    """RED-diff with weight lam sigma / alpha on N(0, s) settles where (mu - y) / sigma_y^2 + lam E_t[sigma^2 / (alpha^2 s + sigma^2)] mu
    = 0, the posterior mean only for lam = 1 / (s E_t[.]), with no spread at all.

    The prior's gradient is lam (mu - D(alpha mu + sigma eps)), D(x) = alpha s x / (alpha^2 s + sigma^2): its mean over eps is
    lam sigma^2 / (alpha^2 s + sigma^2) mu, and the posterior asks for mu / s. With alpha^2 uniform in (0, 1) the mean over t is
    int_0^1 (1 - a) / (1 + a (s - 1)) da = (s log s / (s - 1) - 1) / (s - 1), 0.386 at s = 2. Left: where gradient steps of the library's
    REDDiff end, from eight starts and with eps = +-1, on Gauss's nodes in alpha^2. Right: the formula.
    """

    card = dict(code="O15", name="reddiff-fixed-point", tier=0, topic="guidance-and-statistics", paper="2305.04391",
                source="Mardani et al. 2024, Prop. 2 and Alg. 1; fixed point derived", found="")  # fmt: skip
    variances, sigma, weights = (0.5, 2.0, 4.0), 0.5, (0.25, 0.5, 1.0, 2.0, 4.0)

    def measure(self, seed):
        s = torch.tensor(self.variances, dtype=torch.float64)
        mean = torch.tensor([self.average(v) for v in self.variances], dtype=torch.float64)
        m = SimpleNamespace(mean=mean, s=s, centre=truth(s, self.sigma)[0], right_lam=1 / (s * mean))
        lam = torch.cat([torch.tensor(self.weights, dtype=torch.float64), m.right_lam])
        fixed, m.spread = self._settled(s, lam, seed)
        m.fixed, m.right = fixed[: len(self.weights)].mT, fixed[len(self.weights) :].diagonal()
        return m

    @staticmethod
    def average(s):
        """The mean of sigma^2 / (alpha^2 s + sigma^2) over alpha^2 uniform in (0, 1)."""
        return (s * log(s) / (s - 1) - 1) / (s - 1)

    def _settled(self, s, lam, seed, starts=8, steps=50):
        """Mean and standard deviation over the starts of where mu ends: (len(lam), len(s)) each."""
        nodes, shares = np.polynomial.legendre.leggauss(6)
        problem = observed(
            Gaussian(torch.zeros_like(s), s, VP2), torch.ones_like(s), torch.full_like(s, self.sigma)
        )
        times = [VP2.time(sqrt(1 / a - 1)) for a in 0.5 + 0.5 * nodes]
        lam = lam.repeat(starts)
        mu = 3 * Rng(seed, "starts").normal(s.new_empty(len(lam), len(s)))
        step, sampler = (1 / (self.sigma**-2 + 0.5 * lam))[:, None], REDDiff()
        for _ in range(steps):
            pairs = [sampler.gradient(problem, mu, t, e, lam=lam) for t in times for e in (-1.0, 1.0)]
            mu = mu - step * sum(0.25 * w * g for w, g in zip(np.repeat(shares, 2), pairs, strict=True))
        mu = mu.reshape(starts, -1, len(s))
        return mu.mean(0), mu.std(0)

    def rows(self, m):
        yield equal("s = 2: E_t of sigma^2 / (alpha^2 s + sigma^2) as quoted", m.mean[1], 0.386, 5e-4)
        for i, s in enumerate(self.variances):
            yield equal(f"s = {s:g}, lam = 1 / (s E_t): posterior mean", m.right[i], m.centre[i], 1e-5)
            for j, lam in enumerate(self.weights):
                expected = 1 / (1 + self.sigma**2 * lam * m.mean[i])
                yield equal(f"s = {s:g}, lam = {lam:g}: where it settles", m.fixed[i, j], expected, 1e-5)
        yield equal("spread over the starts, largest", m.spread.max(), 0.0, 1e-6)

    def controls(self, m):
        yield close("s = 2, lam = 1: posterior mean", m.fixed[1, 2], m.centre[1], 0.01)
        yield close("s = 2, lam = 4: posterior mean", m.fixed[1, 4], m.centre[1], 0.05)
        yield close("the posterior's spread, s = 2", m.spread[2, 1], sqrt(truth(2.0, self.sigma)[1]), 0.5)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, s in enumerate(self.variances):
            (line,) = ax.semilogx(self.weights, m.fixed[i] / m.centre[i], "o-", label=f"s = {s:g}")
            ax.plot(m.right_lam[i], 1, "s", mfc="none", color=line.get_color())
        ax.plot(1, m.fixed[1, 2] / m.centre[1], "x", color="tab:red", ms=10, label="control: s = 2, lam = 1")
        ax.axhline(1, color="black", lw=0.8, ls=":")
        ax.set(xlabel="lam (squares: 1 / (s E_t))", ylabel="fixed point over the posterior mean")
        ax.legend(fontsize=8)
