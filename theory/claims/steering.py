"""Steering by resampling: the normaliser that weighted particles estimate without bias."""

from math import pi
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, within_errors
from theory.claims._coordinates import observed
from theory.claims._stepping import variance
from theory.distributions.mixture import Gaussian
from workbench import run
from workbench.diffusion.grids import karras
from workbench.samplers.ddpm import DDPM
from workbench.samplers.fk_steering import Difference, FKSteering


class FKNormaliser(Claim):
    """Resampled Feynman-Kac steering has E[Zhat] = Z = E exp(r(x_0)) for every number of particles, with potentials that telescope to r.

    Zhat is the product over resamplings of the mean weight: given the particles, resampling with E[offspring of i] = N W_i and then weights of one
    keeps the expected sum of any function, so Zhat is unbiased by induction from the last step. Left: mean of Zhat / Z over independent runs of the
    library's FKSteering. Right: 1, Z = N(y; 0, V + sigma_y^2) with V the variance that the same DDPM steps make, exactly. Weights that are kept
    through a resampling are the likelihood itself along each ancestry; their mean counts every resampling twice.
    """

    card = dict(code="O16", name="fk-normaliser", tier=1, topic="guidance-and-statistics", paper="2501.06848",
                source="Singhal et al. 2025, sect. 3; Del Moral 2004, Th. 7.4.2", found="")  # fmt: skip
    particles, runs, steps = (8, 32, 128), (1000, 600, 300), 10

    def measure(self, seed):
        law = Gaussian(torch.zeros(2, dtype=torch.float64), 1.0)
        y = torch.tensor([1.0, -0.6], dtype=torch.float64)
        sigma = torch.tensor([0.5, 0.6], dtype=torch.float64)
        problem = observed(law, y, sigma)
        times = karras(law.process, 0.1, 5.0, self.steps)
        m = SimpleNamespace(log_z=self._exact(law, times, y, sigma), found={}, kept={})
        for n, runs in zip(self.particles, self.runs, strict=True):
            m.found[n], m.kept[n] = self._ratios(
                problem, FKSteering(potential=Difference()), n, runs, times, seed, m.log_z
            )
        return m

    @staticmethod
    def _exact(law, times, y, sigma):
        """log Z of the chain: its last state, denoised, is Gaussian."""
        start = law.process.sigma(times[0]) ** 2 * torch.ones(2, dtype=torch.float64)
        last = variance(DDPM(), law, start, times[:-1])
        V = last * law.denoise(torch.ones(1, 2, dtype=torch.float64), times[-2])[0] ** 2 + sigma**2
        return (-0.5 * (y**2 / V + torch.log(2 * pi * V)).sum()).item()

    @staticmethod
    def _ratios(problem, sampler, n, runs, times, seed, log_z):
        """Zhat / Z of every run, and the same with weights kept through resampling."""
        posterior = run.sample(problem, sampler, n=n, ensembles=runs, grid=times, seed=seed, progress=False)
        logs = torch.tensor(posterior.provenance["evidences"], dtype=torch.float64)
        likelihood = problem.noise.log_likelihood(problem.y, problem.A(posterior.samples))
        return torch.exp(logs - log_z), torch.exp(likelihood - log_z).reshape(runs, n).mean(1)

    def rows(self, m):
        averaged = lambda v: (v.mean(), v.std() / len(v) ** 0.5)
        for n, ratio in m.found.items():
            mean, error = averaged(ratio)
            yield within_errors(f"{n} particles: mean of Zhat / Z", mean, 1.0, error)
        spread = [v.std() for v in m.found.values()]
        yield at_least("spread of Zhat / Z, 8 against 128 particles", spread[0], 1.5 * spread[-1])

    def controls(self, m):
        for n, ratio in m.kept.items():
            error = ratio.std() / len(ratio) ** 0.5
            yield within_errors(f"{n} particles, weights kept through resampling", ratio.mean(), 1.0, error)

    def plot(self, m, figure):
        ax = figure.subplots()
        for k, (name, values, colour) in enumerate(
            (("Zhat / Z", m.found, "tab:blue"), ("control: weights kept", m.kept, "tab:red"))
        ):
            n = [(1.06 if k else 1.0) * v for v in values]
            mean = [v.mean().item() for v in values.values()]
            error = [5 * (v.std() / len(v) ** 0.5).item() for v in values.values()]
            ax.errorbar(
                n, mean, error, fmt="ox"[k], capsize=4, color=colour, label=f"{name}, 5 standard errors"
            )
        ax.axhline(1, color="black", lw=0.8, ls=":")
        ax.set(xscale="log", yscale="log", xlabel="particles", ylabel="estimated over exact normaliser")
        ax.legend(fontsize=8)
