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
        "return -self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets)",
        "return self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets)",
        ("A2",),
    ),
    "mixture-noise-level": Mutation(
        MIXTURE,
        "return alpha, lambda c: alpha**2 * c + sigma**2",
        "return alpha, lambda c: alpha**2 * c + sigma",
        ("A1",),
    ),
}
