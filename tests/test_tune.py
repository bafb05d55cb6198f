"""Tuning: known optima are found, test seeds are never seen, a cut tuning goes on to the same end, settings are sound."""

import json
import sys
from dataclasses import dataclass, fields, replace
from math import inf, sqrt

import pytest
import torch

import problems
import workbench as wb
from theory.distributions.mixture import GaussianMixture
from theory.scoreboard import tuned
from theory.scoreboard.cases import TEST_SEEDS, TUNING_SEEDS
from workbench import catalogue
from workbench._rng import Rng
from workbench.cli import main
from workbench.metrics import crps, energy_score
from workbench.metrics.held_out import hold_out
from workbench.noise import CorrelatedGaussian, Gaussian, Poisson
from workbench.operators import Dense, Mask
from workbench.samplers._sampler import Sampler
from workbench.tuning import HELD_OUT, HeldOut, ToTruth, better, natural_ranges, numbers, tune

SMALL = dict(n=100, steps=4, seeds=[1000, 1001])


@dataclass(frozen=True)
class Spread(Sampler):
    """Exact draws, their deviations from the mean `scale` times as large."""

    scale: float = 5.0
    repeats: int = 1
    level: float | None = None

    def __post_init__(self):
        if not 0 < self.scale <= 100:
            raise wb.BadInput(f"scale = {self.scale} should be in (0, 100]")

    def init(self, problem, n, t, rng):
        law = problem.exact
        return self.State(law.mean() + self.scale * (law.sample(n, rng.seed) - law.mean()))

    def step(self, problem, state, t, s, rng):
        return state


def gaussian_problem(seed, sigma=0.3, d=40, m=30):
    """x ~ N(0, I) seen through m random rows: its truth is a draw of the prior."""
    matrix = Rng(seed, "matrix").normal(torch.empty(m, d, dtype=torch.float64)) / sqrt(d)
    law = GaussianMixture([1.0], torch.zeros(1, d, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    truth = law.sample(1, seed)[0]
    A, noise = Dense(matrix), Gaussian(sigma)
    return wb.Problem(law, A, noise, noise.sample(A(truth), seed), truth=truth, name="gaussian")


def run(capsys, *words):
    """Status, standard output and standard error of `workbench WORDS`."""
    try:
        status = main([str(w) for w in words])
    except SystemExit as stop:
        status = stop.code
    text = capsys.readouterr()
    return status, text.out, text.err


# --- scores ---------------------------------------------------------------------------------------------------------


def test_scores_of_a_normal_law_are_known():
    """N(0, s^2) against x = 0: CRPS = s (sqrt 2 - 1) / sqrt pi; the energy score in one dimension is the CRPS."""
    x = 2.0 * Rng(0, "normal").normal(torch.empty(20000, 1, dtype=torch.float64))
    zero = torch.zeros(1, dtype=torch.float64)
    expected = 2.0 * (sqrt(2) - 1) / sqrt(torch.pi)
    assert abs(crps(x, zero) - expected) < 0.02
    assert abs(crps(x[:500], zero) - energy_score(x[:500], zero)) < 1e-12


@pytest.mark.parametrize("score", [crps, energy_score])
def test_scores_are_the_sums_over_pairs(score):
    rng = Rng(1, "draws")
    x = rng.normal(torch.empty(7, 2, 3, dtype=torch.complex128))
    truth = rng.normal(torch.empty(1, 2, 3, dtype=torch.complex128))[0]
    w = rng.uniform(7)
    p = w / w.sum()
    flat = torch.view_as_real(x).reshape(7, -1)
    goal = torch.view_as_real(truth).reshape(-1)
    size = (lambda v: v.norm()) if score is energy_score else (lambda v: v.abs().mean())
    off = sum(p[i] * size(flat[i] - goal) for i in range(7))
    pairs = sum(p[i] * p[j] * size(flat[i] - flat[j]) for i in range(7) for j in range(7))
    assert abs(score(x, truth, w) - (off - 0.5 * pairs / (1 - (p**2).sum())).item()) < 1e-12


@pytest.mark.parametrize("score", [crps, energy_score])
def test_scores_do_not_depend_on_the_number_of_draws(score):
    rng, n = Rng(2, "draws"), 600
    x = rng.normal(torch.empty(n, 4, 3, dtype=torch.float64))
    truth = torch.full((3,), 0.5, dtype=torch.float64)
    few = [score(row, truth) for row in x]
    many = score(x.reshape(-1, 3), truth)
    error = torch.tensor(few).std().item() / sqrt(n)
    assert abs(sum(few) / n - many) < 4 * error


def test_scores_refuse():
    x = torch.zeros(3, 2)
    for bad in (x[:1], x[0]):
        with pytest.raises(wb.BadInput, match="2 or more draws|last axes"):
            crps(bad, torch.zeros(2))
    with pytest.raises(wb.BadInput, match="weights"):
        energy_score(x, torch.zeros(2), [1.0, 0.0, 0.0])


# --- held-out measurements ------------------------------------------------------------------------------------------


def test_a_split_is_of_the_measurements():
    problem = gaussian_problem(1000)
    split = hold_out(problem, 0.1, 1000)
    assert (~split.kept).sum() == 3 and type(split.rest.A) is Dense
    assert torch.equal(split.rest.y, problem.y[split.kept])
    x = torch.randn(2, 40, dtype=torch.float64)
    assert torch.allclose(split.rest.A(x), problem.A(x)[:, split.kept])
    assert not torch.equal(split.kept, hold_out(problem, 0.1, 1001).kept)


def intensities(seed):
    """The squares of what a Gaussian problem measures: a nonlinear operator."""
    problem = gaussian_problem(seed)
    A = wb.operators.Intensity((30,), torch.float64) @ problem.A
    return replace(problem, A=A, y=problem.y**2)


@pytest.mark.parametrize("name", ["inpainting/random", "field/ct", "field/mri", intensities])
def test_any_operator_is_split(name):
    problem = name(1000) if callable(name) else problems.load(name, seed=1000, size=16)
    split = hold_out(problem, 0.2, 1000)
    x = problem.prior.sample(2, 0)
    assert torch.allclose(split.rest.A(x), problem.A(x)[:, split.kept])
    assert (type(split.rest.A) is Mask) == (type(problem.A) is Mask)


def test_noise_of_each_measurement_goes_with_it():
    problem = gaussian_problem(1000)
    sigma = torch.linspace(0.1, 1, 30, dtype=torch.float64)
    wide = wb.Problem(problem.prior, problem.A, Gaussian(sigma), problem.y)
    split = hold_out(wide, 0.1, 1000)
    assert torch.equal(split.rest.noise.sigma, sigma[split.kept])
    counts = wb.Problem(problem.prior, problem.A, Poisson(2.0, sigma), problem.y.abs().round())
    assert torch.equal(hold_out(counts, 0.1, 1000).rest.noise.background, sigma[split.kept])
    mixed = wb.Problem(
        problem.prior, problem.A, CorrelatedGaussian(torch.eye(30).double(), axis=-1), problem.y
    )
    with pytest.raises(wb.BadInput, match="correlated"):
        hold_out(mixed)


def test_the_score_of_the_truth_is_that_of_its_noise():
    """Draws that are the truth predict N(A x, sigma^2): CRPS sigma / sqrt pi on average, where no noise gives sqrt 2 more."""
    problem = gaussian_problem(1000, sigma=0.3, d=5, m=4000)
    split = hold_out(problem, 0.5, 1000)
    post = wb.Posterior(problem.truth.expand(200, 5))
    assert abs(split.score(post, 1000) * sqrt(torch.pi) / 0.3 - 1) < 0.05
    weighted = wb.Posterior(
        torch.cat([problem.truth.expand(200, 5), torch.full((50, 5), 9.0)]),
        log_weights=torch.cat([torch.zeros(200), torch.full((50,), -99.0)]).double(),
    )
    assert abs(split.score(weighted, 1000) - split.score(post, 1000)) < 1e-3


def test_one_measurement_cannot_be_held_out():
    with pytest.raises(wb.BadInput, match="1 measurement"):
        hold_out(problems.load("toy/g2"))


# --- the search -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [tuned.ToExact(slices=64, pairs=3), ToTruth(), HeldOut(0.3)])
def test_the_known_optimum_is_found(objective):
    """Draws as wide as the posterior score best, whichever way they are judged."""
    seeds = list(range(1000, 1006))
    # noise as small as the prior is wide, so that held-out data tell the posterior's width from the noise's
    make = lambda seed: gaussian_problem(seed, sigma=0.05)  # noqa: E731
    found = tune(make, Spread(), dict(scale=(0.05, 20)), objective, n=60, steps=2, trials=25, seeds=seeds)
    assert 0.7 < found.sampler.scale < 1.4
    assert found.best.score < found.default.score and found.checked["tuned"] < found.checked["default"]
    assert found.fields == found.best.fields == dict(scale=found.sampler.scale)


def test_the_mean_would_not_tell():
    """PSNR of the mean is the same whatever the spread; the energy score is not."""
    problem = gaussian_problem(1000)
    narrow, wide = (
        tune(problem, Spread(scale), dict(scale=(0.5, 2)), n=400, steps=2, trials=1, seeds=[1000]).default
        for scale in (0.01, 4.0)
    )
    assert abs(narrow.psnr - wide.psnr) < 1 and narrow.score != wide.score


def test_the_noise_scale_that_made_the_data_predicts_best():
    """Held-out data know the noise: of posteriors under other noise levels the right one predicts best."""

    @dataclass(frozen=True)
    class Assuming(Spread):
        """Exact draws given data taken to have noise `factor` times as large."""

        factor: float = 10.0

        def init(self, problem, n, t, rng):
            law = problem.prior.condition(problem.A, problem.y, Gaussian(self.factor * problem.noise.sigma))
            return self.State(law.sample(n, rng.seed))

    def make(seed):
        return gaussian_problem(seed, sigma=0.3, d=10, m=60)

    how = dict(n=50, steps=2, trials=12, seeds=list(range(1000, 1010)))
    found = tune(make, Assuming(), dict(factor=(0.05, 20)), HeldOut(0.3), **how)
    assert 0.3 < found.sampler.factor < 3 and found.default.score > found.best.score


def test_seeds_are_held_out():
    """No problem, run or split is ever made with a seed below 1000; the scoreboard's are 0 to 9."""
    assert HELD_OUT == TUNING_SEEDS > max(TEST_SEEDS) and min(tuned.SEEDS) >= HELD_OUT
    asked = []

    def make(seed):
        asked.append(seed)
        return gaussian_problem(seed)

    found = tune(make, Spread(), trials=2, **SMALL)
    assert sorted(asked) == [1000, 1001, 2000, 2001] and found.about["fresh"] == [2000, 2001]
    for seeds in ([0], [999, 1000], [], [1000, 2000]):
        with pytest.raises(wb.BadInput, match="seeds"):
            tune(make, Spread(), trials=1, n=20, seeds=seeds)


def test_a_cut_tuning_goes_on_to_the_same_end(tmp_path):
    """After an interruption, and after one more trial was asked for, what was run is not run again."""

    def again(folder, trials, say=None):
        return tune(gaussian_problem, Spread(), trials=trials, folder=folder, say=say, **SMALL)

    whole, said = again(tmp_path / "whole", 14), []

    def cut(trial, number):
        if number == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(tmp_path / "cut", 14, cut)
    path = tmp_path / "cut" / "trials.jsonl"
    path.write_text(path.read_text() + '{"key": "trial 13", "sco')  # a line that was cut
    resumed = again(tmp_path / "cut", 14, lambda trial, number: said.append(number))
    assert said == [13, 14] and resumed.trials == whole.trials and resumed.checked == whole.checked
    assert path.read_text() == (tmp_path / "whole" / "trials.jsonl").read_text()
    assert again(None, 14).trials == whole.trials
    more = again(tmp_path / "cut", 20)
    assert more.trials[:15] == whole.trials and more == again(None, 20)
    with pytest.raises(wb.BadInput, match="another data"):
        tune(lambda seed: gaussian_problem(seed + 1), Spread(), trials=2, folder=tmp_path / "cut", **SMALL)
    with pytest.raises(wb.BadInput, match="another n"):
        tune(gaussian_problem, Spread(), trials=2, folder=tmp_path / "cut", **SMALL | dict(n=50))


def test_a_setting_that_cannot_is_passed_over():
    found = tune(gaussian_problem, Spread(), dict(scale=(1.0, 1e6)), trials=12, **SMALL)
    failed = [trial for trial in found.trials if trial.error]
    assert failed and all(trial.score == inf and "scale" in trial.error for trial in failed)
    assert found.sampler.scale <= 100 and json.dumps(found.record())


def test_no_better_on_fresh_seeds_is_the_default():
    """A winner by luck is not kept."""

    def fickle(problem, draw, seed):
        draw(problem)
        return scale_of(seed)

    calls = []

    def scale_of(seed):
        calls.append(seed)
        return float(len(calls)) if seed >= 2000 else -float(len(calls))

    found = tune(gaussian_problem, Spread(), objective=fickle, trials=3, **SMALL)
    assert found.best is found.trials[-1] and found.sampler == Spread() and found.fields == dict(scale=5.0)


def test_a_gain_of_nothing_is_none():
    assert better(1.0, 1.1) and better(-1.1, -1.0) and better(3.0, inf)
    assert not better(1.0, 1.001) and not better(-1.0, -1.0) and not better(inf, inf) and not better(2.0, 1.0)


def test_ranges():
    assert numbers(Spread) == dict(scale=float, repeats=int, level=float)
    (low, high) = natural_ranges(Spread())["scale"]
    assert low == 0.05 and abs(high - 100) < 1e-3
    assert set(natural_ranges(wb.samplers.DDRM())) == {"eta", "eta_b"}
    assert natural_ranges(wb.samplers.DDRM())["eta"][1] <= 1.0
    with pytest.raises(wb.BadInput, match="delta"):
        natural_ranges(wb.samplers.ULA())
    for ranges, word in ((dict(scale=(2, 1)), "order"), (dict(scal=(1, 2)), "'scale'"), ({}, "empty")):
        with pytest.raises(wb.BadInput, match=word):
            tune(gaussian_problem, Spread(), ranges, trials=1, **SMALL)
    whole = tune(gaussian_problem, Spread(), dict(repeats=(1, 9), level=(0.0, 1.0)), trials=4, **SMALL)
    assert all(isinstance(t.fields["repeats"], int) for t in whole.trials) and whole.default.score < inf


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(wb.BadInput, match=r"inverse-workbench\[tune\]"):
        tune(gaussian_problem, Spread(), trials=1, **SMALL)


def test_what_cannot_be_judged():
    blind = wb.Problem(*(getattr(gaussian_problem(0), k) for k in ("prior", "A", "noise", "y")))
    assert tune(blind, Spread(), trials=1, **SMALL).about["objective"] == "HeldOut(share=0.1)"
    with pytest.raises(wb.BadInput, match="no truth"):
        tune(blind, Spread(), objective=ToTruth(), trials=1, **SMALL)
    with pytest.raises(wb.BadInput, match="no exact posterior"):
        tune(problems.load("physics/navier-stokes"), Spread(), objective=tuned.ToExact(), trials=1, **SMALL)


# --- the command ----------------------------------------------------------------------------------------------------

FEW = ("-n", 20, "--steps", 5, "--trials", 2, "--seeds", "1000:1002", "--threads", 1, "--quiet")


def test_the_command(capsys, tmp_path):
    out = tmp_path / "out"
    words = ("tune", "toy/g2", "--sampler", "dps", "--zeta", "0.1:2", *FEW, "--out", out)
    status, text, err = run(capsys, *words)
    assert status == 0 and err == "" and "workbench run toy/g2 --sampler dps --zeta" in text
    assert "the same for every seed" in text  # this problem has but one set of data
    kept = json.loads((out / "settings.json").read_text())["dps"]
    assert kept["command"].startswith("workbench tune toy/g2") and str(tmp_path) not in json.dumps(kept)
    assert not out.with_name("out.partial").exists() and 0.1 <= kept["best"]["zeta"] <= 2
    status, _, err = run(capsys, *words)
    assert status == 2 and "--overwrite" in err
    status, text, _ = run(capsys, *words, "--overwrite", "--json")
    assert status == 0 and json.loads(text)["score"] == kept["score"]


def test_the_command_takes_the_best_judge(capsys, tmp_path):
    def judge(*words):
        status, text, err = run(capsys, "tune", *words, *FEW, "--json")
        assert status == 0, err
        return json.loads(text)["score"]["name"]

    file = tmp_path / "mine.py"
    file.write_text(
        "import problems\nfrom dataclasses import replace\n"
        "def problem(seed=0, size=8):\n"
        "    return replace(problems.load('inpainting/random', seed=seed, size=size), truth=None)\n"
    )
    assert judge("toy/g2", "--sampler", "pigdm", "--variance", "0.5:2").startswith("ToExact")
    assert judge("inpainting/random", "--size", "8", "--sampler", "dps", "--by", "truth") == "ToTruth()"
    assert judge(file, "--sampler", "dps", "--by", "held-out").startswith("HeldOut")


@pytest.mark.parametrize(
    "words, said",
    [
        ((), "PROBLEM is missing"),
        (("toy/g2",), "--sampler NAME is missing"),
        (("toy/g3", "--sampler", "dps"), "toy/g2"),
        (("toy/g2", "--sampler", "dpss"), "dps"),
        (("toy/g2", "--sampler", "dps", "--zeta", "2:1"), "zeta"),
        (("toy/g2", "--sampler", "dps", "--zeta", "1:2:3"), "--zeta"),
        (("toy/g2", "--sampler", "dps", "--zeta", "high"), "--zeta"),
        (("toy/g2", "--sampler", "dps", "--seeds", "0:3"), "1000"),
        (("toy/g2", "--sampler", "dps", "--by", "exactly"), "'exact'"),
        (("toy/g2", "--sampler", "dps", "--by", "truth"), "no truth"),
        (("toy/g2", "--sampler", "dps", "--by", "held-out", "--trials", "1"), "1 measurement"),
        (("toy/g2", "--sampler", "ula"), "delta"),
        (("nowhere.py", "--sampler", "dps"), "nowhere.py"),
    ],
)
def test_the_command_refuses_in_one_line(capsys, words, said):
    status, out, err = run(capsys, "tune", *words)
    assert status == 2 and out == "" and len(err.splitlines()) == 1 and said in err


# --- settings -------------------------------------------------------------------------------------------------------

TUNED = [(name, sampler) for name in problems.catalogue() for sampler in problems.settings(name)]


def test_there_are_settings():
    assert {"toy/phase", "toy/ring", "mixture/gmm-25"} <= {name for name, _ in TUNED}
    assert {"dps", "diffpir", "red-diff", "ddrm"} <= {sampler for _, sampler in TUNED}
    assert problems.settings("toy/poisson") == {}
    with pytest.raises(wb.BadInput, match="toy/g2"):
        problems.settings("toy/g3")


@pytest.mark.parametrize("name, sampler", TUNED, ids=lambda value: value)
def test_settings_say_where_they_are_from(name, sampler):
    entry, kind = problems.settings(name)[sampler], catalogue.load("samplers", sampler)
    assert set(entry["fields"]) <= {f.name for f in fields(kind)} and kind(**entry["fields"]) is not None
    assert entry["problem"] == name and entry["sampler"] == repr(kind())
    assert min(entry["seeds"]) >= HELD_OUT and min(entry["fresh"]) >= HELD_OUT
    assert not set(entry["seeds"]) & set(entry["fresh"]) and len(entry["data_sha256"]) == len(entry["seeds"])
    assert {"torch", "optuna", "workbench"} == set(entry["versions"]) and entry["date"] and entry["command"]
    score = entry["score"]
    assert score["tuned"] is not None
    assert score["default"] is None or score["tuned"] <= score["default"]
    fresh = (inf if score[k] is None else score[k] for k in ("fresh_tuned", "fresh_default"))
    assert entry["fields"] == (entry["best"] if better(*fresh) else default_of(kind(), entry))


def default_of(sampler, entry):
    """The fields that were tuned, as they are by default."""
    return {name: getattr(sampler, name) for name in entry["best"]}


def test_a_setting_is_what_it_says():
    """DPS on the ring, run again on the tuning seeds: better than the default, by what was recorded."""
    entry = problems.settings("toy/ring")["dps"]
    kind, judge = wb.samplers.DPS, tuned.ToExact()

    def score(sampler):
        values = []
        for seed in entry["seeds"]:
            draw = lambda p, seed=seed: wb.sample(  # noqa: E731
                p, sampler, n=entry["n"], steps=entry["steps"], seed=seed, progress=False
            )
            values.append(judge(problems.load("toy/ring", seed=seed), draw, seed))
        return sum(values) / len(values)

    default, best = score(kind()), score(kind(**entry["fields"]))
    assert best < default
    assert abs(best - entry["score"]["tuned"]) < 0.02 * best
    assert abs(default - entry["score"]["default"]) < 0.02 * default


def test_run_takes_a_tuned_setting(capsys):
    zeta, quick = problems.settings("toy/ring")["dps"]["fields"]["zeta"], ("-n", 3, "--quiet", "--json")
    status, out, err = run(capsys, "run", "toy/ring", "--sampler", "dps", "--tuned", *quick)
    assert status == 0 and json.loads(out)["sampler"] == f"DPS(zeta={zeta!r})", err
    assert json.loads(out)["denoiser_calls"] == 3 * problems.settings("toy/ring")["dps"]["steps"]
    words = ("run", "toy/ring", "--sampler", "dps", "--tuned", "--zeta", "0.5", "--steps", "7", *quick)
    made = json.loads(run(capsys, *words)[1])
    assert made["sampler"] == "DPS(zeta=0.5)" and made["denoiser_calls"] == 21


@pytest.mark.parametrize(
    "words, said",
    [
        (("toy/ring", "--sampler", "tds"), "no setting of tds"),
        (("toy/poisson", "--sampler", "dps"), "the problem has none"),
        (("toy/ring", "--sampler", "dps", "--published", "box_inpainting"), "--published"),
    ],
)
def test_run_without_a_setting_says_so(capsys, words, said):
    status, out, err = run(capsys, "run", *words, "--tuned")
    assert status == 2 and out == "" and len(err.splitlines()) == 1 and said in err


def test_the_list_shows_them(capsys):
    rows = json.loads(run(capsys, "list", "problems", "--json")[1])
    (row,) = (row for row in rows if row["name"] == "toy/ring")
    assert row["tuned"]["dps"] == problems.settings("toy/ring")["dps"]["fields"]
