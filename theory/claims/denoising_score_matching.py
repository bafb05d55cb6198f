"""Denoising score matching: the loss that needs no score, and what it adds to the one that does."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, equal, within_errors
from theory.distributions.toys import gmm_1d
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)
DRAWS, BATCHES = 1_000_000, 20


def mmse(law, t):
    """E tr Cov[x0 | x_t] = (sigma^2 / alpha) int p_t J dx for one number, by the trapezoidal rule on 4001 points."""
    x = torch.linspace(-9, 9, 4001, dtype=torch.float64)[:, None]
    J = law.denoiser_jacobian(x, t)[:, 0, 0]
    density = law.log_prob(x, t).exp()
    return (law.process.sigma(t) ** 2 / law.process.alpha(t) * torch.trapezoid(density * J, x[:, 0])).item()


def batches(values):
    """Mean and standard error over BATCHES batches of the draws."""
    means = values.reshape(BATCHES, -1).mean(1)
    return means.mean().item(), (means.std() / BATCHES**0.5).item()


class DsmEsmGap(Claim):
    """E |f(x_t) - x0|^2 = E |f(x_t) - D(x_t)|^2 + mmse(t) for every f: the two losses differ by a constant.

    x0 - D(x_t) is orthogonal to every function of x_t, f - D among them, since D is a conditional mean (no assumption
    but finite second moments; the noise must be independent of x0 for D to be the law's denoiser). Left: the difference
    of the two losses over one million common draws. Right: the mmse by quadrature of the library's Jacobian.
    """

    card = dict(code="A3", tier=1, topic="identities", paper="Vincent 2011", source="Vincent 2011, eq. 11",
                found="")  # fmt: skip
    t = 0.3

    def measure(self, seed):
        law = gmm_1d(VP2)
        x0 = law.sample(DRAWS, seed)
        eps = Rng(seed, "claim").normal(x0)
        m = SimpleNamespace(mmse=mmse(law, self.t), gaps={}, correlated={}, curve=[])
        self._losses(law, x0, eps, m.gaps, m)
        self._losses(law, x0, x0.sign() * eps.abs(), m.correlated)
        return m

    def _losses(self, law, x0, eps, gaps, m=None):
        """E |f - x0|^2 - E |f - D|^2 for each f, with its error."""
        x = law.process.alpha(self.t) * x0 + law.process.sigma(self.t) * eps
        D = law.denoise(x, self.t)
        fs = dict(zero=0 * x, tanh=x.tanh(), linear=0.5 * x + 0.2, denoiser=D)
        for name, f in fs.items():
            gaps[name] = batches(((f - x0) ** 2 - (f - D) ** 2)[:, 0])
        if m is None:
            return
        h = x.tanh()  # D + a h: the loss in a is least at a = E h (x0 - D) / E h^2
        m.best = batches((h * (x0 - D) / (h**2).mean())[:, 0])
        m.shifts = torch.linspace(-0.6, 0.6, 13).tolist()
        few = slice(0, 50_000)
        for a in m.shifts:
            f = (D + a * h)[few]
            m.curve.append((((f - x0[few]) ** 2).mean().item(), ((f - D[few]) ** 2).mean().item()))

    def rows(self, m):
        for name, (value, error) in m.gaps.items():
            yield within_errors(f"f = {name}: difference of the losses", value, m.mmse, error)
        yield within_errors("D + a tanh: the a with the least denoising loss", m.best[0], 0.0, m.best[1])

    def controls(self, m):
        for name, (value, error) in m.correlated.items():
            yield equal(f"f = {name}: noise of the sign of x0", value, m.mmse, 20 * error)

    def plot(self, m, figure):
        ax = figure.subplots()
        dsm, esm = zip(*m.curve, strict=True)
        ax.plot(m.shifts, dsm, "o-", label="denoising loss E |f - x0|^2")
        ax.plot(m.shifts, esm, "s-", label="explicit loss E |f - D|^2")
        ax.plot(m.shifts, [v + m.mmse for v in esm], "k:", label="explicit loss + mmse")
        ax.plot(
            0, m.correlated["denoiser"][0], "x", color="tab:red", ms=9, label="control: noise that follows x0"
        )
        ax.set(xlabel="a, in f = D + a tanh", ylabel="mean square, gmm-1d at t = 0.3")
        ax.legend(fontsize=8)
