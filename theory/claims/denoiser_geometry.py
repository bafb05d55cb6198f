"""The geometry of denoisers: shrinkage along their own directions, error by their own trace, tangents of manifolds."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, slope, within_errors
from theory.diagnostics.dimension import jacobian_spectrum
from theory.distributions.independent_laplace import IndependentLaplace
from theory.distributions.mixture import Gaussian
from theory.distributions.sphere import Sphere
from theory.distributions.toys import gmm_3
from workbench._rng import Rng

FLOAT64 = torch.float64  # every law here has the process of EDM: x_t = x_0 + sigma eps and t = sigma


def noised(law, n, sigma, seed):
    """n clean draws and the same with noise."""
    x = law.sample(n, seed)
    return x, x + sigma * Rng(seed, "noise").normal(x)


class HomogeneousShrinkage(Claim):
    """f(y) = grad f(y) y for a denoiser without additive constants, f(c y) = c f(y) for c > 0; = sum_k lam_k <y, e_k>
    e_k where grad f is symmetric.

    Differentiate f(c y) = c f(y) in c at 1 (Euler). A network of linear maps and ReLUs without biases is such; so is
    the denoiser of a Gaussian of zero mean, whose Jacobian C (C + sigma^2 I)^-1 is symmetric. Left: ||f - J y|| /
    ||f||, with the library's derivative for laws and forward differentiation for nets. Right: 0. Biases, a mean, a
    threshold, or tails that are not Gaussian break it.
    """

    card = dict(code="H1", tier=0, topic="denoiser-geometry", paper="2310.02557",
                source="Mohan et al. 2020; Kadkhodaie et al. 2024", found="")  # fmt: skip
    d, width, sigma, biases, margin = 8, 32, 0.5, (0.0, 0.01, 0.1, 1.0), 1e-12

    def measure(self, seed):
        rng = Rng(seed, "law")
        root = rng.normal(torch.empty(self.d, self.d, dtype=FLOAT64))
        C, mean = root @ root.mT / self.d, rng.normal(torch.empty(1, self.d, dtype=FLOAT64))[0]
        law = Gaussian(0 * mean, C)
        y = noised(law, 32, self.sigma, seed)[1]
        m = SimpleNamespace(law=self._of_law(law, y), mean=self._of_law(Gaussian(mean, C), y))
        m.laplace = self._of_law(IndependentLaplace(0.5, (self.d,)), y)
        m.spectral = self._spectral(law, y)
        m.net = [self._of_field(self._net(seed, b), y) for b in self.biases]
        m.threshold = self._of_field(lambda v: v.sign() * (v.abs() - 0.5).clamp_min(0), y)
        return m

    def _of_law(self, law, y):
        f = law.denoise(y, self.sigma)
        return ((f - law.denoiser_jvp(y, self.sigma, y)).norm(dim=1) / f.norm(dim=1)).tolist()

    @staticmethod
    def _of_field(f, y):
        value, derivative = torch.func.jvp(f, (y,), (y,))
        return ((value - derivative).norm(dim=1) / value.norm(dim=1).clamp_min(1e-12)).tolist()

    def _spectral(self, law, y):
        """The largest relative error of sum_k lam_k <y, e_k> e_k."""
        lam, e = torch.linalg.eigh(law.denoiser_jacobian(y, self.sigma))
        f, built = law.denoise(y, self.sigma), (e @ (lam[..., None] * (e.mT @ y[..., None])))[..., 0]
        return ((f - built).norm(dim=1) / f.norm(dim=1)).max().item()

    def _net(self, seed, bias):
        """Three layers of ReLU with weights and biases N(0, 2 / width), the biases times `bias`."""
        rng, sizes = Rng(seed, "net"), (self.d, self.width, self.width, self.d)
        like = lambda *shape: rng.normal(torch.empty(*shape, dtype=FLOAT64)) * (2 / self.width) ** 0.5
        layers = [(like(b, a), like(1, b)) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]

        def f(v):
            for i, (W, b) in enumerate(layers):
                v = v @ W.mT + bias * b
                v = torch.relu(v) if i < len(layers) - 1 else v
            return v

        return f

    def rows(self, m):
        yield at_most("ReLU net without biases: largest ||f - J y|| / ||f||", max(m.net[0]), self.margin)
        yield at_most("Gaussian of zero mean: largest ||f - J y|| / ||f||", max(m.law), self.margin)
        yield at_most("Gaussian of zero mean: error of the sum over eigenvectors", m.spectral, self.margin)

    def controls(self, m):
        median = lambda values: torch.tensor(values).median().item()
        yield at_most("ReLU net with biases: median", median(m.net[-1]), 0.05)
        yield at_most("Gaussian with a mean: median", median(m.mean), 0.05)
        yield at_most("soft threshold: median", median(m.threshold), 0.05)
        yield at_most("denoiser of Laplace coefficients: median", median(m.laplace), 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        good = {"ReLU, no bias": m.net[0], "Gaussian": m.law}
        bad = {f"ReLU, bias {b:g}": v for b, v in zip(self.biases[1:], m.net[1:], strict=True)}
        bad |= {"with a mean": m.mean, "threshold": m.threshold, "Laplace": m.laplace}
        for i, (name, values) in enumerate({**good, **bad}.items()):
            color = "tab:blue" if name in good else "tab:red"
            label = {0: "homogeneous", len(good): "control: not homogeneous"}.get(i)
            ax.semilogy([i] * len(values), [max(v, 1e-17) for v in values], ".", color=color, label=label)
        ax.set_xticks(range(len(good) + len(bad)), [*good, *bad], rotation=30, ha="right", fontsize=8)
        ax.set(ylabel="||f(y) - J y|| / ||f(y)||", xlabel="denoiser")
        ax.legend(fontsize=8)


class SureAndTrace(Claim):
    """E[2 sigma^2 tr grad f(y) + ||y - f(y)||^2 - sigma^2 d] = E ||f(y) - x||^2 for any f, = sigma^2 E tr grad f(y)
    for the best.

    Stein: E <eps, f(y)> = sigma E tr grad f(y); put y - f = sigma eps + (x - f) in. The best f has grad f = Cov[x | y]
    / sigma^2 (second-order Tweedie), and its error is E tr Cov. Left and right: the three means for the library's
    denoiser of three modes, over 10 batches, by their differences. A sigma that is 20 % off adds 0.44 sigma^2 (2 tr J
    - d), which is zero only where tr J = d / 2; a denoiser that is not the best obeys the first and not the second.
    """

    card = dict(code="H2", tier=1, topic="denoiser-geometry", paper="2310.02557",
                source="Stein 1981; Raphan and Simoncelli 2011; Kadkhodaie et al. 2024", found="")  # fmt: skip
    sigmas, batches, n = (0.2, 0.4, 0.8, 1.2, 2.4), 10, 4000

    def measure(self, seed):
        law = gmm_3()
        m = SimpleNamespace(means=[], sure=[], trace=[], wrong=[], shrunk=None)
        for sigma in self.sigmas:
            x, y = noised(law, self.batches * self.n, sigma, seed)
            f, J = law.denoise(y, sigma), law.denoiser_jacobian(y, sigma)
            trace = J.diagonal(dim1=1, dim2=2).sum(1)
            mse, best = (f - x).square().sum(1), sigma**2 * trace
            m.means.append([v.mean().item() for v in (mse, self._sure(y, f, trace, sigma), best)])
            m.sure.append(self._batched(self._sure(y, f, trace, sigma) - mse))
            m.trace.append(self._batched(best - mse))
            m.wrong.append(self._batched(self._sure(y, f, trace, 1.2 * sigma) - mse))
            if sigma == 0.8:
                g = 0.8 * f
                m.shrunk = [
                    self._batched(self._sure(y, g, 0.8 * trace, sigma) - (g - x).square().sum(1)),
                    self._batched(0.8 * best - (g - x).square().sum(1)),
                ]
        return m

    @staticmethod
    def _sure(y, f, trace, sigma):
        return 2 * sigma**2 * trace + (y - f).square().sum(1) - sigma**2 * y.shape[1]

    def _batched(self, values):
        """Mean and standard error over batches."""
        means = values.reshape(self.batches, -1).mean(1)
        return means.mean().item(), means.std().item() / self.batches**0.5

    def rows(self, m):
        for sigma, sure, trace in zip(self.sigmas, m.sure, m.trace, strict=True):
            yield within_errors(f"sigma = {sigma:g}: SURE less the error", sure[0], 0.0, sure[1])
            yield within_errors(f"sigma = {sigma:g}: sigma^2 tr J less the error", trace[0], 0.0, trace[1])
        yield within_errors("0.8 of the denoiser: SURE less the error", m.shrunk[0][0], 0.0, m.shrunk[0][1])

    def controls(self, m):
        for sigma, wrong in ((self.sigmas[i], m.wrong[i]) for i in (0, -1)):
            yield within_errors(
                f"sigma = {sigma:g} taken 20 % too large, z = 20", wrong[0], 0.0, wrong[1], z=20
            )
        yield within_errors(
            "0.8 of the denoiser: sigma^2 tr J less the error", m.shrunk[1][0], 0.0, m.shrunk[1][1]
        )

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, (label, style) in enumerate((("error", "o-"), ("SURE", "x"), ("sigma^2 tr J", "+"))):
            ax.loglog(self.sigmas, [v[i] for v in m.means], style, ms=9 - 2 * i, label=label)
        wrong = [a[0] + w[0] for a, w in zip(m.means, m.wrong, strict=True)]
        ax.loglog(self.sigmas, wrong, "--", color="tab:red", label="control: SURE, sigma 20 % off")
        ax.set(xlabel="sigma", ylabel="mean square error on gmm-3")
        ax.set_xticks(self.sigmas, [f"{s:g}" for s in self.sigmas])
        ax.minorticks_off()
        ax.legend(fontsize=8)


class TangentProjection(Claim):
    """Near a smooth manifold of dimension m the denoiser projects on its tangent: E ||D(y) - x||^2 -> m sigma^2, and J
    has m eigenvalues near 1, the others near 0.

    At noise far below the radius the manifold is its tangent plane, uniform along it: noise across is removed and
    noise along it is not. Left: the error over sigma^2 (4000 draws) and the Jacobian's spectrum of the library's
    circle and of the sphere in four dimensions. Right: m = 1 and 3, slope 1 over sigma^2. At sigma above the radius it
    is far from m.
    """

    card = dict(code="H5", tier=0, topic="denoiser-geometry", paper="2310.02557",
                source="Kadkhodaie et al. 2024; Stanczuk et al. 2024", found="")  # fmt: skip
    sigmas, seen, n = (0.3, 0.1, 0.03, 0.01), (1.057, 1.010, 0.992, 0.995), 4000

    def measure(self, seed):
        m = SimpleNamespace(ratio={}, error={}, trace={}, spectra={})
        for m_int, law in ((1, Sphere(2)), (3, Sphere(4))):
            for sigma in (1.2, *self.sigmas):
                x, y = noised(law, self.n, sigma, seed)
                ratio = (law.denoise(y, sigma) - x).square().sum(1) / sigma**2
                m.ratio[m_int, sigma] = ratio.mean().item()
                m.error[m_int, sigma] = (ratio.std() / self.n**0.5).item()
                s = jacobian_spectrum(law.denoise, y[:200], sigma)
                m.spectra[m_int, sigma] = s.mean(0).tolist()
                m.trace[m_int, sigma] = s.sum(1).mean().item()
        return m

    def _slope(self, values, dimension):
        return slope([s**2 for s in self.sigmas[1:]], [s**2 * values[dimension, s] for s in self.sigmas[1:]])

    def rows(self, m):
        for sigma, seen in zip(self.sigmas, self.seen, strict=True):
            yield equal(
                f"circle, sigma = {sigma:g}: error / sigma^2",
                m.ratio[1, sigma],
                seen,
                5 * 2**0.5 * m.error[1, sigma],
            )
        for dimension in (1, 3):
            case = f"m = {dimension}, sigma = 0.01"
            yield within_errors(
                f"{case}: error / sigma^2", m.ratio[dimension, 0.01], dimension, m.error[dimension, 0.01]
            )
            yield close(f"{case}: tr J", m.trace[dimension, 0.01], dimension, 0.01)
            spectrum = m.spectra[dimension, 0.01]
            yield at_least(f"{case}: eigenvalue m", spectrum[dimension - 1], 0.98)
            yield at_most(f"{case}: eigenvalue m + 1", spectrum[dimension], 0.01)
            yield equal(
                f"m = {dimension}: slope over sigma^2, sigma <= 0.1",
                self._slope(m.trace, dimension),
                1.0,
                0.02,
            )

    def controls(self, m):
        yield close("circle, sigma = 1.2: error / sigma^2", m.ratio[1, 1.2], 1.0, 0.4)
        yield close("sphere, sigma = 1.2: error / sigma^2", m.ratio[3, 1.2], 3.0, 0.4)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, sigma in enumerate((0.01, 0.1, 0.3, 1.2)):
            color = "tab:red" if sigma == 1.2 else f"{0.25 * i:.2f}"
            label = f"sigma = {sigma:g}" + (": control, above the radius" if sigma == 1.2 else "")
            ax.semilogy(range(1, 5), m.spectra[3, sigma], "o-", color=color, label=label)
        ax.set_xticks(range(1, 5))
        ax.set(
            xlabel="number of the singular value (sphere in four dimensions, m = 3)",
            ylabel="mean singular value of J",
        )
        ax.legend(fontsize=8)
