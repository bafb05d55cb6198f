"""Coded diffraction patterns: the far field of an object seen through several known masks."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.fft import fftn, fftshift, ifftn, ifftshift

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._linear import Linear, ridge
from workbench.operators._operator import checked
from workbench.operators._sizes import integer, signal_shape
from workbench.operators.mask import Mask


@dataclass(frozen=True, eq=False)
class CodedDiffraction(Linear):
    """y_k = F(d_k x), k = 1..K: the fields behind K masks; Intensity(A.out_shape) @ A is what a detector counts.

    masks: (K, *shape) complex, d_k without unit; `octanary_masks` draws them.  x: (*, *shape) of `dtype`, real or
    complex (default: the masks').  y: (*, K, *shape) complex.  F is the centred unitary Fourier transform, as in
    `Fourier`; the paper's is not normalised, its intensities are larger by the number of entries of x.

    A^H A is multiplication by sum_k |d_k|^2, so `solve`, `svd` and `norm` are closed forms.
    Candes, Li, Soltanolkotabi 2015, "Phase retrieval from coded diffraction patterns".
    """

    card = dict(family="phase retrieval", linear=True, svd=True, source="Candes, Li and Soltanolkotabi 2015")

    masks: Tensor
    dtype: torch.dtype | None = None

    def __post_init__(self):
        masks = self.masks
        if not isinstance(masks, Tensor) or not masks.is_complex() or masks.ndim < 2:
            raise BadInput(
                f"CodedDiffraction: masks has shape {tuple(getattr(masks, 'shape', ()))} and type "
                f"{getattr(masks, 'dtype', type(masks).__name__)}, it should be a complex tensor (K, *shape)"
            )
        if self.in_dtype.to_complex() != masks.dtype:
            raise BadInput(
                f"CodedDiffraction: dtype = {self.dtype} and masks of {masks.dtype} should have one precision; use A.to(...)"
            )

    in_shape = property(lambda self: tuple(self.masks.shape[1:]))
    out_shape = property(lambda self: tuple(self.masks.shape))
    in_dtype = property(lambda self: self.dtype or self.masks.dtype)
    out_dtype = property(lambda self: self.masks.dtype)
    axes = property(lambda self: tuple(range(1 - self.masks.ndim, 0)))

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        count, shape = integer(rng, 1, 3), signal_shape(rng, 25)
        return cls(octanary_masks(count, shape, rng.seed, dtype.to_complex()), dtype)

    def forward(self, x):
        seen = self.masks * x.unsqueeze(-self.masks.ndim)
        return fftshift(fftn(ifftshift(seen, self.axes), dim=self.axes, norm="ortho"), self.axes)

    def adjoint(self, y):
        fields = fftshift(ifftn(ifftshift(y, self.axes), dim=self.axes, norm="ortho"), self.axes)
        x = (self.masks.conj() * fields).sum(-self.masks.ndim)
        return x if self.in_dtype.is_complex else x.real

    @cached_property
    def power(self):
        """sum_k |d_k|^2: (*shape), the diagonal of A^H A."""
        return self.masks.abs().square().sum(0)

    def normal(self, x):
        return self.power * x

    def norm(self):
        return self.power.max().item() ** 0.5

    def gram_spectrum(self, axes, probes=64):
        return self.power.mean(axes, keepdim=True).expand(self.in_shape)

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = b / (sum_k |d_k|^2 + rho)."""
        checked(b, self.in_shape, self.in_dtype, "CodedDiffraction.solve")
        rho = ridge(rho, b, len(self.in_shape))
        if (rho == 0).any() and (self.power == 0).any():
            raise BadInput("solve: rho = 0 and all masks hide an entry, so there is no inverse; use rho > 0")
        return b / (self.power + rho)

    def svd(self):
        """The entries that some mask passes, their gains sqrt(sum_k |d_k|^2), and the masks divided by these."""
        seen, gain = self.power > 0, self.power.sqrt()
        V = Mask(seen, self.in_dtype).H
        U = replace(self, masks=torch.where(seen, self.masks / torch.where(seen, gain, 1), 0)) @ V
        return U, gain[seen], V


def octanary_masks(count, shape, seed=0, dtype=torch.complex64):
    """(count, *shape) independent d = b1 b2, b1 uniform on {1, -1, i, -i}, b2 = sqrt(1/2) (4 in 5) or sqrt(3) (1 in 5).

    So that E d = E d^2 = 0, E |d|^2 = 1 and E |d|^4 = 2. Candes, Li, Soltanolkotabi 2015.
    """
    u = Rng(seed, "operator").uniform(_checked_count(count), *shape, 2)
    size = torch.where(u[..., 1] < 0.8, 0.5**0.5, 3**0.5)
    return (size * _quarter_turns(u[..., 0])).to(dtype)


def quaternary_masks(count, shape, seed=0, dtype=torch.complex64):
    """(count, *shape) independent uniform phases out of {1, -1, i, -i}: masks that absorb nothing, sum |d|^2 = count."""
    return _quarter_turns(Rng(seed, "operator").uniform(_checked_count(count), *shape)).to(dtype)


def ternary_masks(count, shape, seed=0, dtype=torch.complex64):
    """(count, *shape) independent entries 1, 0, -1 with probabilities 1/4, 1/2, 1/4 (Candes et al. 2015)."""
    u = Rng(seed, "operator").uniform(_checked_count(count), *shape)
    return ((u < 0.25).to(dtype.to_real()) - (u >= 0.75).to(dtype.to_real())).to(dtype)


def _quarter_turns(u):
    """Uniforms in [0, 1) -> 1, i, -1 or -i, exactly."""
    turns = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128)
    return turns[(4 * u).long()]


def _checked_count(count):
    if count < 1:
        raise BadInput(f"masks: count = {count} should be at least 1 pattern")
    return count
