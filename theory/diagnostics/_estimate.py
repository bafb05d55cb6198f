"""What a diagnostic returns: a number, how sure it is, and what it was made of."""

from dataclasses import dataclass, fields
from math import sqrt
from typing import ClassVar

import torch


@dataclass(frozen=True, eq=False)
class Estimate:
    """value +- error (one standard error), from n points or loops and, for each, `probes` random directions (None:
    no randomness but that of the points)."""

    name: ClassVar[str] = "value"

    value: float
    error: float
    n: int
    probes: int | None

    def __float__(self):
        return self.value

    def __str__(self):
        more = [f"{f.name} {getattr(self, f.name):.4g}" for f in fields(self)[4:] if self._number(f.name)]
        made = f"n = {self.n}" + (f", {self.probes} probes" if self.probes else "")
        return f"{self.name} = {self.value:.4g} +- {self.error:.2g} ({', '.join([made, *more])})"

    def _number(self, name):
        return isinstance(getattr(self, name), (int, float))


def averaged(values):
    """Mean and standard error of values: (n,), two floats; the error of one value is not known: nan."""
    values = values.detach().double()
    error = values.std().item() / sqrt(len(values)) if len(values) > 1 else float("nan")
    return values.mean().item(), error


def pooled_ratio(above, below):
    """mean(above) / mean(below) and its standard error by the delta method, for above, below: (n,): two floats."""
    above, below = above.detach().double(), below.detach().double()
    ratio = (above.mean() / below.mean()).item() if below.mean() > 0 else float("nan")
    error = averaged(above - ratio * below)[1]
    return ratio, error / below.mean().item() if below.mean() > 0 else float("nan")


def root_ratio(above, below):
    """sqrt(mean(above) / mean(below)) and its standard error: two floats."""
    ratio, error = pooled_ratio(above, below)
    root = sqrt(max(ratio, 0.0)) if torch.isfinite(torch.tensor(ratio)) else ratio
    return root, error / (2 * root) if root > 0 else error
