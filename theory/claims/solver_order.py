"""What a finite number of steps costs: orders of solvers, of Euler-Maruyama, and of a start from the wrong law."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, slope
from theory.claims._linear import gaussian_kl, moments
from theory.claims._reverse import karras, quadratic, rk4, uniform, velocity
from theory.claims._stepping import run, variance
from theory.distributions.mixture import Gaussian
from theory.distributions.perturbed import biased
from theory.distributions.toys import gmm_1d
from workbench.diffusion.variance_exploding import EDM
from workbench.diffusion.variance_preserving import VariancePreserving
from workbench.samplers.ddpm import DDIM, DDPM
from workbench.samplers.dpm_solver import DPMSolver2M, DPMSolver2S
from workbench.samplers.euler import Euler
from workbench.samplers.heun import Heun

VP2 = VariancePreserving(2.0, 2.0)


def centred(variances, process):
    """N(0, diag(variances))."""
    v = torch.tensor(variances, dtype=torch.float64)
    return Gaussian(torch.zeros_like(v), v, process)


def noised_variances(law, t):
    """alpha^2 C + sigma^2 of a diagonal Gaussian, from its score at the point one."""
    return -1 / law.score(torch.ones(1, law.dimension, dtype=torch.float64), t)[0]


class SolverOrderGaussian(Claim):
    """The W2 error of a probability-flow solver of order p is O(n^-p): 1 for Euler = DDIM, 2 for Heun, 2S and 2M, 4 for RK4.

    On N(0, diag lambda) every step multiplies each coordinate by a number, so the law at the end is Gaussian and W2 is
    (sum (sqrt(S_i) - sqrt(S_i exact))^2)^1/2 with no sampling error. The explicit midpoint rule in sigma is even of order 3
    on every Gaussian: its local error h^3 x (a'' + 6 a a' + 4 a^3) / 24 vanishes for dx / d sigma = a x with a = sigma /
    (lambda + sigma^2); with its midpoint in log sigma (DPM-Solver-2) the order is 2. Left: slopes over n of the library's steppers on the
    EDM process from sigma = 10 to 0.01. Right: the orders, and reference numbers at n = 64.
    """

    card = dict(code="A10", tier=0, topic="identities", paper="Karras et al. 2022",
                source="Karras et al. 2022, Fig. 2; Lu et al. 2022b, Thm. 3.2", found="")  # fmt: skip
    counts = (16, 32, 64, 128, 256, 512)
    orders = {"Euler": (1, 0.03), "DDIM": (1, 0.03), "Heun": (2, 0.06), "midpoint in log sigma": (2, 0.06),
              "midpoint in sigma": (3, 0.06), "DPM-Solver++(2S)": (2, 0.06),
              "DPM-Solver++(2M)": (2, 0.1), "RK4": (4, 0.1)}  # fmt: skip
    at_64 = {"Euler": 0.0254, "Heun": 1.13e-3, "midpoint in log sigma": 6.6e-4, "DPM-Solver++(2S)": 6.4e-4, "DPM-Solver++(2M)": 1.14e-3,
             "RK4": 5.1e-7}  # fmt: skip

    def measure(self, seed):
        law = centred([1.0, 0.1, 0.01], EDM())
        one = torch.ones(1, 3, dtype=torch.float64)
        ends = [noised_variances(law, t).sqrt() for t in (10.0, 0.01)]
        error = lambda x: (x[0].abs() * ends[0] - ends[1]).norm().item()
        v = velocity(law.score, law.process)
        steppers = {"Euler": Euler(), "DDIM": DDIM(), "Heun": Heun(), "DPM-Solver++(2S)": DPMSolver2S(),
                    "DPM-Solver++(2M)": DPMSolver2M()}  # fmt: skip
        solvers = {name: lambda g, s=s: run(s, law, one, g) for name, s in steppers.items()}
        solvers["midpoint in log sigma"] = lambda g: midpoint(v, one, g, lambda t, s: (t * s) ** 0.5)
        solvers["midpoint in sigma"] = lambda g: midpoint(v, one, g, lambda t, s: 0.5 * (t + s))
        solvers["RK4"] = lambda g: rk4(v, one, g)
        grids = [karras(10.0, 0.01, n) for n in self.counts]
        m = SimpleNamespace(errors={name: [error(f(g)) for g in grids] for name, f in solvers.items()})
        off = biased(law, torch.tensor([0.01], dtype=torch.float64))
        m.biased = [self._bias(off, g) for g in grids]
        m.flipped = [error(run(_Flipped(), law, one, g)) for g in grids]
        return m

    @staticmethod
    def _bias(prior, times):
        """The mean that a constant error of 0.01 in the score leaves, which no number of steps takes away."""
        return run(Heun(), prior, torch.zeros(1, 3, dtype=torch.float64), times)[0].norm().item()

    def rows(self, m):
        for name, (order, margin) in self.orders.items():
            yield equal(
                f"{name}: order, n = 64 to 512", -slope(self.counts[2:], m.errors[name][2:]), order, margin
            )
        for name, value in self.at_64.items():
            yield close(f"{name}: error at n = 64", m.errors[name][2], value, 0.02)
        worst = max(abs(a - b) for a, b in zip(m.errors["Euler"], m.errors["DDIM"], strict=True))
        yield at_most("Euler is DDIM: largest difference", worst, 1e-12)

    def controls(self, m):
        flipped = -slope(self.counts[2:], m.flipped[2:])
        yield at_least("2M, sign of the history term flipped: order", flipped, 2.0, 0.9)
        yield at_least("score biased by 0.01, Heun: order", -slope(self.counts[2:], m.biased[2:]), 2.0, 0.9)

    def plot(self, m, figure):
        ax = figure.subplots()
        for name, errors in m.errors.items():
            ax.loglog(self.counts, errors, "s--" if name == "DDIM" else "o-", ms=4, label=name)
        ax.loglog(self.counts, m.flipped, "x--", color="tab:red", label="control: 2M, history flipped")
        ax.loglog(self.counts, m.biased, "+--", color="tab:red", label="control: biased score")
        ax.set(xlabel="steps", ylabel="W2 to the exact law")
        ax.legend(fontsize=7)


def midpoint(v, x, times, middle):
    """The explicit midpoint rule, with `middle(t, s)` between."""
    for t, s in zip(times[:-1], times[1:], strict=True):
        between = middle(t, s)
        x = x + (s - t) * v(x + (between - t) * v(x, t), between)
    return x


class _Flipped(DPMSolver2M):
    """2M that adds what it should subtract of the step before."""

    def step(self, problem, state, t, s, rng):
        now = super().step(problem, state, t, s, rng)
        plain = DDIM().step(problem, state, t, s, rng).x
        now.x = 2 * plain - now.x
        return now


class EmWeakOrder(Claim):
    """Euler-Maruyama for the reverse SDE has an error in law of O(1 / n).

    For N(0, 1/4) a step maps N(0, S) to N(0, a^2 S + g^2 h), and S at the end differs from the truth by a constant over n
    (Talay and Tubaro 1990). Left: standard deviations of the library's Euler(eta = 1), exact by probing each step with
    ones and zeros. Right: order 1, and reference numbers.
    """

    card = dict(code="A11", tier=0, topic="identities", paper="Talay and Tubaro 1990",
                source="Talay and Tubaro 1990, Thm. 1", found="")  # fmt: skip
    counts = (50, 100, 200, 400, 800)
    reference = (0.1039, 0.0500, 0.0243, 0.0120, 0.0059)

    def measure(self, seed):
        law = centred([0.25], VP2)
        start = noised_variances(law, 5.0)
        grids = [uniform(5.0, 1e-9, n) for n in self.counts]
        errors = [abs(variance(Euler(eta=1.0), law, start, g).sqrt().item() - 0.5) for g in grids]
        return SimpleNamespace(errors=errors, wrong=[self._wrong(law, start, g) for g in grids])

    @staticmethod
    def _wrong(law, S, times):
        """g h of noise where g sqrt(h) belongs."""
        for t, s in zip(times[:-1], times[1:], strict=True):
            pair = torch.stack([t, s])
            drift = variance(Euler(eta=1.0), law, S, pair) - VP2.g2(t) * (t - s)
            S = drift + VP2.g2(t) * (t - s) ** 2
        return abs(S.sqrt().item() - 0.5)

    def rows(self, m):
        yield equal("order, n = 100 to 800", -slope(self.counts[1:], m.errors[1:]), 1.0, 0.05)
        for n, value, expected in zip(self.counts, m.errors, self.reference, strict=True):
            yield equal(f"error of the deviation at n = {n}", value, expected, 6e-5)

    def controls(self, m):
        yield equal("noise g h: order", -slope(self.counts[1:], m.wrong[1:]), 1.0, 0.5)
        yield at_most("noise g h: error at n = 800", m.wrong[-1], 0.1)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(self.counts, m.errors, "o-", label="Euler-Maruyama")
        ax.loglog(self.counts, [m.errors[-1] * 800 / n for n in self.counts], "k:", label="1 / n")
        ax.loglog(self.counts, m.wrong, "x--", color="tab:red", label="control: noise g h")
        ax.set(xlabel="steps", ylabel="|deviation - 0.5| at t = 0, N(0, 1/4)")
        ax.legend(fontsize=8)


class OptimalReverseVariance(Claim):
    """Ancestral steps whose variance is tau^2 + c^2 Var(x0 | x_t) are exact for Gaussians with any number of steps.

    q(x_s | x_t, x0) = N(a x_t + c x0, tau^2), so p(x_s | x_t) has mean a x_t + c D(x_t) and variance tau^2 + c^2
    Var(x0 | x_t), and is Gaussian if x0 is. tau^2 alone (DDPM's small variance) is too small, 1 - alpha_t^2 / alpha_s^2 (the
    large one, which is right for Var x0 = 1) too large for Var x0 < 1. Left: deviations after the library's DDPM steps with
    the three variances. Right: 1/2. For mixtures p(x_s | x_t) is not Gaussian: its third
    cumulant is O(h^3), so with mean and variance right the error in law falls like n^-2, and is never zero.
    """

    card = dict(code="A12", tier=0, topic="identities", paper="Bao et al. 2022",
                source="Bao et al. 2022 (Analytic-DPM), Thm. 1", found="")  # fmt: skip
    counts = (10, 50, 400)
    small = (-0.328, -0.164, -0.050)
    large = (0.318, 0.080, 0.0095)

    def measure(self, seed):
        law = centred([0.25], VP2)
        m = SimpleNamespace(small=[], optimal=[], large=[])
        for n in self.counts:
            S = [noised_variances(law, 5.0)] * 3
            times = uniform(5.0, 1e-12, n)
            for t, s in zip(times[:-1], times[1:], strict=True):
                S = self._step(law, S, t, s)
            for name, value in zip(("small", "optimal", "large"), S, strict=True):
                getattr(m, name).append(value.sqrt().item() - 0.5)
        m.mixture_counts = (10, 20, 40, 80, 160, 320)
        m.mixture = [self._mixture(n) for n in m.mixture_counts]
        return m

    @staticmethod
    def _step(law, S, t, s):
        """The three variances after one step of DDPM's mean: with tau^2, its optimum, and the large one."""
        still = torch.zeros_like(S[0])
        tau2 = variance(DDPM(), law, still, torch.stack([t, s]))
        a2 = variance(DDPM(), law, still + 1, torch.stack([t, s])) - tau2
        ratio = VP2.alpha(t) / VP2.alpha(s)
        beta = 1 - ratio**2
        posterior = law.tweedie(still[None], t)[1](torch.ones(1, 1, dtype=torch.float64))[0]
        optimal = tau2 + (VP2.alpha(s) * beta / VP2.sigma(t) ** 2) ** 2 * posterior
        return [a2 * v + added for v, added in zip(S, (tau2, optimal, beta), strict=True)]

    @staticmethod
    def _mixture(n):
        """Total variation between p_(0.02) of gmm-1d and n steps with the optimal variance at each point, on a grid."""
        law, x = gmm_1d(VP2), torch.linspace(-5, 5, 500, dtype=torch.float64)[:, None]
        times = uniform(3.0, 0.02, n)
        h = x[1, 0] - x[0, 0]
        p = law.log_prob(x, times[0]).exp() * h
        for t, s in zip(times[:-1], times[1:], strict=True):
            beta = 1 - (VP2.alpha(t) / VP2.alpha(s)) ** 2
            D, cov = law.tweedie(x, t)
            c, tau2 = VP2.alpha(s) * beta / VP2.sigma(t) ** 2, beta * VP2.sigma(s) ** 2 / VP2.sigma(t) ** 2
            mean = VP2.alpha(t) / VP2.alpha(s) * VP2.sigma(s) ** 2 / VP2.sigma(t) ** 2 * x + c * D
            v = tau2 + c**2 * cov(torch.ones_like(x))
            kernel = torch.exp(-0.5 * (x.mT - mean) ** 2 / v) / (2 * torch.pi * v).sqrt() * h
            p = p @ kernel
        return 0.5 * (p - law.log_prob(x, times[-1]).exp() * h).abs().sum().item()

    def rows(self, m):
        for i, n in enumerate(self.counts):
            yield equal(f"optimal variance, {n} steps: deviation - 1/2", m.optimal[i], 0.0, 1e-11)
            yield equal(f"small variance, {n} steps", m.small[i], self.small[i], 5.5e-4)
            yield equal(f"large variance, {n} steps", m.large[i], self.large[i], 5.5e-4)
        yield equal(
            "gmm-1d: order of the optimal variance", -slope(m.mixture_counts[3:], m.mixture[3:]), 2.0, 0.3
        )

    def controls(self, m):
        yield equal("gmm-1d, optimal variance, 10 steps: total variation", m.mixture[0], 0.0, 1e-3)
        yield equal("small variance, 400 steps: deviation - 1/2", m.small[2], 0.0, 1e-11)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(self.counts, [-v for v in m.small], "v-", label="N(0, 1/4), small variance: too narrow")
        ax.loglog(self.counts, m.large, "^-", label="N(0, 1/4), large variance: too wide")
        ax.loglog(self.counts, [abs(v) + 1e-16 for v in m.optimal], "o-", label="N(0, 1/4), optimal variance")
        ax.loglog(
            m.mixture_counts,
            m.mixture,
            "x--",
            color="tab:red",
            label="control: mixture, optimal (total variation)",
        )
        ax.set(xlabel="steps", ylabel="|deviation - 1/2|")
        ax.legend(fontsize=8)


class PriorMismatch(Claim):
    """Starting from N(0, I) in place of p_T costs O(alpha_T^2) in W2 with the ODE but O(alpha_T^4) with the SDE (centred
    data), and KL(p_T || N) = O(alpha_T^4).

    For N(0, v): V_T - 1 = alpha_T^2 (v - 1). The ODE multiplies by sqrt(v / V_T), so its error is that of sqrt(1 / V_T); the
    SDE forgets the start: it contracts a difference of variances by (v alpha_T / V_T)^2, the ODE by v / V_T. With a mean m the start is
    off by alpha_T m, and powers drop to alpha_T and alpha_T^2. Left: moments of the reverse family driven by the library's
    score. Right: the powers, and reference numbers.
    """

    card = dict(code="A13", tier=0, topic="identities", paper="Song et al. 2021", source="derived", found="")
    ends = (1.0, 2.0, 3.0, 4.0, 5.0)
    ode = (0.0275, 0.00347, 4.65e-4, 6.3e-5, 8.5e-6)
    sde = (1.06e-3, 1.6e-5, 2.9e-7, 5.3e-9)

    def measure(self, seed):
        m = SimpleNamespace(kl=[])
        m.ode, m.ode_mean = zip(*[self._errors(T, 0, 200) for T in self.ends], strict=True)
        m.sde, m.sde_mean = zip(*[self._errors(T, 1, 500) for T in self.ends[:4]], strict=True)
        for T in self.ends:
            v = noised_variances(centred([0.25], VP2), T)
            m.kl.append(gaussian_kl(0 * v, v[:, None], 0 * v, torch.eye(1, dtype=torch.float64)))
        m.stopped = self._errors(0.3, 0, 200)[0]
        return m

    @staticmethod
    def _errors(T, eta, steps):
        """W2 at t = 0 of N(0, 1/4) and of N(1, 1/4), two coordinates of one law, when the family starts from N(0, 1)."""
        mean = torch.tensor([0.0, 1.0], dtype=torch.float64)
        law, eye = Gaussian(mean, 0.25, VP2), torch.eye(2, dtype=torch.float64)
        bias = lambda t: law.score(0 * eye[:1], t)[0]
        matrix = lambda t: (law.score(eye, t) - bias(t)).mT
        found, S = moments(matrix, VP2, 0 * mean, eye, quadratic(T, 0.0, steps), eta, bias)
        return ((found - mean) ** 2 + (S.diagonal().sqrt() - 0.5) ** 2).sqrt().tolist()

    def rows(self, m):
        power = lambda errors, n=4: (
            -slope([torch.tensor(T).exp().item() for T in self.ends[1:n]], errors[1:n])
        )
        yield equal("ODE, centred: power of alpha_T", power(m.ode, 5), 2.0, 0.05)
        yield equal("SDE, centred: power of alpha_T", power(m.sde), 4.0, 0.05)
        yield equal("ODE, mean 1: power of alpha_T", power(m.ode_mean, 5), 1.0, 0.05)
        yield equal("SDE, mean 1: power of alpha_T", power(m.sde_mean), 2.0, 0.05)
        yield equal("KL(p_T || N(0, 1)): power of alpha_T", power(m.kl, 5), 4.0, 0.1)
        for T, value, expected in zip(self.ends, m.ode, self.ode, strict=True):
            yield close(f"ODE, centred, T = {T:g}", value, expected, 0.01)
        for T, value, expected in zip(self.ends, m.sde, self.sde, strict=False):
            yield close(f"SDE, centred, T = {T:g}", value, expected, 0.03)

    def controls(self, m):
        yield at_most("ODE from N(0, 1) at T = 0.3", m.stopped, 0.1)
        yield close("SDE of centred data has the ODE's error at T = 3", m.sde[2], m.ode[2], 0.5)

    def plot(self, m, figure):
        ax = figure.subplots()
        curves = {
            "ODE, centred": m.ode,
            "SDE, centred": m.sde,
            "ODE, mean 1": m.ode_mean,
            "SDE, mean 1": m.sde_mean,
        }
        for name, values in curves.items():
            ax.semilogy(self.ends[: len(values)], values, "o-", label=name)
        ax.semilogy(self.ends, m.kl, "s:", label="KL(p_T || N(0, 1)), nats")
        ax.semilogy(0.3, m.stopped, "x", color="tab:red", ms=9, label="control: T = 0.3")
        ax.set(xlabel="T, where alpha_T = exp(-T)", ylabel="W2 at t = 0 (and KL)")
        ax.legend(fontsize=8)
