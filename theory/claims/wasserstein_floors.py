"""Wasserstein distances of samples: the exact formula for Gaussians, and the floor that two exact samples have."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, slope
from theory.diagnostics.transport import (
    bures_wasserstein,
    exact_transport,
    quantile_gap,
    sliced_wasserstein,
    wasserstein2,
)
from theory.distributions.mixture import GaussianMixture
from workbench._rng import Rng


def normals(n, d, seed, stream):
    return Rng(seed, stream).normal(torch.empty(n, d, dtype=torch.float64))


def root(C):
    c, Q = torch.linalg.eigh(C)
    return Q * c.clamp_min(0).sqrt() @ Q.mH


def turned_covariance(d, seed, stream):
    """Variances from 1 to 0.001 along random axes."""
    Q = torch.linalg.qr(normals(d, d, seed, stream)).Q
    return Q * torch.logspace(0, -3, d, dtype=torch.float64) @ Q.mT


class BuresW2(Claim):
    """W2^2(N(m1, C1), N(m2, C2)) = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), reached by an affine map.

    T(x) = m2 + C1^-1/2 (C1^1/2 C2 C1^1/2)^1/2 C1^-1/2 (x - m1) has a symmetric positive Jacobian, so it is the gradient of a
    convex function and optimal (Brenier); it carries C1 to C2. Left: the library's formula. Right: the cost of T from
    moments, and the exact transport between two clouds, which is no smaller. The Frobenius distance of the roots is an
    upper bound that is too large unless C1 and C2 commute.
    """

    card = dict(name="bures-w2", code="A14", tier=1, topic="identities", paper="Dowson and Landau 1982",
                source="Dowson and Landau 1982; Peyre and Cuturi 2019, eq. 2.41", found="")  # fmt: skip
    sets, n = 5, 600

    def measure(self, seed):
        m = SimpleNamespace(formula=[], coupled=[], clouds=[], centred=[], frobenius=[])
        for d in (2, 8):
            C1, C2 = turned_covariance(d, seed, f"C1 {d}"), turned_covariance(d, seed, f"C2 {d}")
            shift = normals(1, d, seed, f"mean {d}")[0]
            m.formula.append(bures_wasserstein(0 * shift, C1, shift, C2))
            m.coupled.append(self._coupled(C1, C2, shift))
            m.centred.append(bures_wasserstein(shift, C1, shift, C2))
            m.frobenius.append((root(C1) - root(C2)).norm().item())
            pairs = [
                self._clouds(C1, C2, shift, Rng(seed, "sets").fork(f"{d} {i}")) for i in range(self.sets)
            ]
            m.clouds.append(torch.tensor(pairs, dtype=torch.float64))
        a, b = torch.tensor([1.0, 0.3, 0.1]).double(), torch.tensor([0.2, 0.5, 2.0]).double()
        m.commuting = bures_wasserstein(0 * a, a.diag(), 0 * a, b.diag()), (a.sqrt() - b.sqrt()).norm().item()
        return m

    @staticmethod
    def _map(C1, C2):
        R = root(C1)
        inverse = torch.linalg.inv(R)
        return inverse @ root(R @ C2 @ R) @ inverse

    def _coupled(self, C1, C2, shift):
        """sqrt(E |x - T x|^2), from moments."""
        D = self._map(C1, C2) - torch.eye(len(C1), dtype=torch.float64)
        return ((D @ C1 @ D.mT).trace() + shift @ shift).sqrt().item()

    def _clouds(self, C1, C2, shift, rng):
        """W2 between two clouds of draws that are independent."""
        z = [rng.normal(torch.empty(self.n, len(C1), dtype=torch.float64)) for _ in range(2)]
        return exact_transport(z[0] @ root(C1), z[1] @ root(C2) + shift, None)

    def rows(self, m):
        for d, formula, coupled, clouds in zip((2, 8), m.formula, m.coupled, m.clouds, strict=True):
            yield equal(f"d = {d}: formula and cost of the optimal map", formula, coupled, 1e-10)
            error = clouds.std().item() / self.sets**0.5
            yield at_least(f"d = {d}: clouds are no nearer than the laws", clouds.mean(), formula, 5 * error)
        yield equal("commuting covariances: sqrt(sum (sqrt a - sqrt b)^2)", *m.commuting, 1e-12)

    def controls(self, m):
        for d, formula, frobenius in zip((2, 8), m.centred, m.frobenius, strict=True):
            yield close(f"d = {d}: Frobenius distance of the roots", frobenius, formula, 0.01)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, d in enumerate((2, 8)):
            ax.plot([m.formula[i]] * self.sets, m.clouds[i], "o", label=f"two clouds of {self.n}, d = {d}")
        ax.plot(m.centred, m.frobenius, "x", color="tab:red", ms=9, label="control: Frobenius of the roots")
        top = max(m.clouds[1].max().item(), *m.frobenius) * 1.1
        ax.plot([0, top], [0, top], "k:", label="equal")
        ax.set(xlabel="W2 by Bures' formula", ylabel="W2 by exact transport")
        ax.legend(fontsize=8)


class EmpiricalW2Rate(Claim):
    """Two exact samples of n points on a cube are n^-1/2 (d = 1), (log n / n)^1/2 (d = 2), n^-1/d (d >= 3) apart in W2.

    For laws with a density bounded below: Bobkov and Ledoux 2019 (d = 1), Ajtai, Komlos, Tusnady 1984 (d = 2), Talagrand 1994 (d >= 3);
    without that only n^-1/4 is sure up to d = 3 (Fournier and Guillin 2015). Left: log-log slopes of the library's exact distance
    over n = 64 to 1024, averaged over pairs. Right: slopes measured before, not yet those of large n.
    A sampler cannot be told from the truth below this floor.
    """

    card = dict(code="A15", tier=1, topic="identities", paper="Fournier and Guillin 2015",
                source="Bobkov and Ledoux 2019; Ajtai, Komlos, Tusnady 1984; Talagrand 1994", found="")  # fmt: skip
    counts, dimensions = (64, 128, 256, 512, 1024), (1, 2, 3, 5, 8)
    reference = (-0.51, -0.42, -0.34, -0.23, -0.15)
    pairs = (60, 40, 24, 10, 4)

    def measure(self, seed):
        m = SimpleNamespace(floors={})
        for d in self.dimensions:
            m.floors[d] = [
                self._floor(n, d, pairs, seed) for n, pairs in zip(self.counts, self.pairs, strict=True)
            ]
        m.slopes = {d: slope(self.counts, floors) for d, floors in m.floors.items()}
        m.same = [self._same(n, seed) for n in self.counts]
        return m

    @staticmethod
    def _floor(n, d, pairs, seed):
        """sqrt of the mean over pairs of W2^2."""
        if d == 1:
            u = Rng(seed, f"cube {n} {d}").uniform(2, 20 * pairs, n)
            return quantile_gap(u[0], u[1], None).mean().sqrt().item()
        u = Rng(seed, f"cube {n} {d}").uniform(2 * pairs, n, d)
        return (sum(exact_transport(u[2 * i], u[2 * i + 1]) ** 2 for i in range(pairs)) / pairs) ** 0.5

    @staticmethod
    def _same(n, seed):
        """The distance of a sample to itself moved by a fixed small step: no floor, the same at every n."""
        u = Rng(seed, "same").uniform(n, 2)
        return exact_transport(u, u + 0.01)

    def rows(self, m):
        for d, expected in zip(self.dimensions, self.reference, strict=True):
            yield equal(f"d = {d}: slope", m.slopes[d], expected, 0.06)
        order = [m.slopes[d] for d in self.dimensions]
        yield at_least(
            "slopes rise with d: the least step",
            min(b - a for a, b in zip(order, order[1:], strict=False)),
            0,
        )

    def controls(self, m):
        yield equal(
            "the same draws on both sides: slope", slope(self.counts, m.same), self.reference[1], 0.06
        )

    def plot(self, m, figure):
        ax = figure.subplots()
        for d, floors in m.floors.items():
            ax.loglog(self.counts, floors, "o-", label=f"d = {d}, slope {m.slopes[d]:.2f}")
        ax.loglog(self.counts, m.same, "x--", color="tab:red", label="control: the same draws")
        ax.set(xlabel="draws n", ylabel="W2 between two exact samples of the cube")
        ax.legend(fontsize=8)


class SlicedW2Floor(Claim):
    """Two exact samples of n points are O(n^-1/2) apart in sliced W2 in every dimension.

    Each slice is a distance between two samples on a line, whose square is O(1 / n) for laws with finite moments and no
    gaps (Bobkov and Ledoux 2019: up to log log n for the Gaussian). Left: slopes of the library's sliced distance for
    N(0, I_d). Right: -0.47 and, at n = 4096, 0.040. Exact W2 in 32 dimensions hardly falls at all.
    """

    card = dict(name="sliced-w2-floor", code="A16", tier=1, topic="identities", paper="Nadjahi et al. 2020",
                source="Nadjahi et al. 2020, Cor. 2", found="")  # fmt: skip
    counts, dimensions, pairs = (256, 1024, 4096), (2, 8, 32), (24, 12, 6)

    def measure(self, seed):
        m = SimpleNamespace(sliced={}, exact=[])
        for d in self.dimensions:
            m.sliced[d] = [
                self._mean(n, d, k, seed, self._sliced) for n, k in zip(self.counts, self.pairs, strict=True)
            ]
        m.exact_counts = (128, 256, 512)
        m.exact = [
            self._mean(n, 32, 4, seed, lambda x, y, seed: exact_transport(x, y)) for n in m.exact_counts
        ]
        return m

    @staticmethod
    def _mean(n, d, pairs, seed, distance):
        total = 0.0
        for i in range(pairs):
            z = normals(2 * n, d, seed, f"pair {n} {d} {i}")
            total += float(distance(z[:n], z[n:], seed)) ** 2 / pairs
        return total**0.5

    @staticmethod
    def _sliced(x, y, seed):
        return sliced_wasserstein(x, y, slices=64, repeats=2, seed=seed).value

    def rows(self, m):
        for d in self.dimensions:
            yield equal(f"d = {d}: slope", slope(self.counts, m.sliced[d]), -0.47, 0.05)
        yield equal("d = 2: floor at n = 4096", m.sliced[2][-1], 0.040, 0.012)

    def controls(self, m):
        yield equal("exact W2 in 32 dimensions: slope", slope(m.exact_counts, m.exact), -0.47, 0.37)

    def plot(self, m, figure):
        ax = figure.subplots()
        for d, floors in m.sliced.items():
            ax.loglog(self.counts, floors, "o-", label=f"sliced W2, d = {d}")
        ax.loglog(m.exact_counts, m.exact, "x--", color="tab:red", label="control: exact W2, d = 32")
        ax.set(xlabel="draws n", ylabel="distance between two exact samples of N(0, I)")
        ax.legend(fontsize=8)


class MultimodalFloor(Claim):
    """W2^2 between two samples is at least |w - w'| Delta^2 for modes Delta apart with shares w, w': a floor of n^-1/4.

    Mass |w - w'| must cross the gap. Two exact samples have |w - w'| of order n^-1/2, so W2 is of order n^-1/4; with the
    same number of points in each mode (stratified draws) the floor of one mode is back. Left: distances of sorted draws of two
    Gaussians at -5 and 5, which are the library's exact distance. Right: the bound, slopes and levels measured before.
    """

    card = dict(code="A17", tier=0, topic="identities", paper="Bobkov and Ledoux 2019",
                source="derived; Bobkov and Ledoux 2019, sect. 3", found="")  # fmt: skip
    counts, repeats = (128, 512, 2048, 8192), 200
    levels, stratified = (1.47, 0.90, 0.57, 0.35), (0.296, 0.148, 0.074, 0.040)

    def measure(self, seed):
        means = torch.tensor([[-5.0], [5.0]], dtype=torch.float64)
        law = GaussianMixture([1, 1], means, torch.ones(2, dtype=torch.float64))
        m = SimpleNamespace(plain=[], even=[], bound=1.0)
        for n in self.counts:
            plain = torch.stack([self._pair(law, n, seed, i, False) for i in range(self.repeats)])
            even = torch.stack([self._pair(law, n, seed, i, True) for i in range(self.repeats)])
            m.plain.append(plain[:, 0].mean().item())
            m.even.append(even[:, 0].mean().item())
            m.bound = min(m.bound, (plain[:, 0] ** 2 - plain[:, 1]).min().item())
        m.exact = self._agrees(law, seed)
        return m

    @staticmethod
    def _pair(law, n, seed, i, stratified):
        """(W2, the bound |w - w'| Delta^2) of two sets of n draws; on a line W2 is that of the sorted draws.

        Delta is the gap between the two clusters as drawn, the nearest points across 0."""
        rng = Rng(seed, "two modes").at(i)
        u = rng.uniform(2 * n)
        if stratified:
            u = torch.linspace(0, 1, n + 1, dtype=torch.float64)[:-1].repeat(2)
        x = law.draw(rng.normal(torch.empty(2 * n, 1, dtype=torch.float64)), u)[:, 0]
        a, b = x[:n].sort().values, x[n:].sort().values
        gap = (x[x > 0].min() - x[x < 0].max()) ** 2
        moved = ((a > 0).double().mean() - (b > 0).double().mean()).abs()
        return torch.stack([((a - b) ** 2).mean().sqrt(), moved * gap])

    @staticmethod
    def _agrees(law, seed):
        """The library's exact distance beside that of the sorted draws, n = 256."""
        x, y = law.sample(256, seed), law.sample(256, seed, stream="other")
        sorted_ = ((x[:, 0].sort().values - y[:, 0].sort().values) ** 2).mean().sqrt().item()
        return wasserstein2(x, y, repeats=2).value, sorted_

    def rows(self, m):
        yield at_least("W2^2 - |w - w'| Delta^2: the least over 800 pairs", m.bound, 0.0)
        yield equal("the library's distance and that of sorted draws", *m.exact, 1e-10)
        yield equal("slope of the floor", slope(self.counts, m.plain), -0.30, 0.06)
        yield equal("slope of the stratified floor", slope(self.counts, m.even), -0.48, 0.04)
        for n, value, expected in zip(self.counts, m.plain, self.levels, strict=True):
            yield close(f"floor at n = {n}", value, expected, 0.2)
        for n, value, expected in zip(self.counts, m.even, self.stratified, strict=True):
            yield close(f"stratified floor at n = {n}", value, expected, 0.1)

    def controls(self, m):
        for n, value, threshold in zip(self.counts, m.plain, self.stratified, strict=True):
            yield at_most(f"plain draws against the stratified floor, n = {n}", value, 1.5 * threshold)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(self.counts, m.plain, "x--", color="tab:red", label="plain draws")
        ax.loglog(self.counts, m.even, "o-", label="stratified draws: as many in each mode")
        ax.set(xlabel="draws n", ylabel="W2 between two exact samples, modes at -5 and 5")
        ax.legend(fontsize=8)
