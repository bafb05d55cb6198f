"""The base of every sampler: an algorithm with hyper-parameters as fields, and what a step carries to the next."""

from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from workbench._errors import BadInput
from workbench.samplers._published import Published


@dataclass
class State:
    """What the next step needs, tensors [n, ...]: x at the current time, log-weights (float64) if weighted."""

    x: Tensor
    log_w: Tensor | None = None

    def rows(self, index):
        """The state of the samples `index`, in that order."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v if v is None else v[index] for k, v in parts.items()})


@dataclass(frozen=True)
class Sampler(Published):
    """An algorithm box. A kind of sampler has `step(problem, state, t, s, rng)`: x at time t -> x at s < t.

    `run` owns the loop, the seeds, the batches, resampling, progress and files. `State` is the class of the state;
    `couples` says that rows of a step depend on one another, `apart` that they do so in resampling alone, so that
    ensembles may share a batch; `resample` is applied between steps if not None;
    `evidence` that the mean weight estimates p(y); `pools` that ensembles are pooled by their mean weights (else
    evenly); `uses_data` that the samples are meant to follow the data at all.
    """

    State = State
    couples = False
    apart = False
    resample = None
    evidence = True
    pools = True
    uses_data = True

    def grid(self, prior, steps):
        """The decreasing times to visit, ending at 0: float64 (steps + 1,)."""
        return prior.grid(steps)

    def init(self, problem, n, t, rng):
        """n samples at the first time t."""
        return self.State(problem.prior.initial(n, t, rng))

    def step(self, problem, state, t, s, rng):
        raise NotImplementedError(f"{type(self).__name__} should define step(problem, state, t, s, rng)")

    def finish(self, problem, state):
        """The samples, once the last step is done."""
        return state.x


@dataclass(frozen=True)
class Stepper(Sampler):
    """A sampler of whatever prior it is given; `guidance` makes the prior a posterior mean, None samples the prior."""

    guidance: Any = None

    def __post_init__(self):
        given = self.guidance
        if given is not None and (isinstance(given, type) or not hasattr(given, "bind")):
            raise BadInput(
                f"{type(self).__name__}: guidance = {given!r} cannot guide a stepper; give one such as MomentMatching(), "
                f"or run a sampler of its own, such as DPS(), by itself"
            )

    def prior(self, problem, rng=None):
        """The problem's prior, or the prior that guidance makes of it with the draws of rng."""
        return problem.prior if self.guidance is None else self.guidance.bind(problem, rng)
