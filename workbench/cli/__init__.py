"""The command line: one command a file, found by reading the folder; imports wait until a command runs."""

import argparse
import ast
import sys
from importlib import import_module
from pathlib import Path

from workbench._errors import BadInput, unknown


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and status 2, and which takes no abbreviations."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def commands():
    """Each command's name and one-line summary, read without importing it."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return {f.stem: ast.get_docstring(ast.parse(f.read_text(encoding="utf-8"))).split("\n")[0] for f in files}


def main(argv=None):
    """Run one command; the exit status: 0 done, 1 a check did not hold, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else [*argv]  # here `list` is the command of that name
    known = commands()
    lines = "\n".join(f"  {name:12} {summary}" for name, summary in known.items())
    if not argv or argv[0] in ("-h", "--help"):
        print(f"workbench: inverse problems with diffusion priors, and how right the answer is\n\n{lines}\n")
        print("workbench COMMAND --help tells the rest.")
        return 0
    if argv[0] == "--version":
        import workbench

        print(f"workbench {workbench.__version__}")
        return 0
    try:
        if argv[0] not in known:
            raise unknown("command", argv[0], [*known], "`workbench --help`")
        command = import_module(f"workbench.cli.{argv[0]}")
        return command.main(argv[1:]) or 0
    except BadInput as error:
        return _refuse(argv[0], error)
    except KeyboardInterrupt:
        return _refuse(argv[0], "interrupted; the same command goes on where it was", 130)
    except BrokenPipeError:  # the reader of our output left
        sys.stderr.close()
        return 0
    except OSError as error:
        return _refuse(
            argv[0],
            f"{error.filename or 'a file'}: {error.strerror or error}; check that it is there and allowed",
        )
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        return _refuse(
            argv[0], "not enough memory; use fewer --slices, a smaller -n or --batch, or bin the data"
        )


def _refuse(command, error, status=2):
    sentence = " ".join(str(error).split())
    sys.stderr.write(f"workbench {command}: {sentence}\n")
    return status
