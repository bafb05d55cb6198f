"""One kind of error for what the user gave: it names the argument, its value and the mend."""

from difflib import get_close_matches


class BadInput(ValueError):
    """What was given cannot be used. The sentence names the argument, its value and the mend; the command line
    prints it on one line and exits with status 2."""


def unknown(kind, name, known, where):
    """A BadInput for a name that is not in a list, with the nearest one suggested."""
    near = get_close_matches(str(name).lower(), known, n=1, cutoff=0.4)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return BadInput(f"{kind} {name!r} is not known; {guess}{where} shows all {len(known)}")
