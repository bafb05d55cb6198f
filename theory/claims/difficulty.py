"""What is hard for a diffusion model: rare signals at one noise level, and one noise level after another."""

from types import SimpleNamespace

import numpy as np
import torch
from scipy.stats import spearmanr

from theory.claims._claim import Claim, at_least, close, equal, within_errors
from theory.distributions.mixture import Gaussian, GaussianMixture
from theory.distributions.toys import MEANS
from workbench._rng import Rng
from workbench.diffusion.tabulated import Tabulated
from workbench.samplers.minority import minority_score


class MinorityReconstructionGap(Claim):
    """E||x0 - D(x_t)||^2 of component k is E||m_k + v (x_t - m_k) / (v + sigma^2) - D(x_t)||^2 + d v sigma^2 / (v + sigma^2) over x_t ~ N(m_k,
    (v + sigma^2) I): it grows as the weight of the component falls.

    Given k and x_t, x0 is Gaussian around the first term's mean with the second term's variance, apart from D, which leans to the frequent
    components. Left: the library's minority score of draws of each component at sigma = 2. Right: Gauss-Hermite quadrature with D
    written out. With equal weights no component is a minority, and far below the width of a component nothing ranks the signals.
    """

    card = dict(code="O9", tier=0, topic="guidance-and-statistics", paper="2301.12334",
                source="Um et al. 2024, eq. 8, with the squared error for LPIPS", found="")  # fmt: skip
    weights, variance, sigma, n, means = (0.80, 0.18, 0.02), 0.3, 2.0, 2000, 1.25 * MEANS

    def measure(self, seed):
        m = SimpleNamespace(
            rare=self._by_component(self.weights, seed), even=self._by_component((1, 1, 1), seed)
        )
        law = self._law(self.weights)
        x = torch.cat([self._part(k).sample(400, seed, stream=f"part {k}") for k in range(3)])
        m.surprise = -law.log_prob(x)
        m.score = minority_score(law, x, torch.tensor(self.sigma), 20, Rng(seed, "rank"))
        m.rank = spearmanr(m.surprise, m.score).statistic
        y = law.sample(1500, seed)
        ranked = lambda s: minority_score(law, y, torch.tensor(s), 20, Rng(seed, "rank"))
        m.own, m.fine = (spearmanr(-law.log_prob(y), ranked(s)).statistic for s in (self.sigma, 0.03))
        return m

    def _law(self, weights):
        return GaussianMixture(weights, self.means, torch.full((3,), self.variance, dtype=torch.float64))

    def _part(self, k):
        return Gaussian(self.means[k], self.variance)

    def _by_component(self, weights, seed):
        """(mean, error, exact) for each component."""
        law, found = self._law(weights), []
        for k in range(3):
            x = self._part(k).sample(self.n, seed, stream=f"component {k}")
            score = minority_score(law, x, torch.tensor(self.sigma), 4, Rng(seed, f"score {k}"))
            error = (score.std() / self.n**0.5).item()
            found.append((score.mean().item(), error, self._quadrature(weights, k)))
        return found

    def _quadrature(self, weights, k):
        nodes, w = np.polynomial.hermite_e.hermegauss(60)
        z, w = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2), np.outer(w, w).ravel() / (2 * np.pi)
        means, level = self.means.numpy(), self.variance + self.sigma**2
        x, gain = means[k] + level**0.5 * z, self.variance / level
        log_rho = np.log(weights) - 0.5 * ((x[:, None] - means) ** 2).sum(-1) / level
        rho = np.exp(log_rho - log_rho.max(1, keepdims=True))
        centre = rho @ means / rho.sum(1, keepdims=True)
        off = (1 - gain) * (means[k] - centre)  # m_k + gain (x - m_k) - D
        return float(w @ (off**2).sum(1) + 2 * gain * self.sigma**2)

    def rows(self, m):
        for w, (mean, error, exact) in zip(self.weights, m.rare, strict=True):
            yield within_errors(f"weight {w:g}: mean of the minority score", mean, exact, error)
        yield at_least("rare over frequent", m.rare[2][0] / m.rare[0][0], 3.0)
        yield at_least("middle over frequent", m.rare[1][0] / m.rare[0][0], 2.0)
        yield at_least("rank correlation with -log p, as many of each component", m.rank, 0.6)
        for mean, error, exact in m.even:
            yield within_errors("equal weights: mean of the minority score", mean, exact, error)

    def controls(self, m):
        even = [mean for mean, _, _ in m.even]
        yield at_least("equal weights: largest over smallest", max(even) / min(even), 2.0)
        yield at_least("sigma = 0.03: rank correlation with -log p", m.fine, 0.2)

    def plot(self, m, figure):
        ax, names = figure.subplots(), [f"weight {w:g}" for w in self.weights]
        for k, name in enumerate(names):
            rows = slice(400 * k, 400 * (k + 1))
            ax.plot(m.surprise[rows], m.score[rows], ".", ms=3, label=name)
            ax.axhline(m.rare[k][2], color=f"C{k}", lw=0.8)
        ax.axhline(m.even[0][2], color="tab:red", ls="--", label="control: equal weights")
        ax.set(xlabel="-log p(x)", ylabel="E||x - D(x + 2 eps)||^2", yscale="log")
        ax.legend(fontsize=8)


class MarginalKLDifficulty(Claim):
    """KL(p_{t+1} || p_t) = (r - 1 - log r) / 2, r = S_{t+1} / S_t, S = 1 + alpha^2 (v - 1) for data N(0, v): it peaks at small t for
    concentrated data and late for broad data.

    The KL of two centred Gaussians. S moves fastest, against itself, where alpha^2 |v - 1| is comparable with S: at once for v = 0.05, near the fastest fall
    of alpha^2 for v = 4. Left: sums of the library's densities on a grid, 1000 steps with beta from 1e-4 to 0.02. Right: the formula. Two narrow modes
    are hard near the scale that separates the points of a mode, and not at once: 5e-4 at 1, 1.1e-3 at 10.
    """

    card = dict(code="O10", name="marginal-kl-difficulty", tier=0, topic="guidance-and-statistics", paper="2403.10348",
                source="Kim et al. 2024, sect. 3.2; derived", found="'always harder at small t' is false for broad data")  # fmt: skip
    variances, modes = (0.05, 4.0), {1: 5e-4, 10: 1.1e-3, 30: 5.6e-4, 100: 8e-5, 400: 4e-8}
    steps = torch.unique(torch.logspace(0, 2.99, 120).round()).long()

    def measure(self, seed):
        process = Tabulated.linear()
        x = torch.linspace(-17, 17, 2401, dtype=torch.float64)[:, None]
        m = SimpleNamespace(found={}, exact={}, peak={})
        a = process.alpha(torch.arange(1, 1001)) ** 2
        for v in self.variances:
            law = Gaussian(torch.zeros(1, dtype=torch.float64), v, process)
            peak = int(self.formula(a, v).argmax()) + 1
            near = torch.unique(torch.cat([self.steps, torch.arange(peak - 3, peak + 4)]))
            m.found[v] = {t: self._kl(law, x, t) for t in near.tolist()}
            m.exact[v] = self.formula(a, v)
            m.peak[v] = max(m.found[v], key=m.found[v].get)
        narrow = torch.tensor([0.05**2] * 2, dtype=torch.float64)
        law = GaussianMixture([1, 1], torch.tensor([[-1.0], [1.0]], dtype=torch.float64), narrow, process)
        fine = torch.linspace(-9, 9, 9001, dtype=torch.float64)[:, None]
        m.narrow = {t: self._kl(law, fine, t) for t in self.modes}
        return m

    @staticmethod
    def formula(a, v):
        S = 1 + a * (v - 1)
        r = S[1:] / S[:-1]
        return 0.5 * (r - 1 - r.log())

    @staticmethod
    def _kl(law, x, t):
        later, now = law.log_prob(x, t + 1), law.log_prob(x, t)
        q = later.exp() * (x[1] - x[0])
        return (q * (later - now) - q + now.exp() * (x[1] - x[0])).sum().item()

    def rows(self, m):
        for v in self.variances:
            off = max(
                abs(kl / m.exact[v][t - 1].item() - 1)
                for t, kl in m.found[v].items()
                if m.exact[v][t - 1] > 1e-9
            )
            yield equal(f"data variance {v:g}: largest relative error where KL > 1e-9", off, 0.0, 1e-4)
        yield equal("data variance 0.05: step of the peak, counted from 0", m.peak[0.05] - 1, 62, 0.5)
        yield equal("data variance 4: step of the peak, counted from 0", m.peak[4.0] - 1, 316, 0.5)
        for t, quoted in self.modes.items():
            yield close(f"two modes of deviation 0.05, step {t}: KL as quoted", m.narrow[t], quoted, 0.15)

    def controls(self, m):
        for v in self.variances:
            yield equal(
                f"'hardest at the first step', data variance {v:g}: step of the peak", m.peak[v], 1, 10
            )
        yield at_least("'harder the earlier', two modes: step 1 against step 10", m.narrow[1], m.narrow[10])

    def plot(self, m, figure):
        ax, t = figure.subplots(), np.arange(1, 1000)
        for v, colour in zip(self.variances, ("tab:blue", "tab:red"), strict=True):
            name = f"variance {v:g}" + (" (control: peaks late)" if v > 1 else "")
            ax.loglog(t, m.exact[v], color=colour, label=name)
            ax.plot(m.peak[v], m.found[v][m.peak[v]], "o", color=colour)
        ax.loglog(
            list(m.narrow),
            list(m.narrow.values()),
            "s-",
            color="tab:green",
            label="two modes, deviation 0.05",
        )
        ax.set(xlabel="step t of 1000", ylabel="KL(p_{t+1} || p_t), nats", ylim=(1e-9, None))
        ax.legend(fontsize=8)
