"""Densities tracked along a trajectory, and what superposing models by them makes."""

from itertools import pairwise
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_most, close, equal, slope, within_errors
from theory.claims._reverse import quadratic, uniform, velocity
from theory.diagnostics.likelihood import ito_log_likelihood
from theory.diagnostics.transport import sliced_wasserstein
from theory.distributions.mixture import Gaussian, GaussianMixture
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving
from workbench.samplers.super_diff import SuperDiffAnd, SuperDiffOr

VP2 = VariancePreserving(2.0, 2.0)
LATE = 1e-300  # a temperature at which the softmax of SuperDiffOr is 1/2 each: the average of the scores


def equal_modes(means, variance=0.16):
    """Gaussians of equal weights and of this variance, in the plane, under vp2."""
    means = torch.tensor(means, dtype=torch.float64)
    return GaussianMixture(
        [1] * len(means), means, torch.full((len(means),), variance, dtype=torch.float64), VP2
    )


def superposed(sampler, prior, n, times, seed):
    """(draws at the last of the decreasing times, all of log q_1 - log q_2 that the sampler tracked: (steps + 1, n))."""
    problem, rng = SimpleNamespace(prior=prior), Rng(seed, "superposition")
    state = sampler.init(problem, n, times[0], rng)
    gaps = [state.log_q[:, 0] - state.log_q[:, 1]]
    for i, (t, s) in enumerate(pairwise(times), start=1):
        state = sampler.step(problem, state, t, s, rng.at(i))
        gaps.append(state.log_q[:, 0] - state.log_q[:, 1])
    return state.x, torch.stack(gaps)


def near(x, mean, radius=0.8):
    """The share of the draws within `radius` of the mean, and its standard error."""
    p = ((x - torch.tensor(mean, dtype=torch.float64)).norm(dim=1) < radius).double().mean().item()
    return p, (max(p * (1 - p), 1e-4) / len(x)) ** 0.5


class ItoDensityEstimator(Claim):
    """d log p_t(x) = s . dx + [div f + (f - g^2 s / 2) . s] dtau along any reverse path with noise g: no divergence of s.

    Ito's formula in tau = T - t: d log p = s . dx + (-d_t log p + (g^2 / 2) div s) dtau; the Fokker-Planck equation d_t log p =
    -div f - f . s + (g^2 / 2)(div s + |s|^2) leaves the line above, whatever drift moved x. Left: errors of the library's
    ito_log_likelihood at uniform steps, on a path that p drives, for p and for another density. Right: bias of order 1 in the
    step and spread of order 1/2. Products taken at the middle of a step (Stratonovich) are off by (g^2 / 2) div s dtau, as is a path
    without noise.
    """

    card = dict(code="K1", tier=1, topic="superposition", paper="2412.17762",
                source="Skreta et al. 2025, Thm. 1 and its code", found="")  # fmt: skip
    counts, n, T, t_min = (100, 200, 400, 800), 2000, 3.0, 0.01
    bias, rms, other = (0.175, 0.077, 0.038, 0.015), (0.75, 0.50, 0.36, 0.25), (0.84, 0.59, 0.41, 0.29)

    def measure(self, seed):
        p = equal_modes([[1.5, 0.5], [-1.5, -0.5]], 0.3)
        q = equal_modes([[1.0, -0.5], [-1.0, 0.5]], 0.35)
        m = SimpleNamespace(own=[], other=[], middle=[])
        for steps in self.counts:
            times = uniform(self.T, self.t_min, steps)
            path = self._path(p, times, seed, 1.0)
            for name, law in (("own", p), ("other", q)):
                getattr(m, name).append(self._summary(self._miss(law, path, times)))
            m.middle.append(self._summary(self._miss(p, path, times) + self._correction(p, path, times)))
        times = uniform(self.T, self.t_min, 400)
        m.quiet = self._summary(self._miss(p, self._path(p, times, seed, 0.0), times))
        return m

    def _path(self, law, times, seed, eta):
        """(steps + 1, n, 2) of the member eta of the reverse family."""
        x, v, rng = law.at(times[0]).sample(self.n, seed), velocity(law.score, VP2, eta), Rng(seed, "path")
        path = [x]
        for i, (t, s) in enumerate(pairwise(times)):
            x = x + (s - t) * v(x, t) + eta * torch.sqrt(VP2.g2(t) * (t - s)) * rng.at(i).normal(x)
            path.append(x)
        return torch.stack(path)

    @staticmethod
    def _miss(law, path, times):
        found = ito_log_likelihood(law.score, path, times, VP2)
        return found - law.log_prob(path[-1], times[-1]) + law.log_prob(path[0], times[0])

    @staticmethod
    def _correction(law, path, times):
        """What turns the products s_k . dx into (s_k + s_k+1) / 2 . dx."""
        s = torch.stack([law.score(x, t) for x, t in zip(path, times, strict=True)])
        return 0.5 * (s.diff(dim=0) * path.diff(dim=0)).sum((0, 2))

    @staticmethod
    def _summary(miss):
        """(bias, its standard error, root mean square)."""
        return miss.mean().item(), (miss.std() / len(miss) ** 0.5).item(), miss.square().mean().sqrt().item()

    def rows(self, m):
        for name, found in (("own density", m.own), ("other density", m.other)):
            yield equal(f"{name}: power of the steps of the rms", slope(self.counts, [f[2] for f in found]), -0.5, 0.06)  # fmt: skip
            yield equal(f"{name}: power of the steps of the bias, to 400", slope(self.counts[:3], [abs(f[0]) for f in found[:3]]), -1.0, 0.3)  # fmt: skip
        for steps, found, expected in zip(self.counts, m.own, self.rms, strict=True):
            yield close(f"{steps} steps: rms, reference of a like mixture", found[2], expected, 0.15)
        for steps, found, expected in zip(self.counts, m.own, self.bias, strict=True):
            yield equal(f"{steps} steps: bias, reference of a like mixture", abs(found[0]), expected, 0.3 * expected + 5 * found[1])  # fmt: skip
        for steps, found, expected in zip(self.counts, m.other, self.other, strict=True):
            yield close(f"{steps} steps: rms of another density, reference", found[2], expected, 0.25)

    def controls(self, m):
        for i in (0, -1):
            yield equal(f"midpoint products, {self.counts[i]} steps: bias", m.middle[i][0], 0.0, 1.0)
        yield equal("a path without noise, 400 steps: bias", m.quiet[0], 0.0, 1.0)

    def plot(self, m, figure):
        ax = figure.subplots()
        for name, found, color in (("own density", m.own, "C0"), ("other density", m.other, "C1")):
            ax.loglog(self.counts, [f[2] for f in found], "o-", color=color, label=f"{name}: rms")
            ax.loglog(self.counts, [abs(f[0]) for f in found], "s--", color=color, label=f"{name}: bias")
        ax.loglog(
            self.counts,
            [abs(f[0]) for f in m.middle],
            "x--",
            color="tab:red",
            label="control: midpoint products, bias",
        )
        ax.set(xlabel="uniform steps", ylabel="error of the log-density, nats")
        ax.legend(fontsize=7)


class SuperpositionOr(Claim):
    """dx = [f - g^2 sum kappa_i s_i] dt + g dw with kappa = softmax_i(log q_i) has the marginals of the mixture of the q_i.

    grad log sum_i q_i = sum_i q_i s_i / sum_i q_i: the drift is the mixture's own score if the q_i are right, and the q_i follow
    from `ito-density-estimator`. Left: draws by the library's SuperDiffOr, which tracks the densities, of two models with modes
    at (+-1.5, 1.5) and (+-1.5, -1.5). Right: half above, a quarter in each mode, and the floor of exact draws. The average of the scores
    leaves the modes empty.
    """

    card = dict(code="K2", tier=1, topic="superposition", paper="2412.17762",
                source="Skreta et al. 2025, Prop. 3", found="")  # fmt: skip
    n, T, t_min, steps = 2500, 4.0, 1e-3, 600

    def measure(self, seed):
        p, q = equal_modes([[1.5, 1.5], [-1.5, 1.5]]), equal_modes([[1.5, -1.5], [-1.5, -1.5]])
        both = equal_modes([[1.5, 1.5], [-1.5, 1.5], [1.5, -1.5], [-1.5, -1.5]]).at(self.t_min)
        times = quadratic(self.T, self.t_min, self.steps)
        m = SimpleNamespace()
        m.x, gaps = superposed(SuperDiffOr((q,)), p, self.n, times, seed)
        truth = p.log_prob(m.x, self.t_min) - q.log_prob(m.x, self.t_min)
        m.tracked = (gaps[-1] - truth).square().mean().sqrt().item()
        m.average = superposed(SuperDiffOr((q,), temperature=LATE), p, self.n, times, seed)[0]
        m.gap = sliced_wasserstein(m.x, both.sample(self.n, seed), law=both, slices=32, repeats=10, seed=seed)
        return m

    def rows(self, m):
        error = (0.25 / self.n) ** 0.5
        yield within_errors("share of draws with x_2 > 0", (m.x[:, 1] > 0).double().mean(), 0.5, error)
        for i in (1, -1):
            for j in (1, -1):
                share = ((i * m.x[:, 0] > 0) & (j * m.x[:, 1] > 0)).double().mean()
                yield within_errors(f"share of the mode at ({1.5 * i:g}, {1.5 * j:g})", share, 0.25, (0.1875 / self.n) ** 0.5)  # fmt: skip
        yield close("share within 0.8 of (1.5, 1.5), reference number", near(m.x, (1.5, 1.5))[0], 0.22, 0.2)
        yield at_most("sliced W2 and 1.5 floors", m.gap.value, 1.5 * m.gap.floor)
        yield at_most("rms error of the tracked log q_1 - log q_2, nats", m.tracked, 0.6)

    def controls(self, m):
        yield equal("average of the scores: share within 0.8 of (1.5, 1.5)", near(m.average, (1.5, 1.5))[0], 0.22, 0.1)  # fmt: skip

    def plot(self, m, figure):
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        for ax, x, color, name in (
            (left, m.x, "C0", "softmax of log q"),
            (right, m.average, "tab:red", "control: average"),
        ):
            ax.plot(*x.mT, ".", ms=1.5, color=color, alpha=0.5)
            ax.set(xlabel="x_1", aspect="equal", title=name)
        left.set(ylabel="x_2")


class SuperpositionAnd(Claim):
    """With kappa such that d log q_1 = d log q_2 in every step, |log q_1 - log q_2| stays where it began, whatever the noise.

    d log q_i is affine in kappa once the noise of the step is drawn; one linear equation makes them equal. Left: |log q_1 - log q_2| at
    the end by the laws' own densities, for the library's SuperDiffAnd without a bound on kappa (kappa grows as step^-1/2; its bound of
    10 leaves 0.3 nats). Right: 0.04 (the difference at the start), where the average has 5 and OR 27; with one mode in common,
    draws near it. It is no product: of N(m_1, v) and N(m_2, v) draws stay on the plane of equal densities, with variance v on it.
    """

    card = dict(code="K3", tier=1, topic="superposition", paper="2412.17762",
                source="Skreta et al. 2025, Prop. 6", found="")  # fmt: skip
    n, T, t_min, steps, v = 1500, 4.0, 1e-3, 300, 0.5
    medians, shares = dict(AND=0.04, average=4.8, OR=27.0), dict(AND=0.84, average=0.65, OR=0.42)

    def measure(self, seed):
        p, q = equal_modes([[1.5, 1.5], [-1.5, 1.5]]), equal_modes([[1.5, -1.5], [-1.5, -1.5]])
        shared = equal_modes([[1.5, 1.5], [-1.5, 1.5]]), equal_modes([[1.5, 1.5], [1.5, -1.5]])
        m = SimpleNamespace(apart={}, paths={}, near={}, times=quadratic(self.T, self.t_min, self.steps))
        for name, kind in self._kinds().items():
            x, m.paths[name] = superposed(kind(q), p, self.n, m.times, seed)
            m.apart[name] = (p.log_prob(x, self.t_min) - q.log_prob(x, self.t_min)).abs().median().item()
            m.near[name] = near(superposed(kind(shared[1]), shared[0], self.n, m.times, seed)[0], (1.5, 1.5))
        m.across, m.along = self._product(seed, m.times)
        return m

    @staticmethod
    def _kinds():
        return dict(
            AND=lambda q: SuperDiffAnd((q,), limit=1e6),
            average=lambda q: SuperDiffOr((q,), temperature=LATE),
            OR=lambda q: SuperDiffOr((q,)),
        )

    def _product(self, seed, times):
        """(variance, its standard error) of draws from N((+-1, 0), v), across the plane of equal densities and on it."""
        law = lambda a: Gaussian(torch.tensor([a, 0.0], dtype=torch.float64), self.v, VP2)
        x = superposed(SuperDiffAnd((law(-1.0),), limit=1e6), law(1.0), self.n, times, seed)[0]
        var = x.var(0).tolist()
        return [(value, value * (2 / self.n) ** 0.5) for value in var]

    def rows(self, m):
        yield close("AND: median |log q_1 - log q_2|, reference number", m.apart["AND"], 0.04, 0.25)
        yield close("average: median, reference number", m.apart["average"], self.medians["average"], 0.15)
        yield close("OR: median, reference number", m.apart["OR"], self.medians["OR"], 0.1)
        for name, expected in self.shares.items():
            share, error = m.near[name]
            yield within_errors(f"{name}: share near the mode in common, reference", share, expected, error)
        yield at_most("AND of two Gaussians: variance across, over v", m.across[0] / self.v, 0.02)
        yield within_errors("AND of two Gaussians: variance along, and v", m.along[0], self.v + self._late(), m.along[1])  # fmt: skip

    def _late(self):
        """How far the variance v is from its end at t_min."""
        return ((VP2.alpha(self.t_min) ** 2 - 1) * self.v + VP2.sigma(self.t_min) ** 2).item()

    def controls(self, m):
        yield at_most("average: median |log q_1 - log q_2|", m.apart["average"], 0.1)
        for name, (value, error) in (("across", m.across), ("along", m.along)):
            yield within_errors(
                f"variance {name} is that of the product, v / 2", value, self.v / 2, error, 10
            )

    def plot(self, m, figure):
        ax = figure.subplots()
        for (name, gaps), color in zip(m.paths.items(), ("C0", "tab:red", "C2"), strict=True):
            ax.plot(m.times, gaps[:, :8], color=color, lw=0.7)
            ax.plot([], [], color=color, label="control: average" if name == "average" else name)
        ax.set(
            xscale="log",
            yscale="symlog",
            xlabel="t, from right to left",
            ylabel="log q_1 - log q_2 along paths",
        )
        ax.legend(fontsize=8)
