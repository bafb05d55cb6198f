"""The base of every noise law: what turns the clean measurement A(x) into data."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True, eq=False)
class Noise:
    """A law of the data y given the clean measurement A(x).

    A kind of noise has `draw(clean, rng)` and `log_likelihood(y, clean)`; Gaussian kinds also `cov(v)` and
    `whiten(A, y)`. sigma and every covariance are per real component.
    """

    def mean(self, clean):
        """E[y | clean], in the units of y."""
        return clean

    def residual(self, y, clean):
        """y - E[y | clean], in the units of clean = A(x)."""
        return y - self.mean(clean)

    def sample(self, clean, seed, stream="noise"):
        """Data y, of the shape of `clean`, drawn with `seed` in a stream of its own."""
        return self.draw(clean, Rng(seed, stream))

    def draw(self, clean, rng):
        raise NotImplementedError(f"{type(self).__name__} should define draw(clean, rng)")

    def log_likelihood(self, y, clean):
        """log p(y | clean), normalised: float64 (*batch,) for y: (*m) and clean: (*batch, *m)."""
        raise NotImplementedError(f"{type(self).__name__} should define log_likelihood(y, clean)")

    def plug_in(self, y):
        """y' and a Gaussian noise for which y' = A(x) + noise stands for this law: itself where it is Gaussian.

        For methods that know no other noise. BadInput where there is no such stand-in.
        """
        if hasattr(self, "cov"):
            return y, self
        raise BadInput(
            f"noise.{type(self).__name__} has no Gaussian stand-in; use a sampler that needs A alone: FKSteering, SVDD, SCG"
        )

    def sharpest(self, y):
        """A Gaussian noise whose precision bounds the curvature of -log p(y | clean) in clean: what steps must allow for."""
        return self.plug_in(y)[1]

    def relaxed(self, y, clean):
        """log p(y | clean), continued with a slope to where the law itself has none, for iterates that are not signals yet.

        (*batch,) float64, as `log_likelihood`, which it is where nothing needs continuing.
        """
        return self.log_likelihood(y, clean)

    def gradient(self, y, clean):
        """The gradient of `relaxed` in clean, of its shape and dtype: d log p = Re<gradient, d clean>."""
        with torch.enable_grad():
            clean = clean.detach().requires_grad_()
            (g,) = torch.autograd.grad(self.relaxed(y, clean).sum(), clean)
        return g


def standard_normal(clean, rng):
    """One row of standard normal numbers in the shape of `clean`."""
    return rng.normal(clean[None])[0]


def summed(terms, ndim):
    """The sum over the last `ndim` axes, in double precision: the log-density of y from that of its entries."""
    return terms.double().sum(tuple(range(terms.ndim - ndim, terms.ndim))) if ndim else terms.double()


def beside(like, value):
    """`value`, a number or a tensor that broadcasts to `like`, as a real tensor on its device, in double precision."""
    return torch.as_tensor(value, dtype=torch.float64).to(like.device)


def positive(who, name, value):
    """Raise BadInput unless `value`, a number or a real tensor, is finite and above 0 everywhere."""
    value = torch.as_tensor(value)
    if value.is_complex() or not (value.isfinite().all() and (value > 0).all()):
        raise BadInput(f"noise.{who}: {name} = {value} should be positive and finite")


def real(who, clean):
    """`clean`, in double precision; BadInput where it is complex."""
    if clean.is_complex():
        raise BadInput(
            f"noise.{who}: A(x) is complex, it should be real; measure an intensity or a magnitude"
        )
    return clean.double()
