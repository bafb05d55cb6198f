"""What the best denoiser of a finite set does: it gives the set back; and what two halves of a set agree on."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, equal, slope
from theory.claims._reverse import heun, karras, velocity
from theory.distributions.mixture import Gaussian, GaussianMixture
from theory.distributions.points import Points
from theory.distributions.toys import gmm_3
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM


def nearest(x, points):
    """The distance of each row of x to the nearest of the points, and its index."""
    return torch.cdist(x, points, compute_mode="donot_use_mm_for_euclid_dist").min(1)


class EmpiricalScoreMemorises(Claim):
    """The denoiser with the least training loss on n points is E[x0 | x_t] of the points; its ODE ends on a point.

    The loss is the one of the empirical law, whose posterior mean is the average of the points with weights softmax(-|x -
    x_i|^2 / 2 s^2). As s falls the weights become those of one point, unless x is within order s of halfway. Left: the share
    of 500 trajectories, driven by the library's law of points, that end within 1e-3 of a training point. Right: all.
    """

    card = dict(code="A18", tier=1, topic="identities", paper="Gu et al. 2023",
                source="Vincent 2011; Gu et al. 2023, Thm. 1", found="")  # fmt: skip
    points, paths, near = 200, 500, 1e-3

    def measure(self, seed):
        law = gmm_3(EDM())
        data = law.sample(self.points, seed)
        start = 20 * Rng(seed, "paths").normal(torch.empty(self.paths, 2, dtype=torch.float64))
        kde = lambda h: GaussianMixture([1] * len(data), data, torch.full((len(data),), h**2).double())
        m = SimpleNamespace(share={}, distances={})
        for name, model in {
            "points": Points(data), "law": law, "h = 0.03": kde(0.03), "h = 0.1": kde(0.1), "h = 0.3": kde(0.3)
        }.items():  # fmt: skip
            ends = heun(velocity(model.score, model.process), start, karras(20.0, 1e-4, 80))
            distance, index = nearest(ends, data)
            m.distances[name] = distance.tolist()
            m.share[name] = (distance < self.near).double().mean().item()
            if name == "points":
                m.distinct = len(index.unique())
        return m

    def rows(self, m):
        yield at_least("share of paths that end on a training point", m.share["points"], 0.995)
        yield equal("distinct points reached, of 200 (184 before)", m.distinct, 184, 12)

    def controls(self, m):
        yield at_least("score of the law itself", m.share["law"], 0.01)
        yield at_least("points widened by h = 0.3", m.share["h = 0.3"], 0.01)

    def plot(self, m, figure):
        ax = figure.subplots()
        bins = torch.logspace(-6, 0.5, 40).tolist()
        for name, values in m.distances.items():
            red = dict(color="tab:red") if name == "law" else {}
            label = {"points": "training points (h = 0)", "law": "control: the law itself"}.get(name, name)
            ax.hist(values, bins=bins, histtype="step", lw=1.4, label=label, **red)
        ax.set(
            xscale="log", xlabel="distance of the end of a path to the nearest training point", ylabel="paths"
        )
        ax.axvline(self.near, color="black", lw=0.8, ls=":")
        ax.legend(fontsize=8)


class TwoHalvesVariance(Claim):
    """Denoisers fitted on two disjoint halves of N draws agree to E |f_A - f_B|^2 = O(1 / N) where they generalise.

    A linear denoiser C (C + s^2 I)^-1 is a smooth function of N^-1/2-consistent moments. The best denoiser of the points
    themselves is not: at a level below their spacing it returns the nearest one, and two halves are as far apart as
    neighbours are, N^-1/d. Left: log-log
    slopes over N for Gaussians fitted to the halves and for the points. Right: -1, and -2 / d.
    """

    card = dict(code="H4", tier=1, topic="denoiser-geometry", paper="2310.02557",
                source="Kadkhodaie et al. 2024, Fig. 2 (networks); linear part derived", found="")  # fmt: skip
    counts, d, s, low, repeats = (64, 256, 1024, 4096), 8, 0.4, 0.1, 12

    def measure(self, seed):
        m = SimpleNamespace(linear=[], memory=[], unlike=[])
        root = torch.linspace(0.3, 1.5, self.d, dtype=torch.float64)
        for N in self.counts:
            found = torch.tensor(
                [self._pair(N, root, Rng(seed, "halves").at(i)) for i in range(self.repeats)]
            )
            linear, memory, unlike = found.mean(0).tolist()
            m.linear.append(linear)
            m.memory.append(memory)
            m.unlike.append(unlike)
        return m

    def _pair(self, N, root, rng):
        """E |f_A - f_B|^2 / d of fitted Gaussians, of the points, and of Gaussians of halves with unlike covariances."""
        halves = rng.normal(torch.empty(2, N, self.d, dtype=torch.float64)) * root
        x = rng.normal(torch.empty(200, self.d, dtype=torch.float64)) * root
        x = x + self.s * rng.normal(x)
        gap = lambda a, b: (a.denoise(x, self.s) - b.denoise(x, self.s)).square().mean().item()
        a, b, turned = fitted(halves[0]), fitted(halves[1]), fitted(halves[1].flip(1))
        few = [Points(h[:1024]) for h in halves]
        near = [p.denoise(x, self.low) for p in few]
        return gap(a, b), (near[0] - near[1]).square().mean().item(), gap(a, turned)

    def rows(self, m):
        yield equal("fitted Gaussians: slope over N", slope(self.counts, m.linear), -1.0, 0.1)
        yield equal(
            "points, below their spacing: slope over N",
            slope(self.counts[:3], m.memory[:3]),
            -2 / self.d,
            0.1,
        )

    def controls(self, m):
        yield equal("halves of unlike covariances: slope", slope(self.counts, m.unlike), -1.0, 0.5)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(self.counts, m.linear, "o-", label="Gaussians fitted to two halves")
        ax.loglog(self.counts[:3], m.memory[:3], "s-", label="best denoisers of two sets of points")
        ax.loglog(self.counts, m.unlike, "x--", color="tab:red", label="control: halves of unlike laws")
        ax.loglog(self.counts, [m.linear[0] * self.counts[0] / n for n in self.counts], "k:", label="1 / N")
        ax.set(xlabel="draws in each half, N", ylabel="E |f_A - f_B|^2 / d")
        ax.legend(fontsize=8)


def fitted(x):
    """The Gaussian of the moments of x: (n, d)."""
    mean = x.mean(0)
    return Gaussian(mean, (x - mean).mT @ (x - mean) / len(x))
