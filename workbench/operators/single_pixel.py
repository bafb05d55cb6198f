"""The single-pixel camera: one detector, and mirrors that show it one pattern after another."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._linear import Linear, ridge
from workbench.operators._operator import checked
from workbench.operators._rows import distinct_places, random_rows, scatter
from workbench.operators._sizes import integer, sizes
from workbench.operators.hadamard import Hadamard


@dataclass(frozen=True, eq=False)
class SinglePixel(Linear):
    """y_i = sum_j p_ij x_j with mirrors p_ij = (1 + h_ij) / 2 on or off, h a row of a scrambled +-1 Hadamard matrix.

    shape: of the image, n pixels in all, a power of two.  rows: (m,) which rows of the Hadamard matrix, in natural order;
    row 0 is all mirrors on, the total light.  scramble: (n,) a permutation of the pixels before the transform, which
    makes the patterns look like noise (torch.arange(n) for plain ones).  y: (*, m), in the image's unit times pixels.

    y with row 0 in it gives the +-1 coefficients as 2 y_i - y_0. Two exposures with complementary patterns (mirrors on
    and off exchanged) give them as a difference; that is a StructuredRandom up to scale. A A^H = n / 4 (I + 1 1^T + ...)
    is the identity plus rank two, so solve is a closed form. Build one with `SinglePixel.draw(m, shape, seed)`.
    Duarte et al. 2008.
    """

    card = dict(family="compressed sensing", linear=True, svd=False, source="Duarte et al. 2008")

    shape: tuple
    rows: Tensor
    scramble: Tensor
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        n = prod(self.shape)
        Hadamard(tuple(self.shape))  # refuses a size that is no power of two
        distinct_places("SinglePixel: rows", self.rows, n)
        distinct_places("SinglePixel: scramble", self.scramble, n)
        if len(self.scramble) != n:
            raise BadInput(
                f"SinglePixel: scramble has {len(self.scramble)} entries, it should permute {n} pixels"
            )

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: tuple(self.rows.shape))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def draw(cls, m, shape, seed=0, dtype=torch.float32):
        """m patterns: all mirrors on, and m - 1 others at random, of randomly permuted pixels."""
        rng, n = Rng(seed, "operator"), prod(shape)
        others = random_rows(m - 1, n - 1, rng) + 1 if m > 1 else torch.empty(0, dtype=torch.int64)
        scramble = rng.uniform(1, n)[0].argsort()
        return cls(tuple(shape), torch.cat([torch.zeros(1, dtype=torch.int64), others]), scramble, dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape = tuple(2**k for k in sizes(rng, 2, 0, 3))
        return cls.draw(integer(rng, 1, prod(shape)), shape, rng.seed, dtype)

    @property
    def _hadamard(self):
        return Hadamard((prod(self.shape),), self.dtype)

    def forward(self, x):
        x = x.flatten(x.ndim - len(self.shape))
        n = x.shape[-1]
        signed = n**0.5 * self._hadamard.forward(x[..., self.scramble])[..., self.rows]
        return (x.sum(-1, keepdim=True) + signed) / 2

    def adjoint(self, y):
        n = prod(self.shape)
        signed = n**0.5 * self._hadamard.adjoint(scatter(y, self.rows, (n,)))
        x = (y.sum(-1, keepdim=True) + scatter(signed, self.scramble, (n,))) / 2
        return x.unflatten(-1, tuple(self.shape))

    def patterns(self):
        """(m, *shape) of 0 and 1: what the mirrors show, one exposure each."""
        like = torch.eye(len(self.rows), dtype=self.dtype, device=self.rows.device)
        return self.adjoint(like).real.round()

    # A A^H = n / 4 (I + 1 1^T + e 1^T + 1 e^T) with e_i = 1 where row i is row 0: <h_i, h_j> = n if i = j, and the sum
    # of the pattern h_i is n if i is row 0. With W = (1, e): A A^H = n / 4 (I + W C W^T), C = ((1, 1), (1, 0)).

    def _low_rank(self):
        """W: (m, 2) and C: (2, 2)."""
        ones = torch.ones(len(self.rows), dtype=torch.float64, device=self.rows.device)
        C = torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=torch.float64, device=self.rows.device)
        return torch.stack([ones, (self.rows == 0).to(torch.float64)], dim=1), C

    def norm(self):
        """From the eigenvalues of C W^T W, the only ones of A A^H 4 / n - I that are not 0."""
        W, C = self._low_rank()
        return (prod(self.shape) / 4 * (1 + torch.linalg.eigvals(C @ W.T @ W).real.max().item())) ** 0.5

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b by Woodbury's identity, twice: with A A^H, and for its part of rank two.

        In double precision: the mean of the image has m times the power of anything else, and would drown it.
        """
        checked(b, self.in_shape, self.in_dtype, "SinglePixel.solve")
        if self.dtype.to_real() != torch.float64:
            double = self.to(torch.float64)
            return double.solve(b.to(double.dtype), rho).to(self.dtype)
        outer, rho = ridge(rho, b, 1), ridge(rho, b, len(self.shape))
        if len(self.rows) == prod(self.shape):
            return self.adjoint(self._solve_gram(self._solve_gram(self.forward(b), outer), 0 * outer))
        if (rho == 0).any():
            raise BadInput(
                "solve: rho = 0 and the patterns leave a null space, so there is no inverse; use rho > 0"
            )
        return (b - self.adjoint(self._solve_gram(self.forward(b), outer))) / rho

    def _solve_gram(self, y, rho):
        """(A A^H + rho I)^{-1} y = [y - W (c I + C W^T W)^{-1} C W^T y] / (n c / 4), c = 1 + 4 rho / n."""
        W, C = self._low_rank()
        quarter = prod(self.shape) / 4
        c = (1 + rho.to(torch.float64) / quarter).reshape(*rho.shape, 1)
        small = torch.linalg.inv(c * torch.eye(2, dtype=torch.float64, device=y.device) + C @ W.T @ W) @ C
        correction = (W @ small @ W.T).to(y.dtype)
        c = c[..., 0].to(y.dtype.to_real())
        return (y - (correction @ y[..., None])[..., 0]) / (quarter * c)
