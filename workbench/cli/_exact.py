"""The suite `exact`: samplers x problems x seeds beside exact posteriors; the same folder goes on where it was."""

import json
import sys
import time
from pathlib import Path

from workbench._errors import BadInput


def add_flags(parser):
    """The flags of this suite alone."""
    group = parser.add_argument_group("of the suite exact, which needs --out and goes on in it")
    group.add_argument("--samplers", type=words, metavar="A,B", help="names (all that claim a posterior)")
    group.add_argument(
        "--problems", type=words, metavar="A,B", help="names of cases or problems (all but slow ones)"
    )
    group.add_argument("--seeds", type=seeds, metavar="0:10", help="a seed, A:B without B, or a list (0:10)")
    group.add_argument("--split", action="store_true", help="the parts of the error too, on the first seed")
    group.add_argument("--curves", action="store_true", help="a few samplers at more particles and steps too")
    group.add_argument(
        "--pack", action="store_true", help="the ledger of --out as one small file, to be kept"
    )
    group.add_argument("--page", metavar="DIR", help="write scoreboard.md and its figures there")


def words(text):
    """Names between commas."""
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise ValueError
    return found


def seeds(text):
    """`3`, `0:10` (without 10), or `0,2,5`."""
    if ":" in text:
        first, last = (int(part) for part in text.split(":"))
        found = list(range(first, last))
    else:
        found = sorted({int(part) for part in text.split(",")})
    if not found or min(found) < 0:
        raise ValueError
    return found


def run(args, machine):
    """What is missing is run, then the table or JSON of all that was asked for; status 0."""
    if args.out is None:
        raise BadInput("--out is needed: the folder of the ledger, in which the same command goes on")
    if args.overwrite:
        raise BadInput(
            "--overwrite is not for the suite exact, which goes on in --out; give a new folder to start afresh"
        )
    from theory.scoreboard.board import Board
    from theory.scoreboard.cases import TEST_SEEDS, find_cases
    from theory.scoreboard.entrants import line_up
    from theory.scoreboard.page import write_page
    from theory.scoreboard.tables import table
    from workbench._allocator import keep_large_blocks
    from workbench.cli._flags import set_threads

    keep_large_blocks()
    set_threads(args.threads or 1)
    chosen = find_cases(args.problems)
    board = Board(chosen, line_up(args.samplers), args.seeds or list(TEST_SEEDS), args.out)
    rows = board.run(say=Progress())
    parts = kept_splits(board) if args.split else read(args.out, "splits.json")
    lines = kept_curves(args.out) if args.curves else read(args.out, "curves.json")
    print(
        json.dumps(dict(suite="exact", machine=machine(), rows=plain(rows)), indent=1)
        if args.json
        else table(rows)
    )
    if args.pack:
        board.ledger.pack()
    if args.page is not None:
        for path in write_page(rows, args.page, facts(machine()), parts, lines):
            print(f"wrote {path}", file=sys.stderr)
    return 0


def kept_splits(board):
    """The parts of the error of every sampler on every case, made where they are not there yet."""
    from theory.scoreboard.splitting import splits

    say = lambda s: print(f"  split: {s['case']}, {s['entrant']}", file=sys.stderr, flush=True)  # noqa: E731
    return splits(board.cases, board.entrants, board.seeds[0], board.folder, say=say)


def kept_curves(folder):
    """The curves, made where they are not there yet."""
    from theory.scoreboard.curves import curves

    def say(p):
        where = f"{p['case']}, {p['entrant']}, {p['particles']} particles, {p['steps']} steps"
        print(f"  curve: {where}: {p['ratio']:.3g} of the floor", file=sys.stderr, flush=True)

    return curves(folder, say=say)


def read(folder, name):
    """What an earlier run left in a file of the folder."""
    path = Path(folder) / name
    return json.loads(path.read_text()) if path.exists() else []


class Progress:
    """One line a row on standard error, with the time that the rest may take."""

    def __init__(self):
        self.start, self.done = time.perf_counter(), 0

    def __call__(self, row, left):
        self.done += 1
        minutes = (time.perf_counter() - self.start) / self.done * left / 60
        what = (
            f"{row['ratio']:.3g} of the floor" if "ratio" in row else f"cannot: {row['cannot'].split(';')[0]}"
        )
        where = f"{row['case']}, seed {row['seed']}, {row['entrant']}"
        print(f"  {where}: {what} ({left} left, about {minutes:.0f} min)", file=sys.stderr, flush=True)


def plain(rows):
    """The rows with what JSON has no word for, infinity and NaN, as null."""
    return [
        {k: None if isinstance(v, float) and not abs(v) < float("inf") else v for k, v in row.items()}
        for row in rows
    ]


def facts(about):
    """What the seconds depend on."""
    return f"Seconds on one thread of {about['processor']}, torch {about['torch']}."
