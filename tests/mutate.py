"""Run claims on a library with one wrong line: `python tests/mutate.py NAME [CLAIM ...]`, or `--all`.

The wrong line exists in the memory of this process only: the source of one file is changed as Python reads it.
Prints one JSON object: claim -> "holds", "red: ..." for a row that fails or a control that does not break, or
"red: <error>" where it raises.
"""

import json
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def install(file, old, new):
    """From now on `file` is read with `old` replaced by `new`; ValueError unless `old` is in it exactly once."""
    target = str(ROOT / file)
    source = Path(target).read_text(encoding="utf-8")
    if source.count(old) != 1:
        raise ValueError(f"{file} holds {old!r} {source.count(old)} times; a mutation needs exactly one")
    original = SourceFileLoader.get_code

    def get_code(self, name):
        if self.path != target:
            return original(self, name)
        return compile(source.replace(old, new), target, "exec", dont_inherit=True)

    SourceFileLoader.get_code = get_code


def verdict(name):
    """What the claim called `name` comes to now."""
    from theory import claims

    try:
        evidence = claims.verify(name)
    except Exception as error:
        return f"red: {type(error).__name__}: {error}"[:200]
    if not evidence.holds:
        return "red: does not hold"
    return "holds" if evidence.control_fails else "red: a control does not break"


def main(argv):
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import torch
    from mutations import MUTATIONS

    torch.set_num_threads(1)
    mutation = MUTATIONS[argv[0]]
    install(mutation.file, mutation.old, mutation.new)
    if argv[1:] == ["--all"]:
        from theory import claims

        names = [entry.card["code"] for entry in claims.select(tier=1)]
    else:
        names = argv[1:] or mutation.claims
    print(json.dumps({name: verdict(name) for name in names}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
