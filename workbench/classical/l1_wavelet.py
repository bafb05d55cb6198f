"""Compressed sensing MRI: the image is sparse in wavelets."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.classical._sense import converged, scaled, whitened_coils


@dataclass(frozen=True)
class L1Wavelet:
    """x = argmin ||A x - y||^2 / 2 + lam s ||W x||_1, W the Daubechies-4 wavelets: l1-wavelet compressed sensing.

    lam: in (0, 1), as a share of s = max |A^H y|, near which every coefficient vanishes; so it does not change with
    the scale of the data or the maps (||A|| is brought to 1).  FISTA of sigpy from the CG-SENSE image, until the
    objective falls by less than a share `tol` in 20 iterations, or `iterations` are done, which warns. Noise that is
    correlated between coils is whitened first. Needs a CartesianMRI. Lustig, Donoho, Pauly 2007.
    """

    card = dict(kind="classical", family="MRI", source="Lustig, Donoho, Pauly 2007")

    lam: float = 0.002
    tol: float = 1e-5
    iterations: int = 2000

    def __post_init__(self):
        if not 0 < self.lam < 1:
            raise BadInput(
                f"L1Wavelet: lam = {self.lam} should lie between 0 and 1; it is a share of max |A^H y|"
            )

    def reconstruct(self, problem):
        """The image (*A.in_shape) of problem.y: (C, m)."""
        from sigpy.mri.app import L1WaveletRecon

        A, y = whitened_coils(problem, "L1Wavelet")
        (kspace, maps, weights, start), scale = scaled(A, y, self.lam)
        app = L1WaveletRecon(kspace, maps, self.lam, weights=weights, x=start, alpha=1, show_pbar=False)
        converged(app, self.tol, self.iterations)
        return scale * torch.from_numpy(app.x).to(problem.y)
