"""Total variation: the image is made of flat pieces."""

from dataclasses import dataclass

from workbench.classical._sigpy import Penalised


@dataclass(frozen=True)
class TotalVariation(Penalised):
    """x = argmin ||A x - y||^2 / 2 + lam s sum_axis ||D_axis x||_1, D the periodic differences: total variation.

    lam: in (0, 1), as a share of s = max |A^H y|, so it does not change with the scale of the data or the maps (||A||
    is brought to 1).  ADMM of sigpy with rho = 2 sqrt(lam) from the Tikhonov image, until the objective falls by less
    than a share `tol` in 20 iterations, or `iterations` are done, which warns: sigpy's default solver needs six times
    the iterations. Noise that is not white is whitened first. Works with every linear operator. The variation is
    anisotropic, of complex moduli. Rudin, Osher, Fatemi 1992; Block, Uecker, Frahm 2007.
    """

    card = dict(kind="classical", family="any", source="Block, Uecker, Frahm 2007")

    def solver(self, shape):
        """ADMM on the differences."""
        from sigpy.linop import FiniteDifference
        from sigpy.prox import L1Reg

        D = FiniteDifference(shape)
        return dict(
            proxg=L1Reg(D.oshape, self.lam),
            g=lambda v: self.lam * abs(v).sum().item(),
            G=D,
            solver="ADMM",
            rho=2 * self.lam**0.5,
            max_cg_iter=5,
        )
