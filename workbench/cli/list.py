"""List what there is: operators, samplers, priors, distributions, problems, claims, metrics and more."""

import json
from dataclasses import asdict

from workbench import catalogue
from workbench.cli import Parser


def main(argv):
    """`workbench list ROOM [--json]`; imports nothing but names."""
    parser = Parser("workbench list", description=__doc__)
    parser.add_argument("room", help=", ".join(catalogue.ROOMS))
    parser.add_argument("--json", action="store_true", help="one JSON list, cards included")
    args = parser.parse_args(argv)
    found = catalogue.entries(args.room)
    if args.json:
        print(json.dumps([{**asdict(entry), **entry.card, **tuned(entry)} for entry in found], indent=1))
        return
    width = max((len(entry.name) for entry in found), default=0)
    for entry in found:
        print(f"{entry.name:{width}}  {entry.summary}")
    if not found:
        print(f"no {args.room} yet")


def tuned(entry):
    """Of a problem: sampler -> its tuned fields, which `workbench run --tuned` uses."""
    if entry.room != "problems":
        return {}
    import problems

    return dict(tuned={k: v["fields"] for k, v in problems.settings(entry.name).items()})
