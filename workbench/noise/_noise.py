"""The base of every noise law: what turns the clean measurement A(x) into data."""

from dataclasses import dataclass

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

    def sample(self, clean, seed, stream="noise"):
        """Data y, of the shape of `clean`, drawn with `seed` in a stream of its own."""
        return self.draw(clean, Rng(seed, stream))

    def draw(self, clean, rng):
        raise NotImplementedError(f"{type(self).__name__} should define draw(clean, rng)")

    def log_likelihood(self, y, clean):
        """log p(y | clean), normalised: float64 (*batch,) for y: (*m) and clean: (*batch, *m)."""
        raise NotImplementedError(f"{type(self).__name__} should define log_likelihood(y, clean)")


def standard_normal(clean, rng):
    """One row of standard normal numbers in the shape of `clean`."""
    return rng.normal(clean[None])[0]
