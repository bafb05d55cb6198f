"""Adaptive guidance: guidance only while it changes what the prior says."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workbench.samplers import _sampler
from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import not_negative, within
from workbench.samplers._guidance import Guidance
from workbench.samplers._likelihood import steepness
from workbench.samplers._reals import as_reals, squares
from workbench.samplers._sampler import Sampler
from workbench.samplers.moment_matching import MomentMatching

DROWNED, HEARD, FREE = 0, 1, 2  # stages of a row

# Rules: `heard`, from when on a row may be left, and `enough`, whether the guidance says there what the prior says, (n,).


@dataclass(frozen=True)
class Negligible:
    """||xhat_y - xhat|| <= share sqrt(d) / ||A'||, under kappa = 1 / ||A'||: a share of what the data resolve, d real numbers.

    Down there the push falls as kappa^2, so that what the steps to come would still move is half of it.
    """

    share: float = 0.2

    def __post_init__(self):
        not_negative("Negligible", share=self.share)

    def heard(self, problem, plain, guided, kappa):
        return kappa**2 * self._sharp(problem, plain) <= 1

    def enough(self, problem, x, plain, guided, t):
        d = as_reals(plain[:1]).numel()
        return squares(guided - plain) * self._sharp(problem, plain) <= self.share**2 * d

    def _sharp(self, problem, x0):
        S = torch.as_tensor(steepness(problem, x0), dtype=torch.float64, device=x0.device)
        return S.flatten().expand(len(x0))


@dataclass(frozen=True)
class Cosine:
    """cos(eps_y, eps) >= threshold, once the signal is heard, ||xhat_y|| >= kappa sqrt(d): the paper's, for classes.

    Where the noise drowns the signal the cosine is near 1 too; that does not count. It depends on the dimension. The
    pull of a likelihood need not fade beside the prior's score: on smooth fields the cosine falls to the end and the
    guidance is never left.
    """

    threshold: float = 0.991

    def heard(self, problem, plain, guided, kappa):
        return loud(guided, kappa)

    def enough(self, problem, x, plain, guided, t):
        alpha = problem.prior.process.alpha(t)
        return cosine(x - alpha * guided, x - alpha * plain) >= self.threshold


@dataclass(frozen=True)
class AdaptiveGuidance(Sampler):
    """eps = eps_y + (w - 1) (eps_y - eps), until eps_y says what eps says; from then on eps alone.

    eps_y is the noise that the guidance `full` predicts, eps the prior's. Each row switches once, at the first step at
    which `rule` finds the guidance negligible; rows that switched cost one denoiser call and no product with its
    Jacobian.  rule: Negligible(share) for likelihoods, which saves the last steps, or the paper's Cosine(threshold).
    weight: w.  eta: of the DDIM step.
    What is lost is the distance to DDIM(eta, guidance=full). Castillo et al. 2023, eq. 7, where eps_y is a conditional
    network's and stays after the switch, since there the other call is what is saved.
    """

    card = dict(kind="sampler", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP, later 1 NFE", source="Castillo et al. 2023")  # fmt: skip
    published = dict(paper=dict(rule=Cosine(0.991), weight=7.5, eta=0.0))

    full: Guidance = field(default_factory=MomentMatching)
    weight: float = 1.0
    rule: Negligible | Cosine = field(default_factory=Negligible)
    eta: float = 1.0

    def __post_init__(self):
        within("AdaptiveGuidance", 0, 1, eta=self.eta)

    @dataclass
    class State(_sampler.State):
        """stage: 0 while noise drowns the signal, 1 once it does not, 2 once a row is left to the prior, (n,)."""

        stage: Tensor | None = None

    def init(self, problem, n, t, rng):
        x = problem.prior.initial(n, t, rng)
        return self.State(x, stage=torch.full((n,), DROWNED, device=x.device))

    def step(self, problem, state, t, s, rng):
        process, x, stage = problem.prior.process, state.x, state.stage.clone()
        free = stage == FREE
        x0 = torch.empty_like(x)
        if free.any():
            x0[free] = problem.prior.denoise(x[free], t)
        if not free.all():
            bound, rest = (~free).nonzero()[:, 0], x[~free]
            plain, guided = both(self.full, problem, rest, t, Chosen(rng.fork("guidance"), bound, len(x)))
            x0[bound] = guided + (self.weight - 1) * (guided - plain)
            heard = self.rule.heard(problem, plain, guided, process.kappa(t)).to(x.device)
            heard = heard | (stage[bound] == HEARD)
            enough = self.rule.enough(problem, rest, plain, guided, t)
            stage[bound] = torch.where(heard & enough, FREE, torch.where(heard, HEARD, DROWNED))
        return self.State(ancestral(process, x, x0, t, s, rng, self.eta), stage=stage)


def both(guidance, problem, x, t, rng):
    """E[x0 | x_t] of the prior and of the guidance, with one denoiser call where the guidance is a pull."""
    if type(guidance).denoise is Guidance.denoise and type(guidance).bind is Guidance.bind:
        x0, covariance = problem.prior.tweedie(x, t)
        return x0, x0 + guidance.shift(problem, x, x0, covariance, t, rng)
    return problem.prior.denoise(x, t), guidance.bind(problem, rng).denoise(x, t)


def loud(x0, kappa):
    """Whether the denoised signal is larger than the noise, ||x0||^2 >= kappa^2 times its real numbers, of each row."""
    return squares(x0) >= kappa**2 * as_reals(x0[:1]).numel()


def cosine(u, v):
    """Re<u, v> / (||u|| ||v||) of each row."""
    return torch.nn.functional.cosine_similarity(as_reals(u).double(), as_reals(v).double(), dim=1)


@dataclass
class Chosen:
    """The draws of some rows of a batch of n, the same as if all had drawn."""

    rng: Any
    index: Tensor
    n: int

    def normal(self, like):
        return self.rng.normal(like[:1].expand(self.n, *like.shape[1:]))[self.index]

    def uniform(self, *shape):
        return self.rng.uniform(self.n, *shape[1:])[self.index.cpu()]

    def fork(self, stream):
        return Chosen(self.rng.fork(stream), self.index, self.n)

    def at(self, step):
        return Chosen(self.rng.at(step), self.index, self.n)
