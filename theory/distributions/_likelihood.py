"""What data say of a signal, and a prior times that, as values."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workbench._errors import BadInput


@dataclass(frozen=True, eq=False)
class Likelihood:
    """x -> log p(y | x), x: (n, *shape) -> (n,) float64."""

    A: Any
    y: Tensor
    noise: Any

    def __call__(self, x):
        return self.noise.log_likelihood(self.y, self.A(x))

    def fitting(self, prior):
        """Itself, if it takes the prior's signals; BadInput otherwise."""
        A, y = self.A, self.y
        fits = tuple(A.in_shape) == tuple(prior.shape) and A.in_dtype == prior.dtype
        if not fits or tuple(y.shape) != tuple(A.out_shape) or y.dtype != A.out_dtype:
            raise BadInput(
                f"condition: A maps {tuple(A.in_shape)} {A.in_dtype} to {tuple(A.out_shape)} {A.out_dtype}, the prior is "
                f"on {tuple(prior.shape)} {prior.dtype} and y is {tuple(y.shape)} {y.dtype}; they should agree"
            )
        return self


@dataclass(frozen=True, eq=False)
class Joint:
    """x -> log p(x) + beta log p(y | x) + shift."""

    prior: Any
    likelihood: Any
    shift: float = 0.0
    beta: float = 1.0

    def __call__(self, x):
        log_p = self.prior.log_prob(x) if hasattr(self.prior, "log_prob") else self.prior(x)
        return log_p.double() + self.beta * self.likelihood(x) + self.shift
