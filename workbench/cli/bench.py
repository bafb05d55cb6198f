"""Measure: workbench bench speed times our parts beside others'; g2 and mri hold samplers to known values, overhead to
the time of their network; exact is the scoreboard of samplers beside exact posteriors, published what others published
of such comparisons."""

import json
import os
import subprocess
import sys
from pathlib import Path

from workbench._errors import BadInput, unknown
from workbench.cli import Parser, _exact, _published
from workbench.cli._flags import whole

SUITES = ("speed", "g2", "mri", "overhead", "exact", "published")
OF_EXACT = ("samplers", "problems", "seeds", "page")  # flags of that suite alone
OF_PUBLISHED = ("studies", "repetitions")
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
BUSY = 0.5  # load average from which the machine is not quiet
HEADER = (
    "what",
    "threads",
    "ours, ms",
    "(least)",
    "against",
    "ms",
    "(least)",
    "ratio",
    "goal",
    "met",
    "error",
    "(theirs)",
)


def main(argv):
    """`workbench bench [SUITE] [--threads N] [--out DIR] [--overwrite] [--json]`, exact and published with flags of their own."""
    parser = Parser("workbench bench", description=__doc__)
    parser.add_argument("suite", nargs="?", default="speed", help=f"{', '.join(SUITES)} (speed)")
    parser.add_argument("--threads", type=whole, help="CPU threads of every library (1, then all cores)")
    parser.add_argument("--out", help="folder for SUITE.json and SUITE.md")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier run")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    _exact.add_flags(parser)
    _published.add_flags(parser)
    args = parser.parse_args(argv)
    if args.suite not in SUITES:
        raise unknown("suite", args.suite, [*SUITES], "`workbench bench --help`")
    for suite, flags in dict(exact=OF_EXACT, published=OF_PUBLISHED).items():
        check_flags(args, suite, flags)
    if args.suite == "exact":
        return _exact.run(args, machine)
    if args.suite == "published":
        return _published.run(args, machine, files, write)
    targets = files(args.out, args.suite, args.overwrite)
    about = machine()
    rows, text, page = speeds(args.threads) if args.suite == "speed" else held(args.suite, args.threads)
    found = dict(suite=args.suite, machine=about, rows=rows)
    write(targets, dict(json=json.dumps(found, indent=1) + "\n", md=page(found)))
    print(json.dumps(found, indent=1) if args.json else text(rows))
    return int(not all(row.get("within", True) for row in rows))


def check_flags(args, suite, flags):
    """Raise BadInput where a flag of one suite is given to another."""
    for flag in flags:
        if args.suite != suite and getattr(args, flag) is not None:
            raise BadInput(
                f"--{flag} is of the suite {suite}, not of {args.suite}; `workbench bench {suite} --{flag} ...`"
            )


def speeds(threads):
    """The rows of `speed`, with `threads` threads, or with 1 and all in processes of their own; how they are shown."""
    if not threads:
        say_busy(load())
    rows = speed(threads) if threads else [row for n in thread_counts() for row in in_a_process(n)]
    return rows, plain, markdown


def say_busy(busy):
    """A warning where other processes run: a pool of threads waits for its slowest."""
    if (busy or 0) > BUSY:
        print(
            f"  others keep {busy:.1f} cores busy: the times of several threads mean little now",
            file=sys.stderr,
        )


def load():
    """How many cores were busy in the last minute, None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def held(suite, threads):
    """The rows of `g2`, `mri` or `overhead`, in this process, and how they are shown."""
    from importlib import import_module

    from workbench._allocator import keep_large_blocks
    from workbench.cli._flags import set_threads

    keep_large_blocks()
    set_threads(threads or 1)
    module = import_module(f"workbench.cli._{suite}")
    rows = module.rows(
        say=lambda row: print(f"  {row['name']}, {row['steps']} steps", file=sys.stderr, flush=True)
    )
    return (
        rows,
        module.table,
        getattr(module, "page", lambda found: fenced(suite, module.table(found["rows"]))),
    )


def fenced(suite, text):
    """A page that holds the table for a terminal as it is."""
    return f"# {suite}\n\n```\n{text}\n```\n"


def files(out, suite, overwrite):
    """What --out will hold, checked before the work: {} without it."""
    if out is None:
        return {}
    targets = {kind: Path(out) / f"{suite}.{kind}" for kind in ("json", "md")}
    for path in targets.values():
        if path.exists() and not overwrite:
            raise BadInput(f"--out {out} has {path.name} already; give another folder, or --overwrite")
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"--out {out} cannot be made ({error.strerror}); give a folder that can be written"
        ) from None
    return targets


def thread_counts():
    """1, and all cores of this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return sorted({1, cores})


def in_a_process(threads):
    """The rows of a process of its own, since libraries size their thread pools when they are imported."""
    words = [sys.executable, "-m", "workbench", "bench", "speed", "--threads", str(threads), "--json"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BadInput(
            f"bench: the measurement with {threads} threads ended with status {done.returncode}; see above"
        )
    return json.loads(done.stdout)["rows"]


def speed(threads):
    """The rows of the suite with `threads` threads, in this process."""
    os.environ.update(dict.fromkeys(POOLS, str(threads)))
    import torch

    from workbench._allocator import keep_large_blocks
    from workbench.cli import _race, _speed

    keep_large_blocks()  # for both sides of a race, as every command does
    torch.set_num_threads(threads)
    rows = []
    for entry in _speed.races():
        print(f"  {threads} thread{'s'[: threads > 1]}: {entry.name}", file=sys.stderr, flush=True)
        rows.append(dict(threads=threads, **_race.race(entry)))
    return rows


def machine():
    """What the numbers depend on: processor, cores, load at the start, versions."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    def of(package):
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    packages = (
        "torch",
        "numpy",
        "numba",
        "sigpy",
        "scikit-image",
        "deepinv",
        "astra-toolbox",
        "torchkbnufft",
        "finufft",
    )
    return dict(
        processor=processor(), cores=os.cpu_count(), load=load(), python=platform.python_version()
    ) | {name: of(name) for name in packages}


def processor():
    """The processor's name."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def cells(row):
    """The words of one row under HEADER."""

    def ms(value):
        return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"

    def error(name):
        return "" if row.get(name) is None else f"{row[name]:.1e}"

    absent = "" if row["against"].startswith("no ") else "not installed"
    peer = (ms(row["peer_ms"]), ms(row["peer_min_ms"])) if row["peer_ms"] is not None else (absent, "")
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    met = {None: "", True: "yes", False: "NO"}[row["met"]]
    ours = ms(row["ours_ms"]), ms(row["ours_min_ms"])
    errors = error("error"), error("peer_error")
    return (
        row["name"],
        str(row["threads"]),
        *ours,
        row["against"],
        *peer,
        ratio,
        row["goal"] or "",
        met,
        *errors,
    )


def plain(rows):
    """The table for a terminal."""
    lines = [HEADER, *[cells(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(f"{c:{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown(found):
    """The table for a page, with what it was measured on."""
    lines = [HEADER, ("---",) * len(HEADER), *[cells(row) for row in found["rows"]]]
    facts = ", ".join(f"{k} {v}" for k, v in found["machine"].items() if v is not None)
    about = "Medians of repeated warm calls, ours and theirs in turn; ratio: their median over ours."
    return "\n".join(
        [f"# {found['suite']}", "", about, facts + ".", "", *["| " + " | ".join(c) + " |" for c in lines], ""]
    )


def write(targets, texts):
    """SUITE.json and SUITE.md, each written beside and renamed."""
    from workbench._checkpoint import replace_with

    for kind, path in targets.items():
        replace_with(path, lambda beside, kind=kind: beside.write_text(texts[kind]))
        print(f"wrote {path}", file=sys.stderr)
