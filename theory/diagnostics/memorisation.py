"""Whether draws are copies of training data: nearest-neighbour ratios, and models trained on two halves."""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch

from theory.diagnostics._estimate import Estimate, averaged
from theory.diagnostics._field import coordinates
from workbench._errors import BadInput


def nearest_ratio(x, train):
    """d_1 / d_2, the distances of each draw to its nearest and second-nearest training points: (n,) in [0, 1].

    x: (n, *shape), train: (N, *shape). Yoon et al. 2023.
    """
    if len(train) < 2 or tuple(x.shape[1:]) != tuple(train.shape[1:]):
        raise BadInput(
            f"train is {tuple(train.shape)}, it should be 2 or more signals of {tuple(x.shape[1:])}"
        )
    d = _apart(x, train).topk(2, largest=False).values
    return torch.where(d[:, 1] > 0, d[:, 0] / d[:, 1], 0.0)


@dataclass(frozen=True, eq=False)
class Memorisation(Estimate):
    """value: share of draws with d_1 < threshold d_2.  fresh: the same share of fresh draws of the law, which no one
    memorised.  excess: value - fresh.  z: excess over its standard error if both were one share.  ratios: (n,)."""

    name: ClassVar[str] = "memorised share"

    fresh: float
    excess: float
    z: float
    ratios: torch.Tensor

    @property
    def found(self):
        """Whether more draws are copies than fresh ones seem to be, beyond three standard errors."""
        return self.z > 3


def memorised(x, train, fresh, threshold=1 / 3):
    """The share of draws x: (n, *shape) nearer than a third of d_2 to one of train: (N, *shape), beside that of `fresh`.

    fresh: (m, *shape) draws of the law that were not trained on, such as held-out data: in few dimensions many of them
    look memorised too (one in ten in two), and a share alone means nothing.
    """
    ratios, others = nearest_ratio(x, train), nearest_ratio(fresh, train)
    share, base = (r.lt(threshold).double().mean().item() for r in (ratios, others))
    n, m = len(ratios), len(others)
    pooled = (share * n + base * m) / (n + m)
    spread = sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = (share - base) / spread if spread > 0 else 0.0
    return Memorisation(share, sqrt(share * (1 - share) / n), n, None, base, share - base, z, ratios)


@dataclass(frozen=True, eq=False)
class Halves(Estimate):
    """value: mean cosine of the two models' draws from the same noise.  shuffled: of draws from different noise, the
    value of models that share nothing but the law.  nearest: mean cosine of a draw and the training signal most like it
    (nan without train).  High value and low nearest: one law was learned; low value and high nearest: the data were."""

    name: ClassVar[str] = "two-halves similarity"

    shuffled: float
    nearest: float


def halves_similarity(first, second, train=None, centre=0.0):
    """mean cos(first_i - c, second_i - c) over i: what two models trained on disjoint halves make of the same noise.

    first, second: (n, *shape), row i of both from one noise.  train: (N, *shape) the signals that either saw.
    centre: c, (*shape), the mean signal, without which all images with a background look alike. Kadkhodaie et al. 2024.
    """
    if first.shape != second.shape or len(first) < 2:
        raise BadInput(
            f"first is {tuple(first.shape)} and second {tuple(second.shape)}; they should be alike, 2 or more"
        )
    a, b = _unit(first - centre), _unit(second - centre)
    cosines = (a * b).sum(1)
    every = (a @ b.mT).sum().item() - cosines.sum().item()
    nearest = float("nan")
    if train is not None:
        seen = _unit(train - centre).mT
        nearest = 0.5 * ((a @ seen).amax(1) + (b @ seen).amax(1)).mean().item()
    n = len(a)
    return Halves(*averaged(cosines), n, None, every / (n * (n - 1)), nearest)


def _apart(x, y):
    return torch.cdist(
        coordinates(x).double(), coordinates(y).double(), compute_mode="donot_use_mm_for_euclid_dist"
    )


def _unit(x):
    u = coordinates(x).double()
    return u / u.norm(dim=1, keepdim=True)
