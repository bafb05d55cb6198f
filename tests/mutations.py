"""Mutations of the library, and the claims that must turn red on each: one wrong line, many claims that see it.

`claims` are codes. `python tests/mutate.py NAME` runs them; `--all` shows which others turn red too.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """`old`, which stands exactly once in `file`, becomes `new`."""

    file: str
    old: str
    new: str
    claims: tuple


MIXTURE = "theory/distributions/mixture.py"

MUTATIONS = {
    "mixture-score-sign": Mutation(
        MIXTURE,
        "return (torch.softmax(log_w, 1)[..., None] * g).sum(1).reshape(x.shape)",
        "return -(torch.softmax(log_w, 1)[..., None] * g).sum(1).reshape(x.shape)",
        ("A2",),
    ),
    "mixture-noise-level": Mutation(
        MIXTURE,
        "level = lambda c: alpha**2 * c + sigma**2  # noqa: E731",
        "level = lambda c: alpha**2 * c + sigma  # noqa: E731",
        ("A1",),
    ),
}
