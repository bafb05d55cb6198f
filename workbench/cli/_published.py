"""The suite `published`: published experiments with exact posteriors, run again; our figures beside theirs."""

import json
import sys
from pathlib import Path

from workbench.cli._flags import whole


def add_flags(parser):
    """The flags of this suite alone."""
    group = parser.add_argument_group("of the suite published")
    group.add_argument("--studies", type=words, metavar="A,B", help="gmm-25, ksd, levy (all)")
    group.add_argument("--repetitions", type=whole, help="problems of each cell (each study's own number)")


def words(text):
    """Names between commas."""
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise ValueError
    return found


def run(args, machine, files, write):
    """The studies asked for; with --overwrite the others of an earlier published.json stay. Status 0."""
    from theory.scoreboard.published.page import text
    from theory.scoreboard.published.page import words as page
    from theory.scoreboard.published.studies import find_studies
    from workbench._allocator import keep_large_blocks
    from workbench.cli._flags import set_threads

    studies = find_studies(args.studies)
    targets = files(args.out, "published", args.overwrite)
    before = earlier(args.out)
    keep_large_blocks()
    set_threads(args.threads or 1)
    found = dict(suite="published", machine=machine(), studies=before)
    for study in studies:
        found["studies"] = merged(
            found["studies"], study.repeated(args.repetitions).run(say), [s.name for s in find_studies()]
        )
        write(targets, dict(json=json.dumps(found, indent=1) + "\n", md=page(found)))
    names = [study.name for study in studies]
    done = [study for study in found["studies"] if study["name"] in names]
    print(json.dumps(found, indent=1) if args.json else "\n\n".join(text(study) for study in done))
    return 0


def say(line):
    print(f"  {line}", file=sys.stderr, flush=True)


def earlier(out):
    """The studies that published.json in that folder holds."""
    path = None if out is None else Path(out) / "published.json"
    return json.loads(path.read_text())["studies"] if path is not None and path.exists() else []


def merged(studies, new, order):
    """The studies with the new one in place of that of its name, in order."""
    kept = [study for study in studies if study["name"] != new["name"]]
    return sorted([*kept, new], key=lambda study: order.index(study["name"]))
