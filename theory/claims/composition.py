"""Sums of scores: what samplers make of products of Gaussians and of classifier-free guidance, in closed form."""

from types import SimpleNamespace

import numpy as np
import torch
from scipy.integrate import quad

from theory.claims._claim import Claim, at_least, equal
from theory.claims._coordinates import moments
from theory.claims._reverse import quadratic
from theory.distributions.mixture import Gaussian
from workbench.diffusion.variance_preserving import VariancePreserving
from workbench.samplers.product import Product

VP2 = VariancePreserving(2.0, 2.0)
TIMES = quadratic(14.0, 1e-7, 160)
KINDS = dict(SDE=1.0, ODE=0.0)


def normal(mean, variance):
    """N(mean, diag variance) from lists or (d,) tensors."""
    mean, variance = (torch.as_tensor(v, dtype=torch.float64).reshape(-1) for v in (mean, variance))
    return Gaussian(mean, variance, VP2)


def composed(prior, others, weights):
    """The score of p_0 prod (p_i / p_0)^w_i as the sum of scores: the library's Product."""
    return Product(tuple(others), tuple(weights)).bind(SimpleNamespace(prior=prior)).score


def made(score, eta, d=1):
    """(mean, variance), (d,) each, of the reverse SDE (eta = 1) or the ODE (0) of a summed score from N(0, I)."""
    zero = torch.zeros(d, dtype=torch.float64)
    return moments(score, VP2, zero, zero + 1, TIMES, eta)


def predicted(m, v, gamma, eta):
    """(mean, variance) of the sum of scores gamma_i grad log N(m_i, v_i) noised, from N(0, 1): the closed form below.

    The member eta of the family has d log h = ((1/2 - G h) da) / a + h d log P with h = (1 + eta^2) / 2, G = sum gamma.
    """
    m, v, gamma = (np.asarray(x, dtype=float) for x in (m, v, gamma))
    half, G = 0.5 * (1 + eta**2), gamma.sum()
    P = lambda a: np.prod((1 + a * (v - 1)) ** gamma)
    pull = lambda a: (gamma * m / (1 + a * (v - 1))).sum()
    # a = r^2, as the integrands have a root at 0
    mean = quad(lambda r: 2 * half * r ** (2 * half * G - 1) * pull(r * r) / P(r * r) ** half, 0, 1)[0]
    grown = quad(lambda r: 2 * r ** (4 * half * G - 3) / P(r * r) ** (2 * half), 0, 1)[0] if eta else 0.0
    kept = P(1) ** (2 * half) if not eta and G == 1 else 0.0
    return P(1) ** half * mean, eta**2 * P(1) ** (2 * half) * grown + kept


def product(m, v, gamma):
    """(mean, variance) of prod N(m_i, v_i)^gamma_i."""
    m, v, gamma = (np.asarray(x, dtype=float) for x in (m, v, gamma))
    precision = (gamma / v).sum()
    return (gamma * m / v).sum() / precision, 1 / precision


class CompositionNotProduct(Claim):
    """The sum of scores s = sum_i gamma_i s_i of noised Gaussians N(m_i, v_i), sum gamma_i = 1, gives the SDE the variance
    P(1)^2 int_0^1 da / P(a)^2 and the ODE prod v_i^gamma_i, P(a) = prod (1 + a (v_i - 1))^gamma_i: not the product's 1 / sum(gamma_i / v_i).

    With a = alpha^2 under dx = -x dt + sqrt(2) dw, s = -sum gamma_i (x - sqrt(a) m_i) / (1 + a (v_i - 1)), and 1 / (a (1 + a (v - 1))) = 1 / a - (v - 1) /
    (1 + a (v - 1)): the SDE is dx / da = x / (2 a) - G x / a + x (log P)' + a^{-1/2} sum gamma_i m_i / (1 + a (v_i - 1)), G = sum gamma_i, with
    noise da / a. Its mean is P(1) int a^{G-1} sum(...) / P da, its variance P(1)^2 int a^{2G-2} / P^2 da; the ODE has half the
    score. Left: moments of the library's Product. Right: these integrals. Factors on disjoint coordinates, or N(0, 1), are exact.
    """

    card = dict(code="O4", tier=0, topic="guidance-and-statistics", paper="2206.01714",
                source="Liu et al. 2022, eq. 11; closed form derived", found="")  # fmt: skip
    m, v = (0.8, -0.4), (0.5, 0.25)
    reference = dict(SDE=(0.1090, 0.1676), ODE=(0.1796, 0.1250))

    def measure(self, seed):
        both = [normal(a, b) for a, b in zip(self.m, self.v, strict=True)]
        unit = normal(0.0, 1.0)
        m = SimpleNamespace(target=product((*self.m, 0), (*self.v, 1), (1, 1, -1)))
        plain = lambda x, t: both[0].score(x, t) + both[1].score(x, t)
        m.sum = {k: made(composed(unit, both, (1, 1)), eta) for k, eta in KINDS.items()}
        m.plain = {k: made(plain, eta) for k, eta in KINDS.items()}
        apart = normal([0.8, 0.0], [0.5, 1.0]), normal([0.0, -0.4], [1.0, 0.25])
        m.apart = {
            k: made(composed(normal([0, 0], [1, 1]), apart, (1, 1)), eta, 2) for k, eta in KINDS.items()
        }
        m.unit = {k: made(composed(unit, (both[0], unit), (1, 1)), eta) for k, eta in KINDS.items()}
        return m

    def rows(self, m):
        three, gamma = ((*self.m, 0), (*self.v, 1)), (1, 1, -1)
        for kind, eta in KINDS.items():
            mean, variance = (x.item() for x in m.sum[kind])
            expected = predicted(*three, gamma, eta)
            yield equal(f"s1 + s2 - s0, {kind}: mean", mean, expected[0], 1e-5)
            yield equal(f"s1 + s2 - s0, {kind}: variance", variance, expected[1], 1e-5)
            yield equal(f"s1 + s2 - s0, {kind}: mean as quoted", mean, self.reference[kind][0], 1e-4)
            yield equal(f"s1 + s2 - s0, {kind}: variance as quoted", variance, self.reference[kind][1], 1e-4)
            off = np.hypot(mean - m.target[0], variance - m.target[1])
            yield at_least(f"s1 + s2 - s0, {kind}: distance of (mean, variance) to the product's", off, 0.05)
            expected = predicted(self.m, self.v, (1, 1), eta)
            yield equal(f"s1 + s2, {kind}: mean", m.plain[kind][0].item(), expected[0], 1e-5)
            yield equal(f"s1 + s2, {kind}: variance", m.plain[kind][1].item(), expected[1], 1e-5)
        yield equal("s1 + s2, SDE: variance as quoted (the product has 1/6)", m.plain["SDE"][1], 0.1137, 1e-4)

    def controls(self, m):
        for kind in KINDS:
            mean, variance = m.apart[kind]
            off = torch.cat([mean - torch.tensor(self.m), variance - torch.tensor(self.v)]).norm()
            yield at_least(f"factors on disjoint coordinates, {kind}: distance to the product", off, 0.05)
            mean, variance = m.unit[kind]
            off = torch.cat([mean - 0.8, variance - 0.5]).norm()
            yield at_least(f"second factor N(0, 1), {kind}: distance to the product", off, 0.05)

    def plot(self, m, figure):
        ax, x = figure.subplots(), np.linspace(-1.5, 1.7, 300)
        bell = lambda mean, variance: (
            np.exp(-0.5 * (x - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
        )
        ax.plot(x, bell(*m.target), color="black", label="product N(0, 0.2)")
        for kind in KINDS:
            ax.plot(x, bell(*(v.item() for v in m.sum[kind])), label=f"sum of scores, {kind}")
        mean, variance = (v.item() for v in m.unit["SDE"])
        ax.plot(x, bell(0.8, 0.5), color="0.7", lw=4, label="N(0.8, 0.5) x N(0, 1) / N(0, 1)")
        ax.plot(x, bell(mean, variance), "--", color="tab:red", label="control: its SDE")
        ax.set(xlabel="x", ylabel="density, N(0.8, 0.5) N(-0.4, 0.25) / N(0, 1)")
        ax.legend(fontsize=7)


class CFGNotPower(Claim):
    """Classifier-free guidance s_0 + gamma (s_1 - s_0) samples p_0^{1 - gamma} p_1^gamma only for gamma = 0 and 1: for N(m, v) against
    N(0, 1) the SDE has variance P(1)^2 int_0^1 da / P^2 with P = (1 + a (v - 1))^gamma, and the ODE v^gamma.

    The case gamma_1 = gamma, gamma_0 = 1 - gamma of `composition-not-product`; P is the power of one factor as N(0, 1) has none. At
    gamma = 2, v = 1/4: P(1)^2 int (1 - 3a/4)^-4 da = 7/64. Left: moments of the library's Product with weight gamma. Right: the
    integrals; the target is (gamma / v + 1 - gamma)^-1.
    """

    card = dict(code="O5", name="cfg-not-power", tier=0, topic="guidance-and-statistics", paper="Ho and Salimans 2022",
                source="Ho and Salimans 2022, eq. 6; closed form derived", found="")  # fmt: skip
    m, v, gammas = 0.8, 0.25, (1.0, 2.0, 4.0)
    reference = {2.0: dict(target=(0.914, 0.1429), SDE=(1.000, 0.1094), ODE=(1.104, 0.0625)),
                 4.0: dict(target=(0.985, 0.0769), SDE=(1.0625, 0.0476), ODE=(1.214, 0.0039))}  # fmt: skip

    def measure(self, seed):
        score = lambda gamma: composed(normal(0.0, 1.0), (normal(self.m, self.v),), (gamma,))
        made_by = lambda gamma, eta: tuple(x.item() for x in made(score(gamma), eta))
        m = SimpleNamespace(made={(g, k): made_by(g, eta) for g in self.gammas for k, eta in KINDS.items()})
        m.target = {g: self.target(g) for g in self.gammas}
        return m

    def target(self, gamma):
        """(mean, variance) of p_0^{1 - gamma} p_1^gamma."""
        return product((self.m, 0.0), (self.v, 1.0), (gamma, 1 - gamma))

    def rows(self, m):
        for gamma in self.gammas:
            for kind, eta in KINDS.items():
                expected = predicted((self.m, 0.0), (self.v, 1.0), (gamma, 1 - gamma), eta)
                for name, a, b in zip(("mean", "variance"), m.made[gamma, kind], expected, strict=True):
                    yield equal(f"gamma = {gamma:g}, {kind}: {name}", a, b, 1e-5)
        for gamma, quoted in self.reference.items():
            for kind, (mean, variance) in quoted.items():
                found = m.target[gamma] if kind == "target" else m.made[gamma, kind]
                yield equal(f"gamma = {gamma:g}, {kind}: mean as quoted", found[0], mean, 6e-4)
                yield equal(f"gamma = {gamma:g}, {kind}: variance as quoted", found[1], variance, 6e-5)
            for kind in KINDS:
                short = 1 - m.made[gamma, kind][1] / m.target[gamma][1]
                yield at_least(f"gamma = {gamma:g}, {kind}: share of the variance that is lost", short, 0.05)

    def controls(self, m):
        for kind in KINDS:
            short = abs(1 - m.made[1.0, kind][1] / m.target[1.0][1])
            yield at_least(f"gamma = 1, {kind}: share of the variance that is lost", short, 0.05)
            off = abs(m.made[1.0, kind][0] / m.target[1.0][0] - 1)
            yield at_least(f"gamma = 1, {kind}: relative error of the mean", off, 0.05)

    def plot(self, m, figure):
        fine, axes = np.linspace(0, 5, 41), figure.subplots(1, 2)
        for k, ax in enumerate(axes):
            ax.plot(fine, [self.target(g)[k] for g in fine], color="black", label="p0^(1 - gamma) p1^gamma")
            for kind, eta in KINDS.items():
                curve = [predicted((self.m, 0.0), (self.v, 1.0), (g, 1 - g), eta)[k] for g in fine]
                (line,) = ax.plot(fine, curve, label=f"{kind}, closed form")
                dots = [m.made[g, kind][k] for g in self.gammas]
                ax.plot(self.gammas, dots, "o", color=line.get_color())
            ax.plot(1, m.target[1.0][k], "x", color="tab:red", ms=10, label="control: gamma = 1")
            ax.set(xlabel="gamma", ylabel=("mean", "variance")[k])
        axes[1].set_yscale("log")
        axes[0].legend(fontsize=7)
