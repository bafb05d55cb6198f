"""Poisson flow: noise with heavy tails in D further dimensions, and diffusion as D grows."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_most, close, equal, slope, within_errors
from theory.distributions.points import Points
from workbench._rng import Rng
from workbench.diffusion.pfgm import PoissonFlow
from workbench.diffusion.variance_exploding import EDM


class PfgmppLimit(Claim):
    """sum_k softmax(-(N + D) / 2 log(1 + |x - y_k|^2 / (sigma^2 D))) y_k -> sum_k softmax(-|x - y_k|^2 / (2 sigma^2)) y_k, with an error O(1 / D).

    r = sigma sqrt(D): (N + D) / 2 log(1 + a / (sigma^2 D)) = a / (2 sigma^2) + O(1 / D). With R^2 / r^2 ~ BetaPrime(N / 2, D / 2) the
    norm has E R^2 = r^2 N / (D - 2). Left: the denoiser of the library's Points under PoissonFlow, and its draws. Right: the Gaussian
    one, and the moments. Aligned as r = sigma D^0.4 the kernel is that of a smaller noise, not of this one.
    """

    card = dict(code="N4", tier=1, topic="interpolants", paper="2302.04265",
                source="Xu et al. 2023, eq. 5, 8, Thm. 4.1", found="")  # fmt: skip
    Ds = (8, 32, 128, 512, 2048, 8192)
    N, sigma, count = 2, 0.7, 20

    def measure(self, seed):
        points = 1.5 * Rng(seed, "points").normal(torch.empty(self.count, self.N, dtype=torch.float64))
        x = points.repeat(100, 1) + self.sigma * Rng(seed, "noise").normal(torch.empty(2000, self.N).double())
        exact = Points(points, process=EDM()).denoise(x, self.sigma)
        rms = lambda found: (found - exact).square().sum(1).mean().sqrt().item()
        at = lambda D, level: rms(Points(points, process=PoissonFlow(D=D, N=self.N)).denoise(x, level))
        m = SimpleNamespace(rms=[at(D, self.sigma) for D in self.Ds])
        m.wrong = [at(D, self.sigma * D**-0.1) for D in self.Ds]
        m.formula = max(self._formula(points, x, D) for D in self.Ds)
        m.moments = {D: self._moment(D, seed) for D in (8, 32, 128)}
        return m

    def _formula(self, points, x, D):
        """Largest difference of the library's denoiser and the sum written out."""
        squares = (x[:, None] - points).square().sum(2)
        rho = torch.softmax(-0.5 * (self.N + D) * torch.log1p(squares / (self.sigma**2 * D)), 1)
        found = Points(points, process=PoissonFlow(D=D, N=self.N)).denoise(x, self.sigma)
        return (found - rho @ points).abs().max().item()

    def _moment(self, D, seed):
        """(mean of R^2, its standard error) of the library's draws."""
        like = torch.empty(200000, self.N, dtype=torch.float64)
        R2 = PoissonFlow(D=D, N=self.N).draw(like, self.sigma, Rng(seed, "draws")).square().sum(1)
        return R2.mean().item(), (R2.std() / len(R2) ** 0.5).item()

    def rows(self, m):
        yield equal("power of D of the rms error, from D = 32", slope(self.Ds[1:], m.rms[1:]), -1.0, 0.05)
        yield at_most("denoiser and the sum written out", m.formula, 1e-9)
        for D, (value, error) in m.moments.items():
            yield within_errors(f"D = {D}: E R^2 of draws and r^2 N / (D - 2)", value, self.sigma**2 * D * self.N / (D - 2), error)  # fmt: skip
        for D, value in zip(self.Ds[1:], m.rms[1:], strict=True):
            yield close(
                f"D = {D}: D times the rms error, and at D = 8192", D * value, 8192 * m.rms[-1], 4 / D
            )

    def controls(self, m):
        yield at_most("r = sigma D^0.4, D = 8192: rms error", m.wrong[-1], 0.02)
        yield equal(
            "r = sigma D^0.4: power of D of the rms error", slope(self.Ds[2:], m.wrong[2:]), -1.0, 0.5
        )

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(self.Ds, m.rms, "o-", label="r = sigma D^0.5")
        ax.loglog(self.Ds, [m.rms[-1] * 8192 / D for D in self.Ds], "k:", label="1 / D")
        ax.loglog(self.Ds, m.wrong, "x--", color="tab:red", label="control: r = sigma D^0.4")
        ax.set(xlabel="D", ylabel="rms difference from the Gaussian denoiser")
        ax.legend(fontsize=8)
