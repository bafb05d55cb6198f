"""The image that comes for free: what was not measured is taken to be zero."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ZeroFilled:
    """x = A^H y, the adjoint: in MRI the zero-filled inverse FFT of each coil, combined as sum_c conj(maps_c) x_c.

    That is the combination of Roemer et al. 1990 where sum_c |maps_c|^2 = 1 and the noise is white. Works with every
    linear operator; only for near-isometries, as MRI's, is it on the scale of x.
    """

    card = dict(kind="classical", family="any", source="Roemer et al. 1990")

    def reconstruct(self, problem):
        """The image (*A.in_shape) of problem.y."""
        return problem.A.H(problem.y)
