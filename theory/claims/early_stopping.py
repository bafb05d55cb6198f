"""Early stopping: a denoiser fitted to noisy labels first learns the posterior mean, and then the noise."""

from math import log
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, slope, within_errors
from theory.distributions.mixture import GaussianMixture
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM


class DsmEarlyStopping(Claim):
    """E ||f_k - E[x0 | x_t]||^2 falls and then rises over the steps k of gradient descent on mean ||f(x_t) - x0||^2: a U.

    E ||f - x0||^2 = E ||f - D||^2 + E tr Cov[x0 | x_t]: denoising score matching is regression of D(x_t) = E[x0 | x_t] on
    labels with noise of covariance Cov[x0 | x_t], which n draws do not average out. In the space of a kernel K gradient
    descent fits an eigenvector of K of eigenvalue l after about |K| / l steps: smooth parts of D first, at last the noise of
    every label. Left: the test error against the library's denoiser, integrated over p_t, of descent with steps 1 / |K|
    (closed in eigenvectors). Right: the best of the path, its fall as 1 / n, and the ratio of last to best. Labels D(x_t)
    have no noise: they leave no U.
    """

    card = dict(code="I1", tier=1, topic="optimisation", paper="2401.15604",
                source="Han, Razaviyayn, Xu 2024", found="")  # fmt: skip
    sizes, runs, width, noise = (50, 100, 200, 400, 800), 20, 0.5, 0.5
    least = (5.0, 3.0, 2.0, 1.5, 1.5)
    ratios, bests = (33, 24, 7, 3.6, 3.9), (0.028, 0.016, 0.0064, 0.0028, 0.0020)

    def measure(self, seed):
        means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        law = GaussianMixture([1, 1], means, torch.full((2,), 0.04, dtype=torch.float64), EDM())
        m = SimpleNamespace(steps=torch.logspace(0, 6, 49, dtype=torch.float64), noisy={}, clean={})
        for n in self.sizes:
            curves = [self._curves(law, n, m.steps, seed * 1000 + run) for run in range(self.runs)]
            m.noisy[n], m.clean[n] = (torch.stack(c) for c in zip(*curves, strict=True))
        m.best = [_middle(m.noisy[n].amin(1)) for n in self.sizes]
        m.ratio = [_middle(m.noisy[n][:, -1] / m.noisy[n].amin(1)) for n in self.sizes]
        m.spread = {n: (e[:, -1] / e.amin(1)).log().std().item() for n, e in m.noisy.items()}
        m.when = [_middle(m.steps[m.noisy[n].argmin(1)]) for n in self.sizes]
        m.clean_last = [_middle(m.clean[n][:, -1]) for n in self.sizes]
        m.clean_ratio = [_middle(m.clean[n][:, -1] / m.clean[n].amin(1)) for n in self.sizes]
        return m

    def _curves(self, law, n, steps, seed):
        """Test errors over the steps for the labels x0 and for the labels D(x_t)."""
        x0 = law.sample(n, seed)
        x = x0 + self.noise * Rng(seed, "noise").normal(x0)
        grid = torch.linspace(-4, 4, 401, dtype=torch.float64)[:, None]
        p = torch.softmax(law.log_prob(grid, self.noise), 0)
        eigen, U = torch.linalg.eigh(self._kernel(x, x))
        power = descended(eigen.clamp_min(0), steps)
        paths = self._kernel(grid, x) @ U
        error = lambda y: p @ (paths @ (power * (U.mT @ y)) - law.denoise(grid, self.noise)).square()
        return error(x0), error(law.denoise(x, self.noise))

    def _kernel(self, a, b):
        return torch.exp(-0.5 * ((a - b.mT) / self.width) ** 2)

    def rows(self, m):
        for n, ratio, least in zip(self.sizes, m.ratio, self.least, strict=True):
            yield at_least(f"n = {n}: error after 1e6 steps over the least", ratio, least)
        for n, ratio, expected in zip(self.sizes, m.ratio, self.ratios, strict=True):
            yield within_errors(f"n = {n}: log ratio and reference of a few runs, deviations of one", log(ratio), log(expected), m.spread[n], z=2)  # fmt: skip
        for n, best, expected in zip(self.sizes, m.best, self.bests, strict=True):
            yield close(f"n = {n}: least error, reference number", best, expected, 0.6)
        yield equal("power of n of the least error", slope(self.sizes, m.best), -1.0, 0.25)
        yield at_least("power of n of the best number of steps", slope(self.sizes, m.when), 0.4)
        yield at_most("noiseless labels, n = 50: last error over the least of noisy ones", m.clean_last[0] / m.best[0], 0.2)  # fmt: skip

    def controls(self, m):
        for i in (0, 2):
            yield at_least(f"noiseless labels, n = {self.sizes[i]}: last error over the least", m.clean_ratio[i], self.least[i])  # fmt: skip

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, n in enumerate(self.sizes):
            ax.loglog(m.steps, m.noisy[n].log().mean(0).exp(), color=f"C{i + (i > 2)}", label=f"n = {n}")
        ax.loglog(
            m.steps,
            m.clean[50].log().mean(0).exp(),
            "--",
            color="tab:red",
            label="control: noiseless, n = 50",
        )
        ax.set(xlabel="steps of gradient descent", ylabel="E (f - E[x0 | x_t])^2")
        ax.legend(fontsize=8)


def descended(eigen, steps):
    """(1 - (1 - l / |K|)^k) / l: what k steps of size 1 / |K| make of a label along each eigenvector: (n, len(steps))."""
    share = (eigen / eigen.max()).clamp(1e-16, 1 - 1e-12)[:, None]
    return -torch.expm1(steps * torch.log1p(-share)) / (share * eigen.max())


def _middle(values):
    """Their geometric mean."""
    return values.log().mean().exp().item()
