"""Linear operators: the exact adjoint, the algebra, and the normal equations.

The inner product is Re<u, v> = Re sum conj(u) v, so a complex signal is a real one of twice the size, and an adjoint
is exact when Re<A x, y> = Re<x, A^H y> to rounding.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._operator import Alike, Chain, Operator, checked
from workbench.operators._solve import cg, largest_eigenvalue


@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """A linear operator: `forward` and its exact `adjoint`, (*batch, *out_shape) -> (*batch, *in_shape)."""

    def adjoint(self, y):
        raise NotImplementedError(f"{type(self).__name__} should define adjoint(y)")

    @cached_property
    def H(self):
        """The adjoint operator A^H, with A.H.H is A."""
        return Adjoint(self)

    def normal(self, x):
        """A^H A x, for x: (*batch, *in_shape)."""
        return self.adjoint(self.forward(x))

    def linearize(self, x):
        return self

    def __matmul__(self, other):
        if isinstance(other, Linear):
            return Product(self, other)
        return super().__matmul__(other)

    def __add__(self, other):
        return Sum(self, other)

    def __sub__(self, other):
        return Sum(self, Scaled(-1.0, other))

    def __neg__(self):
        return Scaled(-1.0, self)

    def __rmul__(self, scale):
        return Scaled(scale, self)

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b by conjugate gradients (closed form where the structure gives one).

        b: (*batch, *in_shape).  rho: real, >= 0, one number or one per batch entry.  x0: where to start.
        tol: residual relative to b at which a row stops (default 1e-6 in single, 1e-12 in double precision).
        """
        checked(b, self.in_shape, self.in_dtype, f"{type(self).__name__}.solve")
        rho = ridge(rho, b, len(self.in_shape))
        tol = tol or (1e-12 if b.dtype in (torch.float64, torch.complex128) else 1e-6)
        return cg(lambda v: self.normal(v) + rho * v, b, len(self.in_shape), x0=x0, tol=tol, iterations=5000)

    def norm(self):
        """The spectral norm ||A||, by Lanczos' method on A^H A: a float, relative accuracy 1e-4 or better."""
        like = torch.empty(1, *self.in_shape, dtype=self.in_dtype, device=self.device)
        return largest_eigenvalue(self.normal, Rng(0, "norm").normal(like)) ** 0.5

    def svd(self):
        """U, s, V with A = U diag(s) V^H: U and V linear with orthonormal columns, s: (r,) >= 0, in no fixed order."""
        raise BadInput(
            f"{type(self).__name__} has no cheap singular value decomposition; `workbench list operators --json` says "
            f"which have one (svd), or use a sampler that needs only A and A.H"
        )

    def gram_spectrum(self, axes, probes=64):
        """diag(F A^H A F^H) over the unitary FFT along `axes`: real, shape in_shape, an estimate from random probes.

        A preconditioner for stationary priors. E[conj(z) * (M z)] = diag(M) for z of independent unit components
        (Bekas, Kokiopoulou, Saad 2007); kinds that know the exact diagonal override this. Computed once a value.
        """
        axes = tuple(a % len(self.in_shape) - len(self.in_shape) for a in axes)  # counted from the end
        known = self.__dict__.setdefault("_gram_spectra", {})
        if (axes, probes) not in known:
            known[axes, probes] = self._probed_gram_spectrum(axes, probes)
        return known[axes, probes]

    def _probed_gram_spectrum(self, axes, probes):
        dtype, total = self.in_dtype.to_complex(), 0
        for first in range(0, probes, 8):
            like = torch.empty(min(8, probes - first), *self.in_shape, dtype=dtype, device=self.device)
            z = torch.sgn(Rng(0, "gram_spectrum", first=first).normal(like))
            x = torch.fft.ifftn(z, dim=axes, norm="ortho")
            if self.in_dtype.is_complex:
                image = self.normal(x)
            else:
                image = torch.complex(*self.normal(torch.stack([x.real, x.imag])))
            total = total + (z.conj() * torch.fft.fftn(image, dim=axes, norm="ortho")).real.sum(0)
        return (total / probes).clamp_min(0)

    def as_linear_operator(self):
        """The `scipy.sparse.linalg.LinearOperator` of the flattened map, on numpy arrays."""
        from scipy.sparse.linalg import LinearOperator

        def flat(function, shape, dtype):
            def call(v):
                return (
                    function(torch.as_tensor(v).to(dtype).reshape(shape).to(self.device))
                    .cpu()
                    .numpy()
                    .ravel()
                )

            return call

        size = (Tensor.numel(torch.empty(self.out_shape)), Tensor.numel(torch.empty(self.in_shape)))
        dtype = torch.empty(0, dtype=torch.promote_types(self.in_dtype, self.out_dtype)).numpy().dtype
        return LinearOperator(
            size,
            matvec=flat(self, self.in_shape, self.in_dtype),
            rmatvec=flat(self.H, self.out_shape, self.out_dtype),
            dtype=dtype,
        )


def ridge(rho, b, ndim):
    """rho as a number or as a tensor that broadcasts over the batch of b; BadInput where it is negative."""
    rho = torch.as_tensor(rho, dtype=b.dtype.to_real(), device=b.device)
    if (rho < 0).any():
        raise BadInput(f"solve: rho = {rho.min().item():g} should not be negative")
    return rho.reshape(*rho.shape, *[1] * ndim) if rho.ndim else rho


@dataclass(frozen=True, eq=False)
class Adjoint(Linear):
    """A^H as an operator."""

    A: Linear

    in_shape = property(lambda self: self.A.out_shape)
    out_shape = property(lambda self: self.A.in_shape)
    in_dtype = property(lambda self: self.A.out_dtype)
    out_dtype = property(lambda self: self.A.in_dtype)
    H = property(lambda self: self.A)

    def forward(self, y):
        return self.A.adjoint(y)

    def adjoint(self, x):
        return self.A.forward(x)

    def norm(self):
        return self.A.norm()

    def svd(self):
        U, s, V = self.A.svd()
        return V, s, U


@dataclass(frozen=True, eq=False)
class Product(Chain, Linear):
    """(A @ B)(x) = A(B(x))."""

    A: Linear
    B: Linear

    def forward(self, x):
        return self.A.forward(self.B.forward(x))

    def adjoint(self, y):
        return self.B.adjoint(self.A.adjoint(y))


@dataclass(frozen=True, eq=False)
class Sum(Alike, Linear):
    """(A + B)(x) = A(x) + B(x)."""

    A: Linear
    B: Linear

    def __post_init__(self):
        A, B = self.A, self.B
        if signature(A) != signature(B):
            raise BadInput(
                f"A + B: {type(A).__name__} maps {tuple(A.in_shape)} to {tuple(A.out_shape)}, {type(B).__name__} maps "
                f"{tuple(B.in_shape)} to {tuple(B.out_shape)}; shapes and dtypes should be the same"
            )

    def forward(self, x):
        return self.A.forward(x) + self.B.forward(x)

    def adjoint(self, y):
        return self.A.adjoint(y) + self.B.adjoint(y)


def signature(A):
    """The shapes and dtypes of an operator."""
    return tuple(A.in_shape), tuple(A.out_shape), A.in_dtype, A.out_dtype


@dataclass(frozen=True, eq=False)
class Scaled(Alike, Linear):
    """(c A)(x) = c A(x), for one number c (real where A has a real side)."""

    scale: complex | Tensor
    A: Linear

    def __post_init__(self):
        c = torch.as_tensor(self.scale)
        if c.numel() != 1:
            raise BadInput(
                f"c * A: c has shape {tuple(c.shape)}, it should be one number; use Dense or Mask for weights"
            )
        if c.is_complex() and not (self.A.in_dtype.is_complex and self.A.out_dtype.is_complex):
            raise BadInput(
                f"c * A: c = {self.scale} is complex, but {type(self.A).__name__} has a real side; use a real c"
            )

    def forward(self, x):
        return self.scale * self.A.forward(x)

    def adjoint(self, y):
        conjugate = self.scale.conj() if isinstance(self.scale, Tensor) else self.scale.conjugate()
        return conjugate * self.A.adjoint(y)

    def normal(self, x):
        return abs(self.scale) ** 2 * self.A.normal(x)

    def norm(self):
        return float(abs(self.scale)) * self.A.norm()

    def solve(self, b, rho, x0=None, tol=None):
        """(|c|^2 A^H A + rho I)^{-1} b, by the solve of A."""
        power = abs(self.scale) ** 2
        ridge(rho, b, 0)  # which names the rho that was given
        if not power > 0:
            return super().solve(b, rho, x0, tol)
        return self.A.solve(b, rho / power, None if x0 is None else power * x0, tol) / power

    def svd(self):
        """That of A, with |c| s and the phase of c in U."""
        U, s, V = self.A.svd()
        size = abs(self.scale)
        return (self.scale / size if size > 0 else 1.0) * U, size * s, V

    def gram_spectrum(self, axes, probes=64):
        return abs(self.scale) ** 2 * self.A.gram_spectrum(axes, probes)


@dataclass(frozen=True, eq=False)
class Jacobian(Alike, Linear):
    """The derivative of a nonlinear operator at x: (*batch, *in_shape), acting on tangents of that batch, or of one
    that broadcasts with it."""

    A: Operator
    x: Tensor

    def forward(self, v):
        x, v = (t.contiguous() for t in torch.broadcast_tensors(self.x, v))
        return torch.func.jvp(self.A.forward, (x,), (v,))[1]

    def adjoint(self, w):
        batch = [
            t.shape[: t.ndim - len(shape)] for t, shape in ((self.x, self.in_shape), (w, self.out_shape))
        ]
        x = self.x.expand(*torch.broadcast_shapes(*batch), *self.in_shape)
        y, back = torch.func.vjp(self.A.forward, x)
        return back(w.expand_as(y))[0]
