"""The one loop: time grid, random numbers, batches, resampling, progress, recording, checkpoints, cost."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from workbench._checkpoint import Checkpoint
from workbench._cost import Cost, counted
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.posterior import Posterior
from workbench.provenance import environment, fingerprint
from workbench.samplers.ddpm import DDPM


def sample(
    problem,
    sampler,
    n=16,
    steps=100,
    seed=0,
    grid=None,
    batch=None,
    ensembles=1,
    device=None,
    record=None,
    progress=True,
    checkpoint=None,
):
    """Draw from p(x | y) with `sampler`: a Posterior of n samples (of ensembles * n, pooled by their evidence).

    n: samples, or particles of one ensemble for a sampler that couples them.  steps: of the time grid, or give the
    decreasing times themselves as `grid` (0 is appended if missing).  seed: same seed, same samples, whatever the
    batch.  batch: samples at a time (default: what fits in memory).  device: where to run (default: where the data
    are).  record: how many states along the way to keep in `trajectory`.  checkpoint: a folder where every step is
    saved; the same call with the same folder goes on from there, bit-identically on the same machine, and a call that
    differs raises BadInput naming what differs.  A guidance alone, such as MomentMatching(), runs under DDPM.
    """
    if not hasattr(sampler, "step") and hasattr(sampler, "bind"):
        sampler = DDPM(guidance=sampler)
    for name, value in dict(
        n=n, steps=steps, ensembles=ensembles, batch=1 if batch is None else batch
    ).items():
        if int(value) != value or value < 1:
            raise BadInput(f"{name} = {value} should be a whole number, at least 1")
    if record is not None and record < 0:
        raise BadInput(f"record = {record} should not be negative; it is how many states to keep")
    problem = problem if device is None else problem.to(device)
    times = time_grid(problem, sampler, steps, grid)
    cost = Cost()
    store = Checkpoint(checkpoint, fingerprint(problem, sampler, n, times, seed, ensembles, record), batch)
    total = n * ensembles
    if sampler.couples:  # whole ensembles, several at a time where their rows meet in resampling alone
        together = max(1, fitting_batch(problem, total) // n) if sampler.apart else 1
        size = store.settle(n * min(together, ensembles))
    else:
        size = store.settle(min(store.batch or batch or fitting_batch(problem, n), n))
    firsts = range(0, total, size)
    with store.threads(), progress_bar(sampler, len(firsts) * (len(times) - 1), progress) as bar:
        plan = Plan(counted(problem, cost), sampler, times, seed, record or 0, cost, store, bar, n)
        batches = [plan.run(i, first, min(size, total - first)) for i, first in enumerate(firsts)]
        parts = [part for batch in batches for part in batch]
    return assemble(problem, sampler, parts, times, cost, store, n, seed, ensembles, size)


def time_grid(problem, sampler, steps, grid):
    """The times to visit, float64 and strictly decreasing to 0 (optimisers count iterations and may differ)."""
    if grid is None:
        return sampler.grid(problem.prior, steps)
    grid = torch.as_tensor(grid, dtype=torch.float64).cpu()
    if grid.ndim == 1 and len(grid) and grid[-1] != 0:
        grid = torch.cat([grid, grid.new_zeros(1)])
    if grid.ndim != 1 or len(grid) < 2 or not (grid.diff() < 0).all():
        raise BadInput(
            f"grid should be decreasing times, got {grid.tolist()[:4]}...; use problem.prior.grid(steps)"
        )
    return grid


@dataclass
class Part:
    """One batch or ensemble: its samples and what was kept on the way."""

    x: Tensor
    log_w: Tensor | None = None
    log_evidence: float | None = None
    ancestors: Tensor | None = None
    kept: list = field(default_factory=list)


@dataclass
class Plan:
    """Everything a batch needs to run."""

    problem: object
    sampler: object
    times: Tensor
    seed: int
    record: int
    cost: Cost
    store: Checkpoint
    bar: object
    each: int  # particles of an ensemble

    def run(self, index, first, n):
        """Batch number `index`, whose samples are first ... first + n - 1: its Parts, one an ensemble."""
        done = self.store.finished(index, self.cost)
        if done is not None:
            self.bar.update(len(self.times) - 1)
            return self._parts(done.pop("x"), done.pop("log_w", None), done)
        start = time.perf_counter()
        sampler, rng = self.sampler, Rng(self.seed, "run", first=first)
        begin, state, extras = self._begin(index, n, rng)
        before = self.cost.seconds
        self.bar.update(begin)
        for step in range(begin, len(self.times) - 1):
            t, s = self.times[step], self.times[step + 1]
            with torch.no_grad():
                state = sampler.step(self.problem, state, t, s, rng.at(step + 1))
            if s > 0:
                state, extras = self._resample(state, extras, rng.at(step + 1).fork("resample"))
            if self._keeps(step):
                extras["kept"] = (
                    torch.cat([extras["kept"], state.x[None]]) if "kept" in extras else state.x[None]
                )
            self.cost.seconds = before + time.perf_counter() - start
            self.store.save_state(index, step + 1, state, extras, self.cost)
            self.bar.update()
        x = sampler.finish(self.problem, state).detach()
        self.cost.seconds = before + time.perf_counter() - start
        if state.log_w is not None:
            means = [log_mean_exp(w) for w in state.log_w.cpu().split(self.each)]
            extras = {**extras, "log_z": extras["log_z"] + torch.stack(means)}
        self.store.finish(index, dict(x=x, log_w=state.log_w, **extras), self.cost)
        return self._parts(x, state.log_w, extras)

    def _begin(self, index, n, rng):
        """The step to start at, the state there and what was kept: from the checkpoint, or fresh."""
        saved = self.store.load_state(index, self.sampler.State, self.cost)
        if saved is not None:
            return saved
        with torch.no_grad():
            state = self.sampler.init(self.problem, n, self.times[0], rng.at(0))
        extras = (
            dict(
                log_z=torch.zeros(n // self.each, dtype=torch.float64),
                ancestors=torch.arange(self.each).repeat(n // self.each),
            )
            if state.log_w is not None
            else {}
        )
        return 0, state, extras

    def _resample(self, state, extras, rng):
        """The state after resampling, with the evidence and the ancestors carried along."""
        if self.sampler.resample is None or state.log_w is None:
            return state, extras
        log_w, log_z, chosen = state.log_w.clone(), extras["log_z"].clone(), torch.arange(len(state.log_w))
        for e, w in enumerate(state.log_w.split(self.each)):  # each ensemble on its own
            start = e * self.each
            index = self.sampler.resample(w, rng.rows(rng.first + start))
            if index is not None:
                log_z[e] += log_mean_exp(w).cpu()
                log_w[start : start + self.each] = 0.0
                chosen[start : start + self.each] = start + index.cpu()
        state = replace(state.rows(chosen.to(state.x.device)), log_w=log_w)
        return state, {**extras, "log_z": log_z, "ancestors": extras["ancestors"][chosen]}

    def _parts(self, x, log_w, extras):
        """The batch by ensembles; all of it where there are none."""
        kept = extras.get("kept")
        if log_w is None:
            return [Part(x, kept=[] if kept is None else list(kept))]
        rows = [slice(i, i + self.each) for i in range(0, len(x), self.each)]
        return [
            Part(x[r], log_w[r], float(z), extras["ancestors"][r], [] if kept is None else list(kept[:, r]))
            for r, z in zip(rows, extras["log_z"], strict=True)
        ]

    def _keeps(self, step):
        last = len(self.times) - 2
        return self.record and step in {round(i * last / max(1, self.record - 1)) for i in range(self.record)}


def progress_bar(sampler, steps, wanted):
    """A bar over all steps of all batches, in a terminal or in Jupyter."""
    from tqdm.auto import tqdm

    return tqdm(total=steps, desc=type(sampler).__name__, disable=None if wanted else True)


def log_mean_exp(log_w):
    """log mean w, from log-weights."""
    return torch.logsumexp(log_w, 0) - torch.log(torch.tensor(len(log_w), dtype=torch.float64))


def fitting_batch(problem, n):
    """How many samples to take at a time: what fits in a quarter of the free memory, at 24 arrays of the larger of
    signal and data each; on a CPU at most 8 MB an array, beyond which page faults cost more than batches save."""
    item = problem.y.element_size() * max(problem.y.numel(), torch.Size(problem.A.in_shape).numel())
    free = free_memory(problem.y.device)
    fit = int(0.25 * free / (24 * item))
    if fit < 1:
        raise BadInput(
            f"not enough memory: one sample of {tuple(problem.A.in_shape)} needs about {24 * item / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free; use fewer slices, or a coarser grid"
        )
    return min(n, fit) if problem.y.is_cuda else min(n, fit, max(1, 2**23 // item))


def free_memory(device):
    """Free bytes on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return 4 * 2**30  # a modest laptop, where the system does not say


def assemble(problem, sampler, parts, times, cost, store, n, seed, ensembles, size):
    """The Posterior of all parts; ensembles are pooled by their evidence."""
    log_w = evidence = ancestors = None
    if parts[0].log_w is not None:
        logs = torch.tensor([p.log_evidence for p in parts], dtype=torch.float64)
        logs = logs if sampler.pools else torch.zeros_like(logs)
        evidence = log_mean_exp(logs).item() if sampler.evidence else None
        # within an ensemble the weights sum to 1; between ensembles they share by evidence
        inside = [torch.log_softmax(p.log_w.double().cpu(), 0) for p in parts]
        log_w = torch.cat([w + z for w, z in zip(inside, logs, strict=True)])
        log_w = torch.log_softmax(log_w, 0)
        ancestors = torch.stack([p.ancestors for p in parts])
    trajectory = (
        torch.stack([torch.cat(states) for states in zip(*[p.kept for p in parts], strict=True)])
        if parts[0].kept
        else None
    )
    provenance = dict(
        problem=problem.name,
        sampler=repr(sampler),
        guidance=repr(getattr(sampler, "guidance", "not applicable")),
        n=n,
        ensembles=ensembles,
        batch=size,
        seed=seed,
        steps=len(times) - 1,
        times=times.tolist(),
        evidences=None if evidence is None else logs.tolist(),
        distinct_ancestors=None if ancestors is None else [len(a.unique()) for a in ancestors],
        processes=store.processes(cost),
        **environment(problem),
    )
    samples = torch.cat([p.x for p in parts])
    warnings = list(worries(sampler, samples, ancestors))
    if warnings:
        provenance["warning"] = "; ".join(warnings)
    return Posterior(
        samples=samples,
        log_weights=log_w,
        log_evidence=evidence,
        cost=replace(cost),
        provenance=provenance,
        trajectory=trajectory,
        view=problem.view,
        y=problem.y,
    )


def worries(sampler, samples, ancestors):
    """What the reader of the samples should know of them."""
    if getattr(sampler, "guidance", 0) is None:
        yield "guidance is None: these are samples of the prior, not of the posterior"
    elif not sampler.uses_data:
        yield f"{type(sampler).__name__} as it is given does not look at the data: these are no samples of the posterior"
    broken = int((~torch.isfinite(samples.flatten(1)).all(1)).sum())
    if broken:
        yield f"{broken} of {len(samples)} samples are not finite: the sampler diverged; use smaller steps"
    if ancestors is not None:
        least = min(len(a.unique()) for a in ancestors)
        if least < ancestors.shape[1] / 20:
            yield (
                f"the particles of an ensemble descend from {least} of {ancestors.shape[1]}: they differ by their last "
                f"steps only, whatever the effective sample size says; use more particles, or ensembles"
            )
