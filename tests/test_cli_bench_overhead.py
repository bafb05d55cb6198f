"""`workbench bench overhead`: what is inside the network and what is not, on a clock that only the network and the sampler move."""

import json
import time
from dataclasses import dataclass

import pytest
import torch

from workbench import catalogue
from workbench.cli import _overhead, bench, main
from workbench.samplers._sampler import Sampler, State
from workbench.samplers.ddpm import DDPM
from workbench.samplers.dps import DPS

PLAIN, GRAPH, BACK, OUTSIDE = 8, 16, 32, 1  # seconds a signal of each pass, and a step outside the network


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class _Slow(torch.autograd.Function):
    """x, whose backward pass takes BACK seconds a signal."""

    @staticmethod
    def forward(ctx, x, clock):
        ctx.clock = clock
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        ctx.clock.now += BACK * len(g)
        return g, None


class Pretend(torch.nn.Module):
    """A network that takes PLAIN or GRAPH seconds a signal, and BACK backward."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self, x, t):
        self.clock.now += (GRAPH if x.requires_grad else PLAIN) * len(x)
        return 0.5 * _Slow.apply(x, self.clock)


@dataclass(frozen=True)
class Plain(Sampler):
    """One denoiser call a step, and OUTSIDE seconds of something else; a gradient of it that goes to waste if `graph`."""

    clock: Clock = None
    graph: bool = False
    backwards: int = 0

    def step(self, problem, state, t, s, rng):
        self.clock.now += OUTSIDE
        x = state.x.detach().requires_grad_(self.graph or self.backwards > 0)
        with torch.set_grad_enabled(x.requires_grad):
            x0 = problem.prior.denoise(x, t)
        for _ in range(self.backwards):
            torch.autograd.grad(x0, x, x0.detach(), retain_graph=True)
        return State(x0.detach())


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def row(clock, sampler, n=4, seconds=100 * PLAIN):
    (found,) = _overhead.rows(module=Pretend(clock), chosen=[("it", sampler)], seconds=seconds, n=n, size=8)
    return found


# --- what is measured -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, each",
    [
        (dict(), PLAIN),
        (dict(graph=True), GRAPH),  # a graph that nobody uses: its own kind of forward
        (dict(backwards=1), GRAPH + BACK),
        (dict(backwards=3), GRAPH + 3 * BACK),
    ],
)
def test_inside_is_the_time_of_the_network_and_nothing_else(clock, fields, each):
    n, found = 4, row(clock, Plain(clock, **fields))
    steps, backwards = found["steps"], fields.get("backwards", 0)
    assert found["inside"] == each * n * steps
    assert found["seconds"] - found["inside"] == OUTSIDE * steps
    assert found["overhead"] == pytest.approx(OUTSIDE * steps / found["inside"])
    assert found["by_count"] == pytest.approx(found["overhead"])  # the pretend network has no noise
    assert (found["denoiser"], found["vjp"]) == (n * steps, backwards * n * steps) and found["counted"]
    assert found["gradient"] is (backwards > 0)
    assert found["limit"] == (0.10 if backwards else 0.05)


def test_steps_are_what_the_seconds_allow(clock):
    step = OUTSIDE + 2 * PLAIN
    estimate = 2 * step  # of the warm-up, a step of 2 of 4 samples
    assert row(clock, Plain(clock), seconds=7.5 * estimate)["steps"] == 7
    assert row(clock, Plain(clock), seconds=1e9)["steps"] == _overhead.STEPS
    assert row(clock, Plain(clock), seconds=0.0)["steps"] == 2


def test_a_batch_of_another_size_counts_as_what_it_took(clock):
    from workbench.samplers.svdd import SVDD

    found = row(clock, SVDD(candidates=3))
    steps = found["steps"]
    assert found["signals"]["plain"] == found["denoiser"] == 4 * (4 * steps - 3)
    assert found["inside"] == PLAIN * found["denoiser"] and found["overhead"] == 0


def test_a_call_that_is_recomputed_is_a_forward_and_not_a_backward(clock):
    from workbench.samplers.d_flow import DFlow

    found = row(clock, DFlow(ode_steps=2), seconds=0.0)
    signals, parts = found["signals"], found["parts"]
    assert signals["backward"] > 0 and parts["backward"] == BACK * signals["backward"]
    assert signals["graph"] == 2 * signals["backward"] and found["overhead"] == 0 and found["counted"]


def test_calls_of_the_network_after_the_last_step_are_of_the_run(clock):
    from workbench.samplers.d_flow import NoiseSpaceMCMC

    found = row(clock, NoiseSpaceMCMC(ode_steps=2), seconds=0.0)
    assert found["counted"] and found["inside"] == found["seconds"] == PLAIN * found["denoiser"]


def test_counts_that_are_not_those_of_the_network_are_marked():
    signals = dict(plain=6, graph=2, backward=3)
    assert _overhead.agree(dict(denoiser=8, vjp=3, signals=signals))
    assert not _overhead.agree(dict(denoiser=6, vjp=3, signals=signals))
    assert not _overhead.agree(dict(denoiser=8, vjp=2, signals=signals))


@pytest.mark.parametrize("outside, within", [(0.049, True), (0.051, False)])
def test_the_limit_is_of_the_time_inside(outside, within):
    each = dict(plain=[1.0], graph=[2.0], backward=[4.0])
    run = dict(denoiser=100, vjp=0, seconds=100 * (1 + outside), inside=100.0)
    free = _overhead.summary("free", run | dict(signals=dict(plain=100, graph=0, backward=0)), each)
    assert free["within"] is within and free["by_count"] == pytest.approx(outside)
    run = dict(denoiser=100, vjp=100, seconds=600 * (1 + 2 * outside), inside=600.0)
    based = _overhead.summary("based", run | dict(signals=dict(plain=0, graph=100, backward=100)), each)
    assert based["within"] is within and based["by_count"] == pytest.approx(2 * outside)


def test_the_stopwatch_changes_no_number_and_no_gradient():
    net = _overhead.unet()
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    t = torch.ones(2)
    timed = _overhead.Timed(net)
    ours, plain = timed(x, t), net(x, t)
    assert torch.equal(ours, plain)
    (a,), (b,) = (torch.autograd.grad(out.square().sum(), x) for out in (ours, plain))
    assert torch.equal(a, b) and timed.watch.signals == dict(plain=0, graph=2, backward=2)


def test_the_network_is_the_same_every_time_and_touches_no_global_seed():
    one, _ = _overhead.unet(), torch.rand(1)
    state = torch.random.get_rng_state()
    other = _overhead.unet()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert 1e6 < sum(p.numel() for p in one.parameters()) < 4e6


# --- what is in the suite -------------------------------------------------------------------------------------------


def test_every_sampler_that_can_run_is_in_the_suite():
    names = [name.removesuffix(" + h-transform") for name, _ in _overhead.plans()]
    cards = {e.name: e.card for e in catalogue.entries("samplers")}
    assert len(set(names)) == len(names) and set(names) == {
        name
        for name, card in cards.items()
        if card["kind"] in ("stepper", "guidance", "sampler")
        and name not in ("exact", "exact-draws", "mala")  # which a network's prior cannot serve
    }


# --- how it is shown ------------------------------------------------------------------------------------------------


def test_the_command_writes_and_judges(capsys, monkeypatch, tmp_path, clock):
    monkeypatch.setattr(_overhead, "unet", lambda: Pretend(clock))
    monkeypatch.setattr(_overhead, "plans", lambda: [("ddpm", DDPM()), ("dps", DPS())])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    assert main(["bench", "overhead", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    head, free, based = text.splitlines()
    assert head.split()[:2] == ["sampler", "gradient"] and "in the network" in head
    assert free.split()[:2] == ["ddpm", "no"] and based.split()[:2] == ["dps", "yes"]
    assert free.split()[-3:] == ["5", "%", "yes"] and based.split()[-3:] == ["10", "%", "yes"]
    saved = json.loads((tmp_path / "overhead.json").read_text())
    assert [r["name"] for r in saved["rows"]] == ["ddpm", "dps"] and saved["machine"]["cores"] > 0
    page = (tmp_path / "overhead.md").read_text()
    assert page.count("\n| ") == 4 and "| dps | yes |" in page

    slow = [("slow", Plain(clock))]
    monkeypatch.setattr(_overhead, "plans", lambda: slow)
    monkeypatch.setattr(_overhead, "FREE", 1e-6)
    assert main(["bench", "overhead"]) == 1 and capsys.readouterr().out.split()[-1] == "NO"


def test_the_suites_are_named_where_a_word_is_wrong(capsys):
    assert main(["bench", "overheads"]) == 2
    assert "overhead" in capsys.readouterr().err.replace("overheads", "") and "overhead" in bench.SUITES
