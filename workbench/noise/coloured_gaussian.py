"""Coloured Gaussian noise: its covariance given as an operator."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.noise._noise import Noise, standard_normal
from workbench.noise.gaussian import normalisation, squared_norm
from workbench.operators._linear import Linear
from workbench.operators.blur import CircularBlur
from workbench.operators.inverse import Inverse


@dataclass(frozen=True, eq=False)
class ColouredGaussian(Noise):
    """y = A(x) + L n with n standard normal: covariance L L^H per real component, L an invertible linear operator.

    factor: L, square, on the shape and dtype of y; a `CircularBlur` for stationary noise of power spectrum |k|^2,
    `Diagonal`, `Dense` (a Cholesky factor), or a product of them. It needs a singular value decomposition for the
    normalisation. Raises BadInput where it is not square, or its shape and dtype are not those of y.
    """

    card = dict(family="Gaussian", source="")

    factor: Linear

    def __post_init__(self):
        Inverse(self.factor)  # checks that it is square

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        kernel = 0.05 * rng.normal(torch.empty(1, 3, 4, dtype=dtype))[0]
        kernel[0, 0] = 0.3
        return cls(CircularBlur(kernel))

    def draw(self, clean, rng):
        return clean + self._for(clean)(standard_normal(clean, rng))

    def _for(self, v):
        """L on the device of v; BadInput where v is not what it maps."""
        L = self.factor
        if v.dtype != L.in_dtype or tuple(v.shape[v.ndim - len(L.in_shape) :]) != tuple(L.in_shape):
            raise BadInput(
                f"noise.ColouredGaussian: y is {tuple(v.shape)} {v.dtype}, the factor maps {tuple(L.in_shape)} "
                f"{L.in_dtype}; build it for the shape and dtype of y"
            )
        return L.to(v.device)

    def log_likelihood(self, y, clean):
        """-||L^{-1} (y - clean)||^2 / 2 - (c / 2) (log det L L^H + entries log 2 pi), c real components an entry."""
        components = 2 if y.is_complex() else 1
        log_det = 2 * components * self.factor.svd()[1].double().log().sum().item()
        residual = Inverse(self._for(y))(y - clean)
        return normalisation(components * y.numel(), log_det) - 0.5 * squared_norm(residual, y.ndim)

    def cov(self, v):
        """Cov[y | clean] v = L L^H v."""
        L = self._for(v)
        return L(L.H(v))

    def whiten(self, A, y):
        """L^{-1} A and L^{-1} y, whose noise is standard normal."""
        inverse = Inverse(self._for(y))
        return inverse @ A, inverse(y)
