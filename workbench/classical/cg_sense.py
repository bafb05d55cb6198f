"""Tikhonov-regularised least squares: CG-SENSE where the operator is multi-coil MRI."""

from dataclasses import dataclass

from workbench._errors import BadInput
from workbench.noise.gaussian import CorrelatedGaussian


@dataclass(frozen=True)
class CGSense:
    """x = argmin ||A x - y||^2 + lam ||A||^2 ||x||^2, solved to a relative residual of `tol` (CG-SENSE).

    lam: > 0, as a share of the largest eigenvalue of A^H A, so that it means the same for every operator and does not
    change with the scale of the data.  Noise that is correlated between coils is whitened first. Works with every
    linear operator, in closed form where `A.solve` has one. Pruessmann, Weiger, Boernert, Boesiger 2001.
    """

    card = dict(kind="classical", family="any", source="Pruessmann et al. 2001")

    lam: float = 0.01
    tol: float = 1e-6

    def __post_init__(self):
        if not self.lam > 0:
            raise BadInput(
                f"CGSense: lam = {self.lam} should be positive; for almost no regularisation use 1e-6"
            )

    def reconstruct(self, problem):
        """The image (*A.in_shape) of problem.y."""
        A, y = problem.A, problem.y
        if isinstance(problem.noise, CorrelatedGaussian):
            A, y = problem.noise.whiten(A, y)
        return A.solve(A.H(y), self.lam * A.norm() ** 2, tol=self.tol)
