"""Tune a sampler to a problem on held-out seeds: workbench tune toy/g2 --sampler dps --zeta 0.01:10 --out DIR."""

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

from workbench import catalogue
from workbench._errors import BadInput, unknown
from workbench.cli import Parser
from workbench.cli._exact import seeds
from workbench.cli._flags import add, given, scalar_arguments, set_threads, whole
from workbench.cli.run import device

JUDGES = ("exact", "truth", "held-out")


def first_pass(argv):
    """The parser of the flags that every tuning has."""
    parser = Parser("workbench tune", description=__doc__, add_help=False)
    parser.add_argument(
        "problem", nargs="?", help="a name from `workbench list problems`, or FILE.py with problem(seed)"
    )
    parser.add_argument("--sampler", help="a name from `workbench list samplers`")
    parser.add_argument("--by", help="exact, truth or held-out: the judge (the first of them there is)")
    parser.add_argument("-n", type=whole, default=200, help="draws of each run (200)")
    parser.add_argument("--steps", type=whole, default=100, help="of the time grid (100)")
    parser.add_argument("--trials", type=whole, default=30, help="settings to try, beside the default (30)")
    parser.add_argument("--seeds", type=seeds, default=[1000, 1001, 1002], help="1000 or more (1000:1003)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (where torch finds a GPU: cuda)")
    parser.add_argument("--threads", type=whole, help="CPU threads (the free cores)")
    parser.add_argument("--out", help="the folder to write; OUT.partial/ while it runs, resumed from there")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished OUT")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    parser.add_argument("--quiet", action="store_true", help="do not say each trial")
    return parser, parser.parse_known_args(argv)[0]


def main(argv):
    """`workbench tune PROBLEM --sampler NAME [--FIELD LOW:HIGH ...] [the problem's sizes] --trials 30 --out DIR`.

    A field with a range is searched, with one number it is held there; without ranges all positive floats are searched,
    from a hundredth to a hundred times the default.
    """
    parser, args = first_pass(argv)
    wants_help = any(a in ("-h", "--help") for a in argv)
    if args.problem is None or args.sampler is None:
        if not wants_help:
            parser.error("PROBLEM is missing" if args.problem is None else "--sampler NAME is missing")
        parser.print_help()
        return 0
    if args.by not in (None, *JUDGES):
        raise unknown("judge --by", args.by, [*JUDGES], "`workbench tune --help`")
    make, kind = find_problem(args.problem), catalogue.load("samplers", args.sampler)
    add(parser, "problem", scalar_arguments(make))
    add_ranges(parser, kind)
    if wants_help:
        parser.print_help()
        return 0
    args = parser.parse_args(argv)
    out = Path(args.out) if args.out else None
    if out is not None and out.exists() and not args.overwrite:
        raise BadInput(f"--out {out} is there already and finished; give another, or --overwrite")
    if out is not None and out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is a file; give a folder")
    set_threads(args.threads)
    return run(args, make, kind, out, argv)


def find_problem(name):
    """The function of a problem of the catalogue, or of a Python file."""
    if not name.endswith(".py"):
        return catalogue.load("problems", name)
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(Path(name).stem, name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "problem"):
        raise BadInput(f"PROBLEM {name} has no function problem(seed); give it one that returns a wb.Problem")
    return module.problem


def add_ranges(parser, kind):
    """One --flag for each number of the sampler, LOW:HIGH or one value."""
    from workbench.tuning import numbers

    group = parser.add_argument_group("sampler, LOW:HIGH to search or a value to hold")
    for name, number in numbers(kind).items():
        flag = f"--{name.replace('_', '-')}"
        if flag in parser._option_string_actions:
            raise BadInput(f"{flag} means two things here; choose another sampler")
        group.add_argument(flag, dest=f"sampler.{name}", type=span(number), metavar="LOW:HIGH")


def span(number):
    """A parser of `LOW:HIGH` or of one value, that argparse names in its error."""

    def parse(text):
        ends = tuple(number(part) for part in text.split(":"))
        if len(ends) > 2 or any(end != end for end in ends):
            raise ValueError
        return ends if len(ends) == 2 else ends[0]

    parse.__name__ = "range"
    return parse


def run(args, make, kind, out, argv):
    """Search, say what was found, write the folder."""
    from workbench._allocator import keep_large_blocks
    from workbench.tuning import tune

    keep_large_blocks()
    chosen = given(args, "sampler")
    ranges = {k: v for k, v in chosen.items() if isinstance(v, tuple)}
    sizes = given(args, "problem")
    problem = partial(call, make, sizes)
    partly = None if out is None else out.with_name(out.name + ".partial")
    found = tune(
        problem,
        kind(**{k: v for k, v in chosen.items() if not isinstance(v, tuple)}),
        ranges or None,
        judge(args.by, problem(args.seeds[0])),
        n=args.n,
        steps=args.steps,
        trials=args.trials,
        seeds=args.seeds,
        device=device(args.device),
        folder=partly,
        say=None if args.quiet else Progress(args.trials),
    )
    record = found.record() | dict(arguments=sizes, command=command(argv))
    record["fields"] = {k: v for k, v in chosen.items() if k not in ranges} | record["fields"]
    if out is not None:
        finish(partly, out, {args.sampler: record})
    if args.json:
        print(json.dumps(record, indent=1))
    else:
        tell(args, record, out)
    return 0


def call(make, sizes, seed):
    """The problem of a seed."""
    return make(seed=seed, **sizes)


def judge(by, problem):
    """The objective called `by`, or the one that knows most of the problem."""
    from theory.scoreboard.tuned import ToExact
    from workbench.metrics.held_out import hold_out
    from workbench.tuning import HeldOut, ToTruth

    known = dict(exact=problem.exact is not None, truth=problem.truth is not None)
    if by is None:
        by = next((name for name in ("exact", "truth") if known[name]), "held-out")
    if not known.get(by, True):
        raise BadInput(
            f"--by {by}: problem {problem.name} has no {'truth' if by == 'truth' else 'exact posterior'}; use --by held-out"
        )
    if by in known:
        return dict(exact=ToExact, truth=ToTruth)[by]()
    hold_out(problem)  # or why there is nothing to hold out
    return HeldOut()


class Progress:
    """One line a trial on standard error."""

    def __init__(self, trials):
        self.trials = trials

    def __call__(self, trial, number):
        what = trial.error or f"{trial.score:.4g}"
        where = "default" if number == 0 else f"trial {number} of {self.trials}"
        print(f"  {where}: {written(trial.fields)}: {what}", file=sys.stderr, flush=True)


def written(fields):
    """The fields as flags."""
    value = lambda v: f"{v:.4g}" if isinstance(v, float) else str(v)  # noqa: E731
    return " ".join(f"--{k.replace('_', '-')} {value(v)}" for k, v in fields.items())


def command(argv):
    """The command itself, without where it wrote."""
    import shlex

    from workbench.cli.run import without_out

    return shlex.join(["workbench", "tune", *without_out(argv)])


def finish(partly, out, settings):
    """settings.json beside the trials, and the folder under its own name."""
    from workbench._checkpoint import replace_with

    text = json.dumps(settings, indent=1) + "\n"
    replace_with(partly / "settings.json", lambda beside: beside.write_text(text))
    if out.exists():
        shutil.rmtree(out)
    os.replace(partly, out)


def tell(args, record, out):
    """What was found, and the command that uses it."""
    score = {
        k: v if isinstance(v, str) else f"{v:.4g}" if v is not None else "none"
        for k, v in record["score"].items()
    }
    print(f"judged by         {score['name']}, seeds {record['seeds']}, lower is better")
    print(f"default           {score['default']}; on fresh seeds {score['fresh_default']}")
    print(f"best of {record['trials']:<9} {score['tuned']}; on fresh seeds {score['fresh_tuned']}")
    for name, value in record["psnr"].items():
        if value is not None:
            print(f"PSNR, {name:11} {value:.2f} dB")
    if len(set(record["data_sha256"])) < len(record["data_sha256"]):
        print("data              the same for every seed: the setting has seen the data it will be used on")
    flags = written({k: v for k, v in record["fields"].items() if v is not None})
    if record["fields"] != record["best"] and record["best"].items() - record["fields"].items():
        print("                  the best is no better than the default on fresh seeds, which is kept")
    print(
        f"use               workbench run {args.problem} --sampler {args.sampler} {flags} --steps {args.steps}"
    )
    if out is not None:
        print(f"out               {out}")
