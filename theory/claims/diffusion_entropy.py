"""Entropy of a point cloud from the spectrum of a diffusion on it: what it counts, and what labels say of it."""

from math import log2
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal
from theory.diagnostics.spectral_entropy import diffusion_spectral_entropy, spectral_mutual_information
from workbench._rng import Rng


def gaussian_entropy(variance, width=1.0, t=1):
    """The limit for a Gaussian on a line, in bits: -log2(1 - q) - q log2(q) / (1 - q), q = rho^t, rho = variance / (variance + width^2)."""
    q = (variance / (variance + width**2)) ** t
    return -log2(1 - q) - q / (1 - q) * log2(q)


class DiffusionSpectralEntropy(Claim):
    """The diffusion spectral entropy of n points of N(0, v I_d) is d (-log2(1 - q) - q log2(q) / (1 - q)), q = (v / (v + width^2))^t, as n
    grows; m tight clusters far apart have log2 m.

    D^{-1/2} G D^{-1/2} is similar to the chain that goes from x to y with probability ~ p(y) exp(-|x - y|^2 / (2 width^2)): for p = N(0, v) that is Gaussian
    with mean rho x, rho = v / (v + width^2), and has the eigenvalues rho^k (Mehler), so p_k = (1 - q) q^k; coordinates add up. Finite n cuts the spectrum
    at n values, which shows from d = 16 on. Left: the library's estimate in 50 dimensions, v = 1/12. Right: the formula. A width above
    the spread of everything sees one point.
    """

    card = dict(code="O11", tier=1, topic="guidance-and-statistics", paper="2312.04823",
                source="Liao et al. 2023, eq. 2 to 5; limit for Gaussians derived", found="")  # fmt: skip
    dims, n, sets, variance, noises = (1, 2, 4, 8, 16), 400, 5, 1 / 12, (0.0, 0.25, 0.5, 1.0)
    reference = (0.41, 0.82, 1.61, 3.24, 5.82)  # uniform on a cube of variance 1/12

    def measure(self, seed):
        m = SimpleNamespace(found={}, noisy={}, clusters={}, wide=[])
        cloud = lambda d, i: self._cloud(d, Rng(seed, "cloud").at(i))
        entropy = lambda x, t=1, width=1.0: (
            diffusion_spectral_entropy(x, t, width, repeats=2, seed=seed).value
        )
        for d in self.dims:
            m.found[d] = torch.tensor([entropy(cloud(d, i)) for i in range(self.sets)], dtype=torch.float64)
        m.wide = [entropy(cloud(d, 0), width=1e3) for d in self.dims]
        x = cloud(2, 0)
        noise = Rng(seed, "noise").normal(x)
        for t in (1, 2):
            m.noisy[t] = [entropy(x + s * noise, t) for s in (0.0, 0.05)]
        far = lambda k: 6 * torch.eye(50, dtype=torch.float64)[k]
        for count in (2, 4, 8):
            m.clusters[count] = entropy(far(torch.arange(self.n) % count) + 1e-9 * noise)
        labels = torch.arange(self.n) % 4
        m.information = [self._information(far(labels) + 0.06 * noise, labels, s, seed) for s in self.noises]
        m.blurred = spectral_mutual_information(
            far(labels) + 0.06 * noise, labels, width=1e3, repeats=4, seed=seed
        ).value
        return m

    def _cloud(self, d, rng):
        """Draws of N(0, I_d / 12) in the first d of 50 coordinates: (n, 50)."""
        x = torch.zeros(self.n, 50, dtype=torch.float64)
        x[:, :d] = self.variance**0.5 * rng.normal(torch.empty(self.n, d, dtype=torch.float64))
        return x

    def _information(self, x, labels, noise, seed):
        """That of labels of which a share is redrawn."""
        rng = Rng(seed, "labels")
        redrawn = (4 * rng.uniform(self.n)).long()
        given = torch.where(rng.uniform(self.n) < noise, redrawn, labels)
        return spectral_mutual_information(x, given, repeats=4, seed=seed).value

    def rows(self, m):
        for d in (1, 2, 4):
            error = (m.found[d].std() / self.sets**0.5).item()
            expected = d * gaussian_entropy(self.variance)
            yield equal(f"dimension {d}: entropy", m.found[d].mean(), expected, 5 * error + 0.02 * expected)
        for d, quoted in zip(self.dims, self.reference, strict=True):
            yield close(f"dimension {d}: entropy as quoted", m.found[d].mean(), quoted, 0.12)
        means = [m.found[d].mean() for d in self.dims]
        yield at_least(
            "entropy rises with the dimension: least step",
            min(b - a for a, b in zip(means, means[1:], strict=False)),
            0.1,
        )
        for count, value in m.clusters.items():
            yield equal(f"{count} tight clusters: entropy", value, log2(count), 1e-6)
        yield at_least("noise 0.05, t = 1: entropy over that without", m.noisy[1][1] / m.noisy[1][0], 2.0)
        yield at_most("noise 0.05, t = 2: entropy over that without", m.noisy[2][1] / m.noisy[2][0], 1.25)
        yield at_least("true labels of four clusters: information", m.information[0], 1.5)
        for a, b, share in zip(m.information, m.information[1:], self.noises[1:], strict=False):
            yield at_least(f"labels redrawn with {share:g}: information lost", a - b, 0.02)
        yield equal("labels redrawn: information", m.information[-1], 0.0, 0.05)

    def controls(self, m):
        for d in (1, 16):
            yield at_least(f"width 1000, dimension {d}: entropy", m.wide[self.dims.index(d)], 0.3)
        yield at_least("width 1000: information of true labels", m.blurred, 1.5)

    def plot(self, m, figure):
        left, right = figure.subplots(1, 2)
        left.loglog(self.dims, [m.found[d].mean() for d in self.dims], "o", label="points of N(0, I / 12)")
        left.loglog(
            self.dims,
            [d * gaussian_entropy(self.variance) for d in self.dims],
            "-",
            color="0.5",
            label="many points",
        )
        left.loglog(
            self.dims,
            [v + 1e-6 for v in m.wide],
            "x--",
            color="tab:red",
            label="control: width 1000 (+ 1e-6)",
        )
        left.set(xlabel="dimension", ylabel="entropy, bits")
        right.plot(self.noises, m.information, "o-", label="width 1")
        right.plot(0, m.blurred, "x", color="tab:red", ms=10, label="control: width 1000")
        right.set(xlabel="share of labels redrawn", ylabel="information of labels, bits, 4 clusters")
        left.legend(fontsize=7)
        right.legend(fontsize=7)
