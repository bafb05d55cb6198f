"""Scores that obey the Fokker-Planck equation, energies that do not, and residuals without bias."""

from math import log, prod
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, within_errors
from theory.claims._line import levels, quantiles, reverse_density
from theory.claims._reverse import heun, quadratic, velocity
from theory.diagnostics.fokker_planck import fokker_planck_residual, log_density_residual, residual_square
from theory.distributions.mixture import Gaussian, GaussianMixture
from theory.distributions.perturbed import frozen, scaled, smoothed, tilted
from theory.distributions.toys import gmm_3
from workbench._rng import Rng
from workbench.catalogue import entries, load
from workbench.diffusion.variance_exploding import EDM
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)


def closed_laws():
    """name -> an example of every law of the catalogue with a score in closed form, of at most 8 coordinates."""
    chosen = (e.name for e in entries("distributions") if e.card["engine"] != "gibbs")
    examples = {name: load("distributions", name).example(Rng(0, "example")) for name in chosen}
    return {n: law for n, law in examples.items() if hasattr(law, "noise_range") and prod(law.shape) <= 8}


def spaced(low, high, count=6):
    """`count` noise levels, even in the logarithm, inside (low, high)."""
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return low * (high / low) ** u


def residuals(prior, law, kappas, n, seed):
    """sigma |r| per unit of log kappa and square root of d, in L2(p_t), of `prior` under its process at each level.

    r is the vector residual at n draws of the law; a score is at most 1 in these units. (Beside the score itself a law
    that is flat, as a box is inside, shows rounding alone.)
    """
    process, x0, found = prior.process, law.sample(n, seed), []
    for i, t in enumerate(process.time(kappas)):
        x = process.alpha(t) * x0 + process.sigma(t) * Rng(seed, "residual", i).normal(x0)
        mean = fokker_planck_residual(prior.score, x, t, process).value
        found.append((2 * process.sigma(t) ** 3 / process.g2(t)).item() * (mean / x0[0].numel()) ** 0.5)
    return found


class Trained:
    """D(x, t) = W [1, x, h, h log kappa], h = tanh(A x / kappa' + b): a network with one layer drawn and one fitted.

    W: least squares on draws (x_t, x0) of `law` under a process with alpha = 1, levels from low to high.
    """

    def __init__(self, law, low, high, rng, width=60, draws=6000):
        self.process = law.process
        self.A = rng.normal(torch.empty(width, *law.shape, dtype=torch.float64))
        self.b = rng.normal(torch.empty(width, 1, dtype=torch.float64))[:, 0]
        x0 = law.sample(draws, rng.seed, "training")
        kappa = low * (high / low) ** rng.uniform(draws, 1)
        self.W = torch.linalg.lstsq(self._layer(x0 + kappa * rng.normal(x0), kappa), x0).solution

    def _layer(self, x, kappa):
        h, level = torch.tanh(x @ self.A.mT + self.b), torch.log(torch.as_tensor(kappa))
        return torch.cat([torch.ones_like(x[:, :1]), x, h, h * level, h * level**2], 1)

    def score(self, x, t):
        kappa = self.process.kappa(t)
        return (self._layer(x, kappa) @ self.W - x) / kappa**2


class ScoreFpeResidual(Claim):
    """d_t s = grad[(g^2 / 2)(div s + |s|^2) - f x . s - div f x] for the scores s of every law under every diffusion.

    The Fokker-Planck equation of p_t, divided by p_t, is d_t log p = (g^2 / 2)(div s + |s|^2) - f x . s - div f x; its
    gradient is the line above. Left: the library's residual, in units of 1 / sigma per unit of log kappa, of every law of the
    catalogue with a closed score, under vp2 at six levels of its range; and of gmm-3 smoothed by h, which is the true score of
    another density: the residual says that a score is consistent, not that it is right. Right: zero. A scaled score, one held
    before a time and one that a small network learns are no scores of a diffusion.
    """

    card = dict(code="J1", tier=0, topic="score-fokker-planck", paper="2506.17139",
                source="Lai et al. 2023, eq. 6; the residual of a scalar potential in 2506.17139", found="")  # fmt: skip
    margin, draws, h = 1e-7, 4, 0.5

    def measure(self, seed):
        m = SimpleNamespace(laws={}, kappas=spaced(0.1, 10.0))
        for name, law in closed_laws().items():
            m.laws[name] = residuals(law.under(VP2), law, spaced(*law.noise_range), self.draws, seed)
        law = gmm_3(EDM())
        m.scalar = self._scalar(gmm_3(VP2), m.kappas, seed)
        wrong = smoothed(law, self.h)
        m.smooth = residuals(wrong, law, m.kappas, 64, seed)
        m.smooth_error = self._error(wrong, law, m.kappas[0], seed)
        models = dict(
            scale=scaled(law, 0.05),
            frozen=frozen(law, 1.0),
            network=Trained(law, 0.1, 10.0, Rng(seed, "network")),
        )
        m.wrong = {name: residuals(model, law, m.kappas, 64, seed) for name, model in models.items()}
        return m

    @staticmethod
    def _scalar(law, kappas, seed):
        """The largest residual of log p_t itself over the levels, beside the size of one of its terms."""
        found = []
        for t in law.process.time(kappas):
            x = law.at(t).sample(64, seed)
            term = 0.5 * law.process.g2(t) * law.score(x, t).square().sum(1)
            R = log_density_residual(law.log_prob, x, t, law.process).residuals
            found.append((R.abs().max() / term.max()).item())
        return max(found)

    @staticmethod
    def _error(model, law, t, seed):
        """|shat - s| over |s|, in L2(p_t)."""
        x = law.at(t).sample(2000, seed)
        s = law.score(x, t)
        return ((model.score(x, t) - s).square().sum() / s.square().sum()).sqrt().item()

    def rows(self, m):
        yield at_least("laws of the catalogue", len(m.laws), 20)
        for name, found in m.laws.items():
            yield at_most(f"{name}: largest residual over six levels", max(found), self.margin)
        yield at_most("gmm-3: residual of log p_t, over the term g^2 |s|^2 / 2", m.scalar, self.margin)
        yield at_most(f"gmm-3 smoothed by {self.h:g}: largest residual", max(m.smooth), self.margin)
        yield at_least(f"gmm-3 smoothed by {self.h:g}: relative error of the score", m.smooth_error, 0.3)

    def controls(self, m):
        yield at_most("1.05 s: least residual", min(m.wrong["scale"]), 1e-3)
        yield at_most("score held before t = 1: residual at the least level", m.wrong["frozen"][0], 1e-3)
        yield at_most("network: least residual", min(m.wrong["network"]), 1e-3)

    def plot(self, m, figure):
        ax = figure.subplots()
        for name, found in m.laws.items():
            ax.semilogy(
                range(1, 7),
                found,
                "-",
                color="C0",
                lw=0.8,
                label="laws of the catalogue" if name == "gaussian" else None,
            )
        ax.semilogy(range(1, 7), m.smooth, "o-", color="C2", label="wrong, but consistent: smoothed gmm-3")
        for (name, found), mark in zip(m.wrong.items(), "xs^", strict=True):
            ax.semilogy(range(1, 7), found, f"{mark}--", color="tab:red", label=f"control: {name}")
        ax.set(
            xlabel="noise level, of six from least to largest",
            ylabel="residual, in units of 1 / sigma per log kappa",
        )
        ax.legend(fontsize=7)


class SmallTInconsistency(Claim):
    """An error of u = log p_t that lives at t < tau leaves the samples as they are, and moves the weights of e^u_0 by O(1).

    The law of the samples differs from e^u_0 by int R along paths, R the Fokker-Planck residual of u (`fp-residual-feynman-kac`): an
    error 1.5 e^(-t/tau) tanh(x/2) moves mass by drift over a time tau only, and no mass crosses between wells at +-5 in a short
    one, but at t = 0 it is there in full. Left: P(x > 0) of 4000 quantiles of p_T carried by the ODE of the library's tilted score,
    and of the SDE by its Fokker-Planck equation. Right: 1/2, the truth, and numbers seen before; the energy's own P is 0.9496.
    """

    card = dict(code="J2", tier=1, topic="score-fokker-planck", paper="2506.17139",
                source="2506.17139, qualitative; the numbers derived", found="")  # fmt: skip
    T, size, taus = 4.0, 1.5, (1.0, 0.3, 0.1, 0.03, 5.0, 20.0)
    reference, energy = (0.569, 0.502, 0.500, 0.500, 0.84, 0.91), 0.9496

    def measure(self, seed):
        means = torch.tensor([[-5.0], [5.0]], dtype=torch.float64)
        law = GaussianMixture([1, 1], means, torch.ones(2, dtype=torch.float64), VP2)
        x = torch.linspace(-14, 14, 2801, dtype=torch.float64)
        q = law.log_prob(x[:, None], self.T).exp()
        m = SimpleNamespace(ode=self._carried(law, quantiles(q, x, levels(4000))))
        u0 = law.log_prob(x[:, None]) + self.size * torch.tanh(0.5 * x)
        m.energy = (u0.exp() * (x > 0)).sum().item() / u0.exp().sum().item()
        m.sde = [self._diffused(law, q, x, tau) for tau in (0.3, 0.1)]
        return m

    def _carried(self, law, start):
        """P(x > 0) at the end of the ODE for every tau, all in one batch."""
        tau = torch.tensor(self.taus, dtype=torch.float64).repeat_interleave(len(start))
        psi = lambda x, t: self.size * torch.exp(-torch.as_tensor(t) / tau) * torch.tanh(0.5 * x[:, 0])
        x = start.repeat(len(self.taus))[:, None]
        end = heun(velocity(tilted(law, psi).score, VP2), x, quadratic(self.T, 1e-3, 600))
        return (end.reshape(len(self.taus), -1) > 0).double().mean(1).tolist()

    def _diffused(self, law, q, x, tau):
        psi = lambda u, t: self.size * torch.exp(-torch.as_tensor(t) / tau) * torch.tanh(0.5 * u[:, 0])
        end = reverse_density(tilted(law, psi).score, VP2, q, x, quadratic(self.T, 1e-3, 300))[-1]
        return (end * (x > 0)).sum().item() / end.sum().item()

    def rows(self, m):
        for tau, p, expected in zip(self.taus, m.ode, self.reference, strict=True):
            yield equal(f"tau = {tau:g}: P(x > 0) of ODE samples, reference number", p, expected, 0.006)
        for tau, p in zip(self.taus[1:4], m.ode[1:], strict=False):
            yield equal(f"tau = {tau:g}: P(x > 0) of ODE samples and truth", p, 0.5, 0.003)
        for tau, p in zip((0.3, 0.1), m.sde, strict=True):
            yield equal(f"tau = {tau:g}: P(x > 0) of the SDE and truth", p, 0.5, 0.006)
        yield close("P(x > 0) of the energy u_0", m.energy, self.energy, 2e-4)
        yield at_least("its free-energy difference from samples, tau = 0.1", odds(m.energy) - odds(m.ode[2]), 2.5)  # fmt: skip

    def controls(self, m):
        for tau, p in zip(self.taus[4:], m.ode[4:], strict=True):
            yield equal(f"slow error, tau = {tau:g}: P(x > 0) of ODE samples and truth", p, 0.5, 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        order = sorted(range(len(self.taus)), key=lambda i: self.taus[i])
        taus, found = [self.taus[i] for i in order], [odds(m.ode[i]) for i in order]
        ax.axhline(odds(m.energy), color="black", ls="--", label="of the energy u_0")
        ax.semilogx(taus[:4], found[:4], "o-", label="of samples by the ODE")
        ax.semilogx(
            taus[3:], found[3:], "x--", color="tab:red", label="control: slow errors move samples too"
        )
        ax.axhline(0.0, color="black", lw=0.8, ls=":", label="truth")
        ax.set(xlabel="tau, the time that the error lasts", ylabel="log P(x > 0) / P(x < 0)")
        ax.legend(fontsize=8)


def odds(p):
    """log p / (1 - p): the difference of two free energies, in units of kT."""
    return log(p / (1 - p))


class UnbiasedResidualSquare(Claim):
    """E R_1 R_2 = R^2 for two independent probes of the Laplacian in R, and E R_1^2 = R^2 + (g^4 / 2)(|H|^2 - sum H_ii^2).

    v . H v with independent signs v has mean tr H and variance 2 (|H|^2 - sum H_ii^2), enters R with -g^2 / 2, and independent
    probes have no covariance. For u = (1 + eps) log p_t of N(0, S) the residual is -eps f d - eps (1 + eps)(g^2 / 2)|s|^2, of
    variance eps^2 (1 + eps)^2 (g^4 / 2) tr S^-2 over p_t. Left: the library's residual_square, 12 seeds of 3000 points, d = 20.
    Right: these.
    """

    card = dict(code="J3", tier=0, topic="score-fokker-planck", paper="2506.17139",
                source="2506.17139, the estimator of two probes; derived", found="")  # fmt: skip
    d, eps, t, counts, seeds = 20, 0.2, 0.5, (1, 2, 4, 8), 12

    def measure(self, seed):
        root = Rng(seed, "law").normal(torch.empty(self.d, self.d, dtype=torch.float64))
        eye = torch.eye(self.d, dtype=torch.float64)
        law = Gaussian(torch.zeros(self.d, dtype=torch.float64), root @ root.mT / self.d + 0.3 * eye, VP2)
        inverse, g2 = torch.linalg.inv(law.at(self.t).cov()), VP2.g2(self.t).item()
        m = SimpleNamespace(product=[], plug_in=[])
        m.exact = 0.5 * (self.eps * (1 + self.eps) * g2) ** 2 * inverse.square().sum().item()
        off = inverse.square().sum() - inverse.diagonal().square().sum()
        m.bias = 0.5 * g2**2 * (1 + self.eps) ** 2 * off.item()
        u = lambda x, t: (1 + self.eps) * law.log_prob(x, t)
        for probes in self.counts:
            found = [self._once(law, u, probes, seed * 100 + k) for k in range(self.seeds)]
            for name, values in zip(("product", "plug_in"), zip(*found, strict=True), strict=True):
                values = torch.tensor(values, dtype=torch.float64)
                getattr(m, name).append((values.mean().item(), (values.std() / self.seeds**0.5).item()))
        return m

    def _once(self, law, u, probes, seed):
        found = residual_square(u, law.at(self.t).sample(3000, seed), self.t, VP2, probes, seed)
        return found.value, found.plug_in

    def rows(self, m):
        for probes, (value, error), (plain, deviation) in zip(self.counts, m.product, m.plug_in, strict=True):
            yield within_errors(f"{probes} and {probes} probes: E R_1 R_2 over the exact square", value / m.exact, 1.0, error / m.exact)  # fmt: skip
            yield within_errors(f"{probes} probes: excess of E R_1^2", plain - m.exact, m.bias / probes, deviation)  # fmt: skip
        yield at_most("standard error of the ratio, one probe", m.product[0][1] / m.exact, 0.1)

    def controls(self, m):
        for probes, (value, error) in zip(self.counts, m.plug_in, strict=True):
            yield within_errors(f"the same {probes} probes twice, over the exact square", value / m.exact, 1.0, error / m.exact)  # fmt: skip

    def plot(self, m, figure):
        ax = figure.subplots()
        (value, error), (plain, deviation) = zip(*m.product, strict=True), zip(*m.plug_in, strict=True)
        ax.errorbar(
            self.counts,
            value,
            3 * torch.tensor(error),
            fmt="o-",
            label="two sets of probes, 3 standard errors",
        )
        ax.errorbar(
            self.counts,
            plain,
            3 * torch.tensor(deviation),
            fmt="x--",
            color="tab:red",
            label="control: one set, squared",
        )
        ax.axhline(m.exact, color="black", lw=0.8, ls=":", label="exact")
        ax.set(xscale="log", yscale="log", xlabel="probes in a set", ylabel="E (R - E R)^2")
        ax.legend(fontsize=8)
