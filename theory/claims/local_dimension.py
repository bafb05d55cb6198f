"""The dimension of data at a point, read from scores at low noise: where it is right, and where it is not."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, close, equal, within_errors
from theory.diagnostics.dimension import (
    jacobian_spectrum,
    local_dimension,
    mle_dimension,
    normal_bundle_dimension,
    two_nn_dimension,
)
from theory.distributions.covariance import LowRank
from theory.distributions.mixture import Gaussian
from theory.distributions.points import Points
from theory.distributions.sphere import Sphere
from workbench._rng import Rng

D, LAM = 20, torch.tensor([1.5, 1.3, 0.5, 0.25], dtype=torch.float64)


class LIDLowNoiseLimit(Claim):
    """At data points and as sigma falls, d + sigma^2 (div s + ||s||^2) and tr dD / dx tend to the dimension of the data, and so does d less
    the number of directions that scores near the data span.

    d + sigma^2 (div s + ||s||^2) = d + d log p_sigma / d log sigma, and p_sigma ~ sigma^(k - d) on a k-dimensional set. For N(0, diag lam) on a plane: k -
    sum_i sigma^2 / (lam_i + sigma^2) + sigma^2 u_i^2 / (lam_i + sigma^2)^2, and tr dD / dx = sum_i lam_i / (lam_i + sigma^2); on the sphere S^2: 2 - (2 / sigma^2)
    (coth(1 / sigma^2) - 1). Left: the library's diagnostics. Right: these, and k. Over noised points the first has mean d, as E_p[Lap log p +
    ||grad log p||^2] = 0, and the score of 4000 points tells of points when sigma is below their spacing of 0.06.
    """

    card = dict(code="O19", name="lid-low-noise-limit", tier=1, topic="guidance-and-statistics", paper="2212.12611",
                source="Stanczuk et al. 2024; Kamkari et al. 2024, FLIPD; closed forms derived", found="")  # fmt: skip
    sigmas, plane_points = (1.0, 0.3, 0.1, 0.03), 400
    wide, fine, points = (1.0, 0.5, 0.3), (0.5, 0.3, 0.2, 0.1, 0.03, 0.02, 0.01), 200
    quoted = dict(trace=(1.70, 3.46, 3.93, 3.99), sphere=(1.374, 1.995, 2.000))

    def measure(self, seed):
        m = SimpleNamespace()
        self._plane(m, seed)
        law = Sphere(3)
        x, train = law.sample(self.points, seed), law.sample(4000, seed, stream="train")
        m.sphere = [local_dimension(law.score, x, self._time(s), law.process) for s in self.wide]
        seen = Points(train)
        m.kde = [local_dimension(seen.score, x, self._time(s), law.process).value for s in self.fine]
        m.mle, m.two_nn = mle_dimension(train).value, two_nn_dimension(train).value
        return m

    @staticmethod
    def _time(sigma):
        return torch.tensor(sigma, dtype=torch.float64)

    def _plane(self, m, seed):
        """FLIPD against its formula point by point, its means at clean and at noised points, trace and count."""
        U = torch.linalg.qr(Rng(seed, "plane").normal(torch.empty(D, len(LAM), dtype=torch.float64))).Q
        law = Gaussian(
            torch.zeros(D, dtype=torch.float64), LowRank(U[None], LAM[None]), noise_range=(0.01, 10.0)
        )
        x = law.sample(self.plane_points, seed)
        noise = Rng(seed, "noise").normal(x)
        m.gap, m.flipd, m.noised, m.trace, m.count, m.share = [], [], [], [], [], []
        for s in self.sigmas:
            t = self._time(s)
            found = local_dimension(law.score, x, t, law.process)
            level = LAM + s**2
            exact = len(LAM) - (s**2 / level).sum() + ((x @ U).square() * s**2 / level**2).sum(1)
            m.gap.append((found.dimensions - exact).abs().max().item())
            m.flipd.append(found)
            m.noised.append(local_dimension(law.score, x + s * noise, t, law.process))
            m.trace.append(jacobian_spectrum(law.denoise, x[:1], t).sum().item())
            bundle = normal_bundle_dimension(law.score, x[:100], t, law.process, seed)
            m.count.append(bundle.dimensions.double().mean().item())
            m.share.append((bundle.dimensions == len(LAM)).double().mean().item())

    def rows(self, m):
        yield equal("plane: FLIPD against its formula, largest error of a point", max(m.gap), 0.0, 1e-9)
        for i, s in enumerate(self.sigmas):
            mean, trace = self.expected(s)
            case = f"plane of 4 in 20, sigma = {s:g}"
            yield within_errors(f"{case}: FLIPD, mean", m.flipd[i].value, mean, m.flipd[i].error)
            yield equal(f"{case}: tr dD / dx", m.trace[i], trace, 1e-9)
            yield equal(f"{case}: tr dD / dx as quoted", m.trace[i], self.quoted["trace"][i], 0.01)
            yield within_errors(
                f"{case}, noised points: FLIPD, mean", m.noised[i].value, D, m.noised[i].error
            )
        yield equal("plane, sigma = 0.03: FLIPD", m.flipd[3].value, 4.0, 0.01)
        for i, least in ((1, 0.8), (2, 1.0), (3, 1.0)):
            case = f"plane, sigma = {self.sigmas[i]:g}: share of points with 4 by the normal bundle"
            yield at_least(case, m.share[i], least)
        for s, found, quoted in zip(self.wide, m.sphere, self.quoted["sphere"], strict=True):
            off = (found.dimensions - self.on_sphere(s)).abs().max()
            yield equal(f"sphere, sigma = {s:g}: FLIPD against its formula, largest error", off, 0.0, 1e-9)
            yield equal(f"sphere, sigma = {s:g}: FLIPD as quoted", found.value, quoted, 1e-3)
        for s, found in zip(self.fine[1:4], m.kde[1:4], strict=True):
            yield close(f"4000 points of the sphere, sigma = {s:g}: FLIPD", found, 2.0, 0.05)
        yield close("4000 points: Levina and Bickel", m.mle, 2.0, 0.05)
        yield close("4000 points: two nearest neighbours", m.two_nn, 2.0, 0.1)

    @staticmethod
    def expected(s):
        """The means of FLIPD and of tr dD / dx on the plane."""
        level = LAM + s**2
        return len(LAM) - (s**4 / level**2).sum(), (LAM / level).sum()

    @staticmethod
    def on_sphere(s):
        k = torch.tensor(s**-2, dtype=torch.float64)
        return 2 - 2 * k * (1 / torch.tanh(k) - 1)

    def controls(self, m):
        for s, found in zip(self.sigmas, m.noised, strict=True):
            yield close(f"plane, noised points, sigma = {s:g}: FLIPD", found.value, 4.0, 0.05)
        yield close("plane, sigma = 1, not small: FLIPD", m.flipd[0].value, 4.0, 0.05)
        case = "plane, sigma = 1, not small: share of points with 4 by the normal bundle"
        yield at_least(case, m.share[0], 0.8)
        for s, found in zip(self.fine[4:], m.kde[4:], strict=True):
            yield close(f"4000 points, sigma = {s:g}, below their spacing: FLIPD", found, 2.0, 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.semilogx(self.sigmas, [f.value for f in m.flipd], "o-", label="plane of 4 in 20: FLIPD")
        ax.semilogx(self.sigmas, m.trace, "s-", label="plane: tr dD / dx")
        ax.semilogx(self.sigmas, m.count, "^:", label="plane: by the normal bundle")
        ax.semilogx(
            self.wide, [f.value for f in m.sphere], "o-", color="tab:purple", label="sphere S^2: FLIPD"
        )
        ax.semilogx(self.fine[:4], m.kde[:4], "+", ms=9, color="tab:brown", label="4000 points of the sphere")
        ax.semilogx(self.fine[3:], m.kde[3:], "x--", color="tab:red", label="control: below their spacing")
        ax.semilogx(
            self.sigmas, [f.value for f in m.noised], "x:", color="tab:red", label="control: noised points"
        )
        ax.set(xlabel="sigma", ylabel="dimension", yscale="log", ylim=(0.8, 60), yticks=[1, 2, 4, 10, 20])
        ax.set_yticklabels(["1", "2", "4", "10", "20"])
        ax.legend(fontsize=7, ncols=2, loc="upper center")
