"""Sample a problem by name: workbench run mri/brain-cartesian-4x --sampler dps --zeta 0.5 -n 8 --out DIR."""

import json
import shlex
from dataclasses import fields
from pathlib import Path

from workbench import catalogue
from workbench._errors import BadInput
from workbench.cli import Parser
from workbench.cli._flags import add, given, scalar_arguments, scalar_fields, set_threads, whole


def first_pass(argv):
    """The parser of the flags that every run has."""
    parser = Parser("workbench run", description=__doc__, add_help=False)
    parser.add_argument("problem", nargs="?", help="a name from `workbench list problems`")
    parser.add_argument("--sampler", default="exact-draws", help="a name from `workbench list samplers`")
    parser.add_argument("--guidance", help="for a stepper: a guidance from `workbench list samplers`")
    parser.add_argument(
        "--published", metavar="NAME", help="a published setting of the sampler, see `list samplers --json`"
    )
    parser.add_argument("--tuned", action="store_true", help="the setting that problems/settings has")
    parser.add_argument("-n", type=whole, default=16, help="samples, or particles of an ensemble (16)")
    parser.add_argument("--ensembles", type=whole, default=1, help="ensembles to pool (1)")
    parser.add_argument("--steps", type=whole, help="of the time grid (100, or what was tuned)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=whole, help="samples at a time (what fits in memory)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (where torch finds a GPU: cuda)")
    parser.add_argument("--threads", type=whole, help="CPU threads (the free cores)")
    parser.add_argument("--out", help="the run folder to write; OUT.partial/ while it runs")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished OUT")
    parser.add_argument(
        "--from", dest="again", metavar="RUN.JSON", help="repeat the run that wrote this file"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser, parser.parse_known_args(argv)[0]


def main(argv):
    """`workbench run PROBLEM --sampler NAME [its fields] [the problem's sizes] -n 16 --steps 100 --seed 0 --out DIR`."""
    parser, args = first_pass(argv)
    if args.again:
        argv = [*repeated(args.again), *argv]
        parser, args = first_pass(argv)
    wants_help = any(a in ("-h", "--help") for a in argv)
    if args.problem is None:
        return _help(parser, wants_help)
    make = catalogue.load("problems", args.problem)
    kind = catalogue.load("samplers", args.sampler)
    guide = catalogue.load("samplers", args.guidance) if args.guidance else None
    add(parser, "problem", scalar_arguments(make))
    add(parser, "sampler", scalar_fields(kind))
    if guide is not None:
        add(parser, "guidance", scalar_fields(guide))
    if wants_help:
        return _help(parser, True)
    args = parser.parse_args(argv)
    out = Path(args.out) if args.out else None
    if out is not None and out.exists() and not args.overwrite:
        raise BadInput(f"--out {out} is there already and finished; give another, or --overwrite")
    setting = tuned(args) if args.tuned else {}
    args.steps = args.steps or setting.get("steps", 100)
    set_threads(args.threads)
    return run(args, make, build(kind, guide, args, setting.get("fields", {})), out, argv)


def _help(parser, wanted):
    if not wanted:
        parser.error("PROBLEM is missing")
    parser.print_help()
    return 0


def repeated(path):
    """The arguments recorded in a run.json, without its --out."""
    try:
        words = shlex.split(json.loads(Path(path).read_text())["provenance"]["arguments"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"--from {path} is not the run.json of a run ({error}); give one that `workbench run` wrote"
        ) from None
    return words


def tuned(args):
    """The tuned setting of the sampler on the problem; BadInput where there is none."""
    import problems

    known = problems.settings(args.problem)
    if args.guidance is not None or args.published is not None:
        raise BadInput("--tuned is a setting of the sampler alone; leave out --guidance and --published")
    if args.sampler not in known:
        there = f"those of {args.problem} are for: {', '.join(known)}" if known else "the problem has none"
        raise BadInput(
            f"--tuned: no setting of {args.sampler} on {args.problem}; {there}; `workbench tune` makes one"
        )
    return known[args.sampler]


def build(kind, guide, args, setting):
    """The sampler with its fields from a tuned setting and the flags, and its guidance."""
    values = setting | given(args, "sampler")
    if guide is not None:
        if "guidance" not in {f.name for f in fields(kind)}:
            raise BadInput(
                f"--guidance {args.guidance} needs a stepper such as ddpm or heun, not {args.sampler}"
            )
        if not hasattr(guide, "bind"):
            raise BadInput(
                f"--guidance {args.guidance} is a sampler of its own; use --sampler {args.guidance}"
            )
        values["guidance"] = guide(**given(args, "guidance"))
    if args.published is not None:
        return kind.named(args.published, **values)
    return kind(**values)


def run(args, make, sampler, out, argv):
    """Make the problem, sample it, say what came out, write the run folder."""
    import shutil

    from workbench._allocator import keep_large_blocks
    from workbench.run import sample

    keep_large_blocks()
    problem = make(seed=args.seed, **given(args, "problem"))
    partial = None if out is None else out.with_name(out.name + ".partial")
    post = sample(
        problem,
        sampler,
        n=args.n,
        steps=args.steps,
        seed=args.seed,
        batch=args.batch,
        ensembles=args.ensembles,
        device=device(args.device),
        progress=not args.quiet,
        checkpoint=partial,
    )
    post.provenance["arguments"] = shlex.join(without_out(argv))
    summary = summarise(problem, post)
    if out is not None:
        post.save(out, overwrite=args.overwrite)
        shutil.rmtree(partial, ignore_errors=True)
        summary["out"] = str(out)
    if args.json:
        print(json.dumps(summary, indent=1))
        return
    for name, value in summary.items():
        print(f"{name:28} {value:.4g}" if isinstance(value, float) else f"{name:28} {value}")


def without_out(argv):
    """The arguments without --out and --from, for repeating them elsewhere."""
    words, skip = [], False
    for word in argv:
        if skip or word.startswith(("--out=", "--from=")) or word == "--overwrite":
            skip = False
        elif word in ("--out", "--from"):
            skip = True
        else:
            words.append(word)
    return words


def device(name):
    """The torch device called `name`; BadInput where there is none."""
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else None
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise BadInput(f"--device {name} is not to be had here; use cpu") from None
    return name


def summarise(problem, post):
    """What a run says of itself: size, cost, and, where known, its distance to the exact posterior and to the truth."""
    summary = dict(
        problem=problem.name,
        sampler=post.provenance["sampler"],
        samples=len(post),
        effective_samples=post.ess,
        denoiser_calls=post.cost.denoiser,
        vjp=post.cost.vjp,
        operator_calls=post.cost.operator,
        seconds=post.cost.seconds,
    )
    if "warning" in post.provenance:
        summary["warning"] = post.provenance["warning"]
    if post.log_evidence is not None:
        summary["log_evidence"] = post.log_evidence
    mean, spread = post.mean(), post.std().square().mean().sqrt().item()
    summary["posterior_std_rms"] = spread
    if problem.exact is not None:
        gap = (mean - problem.exact.mean().to(mean.device)).abs().square().mean().sqrt().item()
        summary["mean_minus_exact_rms"] = gap
        evidence = getattr(problem.exact, "log_evidence", None)
        if evidence is not None:
            summary["exact_log_evidence"] = evidence
    if problem.truth is not None:
        summary["mean_minus_truth_rms"] = (
            (mean - problem.truth.to(mean.device)).abs().square().mean().sqrt().item()
        )
    return summary
