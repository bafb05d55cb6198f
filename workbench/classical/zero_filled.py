"""The image that comes for free: what was not measured is taken to be zero."""

from dataclasses import dataclass

from workbench.operators.adjointness import inner


@dataclass(frozen=True)
class ZeroFilled:
    """x = c A^H y with c = argmin ||y - c A A^H y||: in MRI the zero-filled inverse FFT, coils combined by their maps.

    The coils' combination sum_c conj(maps_c) x_c is that of Roemer et al. 1990; c puts it on the scale of x whatever
    the scale of A (it is 1 for full sampling with sum_c |maps_c|^2 = 1). Works with every linear operator.
    """

    card = dict(kind="classical", family="any", source="Roemer et al. 1990")

    def reconstruct(self, problem):
        """The image (*A.in_shape) of problem.y."""
        x = problem.A.H(problem.y)
        seen = problem.A(x)
        return (inner(seen, problem.y) / inner(seen, seen)).item() * x
