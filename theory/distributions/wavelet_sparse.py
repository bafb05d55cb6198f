"""Signals with independent, sparse wavelet coefficients: the law for which wavelet shrinkage is the denoiser."""

from math import prod

import torch

from theory.distributions._product import Product
from theory.distributions.independent_laplace import FLOAT64, laplace_pieces, real
from workbench._errors import BadInput
from workbench.operators.wavelet import Wavelet


class WaveletSparse(Product):
    """x = W^T z, z_j independent, 0 with probability 1 - lam, else Laplace of scale b 2^(-gamma j) in octave j.

    shape: of the signal, each axis a multiple of 2^levels.  levels: octaves, j = 0 the coarsest, with the approximation
    (never 0).  lam = 1 for Laplace coefficients.  wavelet: an orthonormal one of PyWavelets.
    E[x0 | x_t] is shrinkage of each coefficient, and its slopes are the eigenvalues of the Jacobian. With gamma = 1 + H
    in two dimensions, variances fall like 4^(-j (1 + H)). Mallat 1989; Donoho and Johnstone 1994.
    """

    card = dict(engine="product", exact=False, source="Donoho and Johnstone 1994")  # not under every linear A

    def __init__(
        self,
        shape,
        levels=3,
        lam=1.0,
        b=1.0,
        gamma=1.0,
        wavelet="haar",
        dtype=FLOAT64,
        process=None,
        noise_range=None,
    ):
        real(dtype, "WaveletSparse")
        W = Wavelet(tuple(shape), wavelet, levels, None, FLOAT64)
        if not W.isometry:
            raise BadInput(
                f"WaveletSparse: {wavelet!r} with {levels} levels of {tuple(shape)} is not orthonormal; use haar or db2 "
                f"and axes that are multiples of {2**levels}"
            )
        if not 0 < lam <= 1 or not b > 0:
            raise BadInput(f"WaveletSparse: lam = {lam} should be in (0, 1], b = {b} positive")
        self.levels, self.lam, self.b, self.gamma, self.wavelet = levels, lam, b, gamma, wavelet
        self.scales = b * 2.0 ** (-gamma * octaves(W))
        size = 10 * (2 * self.scales.square().sum()).sqrt().item()
        reach = (0.02 * self.scales.min().item(), size)
        super().__init__(self._pieces(W), shape, dtype, process, noise_range or reach, W)

    def _pieces(self, W):
        """Laplace everywhere; the spike's probability moved to the details."""
        pieces = laplace_pieces(self.scales, self.lam)
        coarse = prod(W._bands[0])
        if self.lam < 1:
            c = pieces.c.clone()
            c[:, :coarse, :2] -= torch.tensor(self.lam, dtype=FLOAT64).log()
            c[:, :coarse, 2] = -torch.inf
            pieces = type(pieces)(pieces.log_w, pieces.low, pieces.high, pieces.slope, c)
        return pieces

    @classmethod
    def example(cls, rng, dtype=FLOAT64):
        return cls((4, 2), 1, 0.6, 0.8, 1.0, "haar", dtype)


def octaves(W):
    """The octave of each coefficient of W: 0 for the approximation and the coarsest details, (d,)."""
    low, *details = W.split(torch.arange(W.out_shape[0]))
    j = torch.zeros(W.out_shape, dtype=FLOAT64)
    for level, bands in enumerate(details):
        for band in bands.values():
            j[band.flatten()] = level
    return j
