"""Tuning: the fields of a sampler that score best on seeds held out for it, by Optuna, resumable, with its provenance."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from math import inf, isfinite, sqrt
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import torch

import workbench
from workbench._checkpoint import replace_with
from workbench._errors import BadInput, unknown
from workbench.metrics.distortion import psnr
from workbench.metrics.held_out import hold_out
from workbench.metrics.scoring import energy_score
from workbench.problem import Problem
from workbench.provenance import digest
from workbench.run import sample

HELD_OUT = 1000  # the first seed for tuning; those below are for tests, 0 to 9 for the scoreboard's
GAIN = 0.01  # of the score: less than that on fresh seeds is no reason to leave the default
SPAN = 100.0  # times less and more than the default, where no range is given


@dataclass(frozen=True)
class ToTruth:
    """E ||X - x|| - E ||X - X'|| / 2, the energy score of the draws against the truth x: the mean over seeds is least for
    the posterior itself. An error of the mean, such as PSNR, is least for draws without spread, so it is shown and not
    tuned for."""

    def __call__(self, problem, draw, seed):
        if problem.truth is None:
            raise BadInput(
                f"problem {problem.name!r} has no truth to tune by; use the held-out measurements, HeldOut()"
            )
        post = draw(problem)
        return energy_score(post.samples, problem.truth, post.weights)


@dataclass(frozen=True)
class HeldOut:
    """CRPS of measurements that the sampler did not see: a random `share` of y, another for each seed."""

    share: float = 0.1

    def __call__(self, problem, draw, seed):
        split = hold_out(problem, self.share, seed)
        return split.score(draw(split.rest), seed)


@dataclass(frozen=True)
class Trial:
    """One setting and what it scored: the mean over seeds, inf where it cannot (`error` says why).

    scores: of each seed.  psnr: of the posterior mean, averaged, where a truth is known.  calls: denoiser calls and
    Jacobian products of one draw.
    """

    fields: dict
    score: float
    scores: list
    psnr: float | None = None
    calls: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Tuning:
    """What a tuning found.

    sampler: the best one where it also beats the default, by GAIN, on seeds it was not chosen on, else the default.
    fields: of that sampler, those that were tuned.  default, best: Trials on `seeds`.  checked: the score of both on
    `fresh`, the mean over seeds.  trials: all of them, the default first.  about: what made it.
    """

    sampler: Any
    fields: dict
    default: Trial
    best: Trial
    checked: dict
    trials: list
    about: dict

    def record(self):
        """What a settings file keeps, for JSON."""
        score = dict(
            name=self.about["objective"],
            default=self.default.score,
            tuned=self.best.score,
            fresh_default=self.checked["default"],
            fresh_tuned=self.checked["tuned"],
        )
        found = dict(fields=self.fields, score=score, best=self.best.fields, trials=len(self.trials))
        found |= dict(psnr=dict(default=self.default.psnr, tuned=self.best.psnr))
        return plain(found | self.about | dict(date=date.today().isoformat()))


def tune(
    problem,
    sampler,
    ranges=None,
    objective=None,
    n=200,
    steps=100,
    trials=30,
    seeds=(1000, 1001, 1002),
    device=None,
    folder=None,
    say=None,
):
    """The fields of `sampler` within `ranges` that score best on `problem` at held-out seeds: a Tuning.

    problem: a Problem, or a function of a seed that gives one.  sampler: what the result is compared with.  ranges:
    field -> (low, high), searched on a logarithmic scale where low > 0; default: every field with a positive float,
    a hundred times less to a hundred times more, as far as the sampler takes it.  objective(problem, draw, seed): a
    float, lower is better; draw(problem) gives the Posterior. Default: `ToTruth` where the truth is known, else
    `HeldOut`; use a function that knows more where there is one.  n, steps: of each run.  seeds: from HELD_OUT on, of
    data, sampler and objective; as many more, 1000 later, then check the winner.  folder: what has been tried is kept
    there, and the same call goes on from it, to the same result.  say: called with each new Trial and its number.
    """
    ranges = natural_ranges(sampler) if ranges is None else checked_ranges(sampler, ranges)
    bench = Bench(problem, sampler, ranges, objective, n, steps, [*seeds], device)
    journal = Journal(folder, bench.about())
    tried = search(bench, journal, trials, say)
    best = min(tried, key=lambda trial: trial.score)
    if not isfinite(best.score):
        raise BadInput(f"tune: none of {len(tried)} trials could be scored; the first says: {tried[0].error}")
    checked = {
        name: journal.get(f"fresh {tried.index(t)}", lambda t=t: bench.trial(t.fields, bench.fresh)).score
        for name, t in (("default", tried[0]), ("tuned", best))
    }
    kept = best if better(checked["tuned"], checked["default"]) else tried[0]
    return Tuning(bench.set(kept.fields), kept.fields, tried[0], best, checked, tried, bench.about())


def better(score, default):
    """Whether a score is lower by more than GAIN of the default's size, or the default has none."""
    return isfinite(score) and (default == inf or default - score > GAIN * abs(default))


@dataclass
class Bench:
    """Where settings are tried: a problem of each seed, a sampler, an objective."""

    problem: Problem | Callable
    sampler: Any
    ranges: dict
    objective: Callable | None
    n: int
    steps: int
    seeds: list
    device: Any = None
    made: dict = field(default_factory=dict)

    def __post_init__(self):
        if not self.seeds or min(self.seeds) < HELD_OUT:
            raise BadInput(
                f"seeds = {self.seeds} should be {HELD_OUT} or more: those below are for tests, which tuning must not see"
            )
        if len(self.seeds) > HELD_OUT or max(self.seeds) - min(self.seeds) >= HELD_OUT:
            raise BadInput(
                f"seeds = {self.seeds} should lie within {HELD_OUT}: the check takes the same + 1000"
            )
        if self.objective is None:
            self.objective = ToTruth() if self.of(self.seeds[0]).truth is not None else HeldOut()

    @property
    def fresh(self):
        """The seeds that check the winner."""
        return [seed + HELD_OUT for seed in self.seeds]

    def of(self, seed):
        """The problem of a seed."""
        if isinstance(self.problem, Problem):
            return self.problem
        if seed not in self.made:
            self.made[seed] = self.problem(seed)
        return self.made[seed]

    def set(self, values):
        """The sampler with some fields set."""
        return replace(self.sampler, **values)

    def default(self):
        """The fields that are tuned, as they are."""
        return {name: getattr(self.sampler, name) for name in self.ranges}

    def trial(self, values, seeds=None):
        """The Trial of a setting."""
        scores, shown, calls = [], [], []
        try:
            sampler = self.set(values)
            for seed in seeds or self.seeds:
                score, post = self.one(sampler, seed)
                scores.append(score if isfinite(score) else inf)
                calls.append((post.cost.denoiser + post.cost.vjp) / len(post))
                truth = self.of(seed).truth
                shown += [] if truth is None else [psnr(post.mean(), truth).item()]
        except BadInput as error:
            return Trial(values, inf, scores, error=" ".join(str(error).split()))
        except (RuntimeError, ArithmeticError) as error:  # a setting so wild that a factorisation fails
            return Trial(values, inf, scores, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
        mean = lambda v: sum(v) / len(v) if v else None  # noqa: E731
        return Trial(values, mean(scores), scores, mean(shown), mean(calls))

    def one(self, sampler, seed):
        """The score of one seed, and the Posterior that has it."""
        posts = []

        def draw(problem):
            how = dict(n=self.n, steps=self.steps, seed=seed, device=self.device, progress=False)
            posts.append(sample(problem, sampler, **how))
            return posts[-1]

        return float(self.objective(self.of(seed), draw, seed)), posts[-1]

    def about(self):
        """What decides the numbers: a resumed tuning must have the same. Equal digests say that the problem has but one
        set of data, whatever the seed."""
        return dict(
            problem=self.of(self.seeds[0]).name,
            sampler=written(self.sampler),
            ranges={k: [*v] for k, v in self.ranges.items()},
            objective=written(self.objective),
            n=self.n,
            steps=self.steps,
            seeds=self.seeds,
            fresh=self.fresh,
            data_sha256=[digest(self.of(seed).y)[:16] for seed in self.seeds],
            versions=dict(
                workbench=workbench.__version__, torch=torch.__version__, optuna=optuna().__version__
            ),
        )


@dataclass
class Journal:
    """What has been tried, a line of JSON each, in `folder`/trials.jsonl; kept in memory where there is no folder."""

    folder: Any
    about: dict
    known: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.folder is None:
            return
        self.folder = Path(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"folder = {self.folder} cannot be made ({error.strerror}); give one that can be written"
            ) from None
        self.path, head = self.folder / "trials.jsonl", json.dumps(self.about)
        if not self.path.exists():
            replace_with(self.path, lambda beside: beside.write_text(head + "\n"))
        self.read(json.loads(head))

    def read(self, wanted):
        """The lines that are whole; BadInput where another tuning wrote them."""
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # the last line was cut
            replace_with(self.path, lambda beside: beside.write_text(whole))
        try:
            first, *lines = (json.loads(line) for line in whole.splitlines())
            self.known = {line.pop("key"): revived(line) for line in lines}
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{self.path} is damaged ({error}); remove it to start afresh") from None
        different = [k for k, v in wanted.items() if first.get(k) != v]
        if different:
            raise BadInput(
                f"{self.path} was made with another {' and another '.join(different)}; repeat the call as it was, or give "
                f"a new folder"
            )

    def get(self, key, make):
        """The Trial kept under `key`, or a new one, written down."""
        if key not in self.known:
            trial = self.known[key] = make()
            if self.folder is not None:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(json.dumps(plain(dict(key=key, **asdict(trial)))) + "\n")
        return self.known[key]


def search(bench, journal, trials, say=None):
    """The default and then `trials` settings, chosen by a tree-structured Parzen estimator (Bergstra et al. 2011).

    What the journal has is told to it again, not run again: it then asks for what it would have asked for.
    """
    if int(trials) != trials or trials < 1:
        raise BadInput(f"trials = {trials} should be a whole number, at least 1")
    kinds = distributions(bench)
    study = optuna().create_study(sampler=optuna().samplers.TPESampler(seed=bench.seeds[0]))
    tried = [announced(journal, "default", lambda: bench.trial(bench.default()), say, 0)]
    tell_default(study, kinds, tried[0])
    for number in range(1, trials + 1):
        asked = study.ask(kinds)
        values = dict(asked.params)
        trial = announced(journal, f"trial {number}", lambda values=values: bench.trial(values), say, number)
        if trial.fields != values:
            raise BadInput(f"{journal.path} is not of this search: trial {number} differs; give a new folder")
        pruned = optuna().trial.TrialState.PRUNED
        study.tell(asked, trial.score) if isfinite(trial.score) else study.tell(asked, state=pruned)
        tried.append(trial)
    return tried


def announced(journal, key, make, say, number):
    """`journal.get`, with `say` called where the trial is new."""
    new = key not in journal.known
    trial = journal.get(key, make)
    if new and say is not None:
        say(trial, number)
    return trial


def distributions(bench):
    """field -> Optuna's range of it."""
    from_optuna = optuna().distributions
    kinds = {int: from_optuna.IntDistribution, float: from_optuna.FloatDistribution}
    types = numbers(type(bench.sampler))
    return {
        name: kinds[types[name]](low, high, log=low > 0 and high > low)
        for name, (low, high) in bench.ranges.items()
    }


def tell_default(study, kinds, default):
    """The search knows what the default scored, where that is a point of it."""
    inside = all(v is not None and kinds[k].low <= v <= kinds[k].high for k, v in default.fields.items())
    if inside and isfinite(default.score):
        create = optuna().trial.create_trial
        study.add_trial(create(params=default.fields, distributions=kinds, value=default.score))


def written(value):
    """Its repr, without the addresses that functions have in one process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def optuna():
    """The library, quiet; BadInput that names the extra where it is absent."""
    try:
        import optuna
    except ImportError:
        raise BadInput(
            "tune needs optuna, which is not installed; pip install 'inverse-workbench[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def numbers(kind):
    """field -> int or float, of a sampler's fields that hold one number, or None until one is given."""
    return {f.name: kind_of for f in fields(kind) if (kind_of := number_type(f)) is not None}


def number_type(f):
    """int or float for a field of that type, with or without None; None for any other."""
    options = set(get_args(f.type)) if isinstance(f.type, UnionType) else {f.type}
    options -= {type(None)}
    return options.pop() if options in ({int}, {float}) else None


def natural_ranges(sampler):
    """field -> (low, high) around its value: each positive finite float, as far as the sampler takes it."""
    now = {name: getattr(sampler, name) for name, kind in numbers(type(sampler)).items() if kind is float}
    found = {k: v for k, v in now.items() if v is not None and 0 < v < inf}
    if not found:
        known = ", ".join(numbers(type(sampler))) or "none"
        raise BadInput(
            f"{type(sampler).__name__} has no positive float to tune around; give ranges, its numbers are: {known}"
        )
    return {
        k: (accepted(sampler, k, v, v / SPAN), accepted(sampler, k, v, v * SPAN)) for k, v in found.items()
    }


def accepted(sampler, name, inside, outside):
    """The value nearest to `outside` that the sampler takes, by bisection of the logarithm from `inside`."""
    if takes(sampler, name, outside):
        return outside
    for _ in range(30):
        middle = sqrt(inside * outside)
        inside, outside = (middle, outside) if takes(sampler, name, middle) else (inside, middle)
    return inside


def takes(sampler, name, value):
    """Whether the sampler can be made with that value."""
    try:
        replace(sampler, **{name: value})
    except BadInput:
        return False
    return True


def checked_ranges(sampler, ranges):
    """`ranges`, if its names are numbers of the sampler and its ends are in order."""
    types = numbers(type(sampler))
    if not ranges:
        raise BadInput(f"ranges = {ranges} is empty; its numbers are: {', '.join(types)}")
    for name, (low, high) in ranges.items():
        if name not in types:
            raise unknown("field", name, [*types], f"{type(sampler).__name__}'s docstring")
        if not (isfinite(low) and isfinite(high) and low < high):
            raise BadInput(f"range of {name}: {low} to {high} should be two finite numbers in order")
    return {name: (types[name](low), types[name](high)) for name, (low, high) in ranges.items()}


def plain(value):
    """The same for JSON, which has no word for infinity and NaN: null."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def revived(line):
    """The Trial that `plain` wrote."""
    word = lambda v: inf if v is None else v  # noqa: E731
    fields = {k: word(v) for k, v in line["fields"].items()}
    return Trial(
        **line | dict(score=word(line["score"]), scores=[word(v) for v in line["scores"]], fields=fields)
    )
