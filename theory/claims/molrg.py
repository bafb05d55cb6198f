"""Mixtures of low-rank Gaussians (MoLRG): their denoiser, the rank of its Jacobian, and directions that matter."""

from math import log
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal
from theory.claims._subspaces import FLOAT64, VP2, frame, orthogonal_frames, subspaces, time_of
from theory.diagnostics.dimension import effective_rank, jacobian_spectrum
from theory.distributions.mixture import GaussianMixture
from workbench._rng import Rng

D, K, R = 48, 3, 6


def noised(law, n, t, seed):
    """n draws of x_t."""
    x0 = law.sample(n, seed)
    return law.process.alpha(t) * x0 + law.process.sigma(t) * Rng(seed, "noise").normal(x0)


class MolrgDenoiser(Claim):
    """E[x_0 | x] = (alpha / (alpha^2 + sigma^2)) sum_k rho_k U_k U_k' x, log rho_k = (1 / sigma^2 - 1 / (alpha^2 +
    sigma^2)) ||U_k' x||^2 / 2 + const, for equal mixtures of N(0, U_k U_k').

    x_t of component k is N(0, sigma^2 I + alpha^2 U_k U_k'), whose inverse is I / sigma^2 - (1 / sigma^2 - 1 /
    (alpha^2 + sigma^2)) U_k U_k', and whose determinant is the same for all k where ranks are; else log rho_k has r_k
    log(sigma^2 / (alpha^2 + sigma^2)) / 2 too. So 1 - max rho <= (K - 1) e^(-c Delta), c half the bracket, Delta the
    lead of the largest ||U_k' x||^2: as sigma -> 0 the weights become a hard choice. Left: the library's mixture.
    Right: the formula, the bound.
    """

    card = dict(code="E1", tier=0, topic="low-dimensional-structure", paper="2409.02426",
                source="Wang et al. 2024", found="")  # fmt: skip
    sigmas, margin = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95), 1e-10

    def measure(self, seed):
        rng = Rng(seed, "frames")
        U = torch.stack([frame(D, R, rng.at(k)) for k in range(K)])  # at random angles
        lam = torch.ones(K, R, dtype=FLOAT64)
        lam[0, 2:] = 0.0
        equal_law, unequal = subspaces(U, VP2), subspaces(U, VP2, lam=lam)
        m = SimpleNamespace(errors=[], unequal=[], dropped=[], bound=[], entropy=[])
        for sigma in self.sigmas:
            t = time_of(sigma)
            x, y = noised(equal_law, 64, t, seed), noised(unequal, 64, t, seed)
            m.errors.append(gap(self._formula(x, U, lam**0, t), equal_law.denoise(x, t)))
            m.unequal.append(gap(self._formula(y, U, lam, t), unequal.denoise(y, t)))
            m.dropped.append(gap(self._formula(y, U, lam, t, log_det=0.0), unequal.denoise(y, t)))
            m.bound.append(self._hard(equal_law, x, U, t))
            rho = equal_law.responsibilities(x, t)
            m.entropy.append(-torch.xlogy(rho, rho).sum(1).mean().item())
        return m

    @staticmethod
    def _energies(x, U, lam):
        """||U_k' x||^2 over the columns of U that the data use, (n, K)."""
        return ((torch.einsum("nd,kdr->nkr", x, U)) ** 2 * lam).sum(2)

    def _formula(self, x, U, lam, t, log_det=1.0):
        """The denoiser in terms of projections; ranks are sums of lam, which is 0 or 1."""
        a2, s2 = VP2.alpha(t) ** 2, VP2.sigma(t) ** 2
        log_rho = 0.5 * (1 / s2 - 1 / (a2 + s2)) * self._energies(x, U, lam)
        log_rho = log_rho + log_det * 0.5 * lam.sum(1) * torch.log(s2 / (a2 + s2))
        inside = torch.einsum("nd,kdr->nkr", x, U) * lam * torch.softmax(log_rho, 1)[..., None]
        return a2.sqrt() / (a2 + s2) * torch.einsum("kdr,nkr->nd", U, inside)

    def _hard(self, law, x, U, t):
        """The largest of log(||D - D_hard|| / bound) over the points, bound = 2 alpha ||x|| (K - 1) e^(-c Delta)."""
        a2, s2 = VP2.alpha(t) ** 2, VP2.sigma(t) ** 2
        energies = self._energies(x, U, torch.ones(K, R, dtype=FLOAT64))
        first = U[energies.argmax(1)]
        hard = a2.sqrt() / (a2 + s2) * (first @ (first.mT @ x[..., None]))[..., 0]
        lead = energies.topk(2, dim=1).values
        rate = 0.5 * (1 / s2 - 1 / (a2 + s2)) * (lead[:, 0] - lead[:, 1])
        bound = log(2 * (K - 1)) + torch.log(a2.sqrt() / (a2 + s2) * x.norm(dim=1)) - rate
        off = torch.log((law.denoise(x, t) - hard).norm(dim=1) + 1e-300)
        seen = off > -30  # above rounding
        return (off - bound)[seen].max().item() if seen.any() else -30.0

    def rows(self, m):
        yield at_most("equal ranks: largest relative error, seven sigma", max(m.errors), self.margin)
        yield at_most("ranks 2, 6, 6: largest relative error", max(m.unequal), self.margin)
        yield at_most("log of hard choice's error over its bound", max(m.bound), 0.0)
        yield at_most("entropy of the weights at sigma = 0.05", m.entropy[0], 1e-6)

    def controls(self, m):
        yield at_most("ranks 2, 6, 6 without the log-determinant", max(m.dropped), 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.plot(self.sigmas, m.entropy, "o-", label="entropy of the weights")
        ax.plot(self.sigmas, m.dropped, "x--", color="tab:red", label="control: error without log det")
        ax.axhline(log(K), color="black", ls=":", lw=0.8, label="log K")
        ax.set(xlabel="sigma (variance preserving)", ylabel="nats; relative error of the denoiser")
        ax.legend(fontsize=8)


def gap(a, b):
    """The largest difference over the largest entry."""
    return ((a - b).abs().max() / b.abs().max()).item()


class MolrgJacobianRank(Claim):
    """rank d D / d x <= K r at every noise level: r at low noise, K r at high; with noise delta off the subspaces, d
    below it.

    J = (alpha / sigma^2) Cov[x_0 | x], and x_0 stays in the sum of K spans of dimension r. At low noise one component
    is certain and J = U_k U_k' alpha / (alpha^2 + sigma^2), of rank r. Where sigma < delta the noise off the subspaces
    is signal: its eigenvalue is alpha delta^2 / (alpha^2 delta^2 + sigma^2), near one. So the curve has the shape of a
    U. Left: effective rank (99 % of the root of the energy) of the library's Jacobian. Right: the bound, the dip,
    numbers seen.
    """

    card = dict(code="E5", tier=1, topic="low-dimensional-structure", paper="2409.02426",
                source="Wang et al. 2024", found="")  # fmt: skip
    sigmas, delta, n = (0.005, 0.05, 0.1, 0.3, 0.6, 0.9, 0.99), 0.05, 64
    seen = (48, 47, 45, 6, 7.6, 16.8, 18)

    def measure(self, seed):
        U = orthogonal_frames(D, K, R, Rng(seed, "frames"))
        root = Rng(seed, "full").normal(torch.empty(K, D, D, dtype=FLOAT64)) / D**0.5
        full = 0.5 * root @ root.mT + 0.5 * torch.eye(D, dtype=FLOAT64)
        laws = dict(exact=subspaces(U, VP2), noisy=subspaces(U, VP2, self.delta**2))
        laws["full"] = GaussianMixture([1] * K, torch.zeros(K, D, dtype=FLOAT64), full, VP2)
        m = SimpleNamespace(ranks={}, errors={}, beyond=0.0)
        for name, law in laws.items():
            m.ranks[name], m.errors[name] = [], []
            for sigma in self.sigmas:
                s = jacobian_spectrum(law.denoise, noised(law, self.n, time_of(sigma), seed), time_of(sigma))
                rank = effective_rank(s).double()
                m.ranks[name].append(rank.mean().item())
                m.errors[name].append(rank.std().item() / self.n**0.5)
                if name == "exact":
                    m.beyond = max(m.beyond, (s[:, K * R] / s[:, 0]).max().item())
        m.dips = {name: min(ranks[2:]) / min(ranks[0], ranks[-1]) for name, ranks in m.ranks.items()}
        return m

    def rows(self, m):
        yield at_most("exact: singular value K r + 1 over the first", m.beyond, 1e-10)
        yield equal("exact, sigma = 0.005: effective rank", m.ranks["exact"][0], R, 0.1)
        yield equal("exact, sigma = 0.99: effective rank", m.ranks["exact"][-1], K * R, 0.5)
        for sigma, rank, error, seen in zip(
            self.sigmas, m.ranks["noisy"], m.errors["noisy"], self.seen, strict=True
        ):
            yield equal(f"delta = 0.05, sigma = {sigma:g}: effective rank", rank, seen, 0.5 + 5 * error)
        yield at_most("delta = 0.05: least rank over that of the lower end", m.dips["noisy"], 0.6)

    def controls(self, m):
        yield at_most("full-rank mixture: least rank over that of the lower end", m.dips["full"], 0.6)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.semilogx(self.sigmas, m.ranks["noisy"], "o-", label="noise 0.05 off the subspaces")
        ax.semilogx(self.sigmas, m.ranks["exact"], "s-", label="exactly on subspaces")
        ax.semilogx(self.sigmas, m.ranks["full"], "x--", color="tab:red", label="control: full rank")
        for value in (R, K * R):
            ax.axhline(value, color="black", ls=":", lw=0.8)
        ax.set(xlabel="sigma (dotted: r = 6, K r = 18)", ylabel="effective rank of the Jacobian, d = 48")
        ax.legend(fontsize=8)


class JacobianSteering(Claim):
    """||J v|| = alpha / (alpha^2 + sigma^2) for v in span U_k and about 0 off it: leading right singular vectors of J
    move the denoiser sqrt(d / r) times more than random directions, and inside span U_k.

    At low noise J = (alpha / (alpha^2 + sigma^2)) U_k U_k' (E1 with rho_k = 1), and E ||U_k' v||^2 = r / d for random
    unit v. Left: the library's J along singular vectors and random directions. Right: the formula, and 0.8 sqrt(d /
    r). Where sigma is far below the noise delta off the subspaces J is nearly a multiple of the identity, and no
    direction is special.
    """

    card = dict(code="E6", tier=0, topic="low-dimensional-structure", paper="2409.02426",
                source="Wang et al. 2024", found="")  # fmt: skip
    sigma, n, delta, deep = 0.1, 24, 0.05, 0.001

    def measure(self, seed):
        U = orthogonal_frames(D, K, R, Rng(seed, "frames"))
        law, noisy = subspaces(U, VP2), subspaces(U, VP2, self.delta**2)
        t = time_of(self.sigma)
        m = SimpleNamespace(expected=VP2.alpha(t).item())
        x = noised(law, self.n, t, seed)
        top, m.right = self._directions(law, x, t)
        m.top, m.random = (self._response(law, x, t, v) for v in (top, self._random(seed)))
        own = U[law.responsibilities(x, t).argmax(1)]
        moved = law.denoise(x + 0.05 * top[0], t) - law.denoise(x, t)
        m.outside = (
            ((moved - (own @ (own.mT @ moved[..., None]))[..., 0]).norm(dim=1) / moved.norm(dim=1))
            .max()
            .item()
        )
        across = self._random(seed)
        across = [v - (own @ (own.mT @ v[..., None]))[..., 0] for v in across]
        m.across = self._response(law, x, t, across).max().item()
        m.inside = self._response(law, x, t, list(own.movedim(2, 0)))
        deep = time_of(self.deep)
        z = noised(noisy, self.n, deep, seed)
        m.deep = [
            self._response(noisy, z, deep, v)
            for v in (self._directions(noisy, z, deep)[0], self._random(seed))
        ]
        return m

    @staticmethod
    def _directions(law, x, t):
        """The R leading right singular vectors of J at each point, a list of (n, d), and the singular values."""
        _, s, Vh = torch.linalg.svd(law.denoiser_jacobian(x, t))
        return list(Vh[:, :R].movedim(1, 0)), s

    @staticmethod
    def _response(law, x, t, directions):
        """||J v||, (directions, n)."""
        return torch.stack([law.denoiser_jvp(x, t, v).norm(dim=1) for v in directions])

    def _random(self, seed, count=20):
        """Unit directions, a list of (n, d)."""
        v = Rng(seed, "directions").normal(torch.empty(count, self.n, D, dtype=FLOAT64))
        return list(v / v.norm(dim=2, keepdim=True))

    @staticmethod
    def ratio(top, random):
        """Mean response of leading directions over the root mean square of random ones."""
        return (top.mean() / random.square().mean().sqrt()).item()

    def rows(self, m):
        off = (m.inside - m.expected).abs().max().item() / m.expected
        yield at_most("sigma = 0.1: ||J v|| in span U_k, relative error", off, 1e-6)
        yield at_most("sigma = 0.1: ||J v|| across span U_k", m.across, 1e-6)
        yield at_most("change of D along the first direction: share outside span U_k", m.outside, 1e-6)
        ratio, expected = self.ratio(m.top, m.random), (D / R) ** 0.5
        yield at_least("leading over random, and 0.8 sqrt(d / r)", ratio, 0.8 * expected)
        yield close("leading over random", ratio, expected, 0.1)

    def controls(self, m):
        ratio = self.ratio(*m.deep)
        yield at_least("sigma far below delta: leading over random", ratio, 0.8 * (D / R) ** 0.5)

    def plot(self, m, figure):
        ax = figure.subplots()
        bins = torch.linspace(0, 1.05, 43).tolist()
        ax.hist(m.random.flatten().tolist(), bins, density=True, alpha=0.7, label="random directions")
        ax.hist(m.top.flatten().tolist(), bins, density=True, alpha=0.7, label="leading singular vectors")
        deep = m.deep[1].flatten().tolist()
        ax.hist(
            deep,
            bins,
            density=True,
            histtype="step",
            color="tab:red",
            label="control: random, sigma << delta",
        )
        ax.set(
            xlabel="||J v|| for unit v (alpha = 0.995)", ylabel="share of directions and points", yscale="log"
        )
        ax.legend(fontsize=8)
