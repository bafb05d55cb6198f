"""Experts for parts of the data: their denoisers, weighted by who is likely to have made x_t, are the denoiser of all."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, within_errors
from theory.distributions.mixture import GaussianMixture
from theory.distributions.toys import blob_9
from workbench._rng import Rng

PARTS = ([0, 1, 5], [2, 3, 6], [4, 7, 8])  # of the nine blobs, three to an expert
LEVELS = (0.01, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0)


class MoEDenoiserIdentity(Claim):
    """For data in parts k, E[x0 | x_t] = sum_k p(k | x_t) D_k(x_t), and the score and the velocity likewise; the router that minimises
    the cross-entropy is p(k | x_t).

    The law of total expectation; the score and v = alpha eps - sigma x0 are affine in the denoiser with coefficients that do not depend on k,
    and the weights sum to 1. The cross-entropy of a router q is H(k | x_t) + E KL(p || q). Left: nine blobs of deviation 0.14 as one law of the library.
    Right: three mixtures of three, weighted by their own densities. The expert most likely alone (top-1 routing) is wrong where parts overlap.
    """

    card = dict(code="O6", name="moe-denoiser-identity", tier=0, topic="guidance-and-statistics", paper="2501.05450",
                source="McAllister et al. 2025; derived", found="")  # fmt: skip
    margin, temperatures, n = 1e-12, (0.5, 0.7, 1.4, 2.0), 4000

    def measure(self, seed):
        means = blob_9().means
        law = GaussianMixture([1.0] * 9, means, torch.full((9,), 0.02, dtype=torch.float64))
        experts = [self._expert(law, part) for part in PARTS]
        m = SimpleNamespace(errors=[], top=[], scores=[], velocities=[])
        labels, x0 = self._drawn(experts, seed)
        for t in LEVELS:
            x = x0 + t * Rng(seed, "noise").normal(x0)
            router = torch.softmax(torch.stack([e.log_prob(x, t) for e in experts], 1), 1)
            mix = lambda outputs, p=router: torch.einsum("nk,nkd->nd", p, torch.stack(outputs, 1))
            each = [e.denoise(x, t) for e in experts]
            D, s = law.denoise(x, t), law.score(x, t)
            speed = lambda x0, s, t=t: -t * s - t * x0  # alpha eps - sigma x0
            m.errors.append((mix(each) - D).abs().max().item())
            scores = [e.score(x, t) for e in experts]
            m.scores.append(((mix(scores) - s).norm() / s.norm()).item())
            parts = [speed(a, b) for a, b in zip(each, scores, strict=True)]
            m.velocities.append(((mix(parts) - speed(D, s)).norm() / speed(D, s).norm()).item())
            first = torch.stack(each, 1)[torch.arange(len(x)), router.argmax(1)]
            m.top.append((first - D).square().sum(1).mean().sqrt().item())
            if t == 1.0:
                m.router = self._router(router, labels)
        return m

    @staticmethod
    def _expert(law, part):
        return GaussianMixture(law.weights[part], law.means[part], law.covariances.c[part])

    def _drawn(self, experts, seed):
        """Labels and clean signals, as many of each part."""
        x0 = [e.sample(self.n, seed, stream=f"expert {k}") for k, e in enumerate(experts)]
        return torch.arange(len(experts)).repeat_interleave(self.n), torch.cat(x0)

    def _router(self, p, labels):
        """Cross-entropy minus entropy of the posterior, and of routers of another temperature minus its own: mean and error of each."""
        averaged = lambda v: (v.mean().item(), (v.std() / len(v) ** 0.5).item())
        loss = lambda tau: -torch.log_softmax(tau * p.log(), 1)[torch.arange(len(p)), labels]
        own = loss(1.0)
        entropy = -(p * p.log()).sum(1)
        return averaged(own - entropy), {tau: averaged(loss(tau) - own) for tau in self.temperatures}

    def rows(self, m):
        yield at_most("denoiser: largest error over seven noise levels", max(m.errors), self.margin)
        yield at_most("score: largest relative error", max(m.scores), self.margin)
        yield at_most("velocity: largest relative error", max(m.velocities), self.margin)
        (gap, error), others = m.router
        yield within_errors("router p(k | x_t): cross-entropy less entropy", gap, 0.0, error)
        for tau, (more, error) in others.items():
            yield at_least(f"router with logits times {tau:g}: excess loss in errors", more / error, 5.0)
        yield at_most("top-1 routing at sigma = 0.01: rms error", m.top[0], 1e-6)

    def controls(self, m):
        for i in (3, 4, 5):
            yield at_most(f"top-1 routing at sigma = {LEVELS[i]:g}: rms error", m.top[i], 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        floor = lambda values: [v + 1e-17 for v in values]
        ax.loglog(LEVELS, floor(m.errors), "o-", label="weighted experts, largest error")
        ax.loglog(
            LEVELS, floor(m.top), "x--", color="tab:red", label="control: the likeliest expert, rms error"
        )
        ax.axhline(self.margin, color="black", ls=":", lw=0.8, label="margin")
        ax.set(xlabel="sigma", ylabel="error of the denoiser, nine blobs (+ 1e-17)")
        ax.legend(fontsize=8)
