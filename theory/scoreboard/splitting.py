"""Three errors told apart: guidance, discretisation, Monte Carlo; and the error of guidance at every noise level."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from theory.scoreboard.entrants import Entrant
from theory.scoreboard.measure import Yardstick
from workbench._checkpoint import replace_with
from workbench._rng import Rng
from workbench.samplers._sampler import Stepper
from workbench.samplers.ddpm import DDPM
from workbench.samplers.exact import Exact


@dataclass(frozen=True)
class Split:
    """A metric of a sampler in parts: value = floor + discretisation + guidance + monte_carlo.

    floor: between two exact sets.  discretisation: what the exact conditional score adds with the same stepper and
    steps.  guidance: what the sampler adds to that, its draws pooled over seeds.  monte_carlo: what one run of it adds
    to the pool; 0 where rows are independent.  Parts of a few thousandths of the floor and less are noise, of any sign.
    """

    metric: str
    value: float
    floor: float
    discretisation: float
    guidance: float
    monte_carlo: float


def split(case, entrant, seed=0, runs=8, metric="sw2", folder=None):
    """The Split of an entrant on a case: means over `runs` sampler seeds on the same data.

    Metrics are distances here, smaller is better: sw2, mean, covariance, modes, ksd.
    """
    n = entrant.draws(case)
    stick = Yardstick.of(case, seed, n, folder)
    exact = guided_exactly(entrant)
    draws = [entrant.run(stick.problem, n, seed + i)[0] for i in range(runs)]
    single = mean([beside(x, stick, metric, i) for i, x in enumerate(draws)])
    scored = mean([beside(exact.run(stick.problem, n, seed + i)[0], stick, metric, i) for i in range(runs)])
    pool = single
    if getattr(entrant.sampler, "couples", False):
        pool = mean([beside(x, stick, metric, i) for i, x in enumerate(pooled(draws, seed))])
    floor = mean([beside(stick.law.sample(n, FLOOR + seed + i), stick, metric, i) for i in range(runs)])
    return Split(metric, single, floor, scored - floor, pool - scored, single - pool)


def splits(cases, entrants, seed, folder, runs=8, say=None):
    """The Splits of sliced W2 of every entrant that can on every case, as dicts: read from `folder`/splits.json, or made
    and kept there.  say: called with each new one."""
    path = Path(folder) / "splits.json"
    found = json.loads(path.read_text()) if path.exists() else []
    there = {(s["case"], s["entrant"]) for s in found}
    for case in cases:
        for entrant in entrants:
            if (case.name, entrant.name) in there:
                continue
            try:
                parts = asdict(split(case, entrant, seed, runs, folder=folder))
            except Exception:  # it cannot, and the board says why
                continue
            found.append(dict(case=case.name, entrant=entrant.name, seed=seed, runs=runs, **parts))
            replace_with(path, lambda beside: beside.write_text(json.dumps(found, indent=1) + "\n"))
            if say is not None:
                say(found[-1])
    return found


FLOOR, FRESH = 3 * 10**6, 4 * 10**6  # seeds of the exact sets compared, and of those they are compared with


def beside(x, stick, metric, i):
    """The metric of x beside fresh exact draws, the same ones for every set number i: common random numbers."""
    return stick.metrics(x, stick.law.sample(len(x), FRESH + i))[metric]


def mean(values):
    return sum(values) / len(values)


def pooled(draws, seed):
    """As many sets of as many draws, each drawn without replacement from all of them together."""
    pool, n = torch.cat(draws), len(draws[0])
    order = Rng(seed, "pooled").uniform(len(pool)).argsort().to(pool.device)
    return pool[order].split(n)


def guided_exactly(entrant):
    """The same stepper and steps with the exact conditional score; DDPM where the sampler is no stepper."""
    sampler = entrant.sampler
    sampler = replace(sampler, guidance=Exact()) if isinstance(sampler, Stepper) else DDPM(guidance=Exact())
    return Entrant("exact", sampler, "E0", entrant.steps)


def guidance_error(problem, guidance, steps=20, n=1000, seed=0):
    """e(t) = E ||h_hat_t - h_t||^2 / E ||h_t||^2 over x_t ~ p_t(. | y), h = s_y - s: times (steps,) and e (steps,).

    h is what the data add to the score; both are taken from denoisers, whose differences are proportional. x_t are
    exact draws of the posterior with noise, as exact trajectories visit them. 0 for the exact score, 1 for none.
    """
    times = problem.prior.grid(steps)[:-1]
    x0 = problem.exact.sample(n, FLOOR + seed)
    found = [
        _error_at(problem, guidance, x0, t, Rng(seed, "guidance-error").at(i)) for i, t in enumerate(times)
    ]
    return times, torch.tensor(found, dtype=torch.float64)


def _error_at(problem, guidance, x0, t, rng):
    process = problem.prior.process
    x = process.alpha(t).to(x0.real.dtype) * x0 + process.sigma(t).to(x0.real.dtype) * rng.normal(x0)
    plain, right = problem.prior.denoise(x, t), problem.exact.denoise(x, t)
    guided = guidance.bind(problem, rng.fork("guidance")).denoise(x, t).detach()
    square = lambda v: v.abs().double().square().sum()  # noqa: E731
    return (square(guided - right) / square(right - plain)).item()
