"""The guard against a user's own `problems.py` or `theory.py` standing in for ours."""

import sys
from importlib.util import find_spec
from pathlib import Path


def refuse_shadows(names=("problems", "theory")):
    """Raise ImportError, naming both files, when one of `names` would be imported from elsewhere than our tree."""
    home = Path(__file__).resolve().parent.parent
    for name in names:
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        ours = home / name / "__init__.py"
        if found == ours:
            continue
        sentence = (
            f"workbench needs its own package {name!r} ({ours}), but Python finds {found or 'none'}; "
            f"rename your file, or run from another folder"
        )
        if sys.argv[0] == "-m":  # `python -m workbench`: a command line, so one line and status 2
            sys.stderr.write(f"workbench: {sentence}\n")
            raise SystemExit(2)
        raise ImportError(sentence)
