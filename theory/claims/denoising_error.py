"""The least error of denoising: how it falls with the noise, and how a larger one bounds the divergence of a model."""

from math import log
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_most, close, equal, slope
from theory.claims._linear import gaussian_kl, moments
from theory.claims._reverse import karras
from theory.distributions.mixture import Gaussian
from theory.distributions.toys import gmm_1d

FLOAT64 = torch.float64  # every law here has the process of EDM: x_t = x_0 + sigma eps and t = sigma


class OraclePsnrSlope(Claim):
    """mse ~ sigma^(2 a / (a + 1)) for variances lam_k = k^-(a + 1): the error of the best denoiser falls slower than
    sigma^2.

    sum_k lam_k sigma^2 / (lam_k + sigma^2) has sigma^-2/(a+1) terms of size sigma^2 and a tail of the same order. It
    is the oracle's error for coefficients of these squares, and for Gaussian data the error of the true denoiser.
    Left: slopes over sigma^2 in [1e-6, 1e-2] of sigma^2 tr J, J the library's. Right: a / (a + 1) less up to 0.025 for
    the finite range, and numbers seen before. Finitely many equal variances have slope 1.
    """

    card = dict(code="H3", tier=0, topic="denoiser-geometry", paper="2310.02557",
                source="Kadkhodaie et al. 2024; Mallat 2009, ch. 9",
                found="")  # fmt: skip
    powers, seen, modes = (1, 2, 3, 5), (0.497, 0.658, 0.736, 0.812), 100_000

    def measure(self, seed):
        k = torch.arange(1, self.modes + 1, dtype=FLOAT64)
        m = SimpleNamespace(noise=torch.logspace(-6, -2, 13, dtype=FLOAT64).tolist(), curves={}, oracle=0.0)
        for a in self.powers:
            lam = k ** -(a + 1.0)
            m.curves[a] = self._errors(lam, m.noise)
            exact = [(lam * s2 / (lam + s2)).sum().item() for s2 in m.noise]
            gaps = [abs(v / w - 1) for v, w in zip(m.curves[a], exact, strict=True)]
            m.oracle = max(m.oracle, max(gaps))
        m.flat = self._errors(torch.ones(64, dtype=FLOAT64), m.noise)
        return m

    @staticmethod
    def _errors(lam, noise):
        """sigma^2 tr J of the Gaussian with these variances: J is diagonal, so that J 1 holds its entries."""
        law = Gaussian(torch.zeros_like(lam), lam)
        one = torch.ones(1, len(lam), dtype=FLOAT64)
        return [s2 * law.denoiser_jvp(one, s2**0.5, one).sum().item() for s2 in noise]

    def rows(self, m):
        for a, seen in zip(self.powers, self.seen, strict=True):
            found = slope(m.noise, m.curves[a])
            yield equal(f"a = {a}: slope, and a / (a + 1)", found, a / (a + 1), 0.025)
            yield equal(f"a = {a}: slope, and that seen", found, seen, 0.003)
        yield at_most("library's trace and the oracle's sum", m.oracle, 1e-10)

    def controls(self, m):
        for a in self.powers[:3]:
            yield equal(
                f"64 equal variances: slope, and a / (a + 1), a = {a}",
                slope(m.noise, m.flat),
                a / (a + 1),
                0.1,
            )

    def plot(self, m, figure):
        ax = figure.subplots()
        psnr = lambda values: [-10 * log(v) / log(10) for v in values]
        for a, values in m.curves.items():
            ax.plot(
                psnr(m.noise), psnr(values), "o-", ms=3, label=f"a = {a}, slope {slope(m.noise, values):.3f}"
            )
        ax.plot(psnr(m.noise), psnr(m.flat), "x--", ms=4, color="tab:red", label="control: equal variances")
        ax.set(xlabel="PSNR in: -10 log10 sigma^2", ylabel="PSNR out: -10 log10 of the error")
        ax.legend(fontsize=8)


class DenoisingGapBoundsKl(Claim):
    """KL(p || p_f) <= int_0^inf (mse(f, sigma) - mse(D, sigma)) sigma^-3 dsigma for the law p_f of the reverse SDE
    with denoiser f, and = where f is the best denoiser of some density p_f.

    Girsanov with score error (f - D) / sigma^2 and g^2 dt = 2 sigma dsigma: KL of paths = int E ||f - D||^2 sigma^-3
    dsigma, and mse(f) - mse(D) = E ||f - D||^2. If f is exact for p_f both reverse SDEs are of two forward ones with
    the same drift, and the KL of paths is that of their ends. Left: KL of Gaussians, KL by quadrature, and the moments
    of the reverse SDE. Right: the library's denoisers integrated over log sigma. A part of the integral is no bound.
    """

    card = dict(code="H6", tier=0, topic="denoiser-geometry", paper="2310.02557",
                source="Song et al. 2021b, theorem 1; Kadkhodaie et al. 2024", found="")  # fmt: skip
    v0, w, widths, cut, span = 1.0, 0.6, (0.3, 0.6, 0.9, 1.3, 2.0), 0.3, (1e-5, 1e4)

    def measure(self, seed):
        law = Gaussian(torch.zeros(1, dtype=FLOAT64), self.v0)
        m = SimpleNamespace(kl=[], gap=[], cut=[], shrunk={})
        for w in self.widths:
            model = Gaussian(torch.zeros(1, dtype=FLOAT64), w)
            gain = lambda s, model=model: self._gain(model, s)
            m.kl.append(0.5 * (self.v0 / w - 1 - log(self.v0 / w)))
            m.gap.append(self._gap(law, gain, *self.span))
            m.cut.append(self._gap(law, gain, self.cut, self.span[1]))
        m.mixture = self._mixture()
        for eps in (0.02, 0.05, 0.1):
            m.shrunk[eps] = self._shrunk(law, eps)
        return m

    @staticmethod
    def _gain(law, sigma):
        """a of D(y) = a y."""
        one = torch.ones(1, 1, dtype=FLOAT64)
        return law.denoise(one, sigma).item()

    def _gap(self, law, gain, low, high, nodes=300):
        """The integral of E (f - D)^2 sigma^-2 over log sigma, for f(y) = gain(sigma) y: trapezoids."""
        sigmas = torch.logspace(torch.tensor(low).log10(), torch.tensor(high).log10(), nodes, dtype=FLOAT64)
        mse = lambda a, s: (1 - a) ** 2 * self.v0 + a**2 * s**2
        values = [(mse(gain(s), s) - mse(self._gain(law, s), s)) / s**2 for s in sigmas]
        return torch.trapezoid(torch.stack(values), sigmas.log()).item()

    def _mixture(self):
        """KL and integral for two modes seen by the Gaussian of their mean and variance, by quadrature in x."""
        law = gmm_1d()
        model = Gaussian(law.mean(), law.cov())
        x = torch.linspace(-9, 9, 4001, dtype=FLOAT64)[:, None]
        p = law.log_prob(x)
        kl = torch.trapezoid(p.exp() * (p - model.log_prob(x)), x[:, 0]).item()
        sigmas = torch.logspace(-3.5, 3, 260, dtype=FLOAT64)
        values = []
        for s in sigmas:
            y = x[::5] * (1 + s**2).sqrt()
            off = (law.denoise(y, s) - model.denoise(y, s))[:, 0]
            values.append(torch.trapezoid(law.log_prob(y, s).exp() * off**2, y[:, 0]) / s**2)
        return kl, torch.trapezoid(torch.stack(values), sigmas.log()).item()

    def _shrunk(self, law, eps, low=0.05, high=80.0):
        """KL at sigma = 0.05 from the reverse SDE with (1 - eps) D, by its moments, and the integral from there on."""
        score = lambda t: ((1 - eps) * self._gain(law, t) - 1) / t**2 * torch.ones(1, 1, dtype=FLOAT64)
        start, end, zero = law.at(high).cov(), law.at(low).cov(), torch.zeros(1, dtype=FLOAT64)
        found = moments(score, law.process, zero, start, karras(high, low, 300), eta=1.0)[1]
        gap = self._gap(law, lambda s: (1 - eps) * self._gain(law, s), low, high)
        return gaussian_kl(zero, end, zero, found), gap

    def rows(self, m):
        for w, kl, gap in zip(self.widths, m.kl, m.gap, strict=True):
            yield equal(f"Gaussian, w = {w:g}: integral and KL", gap, kl, 1e-6)
        yield equal("w = 0.6: integral, and that seen", m.gap[1], 0.0779205, 1e-6)
        yield close("two modes and their Gaussian: integral and KL", m.mixture[1], m.mixture[0], 1e-3)
        for eps, (kl, gap) in m.shrunk.items():
            yield at_most(f"{1 - eps:g} D, sigma >= 0.05: KL and integral", kl, gap)

    def controls(self, m):
        for w, kl, cut in zip(self.widths[:3], m.kl, m.cut, strict=False):
            yield at_most(f"w = {w:g}, integral over sigma >= 0.3 alone: KL and integral", kl, cut)
        yield equal("that at w = 0.6, and the KL", m.cut[1], m.kl[1], 0.01)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.semilogy(self.widths, m.kl, "-", label="KL(p || p_f)")
        ax.semilogy(self.widths, m.gap, "o", label="integral of the gap in error")
        ax.semilogy(self.widths, m.cut, "x--", color="tab:red", label="control: over sigma >= 0.3 alone")
        ax.set(xlabel="w, the variance for which f is the best denoiser", ylabel="nats")
        ax.legend(fontsize=8)
