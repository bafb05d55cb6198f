"""Interpolants: what their velocity moves, and which error of a velocity controls the law that it makes."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close
from theory.claims._reverse import quadratic, rk4
from theory.diagnostics.fokker_planck import divergence
from theory.diagnostics.transport import sliced_wasserstein
from theory.distributions.mixture import GaussianMixture
from theory.distributions.toys import gmm_3
from workbench._rng import Rng
from workbench.diffusion.interpolant import Interpolant

BRIDGE = Interpolant()  # x_t = (1 - t) x0 + t z + sqrt(2 t (1 - t)) w
WAVES, DELTA = (1, 2, 4, 8, 16), 0.1


def conditional_velocity(law, x, t, share=1.0):
    """E[z - x0 + share gamma' w | x_t = x], component by component from the joint Gaussian of (x0, z, w, x_t)."""
    process, C = law.process, law.covariances.dense()
    a, eye = process.alpha(t), torch.eye(x.shape[1], dtype=x.dtype)
    S = a**2 * C + process.sigma(t) ** 2 * eye
    pull = torch.einsum("kde,nke->nkd", torch.linalg.inv(S), x[:, None] - a * law.means)  # S^-1 (x - a m)
    rate = process.base**2 * t + share * process.bridge**2 * (1 - 2 * t)  # Cov(z + share gamma' w, x_t)
    parts = rate * pull - law.means - a * torch.einsum("kde,nke->nkd", C, pull)
    return (law.responsibilities(x, t)[..., None] * parts).sum(1)


class InterpolantContinuity(Claim):
    """b = E[d x_t / dt | x_t] obeys d_t p + div(b p) = 0, and s = -E[w | x_t] / gamma, for x_t = (1 - t) x0 + t z + gamma w.

    d/dt E phi(x_t) = E[grad phi . d x_t / dt] = E[grad phi . b] for every test function; w is Gaussian and independent, so E[w | x_t] =
    -gamma s by parts. Left: d_t log p + div b + b . s with the library's velocity and score, autograd in t. Right: zero; and
    the velocity from the joint conditionals of a mixture. Left out gamma' w, mass is not moved as p_t says.
    """

    card = dict(code="N1", tier=0, topic="interpolants", paper="2303.08797",
                source="Albergo, Boffi, Vanden-Eijnden 2023, eq. 2.9, 2.10, 2.14", found="")  # fmt: skip
    times, epsilons, n = (0.1, 0.3, 0.5, 0.7, 0.9), (0.0, 0.1, 1.0), 1000

    def measure(self, seed):
        gaussian = GaussianMixture([1.0], gmm_3().means[:1], gmm_3().covariances.dense()[:1], BRIDGE)
        laws = dict(gaussian=gaussian, mixture=gmm_3(BRIDGE))
        m = SimpleNamespace(residual={}, gap={}, dropped={}, noise={})
        for name, law in laws.items():
            found = [self._at(law, t, seed) for t in self.times]
            m.residual[name], m.gap[name], m.noise[name], m.dropped[name] = zip(*found, strict=True)
        m.ends = {eps: self._sampled(laws["mixture"], eps, seed) for eps in self.epsilons}
        return m

    @staticmethod
    def _at(law, t, seed):
        """Largest of: residual, velocity less its conditional formula, E[w | x] + gamma s, residual without gamma' w."""
        x = law.at(t).sample(64, seed)
        clock = torch.full((), t, dtype=torch.float64, requires_grad=True)
        change = torch.stack(
            [torch.autograd.grad(v, clock, retain_graph=True)[0] for v in law.log_prob(x, clock)]
        )
        b = lambda x: BRIDGE.velocity(law, x, t)
        short = lambda x: conditional_velocity(law, x, t, share=0.0)
        miss = lambda v: (change + divergence(v, x) + (v(x) * law.score(x, t)).sum(1)).abs().max().item()
        formula = (b(x) - conditional_velocity(law, x, t)).abs().max().item()
        w = (conditional_velocity(law, x, t) - short(x)) * BRIDGE.gamma(t) / (1 - 2 * t or 1.0)
        noise = (w - BRIDGE.noise(law, x, t)).abs().max().item() if t != 0.5 else 0.0
        return miss(b), formula, noise, miss(short)

    def _sampled(self, law, eps, seed):
        """The distance of draws by drift b - eps s, noise sqrt(2 eps), from t = 1 to 0, and its floor."""
        times, rng = quadratic(0.999, 1e-3, 300), law.at(0.999).sample(self.n, seed)
        x = rng
        noise = Rng(seed, "steps")
        for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
            v = lambda x, t: BRIDGE.velocity(law, x, t) - eps * law.score(x, t)
            k, dt = v(x, t), s - t
            x = (
                x + dt * k + (2 * eps * -dt) ** 0.5 * noise.at(i).normal(x)
                if eps
                else x + 0.5 * dt * (k + v(x + dt * k, s))
            )
        end = law.at(1e-3)
        return sliced_wasserstein(
            x, end.sample(self.n, seed, "exact"), law=end, slices=32, repeats=10, seed=seed
        )

    def rows(self, m):
        for name in m.residual:
            yield at_most(f"{name}: largest residual over five times", max(m.residual[name]), 1e-8)
            yield at_most(f"{name}: velocity and conditional formula", max(m.gap[name]), 1e-10)
            yield at_most(f"{name}: E[w | x_t] and -gamma s", max(m.noise[name]), 1e-10)
        for eps, gap in m.ends.items():
            yield at_most(f"eps = {eps:g}: sliced W2 of samples and 1.5 floors", gap.value, 1.5 * gap.floor)

    def controls(self, m):
        for name in m.residual:
            yield at_most(f"{name}: gamma' w left out, residual at t = 0.3", m.dropped[name][1], 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, name in enumerate(m.residual):
            ax.semilogy(self.times, m.residual[name], "o-", color=f"C{i}", label=f"{name}: b of the library")
        ax.semilogy(
            self.times,
            [max(v, 1e-16) for v in m.dropped["mixture"]],
            "x--",
            color="tab:red",
            label="control: gamma' w left out",
        )
        ax.set(xlabel="t", ylabel="largest residual of d_t log p + div b + b . s")
        ax.legend(fontsize=8)


def circle(n):
    """n points of [0, 2 pi)."""
    return 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n


def wave(k):
    """The velocity DELTA sin k x on the circle."""
    return lambda x: DELTA * torch.sin(k * x)


def diffused(k, eps, n=128):
    """The density on `n` points at time 1 of d rho = -(b rho)' + eps rho'', b = DELTA sin k x, from the uniform one: spectral."""
    x, q = circle(n), torch.full((n,), 0.5 / torch.pi, dtype=torch.float64)
    frequency = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    frequency[n // 2] = 0
    F = torch.fft.fft(torch.eye(n, dtype=torch.complex128), dim=0)
    D = (torch.linalg.inv(F) @ ((1j * frequency)[:, None] * F)).real
    b = wave(k)(x)
    L = -b[:, None] * D - torch.diag(divergence(wave(k), x[:, None])) + eps * D @ D
    return torch.linalg.matrix_exp(L) @ q


def transported(k, back, n=256):
    """(even points x, where the flow of the wave takes them in unit time, minus the divergence on the way), by RK4.

    back: 1 to follow the flow backwards: then the last is the log of the density at x over the uniform one; else -1.
    """
    v, x = wave(k), circle(n)[:, None]
    slopes = lambda state, t: -torch.cat([back * v(state[:, :1]), divergence(v, state[:, :1])[:, None]], 1)
    end = rk4(slopes, torch.cat([x, 0 * x], 1), torch.linspace(0, 1, 101, dtype=torch.float64))
    return x[:, 0], end[:, 0], end[:, 1]


def kl_of_flow(k):
    """KL(uniform || law that the flow of the wave makes of it in unit time), a float."""
    return -transported(k, 1, 1024)[2].mean().item()


class SdeKlControl(Claim):
    """KL(rho_1 || rhohat_1) <= (1 / 4 eps) int E_rho |bhat - b|^2 dt for two Fokker-Planck equations with one diffusion eps.

    d KL / dt = -eps E|grad log rho / rhohat|^2 + E (b - bhat) . grad log(rho / rhohat), at most E|b - bhat|^2 / (4 eps) by Young. Left: KL on
    a circle, rho uniform, b = 0, bhat = 0.1 sin k x, by the spectral generator with the library's divergence. Right: the bound
    0.01 / (8 eps), for every k. Without diffusion there is no such bound (`ode-kl-uncontrolled`).
    """

    card = dict(code="N2", tier=0, topic="interpolants", paper="2303.08797",
                source="Albergo, Boffi, Vanden-Eijnden 2023, Lemma 2.22", found="")  # fmt: skip
    reference = {0.01: (0.0025, 0.0096, 0.034, 0.086, 0.082), 0.1: (0.0023, 0.0068, 0.0099, 0.0039, 0.00098)}

    def measure(self, seed):
        kl = lambda k, eps: -(2 * torch.pi * diffused(k, eps)).log().mean().item()
        m = SimpleNamespace(kl={eps: [kl(k, eps) for k in WAVES] for eps in self.reference})
        m.flow = [kl_of_flow(k) for k in WAVES]
        return m

    def rows(self, m):
        for eps, found in m.kl.items():
            for k, value, expected in zip(WAVES, found, self.reference[eps], strict=True):
                yield at_most(f"eps = {eps:g}, k = {k}: KL and bound", value, DELTA**2 / (8 * eps))
                yield close(f"eps = {eps:g}, k = {k}: KL, reference number", value, expected, 0.03)
        yield close("eps = 0.1, k = 4: share of the bound", m.kl[0.1][2] / (DELTA**2 / 0.8), 0.80, 0.02)

    def controls(self, m):
        yield at_most("no diffusion, k = 16: KL and the bound of eps = 0.01", m.flow[-1], DELTA**2 / 0.08)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, (eps, found) in enumerate(m.kl.items()):
            ax.loglog(WAVES, found, "o-", color=f"C{i}", label=f"eps = {eps:g}")
            ax.axhline(DELTA**2 / (8 * eps), color=f"C{i}", ls=":", label=f"bound, eps = {eps:g}")
        ax.loglog(WAVES, m.flow, "x--", color="tab:red", label="control: no diffusion")
        ax.set(xlabel="k, of the error 0.1 sin k x", ylabel="KL(rho || rhohat)")
        ax.legend(fontsize=8)


class OdeKlUncontrolled(Claim):
    """KL(rho || rhohat) = log((1 + cosh k delta) / 2) for b = 0 and bhat = delta sin k x on a circle: no multiple of |bhat - b|^2.

    Along dx = delta sin k x the tangent of k x / 2 grows as e^(k delta), so rhohat = 1 / (2 pi (cosh a + sinh a cos k x)), a = k delta, while
    E|bhat - b|^2 = delta^2 / 2 for every k. Left: KL by RK4 with the library's divergence. Right: the formula. W2 is under
    control: particles move by delta at most in a unit of time, whatever k.
    """

    card = dict(code="N3", tier=0, topic="interpolants", paper="2303.08797",
                source="Albergo, Boffi, Vanden-Eijnden 2023, Lemma 2.21; formula derived", found="")  # fmt: skip
    reference = (0.0025, 0.00998, 0.0397, 0.156, 0.582)

    def measure(self, seed):
        m = SimpleNamespace(kl=[kl_of_flow(k) for k in WAVES], w2=[])
        m.formula = [torch.log(0.5 * (1 + torch.cosh(torch.tensor(k * DELTA)))).item() for k in WAVES]
        for k in WAVES:
            x, end, _ = transported(k, -1)
            m.w2.append(
                (end - x).square().mean().sqrt().item()
            )  # the coupling by the flow: monotone, so optimal
        return m

    def rows(self, m):
        for k, value, formula, expected in zip(WAVES, m.kl, m.formula, self.reference, strict=True):
            yield close(f"k = {k}: KL and formula", value, formula, 1e-4)
            yield close(f"k = {k}: KL, reference number", value, expected, 0.01)
        yield at_least("KL over 10 delta^2 / 2, k = 16", m.kl[-1] / (5 * DELTA**2), 1.0)
        for k, value in zip(WAVES, m.w2, strict=True):
            yield at_most(f"k = {k}: W2 and delta", value, DELTA)

    def controls(self, m):
        yield at_least("W2 in place of KL: growth from k = 1 to 16", m.w2[-1] / m.w2[0], 10.0)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(WAVES, m.kl, "o-", label="KL")
        ax.loglog(WAVES, m.formula, "k:", label="log((1 + cosh k delta) / 2)")
        ax.loglog(WAVES, m.w2, "x--", color="tab:red", label="control: W2")
        ax.axhline(DELTA, color="black", lw=0.8, label="bound of W2")
        ax.set(xlabel="k, of the error 0.1 sin k x", ylabel="distance of the laws at time 1")
        ax.legend(fontsize=8)
