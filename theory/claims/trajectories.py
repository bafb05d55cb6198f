"""Trajectories of the probability-flow ODE: what a Gaussian says of them exactly, and of others at high noise."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, slope
from theory.claims._paths import jump, levels, path, relative
from theory.claims._reverse import karras, quadratic, rk4, velocity
from theory.diagnostics.dimension import flow_jacobian
from theory.distributions.mixture import Gaussian, GaussianMixture
from theory.distributions.toys import gmm_3
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM
from workbench.diffusion.variance_preserving import VariancePreserving

FLOAT64 = torch.float64
VP2, VE = VariancePreserving(2.0, 2.0), EDM()
FAR, NEAR = 80.0, 0.002  # the usual range of VE


def some_gaussian(process, d, seed):
    """A Gaussian with a mean and variances 4 to 0.004 along random axes."""
    rng = Rng(seed, "law")
    Q = torch.linalg.qr(rng.normal(torch.empty(d, d, dtype=FLOAT64))).Q
    C = (Q * 4 * 10.0 ** -torch.linspace(0, 3, d, dtype=FLOAT64)) @ Q.mT
    return Gaussian(rng.normal(torch.empty(1, d, dtype=FLOAT64))[0], 0.5 * (C + C.mT), process)


class GaussianPfodeSolution(Claim):
    """x_t = alpha_t m + sum_k psi_k(t) c_k u_k, psi_k = sqrt((sigma_t^2 + lam_k alpha_t^2) / (sigma_T^2 + lam_k
    alpha_T^2)).

    c_k = u_k' (x_T - alpha_T m). Each mode of the ODE is linear, dz/dt = (f + g^2 / (2 v)) z with v = sigma^2 + lam
    alpha^2 and dv/dt = 2 f v + g^2, so z / sqrt(v) is constant. The denoiser along it is m + sum_k alpha_t lam_k /
    sqrt(v_t v_T) c_k u_k. Left: RK4 on the library's score, and the library's denoiser. Right: the formulas.
    """

    card = dict(code="G1", tier=0, topic="trajectories", paper="2303.02490", source="Wang and Vastola 2023",
                found="")  # fmt: skip
    d, n, margin = 5, 16, 1e-8

    def measure(self, seed):
        cases = dict(VP=(VP2, quadratic(5.0, 1e-2, 400)), VE=(VE, karras(FAR, NEAR, 300)))
        m = SimpleNamespace(x={}, D={}, curves=None)
        for name, (process, times) in cases.items():
            law = some_gaussian(process, self.d, seed)
            x = law.at(times[0]).sample(self.n, seed)
            found = path(law, x, times)
            exact = torch.stack([jump(law, x, times[0], t) for t in times], 1)
            m.x[name] = max(relative(found[:, i], exact[:, i]) for i in range(len(times)))
            m.D[name] = max(
                relative(law.denoise(exact[:, i], times[i]), self._denoised(law, x, times[0], times[i]))
                for i in range(0, len(times), 20)
            )
            m.curves = m.curves or (times.tolist(), exact[0].tolist(), found[0].tolist())
        m.modes = self._modes(seed)
        return m

    @staticmethod
    def _denoised(law, x, T, t):
        lam, Q = torch.linalg.eigh(law.cov())
        process, c = law.process, (x - law.process.alpha(T) * law.mean()) @ Q
        gain = process.alpha(t) * lam / (levels(process, lam, t) * levels(process, lam, T))
        return law.mean() + (c * gain) @ Q.mT

    def _modes(self, seed):
        """Three separated modes: the median distance of the formula's end from the ODE's."""
        law = gmm_3(VP2)
        x = law.at(5.0).sample(200, seed)
        end = rk4(velocity(law.score, VP2), x, quadratic(5.0, 1e-2, 200))
        return (jump(law, x, 5.0, 1e-2) - end).norm(dim=1).median().item()

    def rows(self, m):
        for name in m.x:
            yield at_most(f"{name}: largest relative error of x_t", m.x[name], self.margin)
            yield at_most(f"{name}: largest relative error of the denoiser", m.D[name], self.margin)

    def controls(self, m):
        yield at_most("three separated modes: median error of the end", m.modes, 0.1)

    def plot(self, m, figure):
        ax = figure.subplots()
        times, exact, found = m.curves
        for k in range(self.d):
            ax.plot(times, [x[k] for x in exact], color=f"C{k}", label=f"x_{k + 1}")
            ax.plot(times[::12], [x[k] for x in found][::12], "o", ms=3, color=f"C{k}")
        ax.set(xlabel="t (vp2); lines: formula, points: RK4", ylabel="coordinates of one trajectory")
        ax.set_title(f"control: on three modes the end is off by {m.modes:.2f}", fontsize=8, color="tab:red")
        ax.legend(fontsize=8)


class Trajectory2dRotation(Claim):
    """In VP scale a trajectory stays near the plane of its ends, span{x_T, x_0}: less than 1 % of its energy is
    outside.

    By G1 mode k is c_k sqrt((sigma^2 + lam_k) / ((1 + sigma^2)(sigma_T^2 + lam_k))): modes above the noise keep their
    last value, those below shrink with it, and few are between at once. For lam_k = 0 and a mean it is exactly the
    rotation cos x_0 + sin x_T, cos = alpha_t, as far as alpha_T = 0; for lam_k in {0, 1} exactly in the plane. Left:
    the share of energy outside, mean over times and 50 trajectories, lam_k = k^-2, d = 64. The SDE's path fills the
    space.
    """

    card = dict(name="trajectory-2d-rotation", code="G2", tier=0, topic="trajectories", paper="2303.02490",
                source="Wang and Vastola 2023", found="")  # fmt: skip
    d, n = 64, 50

    def measure(self, seed):
        lam = torch.arange(1, self.d + 1, dtype=FLOAT64) ** -2.0
        law = Gaussian(torch.zeros(self.d, dtype=FLOAT64), lam)
        x = FAR * Rng(seed, "start").normal(torch.empty(self.n, self.d, dtype=FLOAT64))
        times = karras(FAR, NEAR, 100)
        unit = torch.sqrt(1 + times**2)[:, None]
        paths = path(law, x, times) / unit
        noisy = self._noisy(law, x, times, Rng(seed, "steps")) / unit
        m = SimpleNamespace(outside=outside(paths).mean().item(), noisy=outside(noisy).mean().item())
        energy = torch.linalg.svdvals(paths) ** 2
        m.two = (energy[:, :2].sum(1) / energy.sum(1)).mean().item()
        m.drawn = [self._in_plane(p[0]) for p in (paths, noisy)]
        flat = Gaussian(0 * lam, (torch.arange(self.d) < 5).to(FLOAT64), VP2)
        m.flat = outside(path(flat, x / FAR, quadratic(5.0, 1e-2, 100))).max().item()
        m.rotation = self._rotation(seed)
        return m

    @staticmethod
    def _noisy(law, x, times, rng):
        """The path of the reverse SDE by Euler-Maruyama."""
        v, out = velocity(law.score, law.process, eta=1.0), [x]
        for i in range(len(times) - 1):
            t, s = times[i], times[i + 1]
            push = torch.sqrt(law.process.g2(t) * (t - s)) * rng.at(i).normal(x)
            out.append(out[-1] + (s - t) * v(out[-1], t) + push)
        return torch.stack(out, 1)

    def _rotation(self, seed):
        """One point as data, at T = 12: the largest distance from alpha_t x_0 + sigma_t x_T, relative to ||x_T||."""
        rng = Rng(seed, "point")
        law = Gaussian(rng.normal(torch.empty(1, 8, dtype=FLOAT64))[0], 0.0, VP2, (1e-2, 10.0))
        x = rng.normal(torch.empty(4, 8, dtype=FLOAT64))
        times = quadratic(12.0, 1e-2, 300)
        a, s = VP2.alpha(times)[:, None], VP2.sigma(times)[:, None]
        return relative(path(law, x, times), a * law.mean() + s * x[:, None])

    @staticmethod
    def _in_plane(p):
        """Two coordinates of the points (len(times), d) in the plane of the ends, x_0 along the first."""
        frame = torch.linalg.qr(torch.stack([p[-1], p[0]], 1)).Q
        frame = frame * torch.stack([frame[:, 0] @ p[-1], frame[:, 1] @ p[0]]).sign()
        return (p @ frame).tolist()

    def rows(self, m):
        yield at_most("share of energy outside span{x_T, x_0}", m.outside, 0.01)
        yield at_least("share of energy of two principal components", m.two, 0.999)
        yield at_most("variances 0 and 1: largest share outside", m.flat, 1e-12)
        yield at_most("data at a point: distance from the rotation", m.rotation, 1e-4)

    def controls(self, m):
        yield at_most("reverse SDE: share of energy outside", m.noisy, 0.01)

    def plot(self, m, figure):
        ax = figure.subplots()
        for points, style, label in zip(
            m.drawn, ("o-", "-"), ("probability-flow ODE", "control: reverse SDE"), strict=True
        ):
            color = "tab:blue" if style == "o-" else "tab:red"
            ax.plot(*zip(*points, strict=True), style, ms=3, lw=1, color=color, label=label)
        ax.set(xlabel="along x_0", ylabel="across x_0, in the plane of x_0 and x_T")
        ax.legend(fontsize=8)


def outside(paths):
    """The share of ||x_t||^2 outside span{x_T, x_0}, (n, len(times)), of paths: (n, len(times), d)."""
    Q = torch.linalg.qr(torch.stack([paths[:, 0], paths[:, -1]], 2)).Q
    rest = paths - (paths @ Q) @ Q.mT
    return rest.square().sum(2) / paths.square().sum(2)


class OutlineFirst(Claim):
    """Mode k of the denoiser reaches half its final size at sigma = sqrt(3 lam_k) alpha: large variances emerge first.

    By G1 its coefficient over the final one is alpha sqrt(lam) / sqrt(sigma^2 + lam alpha^2), which is 1/2 at sigma^2
    = 3 lam alpha^2. Left: where the library's denoiser passes one half along the library's ODE, on 200 nodes and
    between them. Right: sqrt(3 lam_k), and numbers seen before at the nodes of another such grid (steps of 5 %). White
    data emerge at once.
    """

    card = dict(code="G3", tier=0, topic="trajectories", paper="2303.02490", source="Wang and Vastola 2023",
                found="")  # fmt: skip
    lam, nodes, seen = (25.0, 6.25, 1.0, 0.0864), 200, (8.36, 4.25, 1.72, 0.509)

    def measure(self, seed):
        lam = torch.tensor(self.lam, dtype=FLOAT64)
        x = FAR * Rng(seed, "start").normal(torch.empty(1, len(lam), dtype=FLOAT64))
        m = SimpleNamespace(times=karras(FAR, NEAR, self.nodes - 1))
        m.growth = self._growth(lam, x, m.times)
        m.at_node, m.between = self._halves(m.growth, m.times)
        m.white = self._halves(self._growth(torch.ones_like(lam), x, m.times), m.times)[1]
        return m

    @staticmethod
    def _growth(lam, x, times):
        """The denoiser's coefficients over their final ones, (len(times), d)."""
        law = Gaussian(torch.zeros_like(lam), lam)
        points = path(law, x, times)[0]
        D = torch.cat([law.denoise(p[None], t) for p, t in zip(points, times, strict=True)])
        return D / D[-1]

    @staticmethod
    def _halves(growth, times):
        """sigma at the first node beyond one half, and between nodes, linear in log sigma."""
        k = (growth < 0.5).sum(0)
        after = growth.gather(0, k[None])[0]
        before = growth.gather(0, k[None] - 1)[0]
        share = (0.5 - before) / (after - before)
        log_t = times.log()
        return times[k].tolist(), (log_t[k - 1] + share * (log_t[k] - log_t[k - 1])).exp().tolist()

    def rows(self, m):
        for lam, node, sigma, seen in zip(self.lam, m.at_node, m.between, self.seen, strict=True):
            yield close(f"variance {lam:g}: sigma at half size", sigma, (3 * lam) ** 0.5, 1e-3)
            yield close(f"variance {lam:g}: first node beyond, to a step", node, seen, 0.06)
        yield at_least("least ratio from one mode to the next", self._order(m.between), 1.0)
        yield equal("slope of log sigma over log variance", slope(self.lam, m.between), 0.5, 1e-3)

    @staticmethod
    def _order(sigmas):
        return min(a / b for a, b in zip(sigmas[:-1], sigmas[1:], strict=True))

    def controls(self, m):
        yield equal("whitened: slope over the variance before", slope(self.lam, m.white), 0.5, 0.1)
        yield close("whitened: sigma at half size of variance 25", m.white[0], 75**0.5, 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        root = [lam**0.5 for lam in self.lam]
        ax.loglog(root, [(3 * lam) ** 0.5 for lam in self.lam], "k:", label="sqrt(3 lam)")
        ax.loglog(root, m.between, "o", label="the library's denoiser")
        ax.loglog(root, m.white, "x--", color="tab:red", label="control: whitened data")
        ax.set(xlabel="sqrt(lam), standard deviation of the mode", ylabel="sigma at which half is there")
        ax.set_xticks(root, [f"{r:.3g}" for r in root])
        ax.minorticks_off()
        ax.legend(fontsize=8)


class GaussianTeleportation(Claim):
    """A jump from sigma = 80 to sigma_skip by the Gaussian solution of the data's mean and covariance misses the ODE
    by < 1 % for sigma_skip >= 4 standard deviations of the data.

    p_sigma of any law is a Gaussian of the same mean and covariance up to third cumulants, of order (sd / sigma)^3; G1
    solves the ODE of that Gaussian. Left: the median distance of ends, five modes in eight dimensions of variance one
    in the mean, the rest of the way by RK4. Right: the rule, and numbers seen before. Other covariances do worse.
    """

    card = dict(code="G4", tier=1, topic="trajectories", paper="2303.02490", source="Wang and Vastola 2023",
                found="")  # fmt: skip
    d, n, skips = 8, 400, (20.0, 8.0, 4.0, 2.0, 1.0, 0.5)
    seen = (1e-4, 9e-4, 0.0066, 0.046, 0.19, 0.53)

    def measure(self, seed):
        law = self._law()
        x = FAR * Rng(seed, "start").normal(torch.empty(self.n, self.d, dtype=FLOAT64))
        v, C = velocity(law.score, law.process), law.cov()
        exact = rk4(v, x, karras(FAR, NEAR, 100))
        turn = torch.roll(torch.arange(self.d), 1)
        covariances = dict(exact=C, isotropic=C.diagonal().mean() * torch.eye(self.d, dtype=FLOAT64))
        covariances["permuted"] = C[turn][:, turn]
        m = SimpleNamespace(size=exact.norm(dim=1).median().item(), errors={}, same=[])
        for name, cov in covariances.items():
            m.errors[name] = []
            for skip in self.skips:
                end = rk4(v, jump(law, x, FAR, skip, cov), karras(skip, NEAR, 70))
                m.errors[name].append((end - exact).norm(dim=1).median().item())
                if name == "exact":
                    kept = law.responsibilities(end).argmax(1) == law.responsibilities(exact).argmax(1)
                    m.same.append(kept.double().mean().item())
        return m

    def _law(self):
        """Five modes of variance 0.05; all coordinates together have variance one in the mean, whatever the seed."""
        means = Rng(0, "modes").normal(torch.empty(5, self.d, dtype=FLOAT64))
        means = means - means.mean(0)
        means = means * (0.95 / means.square().mean()).sqrt()
        return GaussianMixture([1] * 5, means, torch.full((5,), 0.05, dtype=FLOAT64))

    def rows(self, m):
        found = m.errors["exact"]
        for skip, error, seen in zip(self.skips[:3], found, self.seen, strict=False):
            yield at_most(f"sigma_skip = {skip:g}: median error over ||x_0||", error / m.size, 0.01)
            yield equal(f"sigma_skip = {skip:g}: median error, order of that seen", error / seen, 1.0, 0.6)
        for skip, error, seen in list(zip(self.skips, found, self.seen, strict=True))[3:]:
            yield equal(f"sigma_skip = {skip:g}: median error, order of that seen", error / seen, 1.0, 0.6)
        steps = zip(found[:-1], found[1:], strict=True)
        yield at_least(
            "least ratio of errors from one sigma_skip to the next below", min(b / a for a, b in steps), 1.5
        )
        yield equal("slope for sigma_skip >= 4", slope(self.skips[:3], found[:3]), -3.0, 0.35)
        yield at_least("sigma_skip >= 4: share that end in the same mode", min(m.same[:3]), 0.97)

    def controls(self, m):
        right, isotropic, permuted = (m.errors[name][3] for name in ("exact", "isotropic", "permuted"))
        yield at_most(
            "sigma_skip = 2, isotropic covariance: error over that of the exact", isotropic / right, 2.0
        )
        yield at_most(
            "sigma_skip = 2, permuted covariance: error over that of the exact", permuted / right, 2.5
        )

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(self.skips, m.errors["exact"], "o-", label="data's covariance")
        for name, style in (("isotropic", "x--"), ("permuted", "+:")):
            ax.loglog(self.skips, m.errors[name], style, color="tab:red", label=f"control: {name} covariance")
        ax.axhline(0.01 * m.size, color="black", lw=0.8, ls=":", label="1 % of ||x_0||")
        ax.set(xlabel="sigma_skip (data have sd 1)", ylabel="median error of the end")
        ax.legend(fontsize=8)


class PerturbationKernel(Claim):
    """A push of size one at level sigma along u_k moves the end by sqrt(lam_k / (lam_k + sigma^2)) (VE): only
    directions of large variance keep what was done early.

    The ratio of psi_k in G1 at 0 and at sigma. A push of size one in VP scale is one of sqrt(1 + sigma^2) in VE, which
    grows with sigma on modes of lam_k > 1. Left: derivatives of the library's flow, exact since it is linear, and
    `flow_jacobian`. Right: the formula (with sigma_min^2 + lam_k above at the last sigma_min). One kernel for all
    modes is far off.
    """

    card = dict(code="G5", tier=0, topic="trajectories", paper="2303.02490", source="Wang and Vastola 2023",
                found="")  # fmt: skip
    lam, sigmas, end = (4.0, 1.0, 0.25, 0.01, 0.0), (0.1, 0.5, 2.0, 8.0), 1e-3

    def measure(self, seed):
        lam = torch.tensor(self.lam, dtype=FLOAT64)
        eye, zero = torch.eye(len(lam), dtype=FLOAT64), torch.zeros_like(lam)
        law, scaled = Gaussian(zero, lam, VE), Gaussian(zero, lam, VP2)
        at_end = torch.sqrt(lam + self.end**2)
        m = SimpleNamespace(found=[], exact=[], vp=[], vp_exact=[], common=[])
        for sigma in self.sigmas:
            kernel = at_end / torch.sqrt(lam + sigma**2)
            m.found.append(
                rk4(velocity(law.score, VE), eye, karras(sigma, self.end, 300)).diagonal().tolist()
            )
            m.exact.append(kernel.tolist())
            times = VP2.time(karras(sigma, self.end, 300))
            m.vp.append(rk4(velocity(scaled.score, VP2), eye, times).diagonal().tolist())
            m.vp_exact.append((kernel * ((1 + sigma**2) / (1 + self.end**2)) ** 0.5).tolist())
            m.common.append((lam.mean() / (lam.mean() + sigma**2)).sqrt().item())
        x = Rng(seed, "points").normal(torch.empty(1, len(lam), dtype=FLOAT64))
        m.diagnostic = flow_jacobian(law.score, x, VE, karras(2.0, self.end, 80))[0].tolist()
        return m

    def rows(self, m):
        for sigma, *sides in zip(self.sigmas, m.found, m.exact, m.vp, m.vp_exact, strict=True):
            yield at_most(f"VE, sigma = {sigma:g}: largest error of the kernel", apart(*sides[:2]), 1e-8)
            yield at_most(f"VP, sigma = {sigma:g}: largest error of the kernel", apart(*sides[2:]), 1e-8)
            yield at_most(
                f"VE, sigma = {sigma:g}: what is left for variance 0", sides[0][-1], self.end / sigma, 1e-8
            )
        kernel = [2.0 * value for value in m.exact[2]]
        yield at_most("flow_jacobian from sigma = 2: largest error", apart(m.diagnostic, kernel), 1e-2)
        yield at_least("VP, variance 4: effect at sigma = 8 over that at 0.1", m.vp[3][0] / m.vp[0][0], 1.5)

    def controls(self, m):
        for sigma, common, exact in list(zip(self.sigmas, m.common, m.exact, strict=True))[1:]:
            worst = max(abs(common - value) / value for value in exact[:-1])
            yield at_most(f"one kernel for all modes, sigma = {sigma:g}: largest relative error", worst, 0.5)

    def plot(self, m, figure):
        ax = figure.subplots()
        for k, lam in enumerate(self.lam):
            color = f"{0.15 * k:.2f}"
            ax.loglog(self.sigmas, [row[k] for row in m.found], "o", color=color)
            ax.loglog(self.sigmas, [row[k] for row in m.exact], "-", color=color, label=f"variance {lam:g}")
        ax.loglog(self.sigmas, m.common, "x--", color="tab:red", label="control: one kernel")
        ax.set(xlabel="sigma of the push (points: library's flow)", ylabel="|change of the end|, VE")
        ax.legend(fontsize=8)


def apart(a, b):
    """The largest difference."""
    return max(abs(x - y) for x, y in zip(a, b, strict=True))
