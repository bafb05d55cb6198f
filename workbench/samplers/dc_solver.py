"""DC-Solver: dynamic compensation of a multistep solver, fitted to a reference trajectory."""

from dataclasses import dataclass, replace
from math import isfinite

import torch

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.samplers._sampler import State
from workbench.samplers.dpm_solver import DPMSolver2S
from workbench.samplers.unipc import UniPC


@dataclass(frozen=True)
class DCSolver(UniPC):
    """UniPC whose newest stored output is first moved to lam' = ratio lam_t + (1 - ratio) lam_before, by Lagrange.

    ratios: one number a step; 1 (and where there is none) leaves the step as it is. The interpolation goes through the
    last three outputs (two at the second step, none at the first) in half log-SNR, so that it is the same under every
    process; the moved output replaces the stored one. Fit the ratios with `compensated`: for few steps, 5 to 10.
    Zhao et al. 2024, DC-Solver, Alg. 1.
    """

    card = dict(kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Zhao et al. 2024")  # fmt: skip

    ratios: tuple = ()

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.ratios, tuple) or not all(isfinite(r) for r in self.ratios):
            raise BadInput(
                f"DCSolver: ratios = {self.ratios} should be a tuple of finite numbers, one a step"
            )

    keeps = property(lambda self: max(self.order, 3))

    def stored(self, m, lam, step):
        ratio = self.ratios[step] if step < len(self.ratios) else 1.0
        count = min(m.shape[1], 3)
        if count < 2 or (not isinstance(ratio, torch.Tensor) and ratio == 1):
            return m
        lam = lam[:count]
        weights = _lagrange(lam, ratio * lam[0] + (1 - ratio) * lam[1])
        moved = sum(w * m[:, k] for k, w in enumerate(weights))
        return torch.cat([moved[:, None], m[:, 1:]], 1)


def _lagrange(nodes, at):
    """The weights of the values at `nodes` in their interpolation at `at`."""
    others = lambda k: [j for j in range(len(nodes)) if j != k]
    return [
        torch.stack([(at - nodes[j]) / (nodes[k] - nodes[j]) for j in others(k)]).prod()
        for k in range(len(nodes))
    ]


def compensated(sampler, problem, times, n=10, fine=40, iterations=40, lr=0.1, seed=0):
    """The DCSolver `sampler` with the ratios that keep n samples nearest to a reference trajectory on the grid `times`.

    One ratio after the other, each by AdamW from 1, to the smallest mean square distance after its step; the reference
    is DPM-Solver++(2S) at `fine` steps for each of the grid. times: decreasing, ending at 0. The guidance and the data
    are those of `problem`; the ratios serve other data at the same steps. Zhao et al. 2024, sec. 3.2.
    """
    if len(times) < 3 or times[-1] != 0:
        raise BadInput(
            f"compensated: times = {times} should be at least 3 decreasing numbers, the last 0; use prior.grid(steps)"
        )
    rng = Rng(seed, "compensated")
    reference = DPMSolver2S(guidance=sampler.guidance)
    with torch.no_grad():
        true = State(problem.prior.initial(n, times[0], rng))
    state, ratios = sampler.State(true.x), []
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        with torch.no_grad():
            true = _finely(reference, problem, true, t, s, fine, rng.at(i + 1))
        ratio = torch.ones((), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.AdamW([ratio], lr=lr, weight_decay=0.0)
        for _ in range(iterations if i else 0):  # the first step has nothing to interpolate
            with torch.enable_grad():
                x = replace(sampler, ratios=(*ratios, ratio)).step(problem, state, t, s, rng.at(i + 1)).x
                loss = (x - true.x).abs().square().sum(tuple(range(1, x.ndim))).mean()
                (ratio.grad,) = torch.autograd.grad(loss, ratio)
            optimiser.step()
        ratios.append(ratio.item())
        with torch.no_grad():
            state = replace(sampler, ratios=tuple(ratios)).step(problem, state, t, s, rng.at(i + 1))
    return replace(sampler, ratios=tuple(ratios))


def _finely(reference, problem, state, t, s, fine, rng):
    """`fine` steps from t to s, uniform in half log-SNR; to s = 0 by way of 1 / 100 of the noise level."""
    process = problem.prior.process
    high = process.kappa(t)
    low = process.kappa(s) if s > 0 else high / 100
    levels = torch.logspace(0, 1, fine + 1, base=(low / high).item(), dtype=torch.float64) * high
    times = process.time(levels)
    times = torch.cat([t[None], times[1:-1], s[None]]) if s > 0 else torch.cat([t[None], times[1:], s[None]])
    for before, after in zip(times[:-1], times[1:], strict=True):
        state = reference.step(problem, state, before, after, rng)
    return state
