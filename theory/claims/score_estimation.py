"""Scores estimated from samples: how fast the plug-in score of a training set nears that of the law."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_most, equal, slope
from theory.distributions.multivariate_t import MultivariateT
from theory.distributions.points import Points
from theory.distributions.toys import gmm_3
from workbench._rng import Rng


class KDEScoreRate(Claim):
    """At a fixed noise level sigma the score of n training points seen through the noise has the risk E||shat - s||^2 ~ 1 / n.

    phat = mean of n kernels, so phat - p and grad phat - grad p are averages with variance O(1 / n) and shat - s = (grad phat - s phat) / p + O(1 / n); the
    constant int E||(grad - s) N||^2 / p grows as sigma falls. It is finite where p has Gaussian tails. Left: log-log slope of the risk of the
    library's finite set of points against gmm-3, on a grid of the plane, means over 12 draws of 4000 points cut in sets of every size; the score of a set
    is the mean of its parts' scores, weighted by their densities. Right: -1. Student's law with nu = 2 has points beyond all training points at every n.
    """

    card = dict(code="O13", name="kde-score-rate", tier=1, topic="guidance-and-statistics", paper="2404.07771",
                source="Chen et al. 2024, sect. 3; derived", found="")  # fmt: skip
    counts, drawn, sets, tests = (250, 500, 1000, 2000), 4000, 12, 600

    def measure(self, seed):
        m = SimpleNamespace(risk={s: self._risk(gmm_3(), s, seed) for s in (0.2, 0.5)})
        m.heavy = self._drawn(MultivariateT(2.0, 2), 0.2, seed)
        return m

    @staticmethod
    def _grid(law, t):
        """Points of the plane in steps of 0.2, and the share of p_t that each stands for: all but 2e-5 of it."""
        x, y = (torch.arange(a, b, 0.2, dtype=torch.float64) for a, b in ((-4, 5), (-5, 5)))
        x = torch.cartesian_prod(x, y)
        p = law.log_prob(x, t).exp()
        return x[p > 1e-7], p[p > 1e-7] / p.sum()

    def _risk(self, law, sigma, seed):
        """Means over all sets of a count, one for each count; by quadrature over where the score is asked for."""
        t, out = torch.tensor(sigma, dtype=torch.float64), []
        x, share = self._grid(law, t)
        exact = law.score(x, t)
        for i in range(self.sets):
            train = law.sample(self.drawn, seed, stream=f"train {i}")
            parts = [Points(part) for part in train.split(self.counts[0])]
            log_p = torch.stack([part.log_prob(x, t) for part in parts])
            scores = torch.stack([part.score(x, t) for part in parts])
            out.append([self._error(log_p, scores, n // self.counts[0], exact) @ share for n in self.counts])
        return torch.tensor(out).mean(0).tolist()

    @staticmethod
    def _error(log_p, scores, size, exact):
        """Mean squared error at every point, over the sets that `size` parts make: (n,)."""
        weights = torch.softmax(log_p.unflatten(0, (-1, size)), 1)[..., None]
        return ((weights * scores.unflatten(0, (-1, size))).sum(1) - exact).square().sum(-1).mean(0)

    def _drawn(self, law, sigma, seed):
        """The same for drawn test points, which the counts share, as no grid holds heavy tails; ten sets are enough to be far off."""
        t, out = (
            torch.tensor(sigma, dtype=torch.float64),
            torch.zeros(10, len(self.counts), dtype=torch.float64),
        )
        for i in range(len(out)):
            train = law.sample(self.counts[-1], seed, stream=f"train {i}")
            x0 = law.sample(self.tests, seed, stream=f"test {i}")
            x = x0 + sigma * Rng(seed, f"noise {i}").normal(x0)
            exact = law.score(x, t)
            for k, n in enumerate(self.counts):
                out[i, k] = (Points(train[:n]).score(x, t) - exact).square().sum(1).mean()
        return out.mean(0).tolist()

    def rows(self, m):
        for sigma, risk in m.risk.items():
            yield equal(f"sigma = {sigma:g}: slope of the risk over n", slope(self.counts, risk), -1.0, 0.15)
        yield at_most("the risk falls with sigma, n = 2000", m.risk[0.5][-1], m.risk[0.2][-1])

    def controls(self, m):
        yield at_most(
            "Student, nu = 2, sigma = 0.2: slope of the risk over n", slope(self.counts, m.heavy), -0.9
        )

    def plot(self, m, figure):
        ax = figure.subplots()
        for sigma, risk in m.risk.items():
            ax.loglog(
                self.counts,
                risk,
                "o-",
                label=f"gmm-3, sigma = {sigma:g}: slope {slope(self.counts, risk):.2f}",
            )
        name = f"control: Student, nu = 2, sigma = 0.2: slope {slope(self.counts, m.heavy):.2f}"
        ax.loglog(self.counts, m.heavy, "x--", color="tab:red", label=name)
        ax.set(xlabel="training points", ylabel="E||shat - s||^2")
        ax.legend(fontsize=8)
