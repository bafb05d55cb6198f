"""What the studies share: settings as fields, values one after the other, means with intervals beside published figures."""

import time
from dataclasses import asdict, dataclass
from math import isfinite, sqrt
from typing import NamedTuple

import torch
from scipy.special import stdtrit

from workbench.run import sample

MARKS = {
    "": "copied from the source",
    "2nd": "copied second hand, from notes on the paper: compare trends, not digits",
    "unverified": "from memory of the paper, never checked",
}


class Value(NamedTuple):
    """One number: of a metric, of a method, in a setting, on one problem."""

    setting: str
    method: str
    metric: str
    value: float


@dataclass(frozen=True)
class Study:
    """A published experiment. Fields are its settings; a kind of study has
    name, title, source: what it is called and where from.  metrics: metric -> its words.  note: where we differ, why.
    published(): (setting, method, metric) -> (figure, mark), a mark being a key of MARKS.
    values(say): its Values.  say: called with a line of text now and then.
    """

    name = title = source = note = ""
    metrics = {}

    def published(self):
        return {}

    def values(self, say):
        raise NotImplementedError(f"{type(self).__name__} should define values(say)")

    def repeated(self, n):
        """The same study with n repetitions (None: its own number)."""
        raise NotImplementedError(f"{type(self).__name__} should define repeated(n)")

    def rows(self, say=print):
        """One dict of (setting, method, metric): mean, half its 95 % interval, n, lost, published, mark."""
        groups = {}
        for v in self.values(say):
            groups.setdefault(v[:3], []).append(v.value)
        beside = self.published()
        keys = [*groups, *[key for key in beside if key not in groups]]
        return [row(key, groups.get(key, []), *beside.get(key, (None, None))) for key in keys]

    def run(self, say=print):
        """All that a page needs: settings, rows, seconds."""
        start = time.perf_counter()
        rows = self.rows(say)
        seconds = round(time.perf_counter() - start)
        return dict(name=self.name, settings=asdict(self), rows=rows, seconds=seconds)


def row(key, values, published, mark):
    """The dict of one figure; values that are not finite are counted in `lost` and left out of the mean."""
    finite = [v for v in values if isfinite(v)]
    found = dict(zip(("setting", "method", "metric"), key, strict=True))
    mean, half = mean_and_half(finite)
    return found | dict(
        mean=mean,
        half=half,
        n=len(finite),
        lost=len(values) - len(finite),
        published=published,
        mark=mark,
    )


def mean_and_half(values):
    """Mean and half of Student's 95 % interval, to five digits; None where there are too few values."""
    n = len(values)
    if n == 0:
        return None, None
    mean = sum(values) / n
    if n == 1:
        return digits(mean), None
    deviation = sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return digits(mean), digits(stdtrit(n - 1, 0.975) * deviation / sqrt(n))


def digits(value):
    return float(f"{value:.5g}")


def ddim_grid(process, steps):
    """`steps` entries of a tabulated schedule, evenly spaced from its last to its first, then 0: float64 (steps + 1,)."""
    times = torch.linspace(process.t_max, 1, steps, dtype=torch.float64).round()
    return torch.cat([times, times.new_zeros(1)])


def drawn(problem, sampler, n, seed, **how):
    """n evenly weighted draws: (n, *shape)."""
    post = sample(problem, sampler, n=n, seed=seed, progress=False, **how)
    if post.log_weights is None:
        return post.samples
    return post.resampled(len(post.samples), seed).samples


def sound(x):
    """Whether all draws are finite and not absurdly large."""
    return bool((x.abs() < 1e8).all())
