"""A run that is killed goes on where it was: same numbers to the last bit, and only the denoiser calls that were left."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from safetensors import safe_open

import problems
import workbench as wb
from theory import distributions
from workbench.cli import main
from workbench.priors._prior import Prior
from workbench.samplers.resampling import Systematic

S = wb.samplers
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Counting(Prior):
    """The prior of toy/g2, slowed down, that reports each call and counts the signals itself."""

    def __init__(self, law, report=None):
        self.law = law
        self.shape, self.dtype, self.process, self.noise_range = (
            law.shape,
            law.dtype,
            law.process,
            law.noise_range,
        )
        self.counter = Counter(report)

    def denoise(self, x, t):
        self.counter(len(x))
        return self.law.denoise(x, t)


class Counter:
    """Counts signals, and reports each call."""

    def __init__(self, report):
        self.report, self.total = report, 0

    def __call__(self, n):
        self.total += n
        if self.report is not None:
            self.report("call")
            time.sleep(0.001)


def counting_problem(report=None):
    g2 = problems.load("toy/g2")
    return replace(g2, prior=Counting(g2.prior, report))


CASES = {
    "ddpm": dict(sampler=S.DDPM(guidance=S.MomentMatching()), n=5, steps=20, batch=5),
    "solver with a past, in three batches": dict(
        sampler=S.DPMSolver2M(guidance=S.MomentMatching()), n=7, steps=9, batch=3
    ),
    "churn": dict(sampler=S.Heun(churn=0.2, guidance=S.MomentMatching()), n=3, steps=9, batch=2),
    "particles": dict(sampler=S.TDS(resample=Systematic(below=1.0)), n=6, steps=10, ensembles=2),
    "recording": dict(sampler=S.DDIM(eta=0.5, guidance=S.MomentMatching()), n=6, steps=10, batch=4, record=5),
    "recorded particles": dict(sampler=S.TDS(), n=6, steps=9, ensembles=2, record=3),
    "gradient": dict(sampler=S.DPS(zeta=0.3), n=4, steps=15, batch=2),
}


def work(pipe, case, folder):
    torch.set_num_threads(1)
    problem = counting_problem(pipe.send)
    post = wb.sample(problem, **CASES[case], seed=4, progress=False, checkpoint=folder)
    post.save(folder / "result")
    pipe.send(problem.prior.counter.total)
    pipe.close()


def start(case, folder):
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=work, args=(there, case, folder))
    process.start()
    there.close()
    return process, here


def killed(case, folder, calls):
    """Run until the denoiser has been called `calls` times, then no mercy."""
    process, pipe = start(case, folder)
    for _ in range(calls):
        assert pipe.recv() == "call"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (folder / "result").exists()


def finished(case, folder):
    """Run to the end: the posterior, calls of the denoiser in this process, and signals it saw."""
    process, pipe = start(case, folder)
    calls, word = 0, pipe.recv()
    while word == "call":
        calls, word = calls + 1, pipe.recv()
    process.join()
    return wb.Posterior.load(folder / "result"), calls, word


def identical(a, b):
    return all(
        (mine is None and theirs is None) or torch.equal(mine, theirs)
        for mine, theirs in ((getattr(a, k), getattr(b, k)) for k in ("samples", "log_weights", "trajectory"))
    )


@needs_fork
@pytest.mark.parametrize("case", CASES)
def test_killed_twice_and_resumed(case, tmp_path):
    whole, calls, signals = finished(case, tmp_path / "whole")
    assert whole.cost.denoiser == signals

    chance = random.Random(case)
    first = chance.randint(
        4, max(4, calls // 2)
    )  # past the first step, which is when there is something to keep
    killed(case, tmp_path / "resumed", first)
    second = chance.randint(4, max(4, calls // 3))
    killed(case, tmp_path / "resumed", second)
    post, left, seen = finished(case, tmp_path / "resumed")

    assert identical(post, whole) and post.log_evidence == whole.log_evidence
    assert post.provenance["evidences"] == whole.provenance["evidences"]
    assert post.provenance["distinct_ancestors"] == whole.provenance["distinct_ancestors"]
    # two calls at most are lost with each kill: the step in progress (Heun's has two)
    assert left <= calls - (first - 2) - (second - 2)
    processes = post.provenance["processes"]
    assert len(processes) == 3 and processes[-1]["denoiser"] == seen < signals
    assert sum(p["denoiser"] for p in processes) == post.cost.denoiser == signals
    assert sum(p["vjp"] for p in processes) == post.cost.vjp == whole.cost.vjp
    assert sum(p["operator"] for p in processes) == post.cost.operator == whole.cost.operator


def test_nothing_is_done_twice(tmp_path):
    """A finished folder answers by itself; an uninterrupted run without a folder gives the same."""
    problem = counting_problem()
    arguments = dict(sampler=S.DPS(), n=4, steps=6, batch=2, progress=False)
    first = wb.sample(problem, **arguments, checkpoint=tmp_path / "c")
    calls = problem.prior.counter.total
    again = wb.sample(problem, **arguments, checkpoint=tmp_path / "c")
    assert problem.prior.counter.total == calls == again.cost.denoiser and identical(again, first)
    assert again.provenance["processes"][-1]["denoiser"] == 0
    assert identical(wb.sample(problem, **arguments), first)


class Stop(Exception):
    pass


def interrupted(problem, folder, **arguments):
    """A run that stops in the middle, as by Ctrl-C."""
    total = 10

    def report(_):
        nonlocal total
        total -= 1
        if total == 0:
            raise Stop

    problem.prior.counter = Counter(report)
    with pytest.raises(Stop):
        wb.sample(problem, progress=False, checkpoint=folder, **arguments)
    problem.prior.counter = Counter(None)


START = dict(sampler=S.DPS(zeta=0.3), n=4, steps=12, seed=1, batch=2)
CHANGES = {
    "seed": dict(seed=2),
    "n": dict(n=5),
    "grid": dict(steps=13),
    "sampler": dict(sampler=S.DPS(zeta=0.4)),
    "batch": dict(batch=3),
    "ensembles": dict(ensembles=2),
    "record": dict(record=2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_arguments_are_refused(name, tmp_path):
    problem = counting_problem()
    interrupted(problem, tmp_path, **START)
    with pytest.raises(wb.BadInput, match=f"another {name}; repeat the call as it was"):
        wb.sample(problem, progress=False, checkpoint=tmp_path, **{**START, **CHANGES[name]})
    done = wb.sample(problem, progress=False, checkpoint=tmp_path, **START)  # the refusal has spoilt nothing
    assert identical(done, wb.sample(problem, progress=False, **START))


OTHER = {
    "data": lambda p: replace(p, y=p.y + 1e-9),
    "operator": lambda p: replace(p, A=1.000001 * p.A),
    "noise": lambda p: replace(p, noise=wb.noise.Gaussian(0.31)),
    "prior": lambda p: replace(p, prior=Counting(wb_mixture(p.prior.law))),
    "problem": lambda p: replace(p, name="another"),
}


def wb_mixture(law):
    return type(law)(law.weights.flip(0), law.means, law.covariances)


@pytest.mark.parametrize("name", OTHER)
def test_another_problem_is_refused(name, tmp_path):
    interrupted(counting_problem(), tmp_path, **START)
    with pytest.raises(wb.BadInput, match=f"another {name}"):
        wb.sample(OTHER[name](counting_problem()), progress=False, checkpoint=tmp_path, **START)


def test_a_problem_that_was_used_is_the_same_problem(tmp_path):
    """What is worked out on the way and kept does not make it another one."""
    problem = problems.load("inpainting/random", size=8)
    arguments = dict(sampler=S.DDPM(guidance=S.Exact()), n=2, steps=3, progress=False, checkpoint=tmp_path)
    first = wb.sample(problem, **arguments)
    (
        problem.prior.sample(2, 0),
        problem.exact.sample(2, 0),
        problem.exact.mean(),
        problem.prior.denoise(first.samples, 0.5),
    )
    assert identical(wb.sample(problem, **arguments), first)


def test_complex_and_single_precision_resume(tmp_path):
    dtype = torch.complex64
    law = distributions.Gaussian(torch.ones(3, dtype=dtype), torch.tensor([1.0, 2.0, 0.5]))
    A, y = (
        wb.operators.Mask(torch.tensor([True, False, True]), dtype),
        torch.tensor([1 + 1j, 0.5j], dtype=dtype),
    )
    problem = wb.Problem(Counting(law), A, wb.noise.Gaussian(0.2), y=y)
    arguments = dict(sampler=S.DPMSolver2M(guidance=S.MomentMatching()), n=5, steps=14, batch=3, record=4)
    interrupted(problem, tmp_path, **arguments)
    resumed = wb.sample(problem, progress=False, checkpoint=tmp_path, **arguments)
    assert resumed.samples.dtype == dtype and resumed.trajectory.shape == (4, 5, 3)
    assert len(resumed.provenance["processes"]) == 2
    assert identical(resumed, wb.sample(problem, progress=False, **arguments))


def test_two_differences_are_both_named(tmp_path):
    interrupted(counting_problem(), tmp_path, **START)
    with pytest.raises(wb.BadInput, match="another n and another seed"):
        wb.sample(counting_problem(), progress=False, checkpoint=tmp_path, **{**START, "seed": 2, "n": 5})


DAMAGE = {
    "cut": lambda folder: cut(folder / "state.safetensors"),
    "empty": lambda folder: (folder / "state.safetensors").write_bytes(b""),
    "someone else's": lambda folder: other_tensors(folder / "state.safetensors"),
    "no json": lambda folder: (folder / "checkpoint.json").write_text("{"),
    "another json": lambda folder: (folder / "checkpoint.json").write_text("[]"),
    "binary": lambda folder: (folder / "checkpoint.json").write_bytes(b"\xff\xfe\x00"),
}


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def other_tensors(path):
    from safetensors.torch import save_file

    save_file(dict(x=torch.zeros(3)), path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_said(damage, tmp_path):
    problem = counting_problem()
    interrupted(problem, tmp_path, **START)
    DAMAGE[damage](tmp_path)
    with pytest.raises(wb.BadInput, match="damaged.* to start afresh"):
        wb.sample(problem, progress=False, checkpoint=tmp_path, **START)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(wb.BadInput, match="checkpoint = .* cannot be made"):
        wb.sample(counting_problem(), progress=False, checkpoint=tmp_path / "file" / "c", **START)


def test_threads_are_restored(tmp_path):
    """A resumed run uses the number of threads it began with, and gives ours back."""
    problem = counting_problem()
    interrupted(problem, tmp_path, **START)
    note = json.loads((tmp_path / "checkpoint.json").read_text())
    (tmp_path / "checkpoint.json").write_text(json.dumps({**note, "threads": 2}))
    seen = set()
    problem.prior.counter = Counter(lambda _: seen.add(torch.get_num_threads()))
    wb.sample(problem, progress=False, checkpoint=tmp_path, **START)
    assert seen == {2} and torch.get_num_threads() == 1


# --- the command ----------------------------------------------------------------------------------------------------

COMMAND = "toy/g2 --sampler ddpm --guidance moment-matching -n 3000 --steps 120 --threads 1 --quiet".split()


def step_of(path):
    """The step a checkpoint is at; -1 before the first."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["note"])["step"]
    except FileNotFoundError:
        return -1


def command_killed_at(step, out):
    words = [sys.executable, "-m", "workbench", "run", *COMMAND, "--device", "cpu", "--out", str(out)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    state, before = out.with_name(out.name + ".partial") / "state.safetensors", time.monotonic()
    while step_of(state) < step and process.poll() is None and time.monotonic() < before + 120:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()
    process.stderr.close()
    return step_of(state)


def test_the_command_resumes(tmp_path, capsys):
    out = tmp_path / "out"
    command_killed_at(20, out)
    step = command_killed_at(60, out)
    assert 60 <= step < 120 and not out.exists()
    words = ["run", *COMMAND, "--device", "cpu", "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0

    assert main([*words, str(out), "--seed", "1"]) == 2  # other arguments
    assert "another seed" in capsys.readouterr().err
    assert main([*words, str(out)]) == 0
    resumed, whole = wb.Posterior.load(out), wb.Posterior.load(tmp_path / "whole")
    assert identical(resumed, whole) and resumed.cost.denoiser == whole.cost.denoiser == 3000 * 120
    assert resumed.provenance["processes"][-1]["denoiser"] == 3000 * (120 - step)
    assert len(resumed.provenance["processes"]) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "whole"]  # no OUT.partial

    assert main([*words, str(out)]) == 2
    refusal = capsys.readouterr().err
    assert "--overwrite" in refusal and refusal.count("\n") == 1
    assert main([*words, str(out), "--overwrite", "--seed", "1"]) == 0
    assert not identical(wb.Posterior.load(out), whole)
