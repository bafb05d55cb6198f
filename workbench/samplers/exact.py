"""The exact conditional score, and exact draws: what every other sampler is measured against."""

from dataclasses import dataclass

from workbench._errors import BadInput
from workbench.samplers._guidance import Guidance
from workbench.samplers._sampler import Sampler, State


def exact_law(problem):
    """The exact posterior of the problem; BadInput where there is none."""
    if problem.exact is None:
        raise BadInput(
            f"problem {problem.name or 'without a name'} has no exact posterior "
            f"({type(problem.prior).__name__}, {type(problem.A).__name__}, {type(problem.noise).__name__}); "
            f"use an analytic prior with a linear operator and Gaussian noise, or another guidance"
        )
    return problem.exact


@dataclass(frozen=True)
class Exact(Guidance):
    """E[x0 | x_t, y] itself, where the prior and the operator give it: leaves only discretisation error."""

    card = dict(kind="guidance", exactness="E0", needs="exact posterior", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="")  # fmt: skip

    def bind(self, problem, rng=None):
        """The conditional prior."""
        return exact_law(problem)


@dataclass(frozen=True)
class ExactDraws(Sampler):
    """x ~ p(x | y) drawn directly, no diffusion: the floor of every comparison."""

    card = dict(kind="draws", exactness="E0", needs="exact posterior", complex=True, nonlinear=False, poisson=False,
                cost="0 NFE", source="")  # fmt: skip

    def grid(self, prior, steps):
        """One step: there is nothing to discretise."""
        return prior.grid(1)

    def step(self, problem, state, t, s, rng):
        return State(
            exact_law(problem).sample(len(state.x), rng.seed, stream=f"{rng.stream}/exact", first=rng.first)
        )
