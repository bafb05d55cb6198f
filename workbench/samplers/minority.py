"""Minority guidance: towards signals that the prior itself reconstructs badly, those of low density."""

from dataclasses import dataclass, field
from typing import Any

import torch

from workbench._rng import Rng
from workbench.priors._prior import Prior
from workbench.samplers._ancestral import ancestral
from workbench.samplers._checks import not_negative, positive
from workbench.samplers._reals import as_reals, squares
from workbench.samplers._sampler import Sampler, State


def minority_score(prior, x, kappa, repeats=5, rng=None, distance=None):
    """m(x) = E ||x - E[x0 | x + kappa eps]||^2 over `repeats` noises: (n,) float64. For x of the prior its mean is
    tr Cov[x0 | x_t]. distance: (x, y) -> (n,) in its place. Um et al. 2024, eq. 8."""
    rng = Rng(0, "minority") if rng is None else rng
    process, t = prior.process, prior.process.time(kappa)
    between = (lambda u, v: squares(u - v)) if distance is None else distance
    draws = [process.alpha(t) * (x + kappa * rng.normal(x)) for _ in range(repeats)]
    return torch.stack([between(x, prior.denoise(noisy, t)) for noisy in draws]).mean(0)


@dataclass(frozen=True)
class SelfScore:
    """log p(c | x_t) stands for m(xhat) / (2 kappa_m^2), the minority score of the denoised signal: no classifier, one
    more denoiser call and its product.  level: kappa_m (default: the geometric middle of the prior's noise range)."""

    level: float | None = None

    def __post_init__(self):
        positive("SelfScore", level=self.level)

    def log_prob(self, prior, x, t, rng):
        low, high = prior.noise_range
        kappa = (low * high) ** 0.5 if self.level is None else self.level
        process, u = prior.process, prior.process.time(kappa)
        x0 = prior.denoise(x, t)
        again = prior.denoise(process.alpha(u) * (x0 + kappa * rng.normal(x0)), u)
        return x0, _squares(x0 - again) / (2 * kappa**2)


@dataclass(frozen=True)
class Classifier:
    """log p(c = label | x_t) of a noise-conditional `network(reals of x_t / alpha, kappa)` -> logits, as from train_classifier.

    label: counted from the end if negative; -1 is the class of the highest minority scores.
    """

    network: Any
    label: int = -1

    def log_prob(self, prior, x, t, rng):
        process = prior.process
        logits = self.network(as_reals(x / process.alpha(t)), process.kappa(t))
        return prior.denoise(x.detach(), t), torch.log_softmax(logits, 1)[:, self.label]


def _squares(z):
    return as_reals(z).square().sum(1)


@dataclass(frozen=True)
class MinorityGuidance(Sampler):
    """x0 <- x0 + weight (sigma^2 / alpha) grad_{x_t} log p(c | x_t), c the class of the signals hardest to denoise.

    DDPM steps of the prior tilted to low density; data enter not at all. score: SelfScore(), the minority score itself
    in place of a classifier, or Classifier(network, label) with a network from `train_classifier`.  weight: 3.5 in the
    paper.  `bind(problem)` gives the prior for another stepper. Um et al. 2024, Alg. 1.
    """

    card = dict(kind="combination", exactness="P", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="2 NFE + 2 VJP", source="Um et al. 2024")  # fmt: skip
    published = dict(paper=dict(weight=3.5))

    uses_data = False
    weight: float = 0.5
    score: SelfScore | Classifier = field(default_factory=SelfScore)

    def __post_init__(self):
        not_negative("MinorityGuidance", weight=self.weight)

    def bind(self, problem, rng=None):
        """The tilted prior."""
        return _Tilted(problem.prior, self, Rng(0) if rng is None else rng)

    def step(self, problem, state, t, s, rng):
        x0 = self.bind(problem, rng.fork("minority")).denoise(state.x, t)
        return State(ancestral(problem.prior.process, state.x, x0, t, s, rng))


@dataclass(frozen=True, eq=False)
class _Tilted(Prior):
    """A prior under minority guidance."""

    prior: Any
    guidance: MinorityGuidance
    rng: Rng

    shape = property(lambda self: self.prior.shape)
    dtype = property(lambda self: self.prior.dtype)
    process = property(lambda self: self.prior.process)
    noise_range = property(lambda self: self.prior.noise_range)

    def denoise(self, x, t):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0, log_p = self.guidance.score.log_prob(self.prior, x, t, self.rng)
            (pull,) = torch.autograd.grad(log_p.sum(), x)
        process = self.prior.process
        return x0.detach() + self.guidance.weight * process.sigma(t) ** 2 / process.alpha(t) * pull


class MinorityClassifier(torch.nn.Module):
    """Logits of the classes of minority scores from a noisy signal: (n, reals), kappa -> (n, classes)."""

    def __init__(self, reals, classes, hidden=64):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(reals + 1, hidden),
            torch.nn.SiLU(),
            torch.nn.Linear(hidden, hidden),
            torch.nn.SiLU(),
            torch.nn.Linear(hidden, classes),
        )

    def forward(self, x, kappa):
        kappa = torch.as_tensor(kappa, dtype=x.dtype, device=x.device).expand(len(x), 1)
        return self.layers(torch.cat([x / torch.sqrt(1 + kappa**2), kappa.log() / 4], 1))


def train_classifier(prior, x, scores, classes=100, steps=2000, batch=256, rate=1e-3, seed=0):
    """A MinorityClassifier of noisy signals x: (N, *shape), whose classes are the quantiles of `scores`: (N,), lowest first.

    Noise levels are drawn from the prior's noise range, uniform in their logarithm. The paper has 100 classes.
    """
    edges = torch.quantile(scores.double(), torch.linspace(0, 1, classes + 1, dtype=torch.float64)[1:-1])
    labels, v = torch.bucketize(scores.double(), edges), as_reals(x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MinorityClassifier(v.shape[1], classes).to(v)
    optimiser, (low, high) = torch.optim.Adam(network.parameters(), rate), prior.noise_range
    for i in range(steps):
        rng = Rng(seed, "minority").at(i)
        index = (rng.uniform(batch) * len(v)).long()
        kappa = (low * (high / low) ** rng.uniform(batch, 1)).to(v)
        loss = torch.nn.functional.cross_entropy(
            network(v[index] + kappa * rng.normal(v[index]), kappa), labels[index]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.requires_grad_(False)
