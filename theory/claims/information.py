"""Information along the forward process: entropy, mutual information and divergences, and the rates they change at."""

from math import log
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, close, equal
from theory.distributions.mixture import Gaussian, GaussianMixture
from theory.distributions.toys import gmm_1d
from workbench.diffusion.variance_exploding import EDM
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)


def line(reach, points=6001):
    """Points of a line, (points, 1)."""
    return torch.linspace(-reach, reach, points, dtype=torch.float64)[:, None]


def integral(values, x):
    """The trapezoidal rule, spectral for densities that vanish at the ends; a float."""
    return torch.trapezoid(values, x[:, 0]).item()


def derivative(f, t, h):
    """f'(t) by differences of order 4."""
    return (f(t - 2 * h) - 8 * f(t - h) + 8 * f(t + h) - f(t + 2 * h)) / (12 * h)


class IMmseDeBruijn(Claim):
    """dH(x_s) / d(s^2) = E |score|^2 / 2 and dI(x0; x_s) / d(snr) = mmse / 2 for x_s = x0 + s eps, snr = 1 / s^2.

    p_s solves the heat equation in s^2 / 2; integrating by parts, d/d(s^2) of -int p log p is int |grad p|^2 / (2 p).
    Then I = H(x_s) - d log(2 pi e s^2) / 2, and mmse = s^2 d - s^4 E |score|^2 by Tweedie. Left: differences of entropies
    from the library's densities. Right: moments of its score.
    """

    card = dict(name="i-mmse-debruijn", code="A4", tier=0, topic="identities", paper="Guo, Shamai, Verdu 2005",
                source="Stam 1959, eq. 2.13 (de Bruijn); Guo, Shamai, Verdu 2005, eq. 1", found="")  # fmt: skip
    levels = (0.4, 0.7, 1.0, 1.5, 2.5)
    margin = 1e-7

    def measure(self, seed):
        law, x = gmm_1d(EDM()), line(25.0)
        m = SimpleNamespace(entropy=[], slope=[], fisher=[], info_slope=[], half_mmse=[])
        H = lambda v: self._entropy(law, x, v**0.5)
        I = lambda snr: H(1 / snr) + 0.5 * log(snr)
        for s in self.levels:
            fisher = self._fisher(law, x, s)
            m.entropy.append(H(s**2))
            m.slope.append(derivative(H, s**2, 2e-3 * s**2))
            m.fisher.append(0.5 * fisher)
            m.info_slope.append(derivative(I, s**-2, 2e-3 * s**-2))
            m.half_mmse.append(0.5 * self._mmse(law, x, s))
        self._gaussian(m)
        return m

    @staticmethod
    def _entropy(law, x, s):
        log_p = law.log_prob(x, s)
        return -integral(log_p.exp() * log_p, x)

    @staticmethod
    def _fisher(law, x, s):
        return integral(law.log_prob(x, s).exp() * law.score(x, s)[:, 0] ** 2, x)

    @staticmethod
    def _mmse(law, x, s):
        """E Var[x0 | x_s] = s^2 E J, from the library's Jacobian of the denoiser."""
        return s**2 * integral(law.log_prob(x, s).exp() * law.denoiser_jacobian(x, s)[:, 0, 0], x)

    @staticmethod
    def _gaussian(m):
        """H of N(0, diag(1, .1, .01)) noised: its slope in s^2 beside half the trace of the precision."""
        law = Gaussian(torch.zeros(3, dtype=torch.float64), torch.tensor([1.0, 0.1, 0.01]).double())
        H = lambda v: law.at(v**0.5).entropy()
        m.gaussian = derivative(H, 0.25, 1e-3)
        m.gaussian_fisher = -0.5 * law.score(torch.eye(3, dtype=torch.float64), 0.5).trace().item()

    def rows(self, m):
        for i, s in enumerate(self.levels):
            yield equal(f"gmm-1d, s = {s}: dH / ds^2", m.slope[i], m.fisher[i], self.margin)
            yield equal(f"gmm-1d, s = {s}: dI / dsnr", m.info_slope[i], m.half_mmse[i], self.margin)
        yield equal("Gaussian of 3 numbers, s = 0.5: dH / ds^2", m.gaussian, m.gaussian_fisher, self.margin)

    def controls(self, m):
        for i, s in enumerate(self.levels):
            yield close(f"ds where ds^2 belongs, s = {s}", 2 * s * m.slope[i], m.fisher[i], 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        v = [s**2 for s in self.levels]
        ax.plot(v, m.entropy, "o-", color="tab:blue", label="H(x_s), nats")
        ax.loglog(v, m.slope, "o", color="tab:green", label="dH / ds^2 by differences")
        ax.loglog(v, m.fisher, "k:", label="half the Fisher information")
        wrong = [2 * s * g for s, g in zip(self.levels, m.slope, strict=True)]
        ax.loglog(v, wrong, "x--", color="tab:red", label="control: dH / ds")
        ax.set(xlabel="s^2", ylabel="gmm-1d")
        ax.legend(fontsize=8)


def log_mean(r):
    return torch.log1p(r) - torch.log(torch.tensor(2.0, dtype=torch.float64))


DIVERGENCES = {  # f(r), and r f''(r): the weight of the Fisher divergence
    "KL": (lambda r: r * r.log(), lambda r: torch.ones_like(r)),
    "reverse KL": (lambda r: -r.log(), lambda r: 1 / r),
    "chi2": (lambda r: (r - 1) ** 2, lambda r: 2 * r),
    "Jensen-Shannon": (lambda r: 0.5 * (r * r.log() - (1 + r) * log_mean(r)), lambda r: 0.5 / (1 + r)),
    "Hellinger": (lambda r: (r.sqrt() - 1) ** 2, lambda r: 0.5 * r**-0.5),
}


class FDivergenceDissipation(Claim):
    """d/dt D_f(p_t || q_t) = -(g^2 / 2) E_p[r f''(r) |grad log p - grad log q|^2] with r = p / q, for every f-divergence.

    Both densities solve the same Fokker-Planck equation; in d/dt int q f(p / q) the drift terms cancel and the diffusion
    leaves -(g^2 / 2) int q f''(r) |grad r|^2 = -(g^2 / 2) int p r f''(r) |grad log r|^2. Left: differences in time of the
    divergence of two mixtures under the same process. Right: the library's scores.
    """

    card = dict(code="A5", tier=0, topic="identities", paper="Uni-Instruct 2025",
                source="re-derived; Uni-Instruct (2025) states such an expansion", found="")  # fmt: skip
    reference = {"KL": -0.597747, "reverse KL": -0.766000, "chi2": -1.266152, "Jensen-Shannon": -0.151913,
                 "Hellinger": -0.317078}  # fmt: skip
    t, times = 0.1, (0.05, 0.1, 0.2, 0.4, 0.8)

    def measure(self, seed):
        means, spreads = torch.tensor([[-1.5], [1.0]]).double(), torch.tensor([0.3, 0.5]).double()
        p = GaussianMixture([0.4, 0.6], means, spreads, VP2)
        q = Gaussian(torch.tensor([0.3]).double(), 1.8, VP2)
        x = line(12.0)
        m = SimpleNamespace(slopes={}, fisher={}, unweighted=None)
        for name, (f, weight) in DIVERGENCES.items():
            m.slopes[name] = [
                derivative(lambda t, f=f: self._divergence(p, q, f, x, t), t, 1e-3) for t in self.times
            ]
            m.fisher[name] = [self._dissipation(p, q, weight, x, t) for t in self.times]
        m.unweighted = self._dissipation(p, q, DIVERGENCES["KL"][1], x, self.t)
        faster = lambda t: self._divergence(p, q, DIVERGENCES["chi2"][0], x, t, 3 * t - 2 * self.t)
        m.two_clocks = derivative(faster, self.t, 1e-3)  # q diffuses at three times the rate
        return m

    @staticmethod
    def _divergence(p, q, f, x, t, later=None):
        log_q = q.log_prob(x, t if later is None else later)
        return integral(log_q.exp() * f((p.log_prob(x, t) - log_q).exp()), x)

    @staticmethod
    def _dissipation(p, q, weight, x, t):
        log_p, log_q = p.log_prob(x, t), q.log_prob(x, t)
        relative = (p.score(x, t) - q.score(x, t))[:, 0] ** 2
        return -0.5 * VP2.g2(t).item() * integral(log_p.exp() * weight((log_p - log_q).exp()) * relative, x)

    def rows(self, m):
        for name, expected in self.reference.items():
            i = self.times.index(self.t)
            yield equal(f"{name} at t = 0.1: rate", m.slopes[name][i], m.fisher[name][i], 1e-6)
            yield equal(f"{name} at t = 0.1: reference number", m.fisher[name][i], expected, 2e-6)
            yield equal(f"{name} at t = 0.8: rate", m.slopes[name][4], m.fisher[name][4], 1e-6)

    def controls(self, m):
        i = self.times.index(self.t)
        yield close("chi2, q under three times the diffusion", m.two_clocks, m.fisher["chi2"][i], 0.1)
        yield close("chi2, weight r f'' left out", m.unweighted, m.fisher["chi2"][i], 0.1)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, name in enumerate(m.slopes):
            ax.semilogy(self.times, [-v for v in m.slopes[name]], "o", color=f"C{i}", label=f"-dD/dt, {name}")
            ax.semilogy(self.times, [-v for v in m.fisher[name]], "-", color=f"C{i}", lw=0.8)
        ax.semilogy(self.t, -m.two_clocks, "x", color="black", ms=9, label="control: two rates, chi2")
        ax.set(xlabel="t", ylabel="rate (marks), weighted Fisher divergence (lines)")
        ax.legend(fontsize=7)
