"""Experiments: longer sweeps of what the claims check, a figure and its numbers each.

`python -m theory.experiments.NAME --out DIR [--seed 0] [--small]` writes DIR/NAME.png and DIR/NAME.json.
"""

import argparse
import io
import json
import os
import sys
from pathlib import Path

from workbench._errors import BadInput


class Parser(argparse.ArgumentParser):
    """A parser whose errors are BadInput."""

    def error(self, message):
        raise BadInput(f"{message}; see python -m {self.prog} --help")


def command(name, about, measure, plot, argv=None):
    """Write the figure and the numbers of one experiment; the exit status: 0 done, 2 bad input.

    measure(seed, small) gives a dict of plain numbers, plot(found) a figure of them.
    """
    parser = Parser(f"theory.experiments.{name}", description=about, allow_abbrev=False)
    parser.add_argument("--out", required=True, help=f"folder for {name}.png and {name}.json")
    parser.add_argument("--seed", default="0", help="of every random number (0)")
    parser.add_argument("--small", action="store_true", help="seconds instead of a minute, few points")
    try:
        args = parser.parse_args(argv)
        folder, seed = _folder(args.out), _whole(args.seed)
        found = measure(seed, args.small)
        for path in _write(folder, name, found, plot(found), seed, args.small):
            print(path)
    except BadInput as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _whole(word):
    if not word.isascii() or not word.isdigit():
        raise BadInput(f"--seed {word} should be a whole number that is not negative, such as 0")
    return int(word)


def _folder(path):
    """The folder, made where it is not there."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {path}: {error.strerror}; give a folder that can be written") from None
    return Path(path)


def _write(folder, name, found, figure, seed, small):
    """Both files, whole or not at all: their paths."""
    from workbench.provenance import commit, versions

    made = dict(experiment=name, seed=seed, small=small, versions=versions(), commit=commit())
    picture = io.BytesIO()
    figure.savefig(picture, dpi=100)
    numbers = json.dumps(dict(**made, found=found), indent=1) + "\n"
    whole = {folder / f"{name}.png": picture.getvalue(), folder / f"{name}.json": numbers.encode()}
    for path, content in whole.items():
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_bytes(content)
            os.replace(beside, path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise BadInput(f"--out {folder}: {error.strerror}; give a folder that can be written") from None
    return [*whole]
