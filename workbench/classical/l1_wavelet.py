"""Compressed sensing: the image is sparse in wavelets."""

from dataclasses import dataclass

from workbench._errors import BadInput
from workbench.classical._sigpy import converged, least_squares, posed


@dataclass(frozen=True)
class L1Wavelet:
    """x = argmin ||A x - y||^2 / 2 + lam s ||W x||_1, W the Daubechies-4 wavelets: l1-wavelet compressed sensing.

    lam: in (0, 1), as a share of s = max |A^H y|, near which every coefficient vanishes; so it does not change with
    the scale of the data or the maps (||A|| is brought to 1).  FISTA of sigpy from the Tikhonov image, until the
    objective falls by less than a share `tol` in 20 iterations, or `iterations` are done, which warns. Noise that is
    not white is whitened first. Works with every linear operator. Lustig, Donoho, Pauly 2007.
    """

    card = dict(kind="classical", family="any", source="Lustig, Donoho, Pauly 2007")

    lam: float = 0.002
    tol: float = 1e-5
    iterations: int = 2000

    def __post_init__(self):
        if not 0 < self.lam < 1:
            raise BadInput(
                f"L1Wavelet: lam = {self.lam} should lie between 0 and 1; it is a share of max |A^H y|"
            )

    def reconstruct(self, problem):
        """The image (*A.in_shape) of problem.y."""
        from sigpy.linop import Wavelet
        from sigpy.prox import L1Reg, UnitaryTransform

        p = posed(problem, self.lam)
        W = Wavelet(list(p.A.in_shape), wave_name="db4")
        app = least_squares(
            p,
            proxg=UnitaryTransform(L1Reg(W.oshape, self.lam), W),
            g=lambda x: self.lam * abs(W(x)).sum().item(),
            alpha=1,
        )
        return converged(p, app, self.tol, self.iterations, "L1Wavelet")
