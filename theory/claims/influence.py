"""Influence of training points by their gradients: what the noise level at which a point was seen does to it."""

from types import SimpleNamespace

import numpy as np
import torch
from scipy.stats import spearmanr

from theory.claims._claim import Claim, at_least, at_most, close, within_errors
from theory.distributions.mixture import GaussianMixture
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)
TARGETS = ("eps", "x0")


class CosineModel:
    """W phi(x, t) with random cosines phi, W by ridge regression on both targets at once, eps and x0."""

    def __init__(self, x, t, targets, seed, stream, features=200, ridge=1e-6):
        rng, self.count = Rng(seed, stream), features
        self.frequencies = rng.normal(torch.empty(features, x.shape[1] + 1, dtype=torch.float64))
        self.phases = 2 * torch.pi * rng.uniform(features)
        P, eye = self.phi(x, t), torch.eye(features, dtype=torch.float64)
        y = torch.cat([targets[name] for name in TARGETS], 1)
        self.weights = torch.linalg.solve(P.mT @ P + ridge * len(x) * eye, P.mT @ y)

    def phi(self, x, t):
        """(n, features), of length about 1."""
        angles = torch.cat([x, t[:, None]], 1) @ self.frequencies.mT + self.phases
        return (2 / self.count) ** 0.5 * torch.cos(angles)

    def residuals(self, x, t, targets):
        """Target -> (n, d)."""
        guesses = (self.phi(x, t) @ self.weights).chunk(len(TARGETS), 1)
        return {name: targets[name] - guess for name, guess in zip(TARGETS, guesses, strict=True)}


class TimestepGradientNorm(Claim):
    """At the optimum E||residual||^2 at t is the least error of the target, E||x0 - D(x_t)||^2 for x0 and (alpha / sigma)^2 times that for eps: so
    gradients, and influences made of them, fall with t for eps and rise for x0.

    eps - E[eps | x_t] = -(alpha / sigma)(x0 - D); for a coordinate N(0, v) these are v sigma^2 / (alpha^2 v + sigma^2) and alpha^2 v / (alpha^2 v + sigma^2). The
    gradient of a model W phi(x, t) is residual x phi. 200 random cosines, a ridge fit on 40000 points of two modes at +-1.5 in the plane, 0.05 < t < 2.5.
    Influence: |product of gradients| with those of 300 query points (TracIn), mean of each of 300 training points; renormalised by the length of its own gradient.
    Left: residuals, and rank correlations, means over eight fits. Right: the library's denoiser, and bounds. Norms over the root of the least error keep little order in t.
    """

    card = dict(code="O12", tier=1, topic="guidance-and-statistics", paper="2401.09031",
                source="Xie et al. 2024, sect. 4; derived", found="")  # fmt: skip
    fits, drawn, points, held_out = 8, 40000, 300, 4000
    variance, span, times = 0.15, (0.05, 2.5), (0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 2.5)

    def measure(self, seed):
        modes = torch.tensor([[-1.5, 0.0], [1.5, 0.0]], dtype=torch.float64)
        law = GaussianMixture([1, 1], modes, torch.full((2,), self.variance, dtype=torch.float64), VP2)
        m = SimpleNamespace(exact=self._least(law, seed))
        fits = [self._fit(law, m.exact, seed, k) for k in range(self.fits)]
        m.first = fits[0]
        for name in ("residual", "deciles", "order", "scaled", "influence", "renormalised"):
            found = {a: torch.stack([getattr(fit[a], name) for fit in fits]).mean(0) for a in TARGETS}
            setattr(m, name, found)
        return m

    def _noised(self, law, n, seed, stream, t=None):
        """x_t, t, and both targets; t uniform in the span by default."""
        x0, rng = law.sample(n, seed, stream=stream), Rng(seed, f"{stream} noise")
        low, high = self.span
        t = low + (high - low) * rng.uniform(n) if t is None else torch.full((n,), t, dtype=torch.float64)
        eps = rng.normal(x0)
        return VP2.alpha(t)[:, None] * x0 + VP2.sigma(t)[:, None] * eps, t, dict(eps=eps, x0=x0)

    def _least(self, law, seed):
        """E||x0 - D||^2 at the times, (times,), and that of the Gaussian coordinate with its error, (times, 2)."""
        squares = []
        for t in self.times:
            x, _, targets = self._noised(law, self.held_out, seed, "held out", t)
            squares.append((targets["x0"] - law.denoise(x, t)).square())
        squares = torch.stack(squares)
        across = squares[:, :, 1]
        error = across.std(1) / self.held_out**0.5
        return SimpleNamespace(mmse=squares.sum(2).mean(1), across=torch.stack([across.mean(1), error], 1))

    def _fit(self, law, exact, seed, k):
        """Target -> what one fit says."""
        model = CosineModel(*self._noised(law, self.drawn, seed, f"fit {k}"), seed, f"features {k}")
        train = self._noised(law, self.points, seed, f"train {k}")
        query = self._noised(law, self.points, seed, f"query {k}")
        kernel = (model.phi(*train[:2]) @ model.phi(*query[:2]).mT).abs()
        length, r, rq = model.phi(*train[:2]).norm(dim=1), model.residuals(*train), model.residuals(*query)
        held = [model.residuals(*self._noised(law, self.held_out, seed, "held out", t)) for t in self.times]
        found = {}
        for name in TARGETS:
            norm = length * r[name].norm(dim=1)
            influence = ((r[name] @ rq[name].mT).abs() * kernel).mean(1)
            found[name] = self._ranked(train[1], norm, influence, self._root(exact, train[1], name))
            found[name].residual = torch.stack([h[name].square().sum(1).mean() for h in held])
        return found

    @staticmethod
    def _ranked(t, norm, influence, root):
        """Norms by deciles of t and the rank correlations."""
        decile = torch.argsort(torch.argsort(t)) * 10 // len(t)
        deciles = torch.stack([norm[decile == j].mean() for j in range(10)])
        rank = lambda a, b: torch.tensor(spearmanr(a, b).statistic)
        return SimpleNamespace(
            t=t,
            norm=norm,
            deciles=deciles,
            order=rank(norm, t),
            scaled=rank(norm / root, t),
            influence=rank(influence, deciles[decile]),
            renormalised=rank(influence / norm, deciles[decile]),
        )

    def _root(self, exact, t, target):
        """The root of the least error of the target at every t; (sigma / alpha)^2 / mmse is linear enough in log t between the times."""
        grid, noise = torch.tensor(self.times, dtype=torch.float64), lambda t: VP2.kappa(t) ** 2
        ratio = torch.from_numpy(np.interp(t.log(), grid.log(), (exact.mmse / noise(grid)).log())).exp()
        return ratio.sqrt() if target == "eps" else (ratio * noise(t)).sqrt()

    def rows(self, m):
        kappa2 = VP2.kappa(torch.tensor(self.times)) ** 2
        for i, t in enumerate(self.times):
            a2, s2 = VP2.alpha(t) ** 2, VP2.sigma(t) ** 2
            closed = self.variance * s2 / (a2 * self.variance + s2)
            mean, error = m.exact.across[i]
            yield within_errors(f"t = {t:g}: error of D across the modes", mean, closed, error)
            if not 0.2 <= t <= 2.0:  # where the ridge fit is within 10 % of the optimum
                continue
            least = m.exact.mmse[i]
            yield close(f"t = {t:g}, x0: E||residual||^2", m.residual["x0"][i], least, 0.1)
            yield close(f"t = {t:g}, eps: E||residual||^2", m.residual["eps"][i], least / kappa2[i], 0.1)
        eps, x0 = m.deciles["eps"], m.deciles["x0"]
        yield at_least("eps: norm in the first tenth of t over the last", eps[0] / eps[-1], 3.0)
        yield at_least("x0: norm in the last tenth of t over the first", x0[-1] / x0[0], 2.0)
        yield at_most("eps: rank correlation of norm and t", m.order["eps"], -0.4)
        yield at_least("x0: rank correlation of norm and t", m.order["x0"], 0.4)
        for name in TARGETS:
            yield at_least(
                f"{name}: rank correlation of influence and norm of its tenth", m.influence[name], 0.4
            )
        yield at_least("x0: the same of renormalised influence", m.renormalised["x0"], 0.25)
        drop = m.influence["eps"] - m.renormalised["eps"]
        yield at_least("eps: what renormalising takes off that", drop, 0.15)

    def controls(self, m):
        yield at_most("eps, over the root of the least error: rank correlation with t", m.scaled["eps"], -0.4)
        yield at_least("x0, over the root of the least error: rank correlation with t", m.scaled["x0"], 0.4)

    def plot(self, m, figure):
        for ax, name in zip(figure.subplots(1, 2), TARGETS, strict=True):
            first = m.first[name]
            ax.semilogy(first.t, first.norm, ".", ms=3, color="tab:gray", label="training points")
            root = self._root(m.exact, first.t, name)
            order = first.t.argsort()
            ax.semilogy(first.t[order], root[order], color="black", label="root of the least error")
            ax.semilogy(
                first.t, first.norm / root, "x", ms=3, color="tab:red", label="control: over that root"
            )
            ax.set(xlabel="t", ylabel=f"norm of the gradient, target {name}", ylim=(5e-3, 20))
            ax.legend(fontsize=7, loc="lower left")
