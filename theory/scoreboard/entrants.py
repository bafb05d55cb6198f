"""The line-up: every sampler of the catalogue that claims a posterior, at its defaults and at one budget of denoiser calls.

A set of n draws costs at most n x 100 calls: steps are what that allows. A sampler of which LEAST steps cost more takes
LEAST steps and makes fewer draws.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

import problems
from workbench import catalogue
from workbench._errors import unknown
from workbench._rng import Rng
from workbench.run import sample

BUDGET = 100  # denoiser calls a draw
LEAST = 10  # steps below which a sampler is not itself
FEWEST = 20  # draws below which nothing can be measured
KINDS = ("sampler", "guidance", "draws")
GROUPS = {
    "fps-smc": (100, 100)
}  # particles of one ensemble, and how many of them are kept, where not all n are one
MORE = {
    "moment-matched-smc": 2
}  # particles a draw, at as many fewer steps: few steps do, and weights need particles
SMALL = {"fk-steering-4": ("fk-steering", 4, 1)}  # the published use: groups of four, one draw of each


@dataclass(frozen=True)
class Entrant:
    """A sampler and how it is run: `steps`; ensembles of `particles` of which `keep` are drawn (None: one ensemble of
    `more` particles a draw where rows are particles); `share` of a case's draws."""

    name: str
    sampler: Any
    exactness: str = ""
    steps: int = BUDGET
    particles: int | None = None
    keep: int = 1
    share: float = 1.0
    more: int = 1

    def draws(self, case):
        """How many draws of a case it makes."""
        n = min(case.draws, max(FEWEST, int(self.share * case.draws)))
        return n if self.particles is None else max(n // self.keep, 1) * self.keep

    def settings(self, case):
        """All that decides its numbers, on one line."""
        groups = "" if self.more == 1 else f", {self.more} particles a draw"
        groups += "" if self.particles is None else f", {self.keep} of each {self.particles} particles"
        return f"{written(self.sampler)}, steps={self.steps}, draws={self.draws(case)}{groups}"

    def run(self, problem, n, seed):
        """n evenly weighted draws, and the Posterior they are from."""
        sampler = suited(self.sampler, problem)
        how = dict(steps=self.steps, seed=seed, progress=False)
        if self.particles is not None:
            post = sample(problem, sampler, n=self.particles, ensembles=n // self.keep, **how)
            return kept(post, self.particles, self.keep, seed), post
        post = sample(problem, sampler, n=self.more * n, **how)
        return post.samples[:n] if post.log_weights is None else post.resampled(n, seed).samples, post


def written(sampler):
    """Its repr, without the addresses that functions have in one process."""
    return re.sub(r"<(?:bound method|function) ([\w.<>]+).*? at 0x[0-9a-f]+>+", r"\1", repr(sampler))


def kept(post, particles, keep, seed):
    """`keep` draws of each group of particles by their weights, whatever the evidence of the groups: (groups keep, ...)."""
    w = torch.softmax(post.log_weights.reshape(-1, particles), 1).cumsum(1)
    u = Rng(seed, "kept").uniform(len(w), keep)
    u = u if keep == 1 else (torch.arange(keep, dtype=torch.float64) + u[:, :1]) / keep
    index = torch.searchsorted(w / w[:, -1:], u, right=True).clamp_max(particles - 1)
    rows = index + particles * torch.arange(len(w))[:, None]
    return post.samples[rows.flatten().to(post.samples.device)]


def suited(sampler, problem):
    """The sampler, with what its defaults cannot know of a large field: a twist that forms no matrix of the size of y."""
    if type(sampler).__name__ != "TDS" or not hasattr(problem.prior, "spectrum"):
        return sampler
    from workbench.samplers.twists import Isotropic

    return replace(sampler, twist=Isotropic(variance=float(problem.prior.spectrum.max())))


def line_up(wanted=None):
    """The entrants called `wanted`, or all of them. Raises BadInput for a name that is none, with the nearest."""
    known = everyone()
    for name in wanted or ():
        if name not in known:
            raise unknown("sampler", name, [*known], "`workbench list samplers`")
    return [entrant(name) for name in known if wanted is None or name in wanted]


def everyone():
    """The names: exact draws, the exact score, then the others."""
    found = [e.name for e in catalogue.entries("samplers") if e.card["kind"] in KINDS]
    first = ("exact-draws", "exact")
    return [*first, *sorted({*found, *SMALL} - {*first})]


@cache
def entrant(name):
    """The entrant of that name, at the pace the budget allows."""
    base, particles, keep = SMALL.get(name, (name, *GROUPS.get(name, (None, 1))))
    entry = catalogue.find("samplers", base)
    sampler = catalogue.load("samplers", base)()
    more = MORE.get(name, 1)
    steps, share = pace(sampler, more if particles is None else particles / keep)
    return Entrant(name, sampler, entry.card["exactness"], steps, particles, keep, share, more)


def pace(sampler, times=1.0):
    """Steps, and the share of the draws, so that a draw of `times` particles costs BUDGET calls on the whole.

    The calls of a few rows on toy/g2 with LEAST and twice as many steps say what a step costs, and what a start does.
    """
    problem = problems.load("toy/g2")
    few, more = (
        times * sample(problem, sampler, n=8, steps=k, seed=0, progress=False).cost.denoiser / 8
        for k in (LEAST, 2 * LEAST)
    )
    each = (more - few) / LEAST
    if few > BUDGET:
        return LEAST, BUDGET / few
    return (BUDGET if each <= 0 else min(BUDGET, LEAST + int((BUDGET - few) / each))), 1.0
