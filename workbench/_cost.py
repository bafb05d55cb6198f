"""What a run costs: denoiser calls, products with its Jacobian, operator calls. Counted by wrapping, never by hand."""

from dataclasses import dataclass, fields
from functools import cached_property
from math import prod

from workbench.operators._linear import Linear
from workbench.operators._operator import Operator
from workbench.priors._prior import Prior
from workbench.problem import Problem


@dataclass
class Cost:
    """Counts of one run, each in signals (a batch of n counts n): `denoiser` forward calls, `vjp` products with the
    denoiser's Jacobian, `operator` applications of A or A^H; `seconds` of wall time."""

    denoiser: int = 0
    vjp: int = 0
    operator: int = 0
    seconds: float = 0.0

    def __sub__(self, other):
        return Cost(*(getattr(self, k) - getattr(other, k) for k in vars(self)))


class CountedPrior(Prior):
    """A prior that counts its calls; everything else is the prior's own."""

    def __init__(self, prior, cost):
        self.__dict__.update(inner=prior, cost=cost)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def denoise(self, x, t):
        self.cost.denoiser += len(x)
        x0 = self.inner.denoise(x, t)
        if x0.requires_grad:
            x0.register_hook(self._count_vjp)
        return x0

    def tweedie(self, x, t):
        self.cost.denoiser += len(x)
        x0, covariance = self.inner.tweedie(x, t)

        def counted(v):
            self.cost.vjp += len(v)
            return covariance(v)

        return x0, counted

    def score(self, x, t):
        self.cost.denoiser += len(x)
        return self.inner.score(x, t)

    def grid(self, steps):
        return self.inner.grid(steps)

    def initial(self, n, t, rng):
        return self.inner.initial(n, t, rng)

    def _count_vjp(self, grad):
        self.cost.vjp += len(grad)


def _batch(x, shape):
    return x.numel() // max(1, prod(shape))


class _Counts:
    """The parts of a counted operator that a linear and a nonlinear one share."""

    in_shape = property(lambda self: self.inner.in_shape)
    out_shape = property(lambda self: self.inner.out_shape)
    in_dtype = property(lambda self: self.inner.in_dtype)
    out_dtype = property(lambda self: self.inner.out_dtype)

    def forward(self, x):
        self.cost.operator += _batch(x, self.in_shape)
        return self.inner.forward(x)


@dataclass(frozen=True, eq=False)
class CountedOperator(_Counts, Operator):
    """A nonlinear operator that counts its calls."""

    inner: Operator
    cost: Cost


@dataclass(frozen=True, eq=False)
class CountedLinear(_Counts, Linear):
    """A linear operator that counts its calls; closed forms stay the operator's own and count once."""

    inner: Linear
    cost: Cost

    def adjoint(self, y):
        self.cost.operator += _batch(y, self.out_shape)
        return self.inner.adjoint(y)

    def solve(self, b, rho, x0=None, tol=None):
        if type(self.inner).solve is Linear.solve:
            return super().solve(b, rho, x0, tol)
        self.cost.operator += _batch(b, self.in_shape)
        return self.inner.solve(b, rho, x0, tol)

    def norm(self):
        return self.inner.norm()

    def svd(self):
        return self.inner.svd()


@dataclass(frozen=True, eq=False)
class CountedProblem(Problem):
    """A problem whose prior and operator count; its exact posterior is worked out only where a sampler asks for it."""

    original: Problem | None = None
    cost: Cost | None = None

    @cached_property
    def exact(self):
        law = self.original.exact
        return None if law is None else CountedPrior(law, self.cost)


def counted(problem, cost):
    """The same problem, whose prior, operator and exact posterior add to `cost` when they are called."""
    kind = CountedLinear if isinstance(problem.A, Linear) else CountedOperator
    parts = {f.name: getattr(problem, f.name) for f in fields(Problem)}
    parts |= dict(prior=CountedPrior(problem.prior, cost), A=kind(problem.A, cost))
    return CountedProblem(**parts, original=problem, cost=cost)
