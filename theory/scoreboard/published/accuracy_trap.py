"""The accuracy trap: kernel Stein discrepancies of samplers whose errors are alike and whose posteriors are not."""

from dataclasses import dataclass, replace
from math import inf

import torch

import problems
from theory.diagnostics.stein import stein_matrix
from theory.scoreboard.cases import TUNING_SEEDS
from theory.scoreboard.entrants import kept
from theory.scoreboard.published._study import Study, Value, drawn, sound
from workbench.operators.diagonal import Diagonal
from workbench.run import sample
from workbench.samplers.daps import DAPS
from workbench.samplers.ddnm import DDNM
from workbench.samplers.ddrm import DDRM
from workbench.samplers.diffpir import DiffPIR
from workbench.samplers.dps import DPS
from workbench.samplers.fps_smc import FPSSMC, Independent
from workbench.samplers.mcg_diff import MCGDiff
from workbench.samplers.moment_matched_smc import MomentMatchedSMC
from workbench.samplers.pnp_dm import PnPDM
from workbench.samplers.red_diff import REDDiff

SEEN = "exact posterior, coordinates 1 and 2 seen"
SETTINGS = {  # stretched (A2) or not (A1), and the noise
    "A1, 0.2": (0, 0.2),
    "A1, 0.5": (0, 0.5),
    "A2, 0.2": (1, 0.2),
    "A2, 0.5": (1, 0.5),
}
KSD = {  # of each method, in the order of SETTINGS
    "exact posterior": (0.35, 0.24, 1.31, 0.64),
    "MCGdiff, many runs": (0.28, 0.25, 1.19, 0.44),
    "MCGdiff, one run": (1.09, 0.85, 13.08, 1.72),
    "DiffPIR": (0.50, 0.99, 0.67, 0.44),
    "DDRM": (0.51, 0.60, 0.73, 0.44),
    "DAPS": (0.64, 1.10, 0.60, 0.48),
    "DPS": (0.74, 0.25, 0.50, 0.44),
    "FPS, many runs": (0.96, 1.20, 2.02, 0.71),
    "FPS, one run": (1.77, 1.71, 9.65, 1.96),
    "PnP-DM": (1.04, 1.61, 0.68, 0.52),
    "DDNM": (1.23, 2.12, 1.46, 0.89),
    "RED-diff": (1.57, 2.14, 1.16, 1.18),
}
RMSE = {  # A1 alone
    "exact posterior": (1.13, 1.30),
    "RED-diff": (1.11, 1.65),
    "MCGdiff, many runs": (1.07, 1.26),
    "DPS": (1.14, 1.23),
    "DAPS": (1.04, 1.57),
}


@dataclass(frozen=True)
class AccuracyTrap(Study):
    """draws: of each method.  noises: draws of the data, seeds 0, 1, ...  particles: of each of many runs of MCGdiff and
    of FPS, `keep` draws of each.  zetas: of DPS, the best on data of seed 1000.  steps: the paper's are not known to us.  beta: of the kernel."""

    draws: int = 500
    noises: int = 5
    particles: tuple = (32, 20)
    keep: int = 4
    zetas: tuple = (1.0, 0.3, 0.1, 0.03)
    steps: int = 100
    beta: float = -0.5

    name = "ksd"
    title = "Accuracy trap"
    source = "score-KSD experiment, 2026"
    metrics = {
        "ksd": "Kernel Stein discrepancy; columns: operator, noise",
        "rmse": "RMSE of draws to the truth",
    }

    note = """Where we differ and why. The kernel is (1 + c r^2)^(-1/2) with c = 1 / (median distance + 1), and the figure the
square root of the V-statistic: of the conventions we tried (c or c^2, added or as a factor, distances or their
squares, U or V) those with a factor and V come nearest to the exact row, and hardly differ; U would be near 0.
It is nearly sqrt(E |score|^2 / N), so draws that are too alike can lie below the exact row. A1 is taken not to
see coordinates 1 and 2: only so are the published errors of the exact posterior, 1.13 and 1.30, found again
(seen, they are 0.66 and 0.96). At noise 0.5 the exact rows then agree; at 0.2, of the exact posterior and of
MCGdiff with many runs, ours are larger by 24 to 43 %, which we cannot explain.

The other methods run at our defaults with 100 steps, DPS at the best of four zeta on other data, because the
paper's settings are not known to us: their rows are a comparison of order, not of digits. Ours has collapsed
draws (DDRM, DDNM, RED-diff) farther off, and PnP-DM, whose linear case is drawn exactly, at the floor. One run
of MCGdiff is worse than many, as published, but less so, perhaps because our weights have no final correction.
FPS has the published weights. Many runs: four draws of each of 125, to save time."""

    def published(self):
        found = {(s, m, "ksd"): (v, "") for m, row in KSD.items() for s, v in zip(SETTINGS, row, strict=True)}
        pairs = [(m, s, v) for m, row in RMSE.items() for s, v in zip(SETTINGS, row, strict=False)]
        return found | {(s, m, "rmse"): (v, "") for m, s, v in pairs}

    def repeated(self, n):
        return self if n is None else replace(self, noises=n)

    def values(self, say):
        for setting in SETTINGS:
            zeta = min(self.zetas, key=lambda z, setting=setting: self.of_dps(z, setting))
            yield Value(setting, "DPS", "zeta", zeta)
            for seed in range(self.noises):
                say(f"ksd: {setting}, seed {seed}, zeta {zeta}")
                problem = trap(setting, seed)
                score, c = problem.exact.score, kernel_scale(problem.exact.sample(self.draws, 10**6 + seed))
                for method, x in self.methods(problem, seed, zeta):
                    yield Value(setting, method, "ksd", ksd(x, score(x), c, self.beta))
                    yield Value(setting, method, "rmse", rmse(x, problem.truth))
                if setting.startswith("A1"):
                    yield from self.seen_whole(setting, seed)

    def of_dps(self, zeta, setting):
        """The discrepancy of DPS on validation data."""
        problem = trap(setting, TUNING_SEEDS)
        x = drawn(problem, DPS(zeta), self.draws, TUNING_SEEDS, steps=self.steps)
        c = kernel_scale(problem.exact.sample(self.draws, 10**6 + TUNING_SEEDS))
        return ksd(x, problem.exact.score(x), c, self.beta) if sound(x) else inf

    def seen_whole(self, setting, seed):
        """The Values of exact draws where A1 is 1, not 0, on the first two coordinates, as in our catalogue."""
        problem = problems.load("mixture/accuracy-trap", seed=seed, sigma=SETTINGS[setting][1])
        y, x = (problem.exact.sample(self.draws, 10**6 * k + seed) for k in (1, 2))
        value = ksd(x, problem.exact.score(x), kernel_scale(y), self.beta)
        yield Value(setting, SEEN, "ksd", value)
        yield Value(setting, SEEN, "rmse", rmse(x, problem.truth))

    def methods(self, problem, seed, zeta):
        """(method, its draws); settings are our defaults unless the paper's name them."""
        n, how = self.draws, dict(steps=self.steps)
        mcg, fps = self.particles
        published_fps = FPSSMC(eta=0.85, weights=Independent())
        yield "exact posterior", problem.exact.sample(n, 2 * 10**6 + seed)
        yield "MCGdiff, many runs", some_of_each(problem, MCGDiff(), mcg, self.keep, n, seed, how)
        yield "MCGdiff, one run", drawn(problem, MCGDiff(), n, seed, **how)
        for name, sampler in dict(DiffPIR=DiffPIR(), DDRM=DDRM(), DAPS=DAPS(), DPS=DPS(zeta)).items():
            yield name, drawn(problem, sampler, n, seed, **how)
        yield "FPS, many runs", some_of_each(problem, published_fps, fps, self.keep, n, seed, how)
        yield "FPS, one run", drawn(problem, published_fps, n, seed, **how)
        yield "PnP-DM", drawn(problem, PnPDM(), n, seed, **how)
        yield "DDNM", drawn(problem, DDNM(), n, seed, **how)
        yield "RED-diff", drawn(problem, REDDiff(), n, seed, **how)
        yield "moment-matched SMC (ours)", drawn(problem, MomentMatchedSMC(), n, seed, **how)


def trap(setting, seed):
    """The problem; A1 does not see the first two coordinates, where the prior is a mixture: the exact row is published so."""
    stretched, sigma = SETTINGS[setting]
    problem = problems.load("mixture/accuracy-trap", seed=seed, sigma=sigma, stretched=stretched)
    if stretched:
        return problem
    seen = torch.ones(16, dtype=torch.float64)
    seen[:2] = 0
    A = Diagonal(seen * problem.A(seen), torch.float64)
    return replace(problem, A=A, y=seen * problem.y)


def some_of_each(problem, sampler, particles, keep, n, seed, how):
    """n draws, `keep` of each of n / keep runs."""
    post = sample(problem, sampler, n=particles, ensembles=n // keep, seed=seed, progress=False, **how)
    return kept(post, particles, keep, seed)


def kernel_scale(y):
    """c = 1 / (median + 1), the median of the distances between draws y."""
    return 1 / (torch.pdist(y).median().item() + 1)


def ksd(x, score, c, beta=-0.5):
    """sqrt(mean_ij u(x_i, x_j)), the V-statistic, u the Stein kernel of k(x, y) = (1 + c ||x - y||^2)^beta: a float.

    k = c^beta (1 / c + ||x - y||^2)^beta, so u is c^beta times that of the usual kernel of length c^(-1/2)."""
    return (c**beta * stein_matrix(x, score, c**-0.5, beta).mean()).clamp_min(0).sqrt().item()


def rmse(x, truth):
    """sqrt(mean over draws and coordinates of (x - truth)^2): a float."""
    return (x - truth).square().mean().sqrt().item()
