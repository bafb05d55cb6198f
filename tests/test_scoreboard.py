"""The scoreboard: rows are repeatable and resumable, exact draws are at the floor, a broken sampler is far from it."""

import json
from dataclasses import dataclass, replace
from math import inf

import pytest
import torch

from theory.distributions import Gaussian
from theory.scoreboard import choice, curves, entrants, figures, measure, page, splitting, tables
from theory.scoreboard.board import Board, result
from theory.scoreboard.cases import Case, every_case, find_cases
from theory.scoreboard.entrants import BUDGET, Entrant, everyone, line_up
from theory.scoreboard.ledger import FIELDS, Ledger
from theory.scoreboard.measure import Yardstick
from workbench import BadInput
from workbench.cli import main
from workbench.samplers.ddpm import DDPM
from workbench.samplers.ddrm import DDRM
from workbench.samplers.dps import DPS
from workbench.samplers.exact import Exact, ExactDraws
from workbench.samplers.moment_matching import MomentMatching
from workbench.samplers.tds import TDS

G2 = Case("toy/g2", "toy/g2", "toy", draws=200, slices=64)
GMM = Case("gmm", "mixture/gmm-25", "gmm-25", draws=200, slices=64)
EXACT, SCORE = Entrant("exact-draws", ExactDraws(), "E0"), Entrant("exact", Exact(), "E0", 30)


@dataclass(frozen=True)
class Shifted(ExactDraws):
    """Exact draws, moved."""

    def step(self, problem, state, t, s, rng):
        state = super().step(problem, state, t, s, rng)
        return replace(state, x=state.x + 2.0)


@dataclass(frozen=True)
class Diverging(ExactDraws):
    """Exact draws, of which every fourth is infinite, or all are."""

    every: int = 4

    def step(self, problem, state, t, s, rng):
        state = super().step(problem, state, t, s, rng)
        x = state.x.clone()
        x[:: self.every] = inf
        return replace(state, x=x)


@dataclass(frozen=True)
class Falling(ExactDraws):
    """A sampler with a mistake in it."""

    def step(self, problem, state, t, s, rng):
        raise ZeroDivisionError("by\nzero")


def timeless(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


# --- one row --------------------------------------------------------------------------------------------------------


def test_exact_draws_are_at_the_floor_and_a_broken_sampler_is_not():
    stick = Yardstick.of(G2, 3)
    exact, broken = result(G2, EXACT, 3, stick), result(G2, Entrant("broken", Shifted()), 3, stick)
    assert exact["sw2"] < 1.5 * exact["sw2_floor95"] and 0.8 < exact["trace"] < 1.25
    assert abs(exact["cover90"] - 0.9) < 0.06 and exact["ksd"] < 1.5 * exact["ksd_floor95"]
    assert broken["ratio"] > 10 and broken["mean"] > 10 * broken["mean_floor"] and broken["cover90"] < 0.5
    assert broken["trace"] == pytest.approx(exact["trace"], rel=1e-9)  # a shift is no spread
    assert broken["ksd"] > 5 * broken["ksd_floor95"] and broken["residual"] > 3


def test_the_floor_is_what_exact_pairs_have():
    """20 pairs behind the floor: their mean is near that of 40 others, and most of those are below the quantile."""
    stick = Yardstick.of(G2, 0)
    pairs = [stick.law.sample(400, 77 + i).split(200) for i in range(40)]
    values = torch.tensor([measure.sliced(x, y, stick.theta) for x, y in pairs])
    mean, q95 = stick.floors["sw2"]
    assert values.mean().item() == pytest.approx(mean, rel=0.25) and (values <= q95).double().mean() > 0.75


def test_sliced_is_that_of_the_diagnostics():
    from theory.diagnostics import sliced_wasserstein
    from theory.diagnostics.transport import _directions

    x, y = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double(), torch.ones(50, 3).double()
    got = measure.sliced(x, y, _directions(64, 3, 5))
    assert got == pytest.approx(sliced_wasserstein(x, y, slices=64, seed=5, repeats=2).value, rel=1e-12)


def test_weighted_samplers_give_even_draws_and_their_evidence():
    stick = Yardstick.of(G2, 0)
    row = result(G2, Entrant("tds", TDS(), "E1", 20), 0, stick)
    assert row["evidence"] < 1 and 0 < row["ess"] <= 200 and row["ancestors"] >= 1 and row["draws"] == 200
    grouped = result(G2, Entrant("tds-4", TDS(), "E1", 20, particles=4), 0, stick)
    assert grouped["draws"] == 200 and grouped["denoiser"] == pytest.approx(4 * row["denoiser"])


def test_kept_draws_follow_the_weights_of_their_group():
    from workbench.posterior import Posterior

    x = torch.arange(8.0).reshape(8, 1)
    w = torch.log(torch.tensor([0.0, 1, 0, 0, 0.5, 0, 0, 0.5]).double())
    w[4:] -= 2000  # a group that the evidence leaves nothing has its draws all the same
    found = torch.cat([entrants.kept(Posterior(x, w), 4, 1, seed) for seed in range(200)]).flatten()
    assert set(found.tolist()) == {1.0, 4.0, 7.0} and (found == 1).sum() == 200
    assert 70 < (found == 7).sum() < 130
    assert entrants.kept(Posterior(x, w), 4, 2, 0).flatten().tolist() == [1.0, 1.0, 4.0, 7.0]


def test_divergence_refusal_and_mistakes_are_rows():
    stick = Yardstick.of(G2, 0)
    some = result(G2, Entrant("some", Diverging()), 0, stick)
    assert some["finite"] == 0.75 and some["ratio"] == inf and 0 < some["sw2"] < inf
    none = result(G2, Entrant("none", Diverging(every=1)), 0, stick)
    assert none["finite"] == 0 and none["ratio"] == none["sw2"] == inf
    nonlinear = replace(stick, problem=replace(stick.problem, prior=object.__new__(Odd)))
    assert "has no exact posterior" in result(G2, EXACT, 0, nonlinear)["cannot"]
    assert result(G2, Entrant("bug", Falling()), 0, stick)["cannot"] == "failed: ZeroDivisionError: by zero"


class Odd:
    """A prior of which no posterior is known."""

    shape, dtype = (2,), torch.float64

    def grid(self, steps):
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64)

    def initial(self, n, t, rng):
        return torch.zeros(n, 2, dtype=torch.float64)


# --- the line-up and the cases --------------------------------------------------------------------------------------


def test_the_line_up_is_every_sampler_that_claims_a_posterior():
    names = everyone()
    assert names[:2] == ["exact-draws", "exact"] and len(names) == len(set(names)) >= 50
    assert {"dps", "moment-matching", "tds", "fk-steering-4"} <= set(names) and "ddim" not in names
    with pytest.raises(BadInput, match="did you mean 'tds'"):
        line_up(["tdss"])


@pytest.mark.parametrize("name", ["dps", "daps", "svdd", "fk-steering-4", "replacement", "pnp-dm"])
def test_a_set_of_draws_costs_its_budget(name):
    (e,) = line_up([name])
    n = e.draws(G2)
    _, post = e.run(G2.load(0), n, 0)
    assert 0.7 * BUDGET * G2.draws < post.cost.denoiser < 1.05 * BUDGET * G2.draws
    assert "0x" not in e.settings(G2)


def test_cases_are_those_whose_problem_is_there():
    names = [case.name for case in find_cases()]
    assert {"toy/g2", "mixture/gmm-25-8-1"} <= set(names) and len({c.name for c in every_case()}) == len(
        every_case()
    )
    assert [case.name for case in find_cases(["mixture/gmm-25"])] == [
        case.name for case in every_case() if case.problem == "mixture/gmm-25"
    ]
    with pytest.raises(BadInput, match="did you mean 'toy/g2'"):
        find_cases(["toy/g3"])


# --- the ledger -----------------------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_row_and_a_board_goes_on(tmp_path):
    one = Board([G2, GMM], [EXACT, SCORE], [0, 1], tmp_path / "one").run()
    first = Board([G2], [EXACT], [1], tmp_path / "two").run()
    said = []
    both = Board([G2, GMM], [EXACT, SCORE], [0, 1], tmp_path / "two").run(lambda row, left: said.append(left))
    assert timeless(one) == timeless(both) and len(one) == 8 and said == [6, 5, 4, 3, 2, 1, 0]
    assert timeless(first) == timeless([both[4]])
    assert Board([G2, GMM], [EXACT, SCORE], [0, 1], tmp_path / "two").run(pytest.fail) == both
    assert Board([G2], [SCORE], [1], tmp_path / "two").run(pytest.fail) == [both[5]]


def test_a_torn_line_is_dropped_and_run_again(tmp_path):
    rows = Board([G2], [EXACT], [0, 1], tmp_path).run()
    path = tmp_path / "ledger.csv"
    path.write_text(path.read_text()[:-25])
    assert len(Ledger(tmp_path)) == 1
    assert timeless(Board([G2], [EXACT], [0, 1], tmp_path).run()) == timeless(rows)
    assert len(path.read_text().splitlines()) == 3


def test_numbers_come_back_to_the_last_bit(tmp_path):
    row = dict(
        case="a, b",
        family="f",
        entrant='e "q"',
        exactness="E0",
        seed=3,
        ratio=0.1 + 0.2,
        sw2=inf,
        settings="s",
    )
    Ledger(tmp_path).add(row)
    assert Ledger(tmp_path).rows == {("a, b", 'e "q"', 3): row}


def test_a_packed_ledger_is_read_and_added_to(tmp_path):
    ledger = Ledger(tmp_path)
    for row in some_rows():
        ledger.add(row | dict(sw2=0.123456789) if "ratio" in row else row)
    ledger.pack()
    kept = ledger.packed.read_bytes()
    assert not ledger.path.exists() and len(kept) < 1000
    again = Ledger(tmp_path)
    assert len(again) == len(ledger) and {r.get("sw2", 0.12346) for r in again.rows.values()} == {0.12346}
    again.pack()
    assert again.packed.read_bytes() == kept
    again.add(some_rows()[0] | dict(seed=7))
    assert len(Ledger(tmp_path)) == len(ledger) + 1
    again.packed.write_bytes(kept[:-20])
    with pytest.raises(BadInput, match="damaged"):
        Ledger(tmp_path)


def test_other_settings_other_data_and_other_files_are_refused(tmp_path):
    Board([G2], [EXACT, SCORE], [0], tmp_path).run()
    with pytest.raises(BadInput, match="exact on toy/g2 with .*steps=30.* now it is .*steps=31"):
        Board([G2], [replace(SCORE, steps=31)], [0], tmp_path)
    Board([G2], [EXACT], [0], tmp_path)  # the others do not matter
    path = next((tmp_path / "floors").iterdir())
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(data="other")))
    with pytest.raises(BadInput, match="other data"):
        Yardstick.of(G2, 0, folder=tmp_path)
    (tmp_path / "ledger.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="no ledger"):
        Ledger(tmp_path)


# --- splits ---------------------------------------------------------------------------------------------------------


def test_splits_add_up_and_name_the_right_error():
    parts = splitting.split(G2, Entrant("dps", DPS(zeta=1.0), "B", 60), runs=4)
    assert parts.value == pytest.approx(
        parts.floor + parts.discretisation + parts.guidance + parts.monte_carlo
    )
    assert parts.guidance > 5 * abs(parts.discretisation) and parts.monte_carlo == 0
    coarse = splitting.split(G2, Entrant("exact", Exact(), "E0", 5), runs=4)
    assert coarse.discretisation > 2 * coarse.floor and abs(coarse.guidance) < 1e-12
    few = splitting.split(replace(G2, draws=40), Entrant("tds", TDS(), "E1", 30), runs=8)
    assert few.monte_carlo > 0 and few.value == pytest.approx(
        few.floor + few.discretisation + few.guidance + few.monte_carlo
    )


def test_splits_are_kept_and_shown(tmp_path, monkeypatch):
    line_up = [
        Entrant("moment-matching", DDPM(guidance=MomentMatching()), "B", 20),
        Entrant("ddrm", DDRM(), "P", 20),
    ]
    small = replace(G2, draws=50)
    found = splitting.splits([small], line_up, 0, tmp_path, runs=2)
    assert [s["entrant"] for s in found] == ["moment-matching", "ddrm"]
    monkeypatch.setattr(splitting, "split", None)  # nothing is made again
    assert splitting.splits([small], line_up, 0, tmp_path, runs=2) == found
    text = page.split_table(found)
    assert "| toy/g2 | ddrm |" in text and page.split_table([]) == ""


def test_curves_are_kept_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "PARTICLES", (20, 40))
    monkeypatch.setattr(curves, "STEPS", (5, 10))
    names = ("moment-matched-smc", "moment-matching")
    found = curves.curves(tmp_path, [0], ["toy/g2"], names)
    where = [(p["entrant"], p["along"], p["particles"], p["steps"]) for p in found]
    assert where[:2] == [
        ("moment-matched-smc", "particles", 20, 100),
        ("moment-matched-smc", "particles", 40, 100),
    ]
    assert (
        len(found) == 6 and found[1]["calls"] == 40 * (100 + 2 * 200) and all(p["ratio"] > 0 for p in found)
    )
    assert curves.curves(tmp_path, [0], ["toy/g2"], names) == found
    written = page.write_page(some_rows(), tmp_path / "docs", curves=found)
    text = (tmp_path / "docs" / "scoreboard.md").read_text()
    assert written[0].name == "scoreboard-curves.png" and written[0].name in text


def test_whom_to_trust():
    """The worst problem of a family decides, the exact rows are not named, the cheapest comes first."""
    text = page.short(tables.lines(some_rows()), ["toy", "gmm-25"])
    assert "- **toy**: none" in text and "- **gmm-25**: none" in text
    rows = [
        row | dict(ratio=1.2, denoiser=cost)
        for row, cost in zip(some_rows()[4:], range(8), strict=True)
        if "ratio" in row
    ]
    text = page.short(tables.lines(rows), ["toy"])
    assert (
        "- **toy**: dps (1.20; " in text
        and text.index("dps") < text.index("ddrm")
        and "exact-draws" not in text
    )


def test_the_curve_of_the_guidance_error():
    problem = G2.load(0)
    times, none = splitting.guidance_error(problem, Exact(), steps=5, n=200)
    assert len(times) == 5 and none.max() < 1e-20
    _, half = splitting.guidance_error(problem, Halfway(), steps=5, n=200)
    assert torch.allclose(half, torch.full((5,), 0.25).double())
    _, closure = splitting.guidance_error(problem, MomentMatching(), steps=5, n=200)
    assert closure.max() > 1e-3  # of three modes, where the exact one of a Gaussian is met:
    law = Gaussian(torch.zeros(2).double(), torch.tensor([[1.0, 0.3], [0.3, 0.5]]).double())
    _, single = splitting.guidance_error(replace(problem, prior=law), MomentMatching(), steps=5, n=200)
    assert single.max() < 1e-6
    _, one = splitting.guidance_error(problem, Nothing(), steps=5, n=200)
    assert torch.allclose(one, torch.ones(5).double())


class Halfway:
    """The guidance that goes half the way to the exact denoiser."""

    def bind(self, problem, rng=None):
        return Middle(problem)


class Middle:
    def __init__(self, problem):
        self.problem = problem

    def denoise(self, x, t):
        return 0.5 * (self.problem.prior.denoise(x, t) + self.problem.exact.denoise(x, t))


class Nothing:
    """The guidance that is none."""

    def bind(self, problem, rng=None):
        return problem.prior


# --- what is shown --------------------------------------------------------------------------------------------------


def some_rows():
    """Rows of three samplers, two families and two seeds, of which one cannot."""
    rows = []
    for name, ratio, exactness in (("exact-draws", 1.0, "E0"), ("dps", 5.0, "B"), ("ddrm", 2.0, "B")):
        for case, family in (("toy/g2", "toy"), ("gmm", "gmm-25")):
            for seed in (0, 1):
                row = dict(case=case, family=family, entrant=name, exactness=exactness, seed=seed, draws=100)
                numbers = dict(
                    ratio=ratio + 0.2 * seed, sw2=ratio, sw2_floor=0.1, sw2_floor95=0.17, denoiser=100.0
                )
                rows.append(row | numbers | dict(vjp=0.0, operator=1.0, seconds=0.01, settings="s"))
    rows[-1] = {k: v for k, v in rows[-1].items() if k not in ("ratio", "sw2")} | dict(
        cannot="A is odd; mend it"
    )
    rows[-2] = {k: v for k, v in rows[-1].items()} | dict(seed=0)
    return rows


def test_the_table_has_means_and_says_who_cannot():
    text = tables.table(some_rows()).splitlines()
    assert text[0].split() == ["sampler", "class", "toy", "gmm-25", "calls", "ms", "a", "draw"]
    assert text[1].split()[-2:] == ["<", "1.70"] or "< 1.70" in text[1]
    assert [line.split()[0] for line in text[2:]] == ["exact-draws", "ddrm", "dps"]
    assert text[3].split() == ["ddrm", "B", "2.10", "x", "100", "10"] and "5.10" in text[4]
    assert tables.ratio(inf) == "diverges" and tables.table([]) == "no rows yet"
    part = [
        row for row in some_rows() if (row["entrant"], row["case"]) != ("dps", "gmm")
    ]  # not run is not cannot
    assert tables.table(part).splitlines()[-1].split() == ["dps", "B", "5.10", "100", "10"]
    assert {e.name: e.worst["gmm-25"] for e in tables.lines(part)} == {
        "exact-draws": 1.1,
        "ddrm": inf,
        "dps": inf,
    }


def test_the_page_renders(tmp_path):
    written = page.write_page(some_rows(), tmp_path / "docs", "Seconds on a machine.")
    text = (tmp_path / "docs" / "scoreboard.md").read_text()
    assert all(path.stat().st_size > 1000 for path in written) and "- ddrm, on gmm: A is odd" in text
    assert "| ddrm | B | 2.10 | x | 100 | 10 |" in text and "3 samplers, 2 problems, 2 seeds" in text
    assert all(path.name in text for path in written if path.suffix == ".png")
    with pytest.raises(BadInput, match="--page"):
        page.write_page([], tmp_path)


def test_labels_are_apart_and_the_front_is_what_nothing_beats():
    places = figures.apart([0.1, 0.1, 0.1, 0.9, 0.99], gap=0.05)
    assert min(b - a for a, b in zip(places, places[1:], strict=False)) > 0.05 - 1e-12
    assert places[1] == pytest.approx(0.1, abs=1e-9) and 0 < places[0] and places[-1] <= 0.985
    assert figures.front_of([(1, 5), (2, 6), (2, 3), (3, 3), (4, 1)]) == [(1, 5), (2, 3), (4, 1)]


# --- the command ----------------------------------------------------------------------------------------------------


def run(capsys, *words):
    try:
        status = main(["bench", *words])
    except SystemExit as stop:
        status = stop.code
    text = capsys.readouterr()
    return status, text.out, text.err


def test_the_command_goes_on_and_writes_the_page(capsys, tmp_path):
    words = ("exact", "--samplers", "exact-draws", "--problems", "toy/g2", "--out", str(tmp_path / "out"))
    status, out, err = run(capsys, *words, "--seeds", "0", "--page", str(tmp_path / "docs"))
    assert (
        status == 0
        and "exact-draws" in out
        and "0 left" in err
        and (tmp_path / "docs" / "scoreboard.md").exists()
    )
    status, out, err = run(capsys, *words, "--seeds", "0:2", "--json")
    rows = json.loads(out)["rows"]
    assert status == 0 and [row["seed"] for row in rows] == [0, 1] and err.count("left") == 1
    assert set(rows[0]) <= set(FIELDS)


@pytest.mark.parametrize(
    "words, said",
    [
        (("exact",), "--out is needed"),
        (("exact", "--out", "OUT", "--samplers", "dpss"), "did you mean 'dps'"),
        (("exact", "--out", "OUT", "--problems", "toy/g3"), "did you mean 'toy/g2'"),
        (("exact", "--out", "OUT", "--seeds", "5:5"), "--seeds"),
        (("exact", "--out", "OUT", "--overwrite"), "--overwrite"),
        (("g2", "--seeds", "0"), "of the suite exact"),
    ],
)
def test_bad_words_are_one_line(capsys, tmp_path, words, said):
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    status, _, err = run(capsys, *words)
    assert status == 2 and said in err and len(err.splitlines()) == 1


# --- a choice -------------------------------------------------------------------------------------------------------


def test_a_choice_is_what_the_problem_allows():
    rows = [row | dict(entrant=name, ratio=r, denoiser=c) for name, r, c in (
        ("moment-matched-smc", 1.1, 300.0), ("dps", 6.0, 150.0), ("mcgdiff", 1.4, 100.0), ("exact", 1.0, 100.0),
        ("fk-steering-4", 2.0, 400.0)) for row in some_rows()[:2]]  # fmt: skip
    names = lambda **how: [e.name for e in choice.choose(rows, "toy", **how)]
    assert names() == ["moment-matched-smc", "mcgdiff", "fk-steering-4", "dps"]
    assert names(calls=200) == ["mcgdiff", "dps"]
    assert names(nonlinear=True) == ["moment-matched-smc", "fk-steering-4", "dps"]
    assert names(operator="black box") == ["fk-steering-4"] and names(operator="gradient", calls=200) == [
        "dps"
    ]
    assert "fk-steering-4" in choice.table(choice.choose(rows, "toy"), "toy")
    with pytest.raises(BadInput, match="family 'toys' is not known; did you mean 'toy'"):
        choice.choose(rows, "toys")
    with pytest.raises(BadInput, match="operator 'matrix'"):
        choice.choose(rows, "toy", operator="matrix")
