"""Linear-Gaussian data about a signal near a point: the whitened misfit, and how the data see a direction."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.samplers._reals import as_reals, from_reals, unit_vectors
from workbench.samplers._spectral import spectral

ROWS_LIMIT = 512  # real measurements up to which W W^H of a nonlinear operator is formed


@dataclass(frozen=True, eq=False)
class Seen:
    """e ~ W (x0 - centre) + standard normal noise, in coordinates where W W^H = diag(gram): all real, float64.

    misfit: e, (n, m).  gram: (1 or n, m).  forward: (n, d) -> (n, m).  backward: its transpose.  constant: of the
    log-likelihood: log p(y | x0) = constant - |e - W (x0 - centre)|^2 / 2.
    """

    misfit: Tensor
    gram: Tensor
    forward: Any
    backward: Any
    constant: float

    def along(self, Q):
        """W q of every row of Q: (n, r, d) -> (n, r, m)."""
        return torch.stack([self.forward(q) for q in Q.unbind(1)], 1)

    def spread(self, closure, H):
        """I + W C W^H of a closure whose W Q is H, ready to be solved with."""
        return Spread.of(1 + closure.v[:, None] * self.gram, closure.D, H)


@dataclass(frozen=True, eq=False)
class Spread:
    """S = diag(a) + H^T diag(D) H of each row, by Woodbury's identity.  a: (n, m), B = D^1/2 H a^-1/2: (n, r, m), L: the
    Cholesky factor of I + B B^T, (n, r, r)."""

    a: Tensor
    B: Tensor
    L: Tensor

    @classmethod
    def of(cls, a, D, H):
        B = D.sqrt()[:, :, None] * H * a.rsqrt()[:, None]
        eye = torch.eye(B.shape[1], dtype=B.dtype, device=B.device)
        return cls(a, B, torch.linalg.cholesky(eye + B @ B.mT))

    def solve(self, e):
        """S^{-1} e: (n, m)."""
        e = e * self.a.rsqrt()
        inner = torch.cholesky_solve(torch.einsum("nrm,nm->nr", self.B, e)[..., None], self.L)[..., 0]
        return (e - torch.einsum("nrm,nr->nm", self.B, inner)) * self.a.rsqrt()

    def log_normal(self, e):
        """log N(e; 0, S) + m log(2 pi) / 2: (n,)."""
        log_det = self.a.log().sum(1) + 2 * self.L.diagonal(dim1=1, dim2=2).log().sum(1)
        return -0.5 * ((e * self.solve(e)).sum(1) + log_det)


def seen(problem, x0, rotated):
    """The data about x0: (n, d) reals, the centre. A nonlinear A is linearised there, Poisson noise is its plug-in.

    rotated: whether `gram` is needed; it takes singular vectors of a linear A, a matrix of y's size of another. Raises
    BadInput where that is not to be had.
    """
    like = torch.empty(problem.prior.shape, dtype=problem.prior.dtype, device=x0.device)
    if isinstance(problem.A, Linear) and rotated:
        return _spectral(problem, x0, like)
    return _linearised(problem.gaussian, x0, like, rotated)


def _spectral(problem, x0, like):
    data = spectral(problem)
    s, some = data.s, data.seen
    measured = lambda x: as_reals(s * data.measured(from_reals(x, like))).double()  # noqa: E731
    gram = as_reals((s.square() * torch.ones_like(some))[None]).double()
    if some.is_complex():
        gram = as_reals((s.square() * torch.full_like(some, 1 + 1j))[None]).double()
    return Seen(
        as_reals((s * some)[None]).double() - measured(x0),
        gram,
        measured,
        lambda u: as_reals(data.V((s * from_reals(u, some)).to(like.dtype))).double(),
        _top(problem.gaussian) - 0.5 * data.residual,
    )


def _linearised(problem, x0, like, rotated):
    x = from_reals(x0, like)
    A = problem.A.linearize(x)
    W, w = problem.noise.whiten(A, problem.y - problem.A(x))
    forward = lambda z: as_reals(W(from_reals(z, like)).flatten(1)).double()  # noqa: E731
    backward = lambda u: as_reals(W.H(from_reals(u, w[0])).reshape(len(u), *like.shape)).double()  # noqa: E731
    e = as_reals(w.flatten(1)).double()
    if not rotated:
        return Seen(e, torch.zeros_like(e[:1]), forward, backward, _top(problem))
    reals = e.shape[1]
    if reals > ROWS_LIMIT:
        raise BadInput(
            f"y has {reals} real numbers, more than the {ROWS_LIMIT} that are taken of a nonlinear operator"
        )
    gram = torch.stack([forward(backward(as_reals(v).double())) for v in unit_vectors(w[0], len(x0))], -1)
    g, U = torch.linalg.eigh(0.5 * (gram + gram.mT))
    turn = lambda u: torch.einsum("nmk,nm->nk", U, u)  # noqa: E731
    return Seen(
        turn(e),
        g.clamp_min(0),
        lambda z: turn(forward(z)),
        lambda u: backward(torch.einsum("nmk,nk->nm", U, u)),
        _top(problem),
    )


def _top(problem):
    """The largest value of log p(y | x)."""
    return problem.noise.log_likelihood(problem.y, problem.y).item()
