"""Guidance by classes: what the temperature of a classifier does to samples, and when guidance may be left."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import torch
from scipy.special import ndtri

from theory.claims._claim import Claim, at_least, at_most, close, equal
from theory.claims._reverse import heun, karras, quadratic, velocity
from theory.diagnostics.calibration import expected_calibration_error
from theory.distributions.mixture import Gaussian, GaussianMixture
from theory.distributions.toys import MEANS, gmm_3s
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving
from workbench.samplers.adaptive_guidance import cosine
from workbench.samplers.product import Product

VP2 = VariancePreserving(2.0, 2.0)


class ClassifierTemperature(Claim):
    """Guiding by tau times the logits of p(class | x_t) gives the class's law only at tau = 1, where the classifier is calibrated;
    its accuracy does not depend on tau.

    s + grad log p(c | x_t) is the score of p(x_t | c); with softmax(tau f) it is that of no noised law of the class. Two classes, +-1.5 with
    variance 0.3: grad log sigmoid(tau f) = tau (1 - sigmoid(tau f)) (s_1 - s_0). The ODE is monotone on a line, so W1 is read from quantiles.
    Left: mean, variance and W1 of the ODE of the library's mixture, and the library's calibration error at four times. Right: the class.
    """

    card = dict(code="O7", tier=1, topic="guidance-and-statistics", paper="2310.11311",
                source="Ma et al. 2023 (EluCD); derived", found="")  # fmt: skip
    taus = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0)
    mean, variance, n, times = 1.5, 0.3, 400, (0.1, 0.3, 0.6, 1.0)
    reference = {0.0: (0.0, 2.55), 0.5: (1.01, 1.13), 1.0: (1.5, 0.3), 1.5: (1.61, 0.186), 2.0: (1.66, 0.150)}

    def measure(self, seed):
        means = torch.tensor([[-self.mean], [self.mean]], dtype=torch.float64)
        law = GaussianMixture([1, 1], means, torch.full((2,), self.variance, dtype=torch.float64), VP2)
        classes = [Gaussian(c, self.variance, VP2) for c in means]
        ends = self._ends(law, classes)
        exact = self.mean + self.variance**0.5 * self._normal_quantiles()
        m = SimpleNamespace(ends=ends, w1=(ends - exact).abs().mean(1).tolist())
        m.moments = [(e.mean().item(), e.var(correction=0).item()) for e in ends]
        m.ece, m.floor, m.accuracy = self._calibration(law, seed)
        return m

    def _normal_quantiles(self):
        u = (torch.arange(self.n, dtype=torch.float64) + 0.5) / self.n
        return torch.from_numpy(ndtri(u.numpy()))

    def _ends(self, law, classes):
        """Where the guided ODE takes quantiles of x_T, (taus, n)."""
        tau = torch.tensor(self.taus, dtype=torch.float64).repeat_interleave(self.n)[:, None]

        def score(x, t):
            gap = classes[1].log_prob(x, t) - classes[0].log_prob(x, t)
            other = torch.sigmoid(-tau * gap[:, None])
            return law.score(x, t) + tau * other * (classes[1].score(x, t) - classes[0].score(x, t))

        start = self._normal_quantiles()[:, None] * law.at(6.0).cov().sqrt()
        x = heun(velocity(score, VP2), start.repeat(len(self.taus), 1), quadratic(6.0, 1e-4, 120))
        return x.reshape(len(self.taus), self.n)

    def _calibration(self, law, seed, n=10000):
        """Calibration error and its floor, means over the times, and accuracies, for every tau."""
        found = []
        for t in self.times:
            labels = (Rng(seed, "labels").uniform(n) < 0.5).long()
            x0 = law.means[labels] + self.variance**0.5 * Rng(seed, "signals").normal(
                torch.empty(n, 1, dtype=torch.float64)
            )
            x = law.process.alpha(t) * x0 + law.process.sigma(t) * Rng(seed, f"noise {t}").normal(x0)
            logits = law.responsibilities(x, t).log()
            for tau in self.taus:
                p = torch.softmax(tau * logits, 1)
                error = expected_calibration_error(p, labels, repeats=4, seed=seed)
                right = (logits.argmax(1) == labels) if tau == 0 else p.argmax(1) == labels
                found.append((error.value, error.floor, right.double().mean().item()))
        return torch.tensor(found).reshape(len(self.times), -1, 3).mean(0).T

    def _at(self, values, tau):
        return values[self.taus.index(tau)]

    def rows(self, m):
        for tau, (mean, variance) in self.reference.items():
            found = self._at(m.moments, tau)
            yield equal(f"tau = {tau:g}: mean", found[0], mean, 0.025)
            yield close(f"tau = {tau:g}: variance", found[1], variance, 0.025)
        yield equal("tau of the least W1", self.taus[int(np.argmin(m.w1))], 1.0, 0.05)
        yield at_most("tau = 1: W1", self._at(m.w1, 1.0), 0.02)
        yield at_most(
            "tau = 1: calibration error over its floor", self._at(m.ece, 1.0) / self._at(m.floor, 1.0), 1.5
        )
        below, above = (0.25, 0.5, 0.75, 1.0), (1.0, 1.25, 1.5, 2.0)
        for chain, sign in ((below, -1), (above, 1)):
            rise = [sign * (self._at(m.ece, b) - self._at(m.ece, a)) for a, b in pairwise(chain)]
            yield at_least(
                f"calibration error falls to tau = 1, from {chain[0]:g} to {chain[-1]:g}: least step",
                min(rise),
                0.0,
            )

    def controls(self, m):
        spread = (m.accuracy[1:].max() - m.accuracy[1:].min()).item()
        yield at_least("accuracy tells the temperatures apart: its range", spread, 1e-6)
        for tau in (0.5, 2.0):
            yield at_most(f"tau = {tau:g}: W1", self._at(m.w1, tau), 0.02)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.plot(self.taus, m.w1, "o-", label="W1 to the class")
        ax.plot(self.taus, m.ece, "s-", label="calibration error, mean over four times")
        ax.plot(self.taus, m.floor, ":", color="black", label="its floor")
        ax.plot(self.taus[1:], 1 - m.accuracy[1:], "x--", color="tab:red", label="control: 1 - accuracy")
        ax.set(xlabel="tau, the factor of the logits", ylabel="classes at +-1.5, variance 0.3", ylim=(0, 0.6))
        ax.legend(fontsize=8)


class AdaptiveGuidanceDecay(Claim):
    """eps_c and eps say the same once the class is resolved, 1 - cos(eps_c, eps) -> 0, so guidance left below that level changes
    nothing; where classes overlap it never is.

    s_c - s = grad log p(c | x_t)^{-1} vanishes as fast as p(c | x_t) -> 1, like e^{-separation^2 / sigma^2}. Three modes 3.4 apart (gmm-3s), guidance 2 by the
    library's Product, Heun on 80 > sigma > 0.002; below a level the class's score alone. Left: the library's cosine along the
    paths, and the rms change of the ends. Right: zero. With the means six times closer the change stays.
    """

    card = dict(code="O8", tier=0, topic="guidance-and-statistics", paper="2312.12487",
                source="Castillo et al. 2023, sect. 4; derived", found="")  # fmt: skip
    levels, weight, n, steps = (10.0, 3.0, 1.0, 0.5, 0.2), 2.0, 300, 60
    seen = (40.0, 8.8, 1.9, 0.89, 0.42)

    def measure(self, seed):
        start = 80 * Rng(seed, "start").normal(torch.empty(self.n, 2, dtype=torch.float64))
        near = GaussianMixture([1, 1, 1], MEANS / 6, torch.full((3,), 0.1, dtype=torch.float64))
        m = SimpleNamespace()
        m.cosines, m.change = self._left(gmm_3s(), start)
        m.near_cosines, m.near_change = self._left(near, start)
        m.saved = [(karras(80.0, 0.002, self.steps) < level).double().mean().item() for level in self.levels]
        return m

    def _left(self, law, start):
        """1 - cosine along the fully guided paths, (sigma, value), and the rms change for each level."""
        one = Gaussian(law.means[0], law.covariances.c[0].item())
        guided = Product((one,), (self.weight,)).bind(SimpleNamespace(prior=law))
        times, x, cosines, states = karras(80.0, 0.002, self.steps), start, [], {}
        full, plain = velocity(guided.score, law.process), velocity(one.score, law.process)
        for t, s in pairwise(times):
            cosines.append((t.item(), (1 - cosine(one.score(x, t), law.score(x, t))).mean().item()))
            states[t.item()] = x
            x = heun(full, x, torch.stack([t, s]))
        changes = []
        for level in self.levels:
            later = times[times < level]
            end = heun(plain, states[later[0].item()], later)
            changes.append((end - x).square().sum(1).mean().sqrt().item())
        return cosines, changes

    @staticmethod
    def _near(cosines, sigma):
        return min(cosines, key=lambda pair: abs(np.log(pair[0] / sigma)))[1]

    def rows(self, m):
        yield at_most("sigma near 40: 1 - cosine", self._near(m.cosines, 40.0), 0.01)
        yield at_least("sigma near 1.9: 1 - cosine", self._near(m.cosines, 1.9), 0.1)
        yield at_most("sigma near 0.89: 1 - cosine", self._near(m.cosines, 0.89), 0.01)
        yield at_most("sigma near 0.42: 1 - cosine", self._near(m.cosines, 0.42), 1e-6)
        yield at_least("left below 10: rms change", m.change[0], 0.05)
        yield at_least("left below 3: rms change", m.change[1], 0.02)
        yield at_most("left below 1: rms change", m.change[2], 0.01)
        yield at_most("left below 0.5: rms change", m.change[3], 1e-5)

    def controls(self, m):
        for i, bound in ((2, 0.01), (3, 0.01), (4, 0.01)):
            yield at_most(
                f"means six times closer, left below {self.levels[i]:g}: rms change", m.near_change[i], bound
            )

    def plot(self, m, figure):
        left, right = figure.subplots(1, 2)
        floor = lambda values: [max(v, 1e-12) for v in values]
        for name, cosines, change, style in (
            ("gmm-3s", m.cosines, m.change, "o-"),
            ("control: means six times closer", m.near_cosines, m.near_change, "x--"),
        ):
            colour = "tab:red" if "control" in name else "tab:blue"
            sigma, gap = zip(*cosines, strict=True)
            left.loglog(sigma, floor(gap), style, ms=3, color=colour, label=name)
            right.semilogy(m.saved, floor(change), style, color=colour, label=name)
        left.set(xlabel="sigma", ylabel="1 - cos(eps_c, eps), mean")
        right.set(xlabel="steps without guidance", ylabel="rms change of samples")
        left.legend(fontsize=7)
