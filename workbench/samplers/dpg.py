"""Diffusion policy gradient: guidance from values of the likelihood alone."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.samplers._gaussian import check_variance, isotropic
from workbench.samplers._guidance import Guidance
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._reals import rows

CHUNK = 64  # pairs of draws held at a time


@dataclass(frozen=True)
class DPG(Guidance):
    """pull = sum_i w_i xi_i / r, w = softmax_i log p(y | xhat + r xi_i): grad log E p(y | xhat + r xi) without a gradient of A.

    xi_i ~ N(0, I) in pairs of opposite sign, so nothing is added where the data say nothing; r^2 = c kappa^2 /
    (c + kappa^2) for signals of variance c. The same target as LGDMC with many draws, and PiGDM's for a linear A; its
    variance grows exponentially with the number of measurements, and its bias at M draws with it. A may be any black
    box, the denoiser is differentiated once. Tang et al. 2024, eq. 12 (they use about 5000 draws).
    """

    card = dict(kind="guidance", exactness="B", needs="black box", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Tang et al. 2024")  # fmt: skip
    published = dict(inverse_bench=dict(draws=5000))

    draws: int = 1000
    variance: float = 1.0

    def __post_init__(self):
        if not isinstance(self.draws, int) or self.draws < 2 or self.draws % 2:
            raise BadInput(
                f"DPG: draws = {self.draws} should be an even integer, at least 2; they come in pairs"
            )
        check_variance("DPG", self.variance)

    def pull(self, problem, x, x0, covariance, t, rng):
        r = isotropic(self.variance, problem.prior.process.kappa(t)).sqrt()
        best = torch.full((len(x0),), -torch.inf, dtype=torch.float64, device=x0.device)
        total, moment = (
            torch.zeros_like(best),
            torch.zeros_like(x0),
        )  # sum of w, sum of w xi, times exp(-best)
        for first in range(0, self.draws // 2, CHUNK):
            pairs = min(CHUNK, self.draws // 2 - first)
            xi = rng.normal(x0[:, None].expand(-1, pairs, *x0.shape[1:]))
            xi = torch.cat([xi, -xi], 1)
            drawn = (x0[:, None] + r * xi).flatten(0, 1)
            log_w = log_likelihood(problem, drawn).reshape(len(x0), 2 * pairs)
            higher = torch.maximum(best, log_w.amax(1))
            w, fade = torch.exp(log_w - higher[:, None]), torch.exp(best - higher)
            total = fade * total + w.sum(1)
            added = (rows(w.flatten(), drawn) * xi.flatten(0, 1)).unflatten(0, (len(x0), 2 * pairs)).sum(1)
            moment = rows(fade, x0) * moment + added
            best = higher
        return moment / (rows(total, x0) * r)
