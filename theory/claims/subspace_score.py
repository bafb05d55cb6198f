"""Data on a linear subspace: the score is that of the coordinates, and a pull back to the subspace."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_most, close
from theory.distributions.covariance import LowRank
from theory.distributions.mixture import GaussianMixture
from theory.distributions.toys import gmm_3
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)
TIMES = (0.01, 0.05, 0.2, 0.7, 2.0)


class SubspaceScoreDecomposition(Claim):
    """For x0 = U z, U'U = I, the score is s(x) = U s^z(U' x) - sigma^{-2} (I - U U') x, s^z that of alpha z + sigma eps.

    x_t = U (alpha z + sigma U' eps) + sigma (I - U U') eps: the two parts are independent, the second N(0, sigma^2) across the subspace. Left: the
    library's low-rank mixture in 24 dimensions. Right: the library's mixture of three Gaussians in the plane, lifted. With 0.1 of noise off
    the subspace the pull is 1 / (sigma^2 + 0.01 alpha^2), and the formula fails as sigma falls to 0.1.
    """

    card = dict(code="O14", tier=0, topic="guidance-and-statistics", paper="2404.07771",
                source="Chen et al. 2023, Lemma 1; Chen et al. 2024, sect. 3", found="")  # fmt: skip
    d, n, off = 24, 200, 0.1

    def measure(self, seed):
        plane = gmm_3(VP2)
        U = torch.linalg.qr(Rng(seed, "subspace").normal(torch.empty(self.d, 2, dtype=torch.float64))).Q
        lam, Q = torch.linalg.eigh(plane.covariances.dense())
        lifted = lambda delta: GaussianMixture(
            plane.weights, plane.means @ U.mT, LowRank(U @ Q, lam, delta), VP2
        )
        m = SimpleNamespace(errors=[], off=[], across=[], along=[], expected=[])
        flat, thick = lifted(0.0), lifted(self.off**2)
        for t in TIMES:
            a, s = VP2.alpha(t), VP2.sigma(t)
            for law, into in ((flat, m.errors), (thick, m.off)):
                x0 = law.sample(self.n, seed)
                x = a * x0 + s * Rng(seed, "noise").normal(x0)
                score = law.score(x, t)
                formula = plane.score(x @ U, t) @ U.mT - (x - x @ U @ U.mT) / s**2
                into.append(((score - formula).norm() / score.norm()).item())
                if law is flat:
                    m.along.append((score @ U).square().sum(1).mean().sqrt().item())
                    m.across.append((score - score @ U @ U.mT).square().sum(1).mean().sqrt().item())
            m.expected.append((self.d - 2) ** 0.5 / s.item())
        return m

    def rows(self, m):
        yield at_most("largest relative error over five times", max(m.errors), 1e-11)
        for t, size, expected in zip(TIMES, m.across, m.expected, strict=True):
            yield close(f"t = {t:g}: rms of the normal part over sqrt(22) / sigma", size, expected, 0.05)

    def controls(self, m):
        for i in (0, 1):
            yield at_most(f"noise 0.1 off the subspace, t = {TIMES[i]:g}: relative error", m.off[i], 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(TIMES, m.across, "o-", label="normal part of the score, rms")
        ax.loglog(TIMES, m.expected, ":", color="black", label="sqrt(d - r) / sigma")
        ax.loglog(TIMES, m.along, "s-", label="tangent part, rms")
        ax.loglog(TIMES, m.errors, "^-", label="relative error of the formula")
        ax.loglog(TIMES, m.off, "x--", color="tab:red", label="control: noise off the subspace")
        ax.set(xlabel="t, sigma from 0.14 to 0.99", ylabel="gmm-3 on a plane in 24 dimensions")
        ax.legend(fontsize=7)
