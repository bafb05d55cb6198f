"""Compressed sensing: the image is sparse in wavelets."""

from dataclasses import dataclass

from workbench.classical._sigpy import Penalised


@dataclass(frozen=True)
class L1Wavelet(Penalised):
    """x = argmin ||A x - y||^2 / 2 + lam s ||W x||_1, W the Daubechies-4 wavelets: l1-wavelet compressed sensing.

    lam: in (0, 1), as a share of s = max |A^H y|, near which every coefficient vanishes; so it does not change with
    the scale of the data or the maps (||A|| is brought to 1).  FISTA of sigpy from the Tikhonov image, until the
    objective falls by less than a share `tol` in 20 iterations, or `iterations` are done, which warns. Noise that is
    not white is whitened first. Works with every linear operator. Lustig, Donoho, Pauly 2007.
    """

    card = dict(kind="classical", family="any", source="Lustig, Donoho, Pauly 2007")

    def solver(self, shape):
        """FISTA with the proximal map of the wavelet penalty."""
        from sigpy.linop import Wavelet
        from sigpy.prox import L1Reg, UnitaryTransform

        W = Wavelet(shape, wave_name="db4")
        proximal = UnitaryTransform(L1Reg(W.oshape, self.lam), W)
        return dict(proxg=proximal, g=lambda x: self.lam * abs(W(x)).sum().item(), alpha=1)
