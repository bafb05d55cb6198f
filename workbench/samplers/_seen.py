"""Linear-Gaussian data about a signal of a closure: the whitened misfit at its mean, and how a direction is seen."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._linear import Linear
from workbench.samplers._reals import as_reals, from_reals
from workbench.samplers._spectral import spectral

ROWS_LIMIT = 512  # real measurements up to which W W^H of a nonlinear operator is formed
SMALL = 1e-6  # of the largest deviation of a closure, below which a direction counts as fixed
POINTS = 64  # at the least, at which a nonlinear operator is looked at


@dataclass(frozen=True, eq=False)
class Seen:
    """e ~ W (x0 - mean) + sum_k left_k xi_k + standard normal noise, where W W^H = diag(gram): all real, float64.

    misfit: e, (n, m).  gram: (1 or n, m).  forward: (n, d) -> (n, m).  backward: its transpose.  left: (n, k, m), what of
    a nonlinear A no linear map says.  top: the largest log p(y | x0), where e = W (x0 - mean) and nothing is left.
    """

    misfit: Tensor
    gram: Tensor
    forward: Any
    backward: Any
    top: float
    left: Tensor | None = None

    def along(self, Q):
        """W q of every row of Q: (n, r, d) -> (n, r, m)."""
        return torch.stack([self.forward(q) for q in Q.unbind(1)], 1)

    def spread(self, closure, H):
        """The covariance of e under a closure whose W Q is H."""
        B = closure.D.sqrt()[:, :, None] * H
        return Spread.of(
            1 + closure.v[:, None] * self.gram, B if self.left is None else torch.cat([B, self.left], 1)
        )

    def noise(self, rng):
        """A draw of e - W (x0 - mean), x0 given."""
        z = rng.normal(self.misfit)
        if self.left is None:
            return z
        return z + torch.einsum("nk,nkm->nm", rng.normal(self.left[..., 0]), self.left)

    def about(self):
        """The covariance of e - W (x0 - mean) once x0 is given."""
        n, m = self.misfit.shape
        return Spread.of(
            torch.ones_like(self.misfit), self.misfit.new_zeros(n, 0, m) if self.left is None else self.left
        )


@dataclass(frozen=True, eq=False)
class Spread:
    """S = a^1/2 (I + B^T B) a^1/2 of each row, a diagonal, by Woodbury's identity.  a: (n, m).  B: (n, r, m).  L: the Cholesky
    factor of I + B B^T, (n, r, r), or, where m < r, of I + B^T B."""

    a: Tensor
    B: Tensor
    L: Tensor

    @classmethod
    def of(cls, a, B):
        B = B * a.rsqrt()[:, None]
        gram = B @ B.mT if B.shape[1] <= B.shape[2] else B.mT @ B
        return cls(
            a, B, torch.linalg.cholesky(torch.eye(gram.shape[1], dtype=B.dtype, device=B.device) + gram)
        )

    def solve(self, e):
        """S^{-1} e: (n, m)."""
        e = e * self.a.rsqrt()
        if self.L.shape[1] < self.B.shape[1]:
            return torch.cholesky_solve(e[..., None], self.L)[..., 0] * self.a.rsqrt()
        inner = torch.cholesky_solve(self.B @ e[..., None], self.L)
        return (e - (self.B.mT @ inner)[..., 0]) * self.a.rsqrt()

    def log_normal(self, e):
        """log N(e; 0, S) + m log(2 pi) / 2: (n,)."""
        log_det = self.a.log().sum(1) + 2 * self.L.diagonal(dim1=1, dim2=2).log().sum(1)
        return -0.5 * ((e * self.solve(e)).sum(1) + log_det)


def seen(problem, closure):
    """The data about the signals of a closure; noise that is not Gaussian is its plug-in.

    A linear A is seen through its singular vectors where the closure is a sketch. A nonlinear one is replaced by its
    regression on the closure's points where that is whole, else linearised at the mean. BadInput where that takes singular
    vectors that are not to be had, or more than 512 real measurements.
    """
    like = torch.empty(problem.prior.shape, dtype=problem.prior.dtype, device=problem.y.device)
    if closure.whole:
        kind = _linearised if isinstance(problem.A, Linear) else _regressed
        return kind(problem.gaussian, closure, like)
    return (_spectral if isinstance(problem.A, Linear) else _rotated)(problem, closure, like)


def _spectral(problem, closure, like):
    data = spectral(problem)
    s, some = data.s, data.seen
    measured = lambda x: as_reals(s * data.measured(from_reals(x, like))).double()  # noqa: E731
    one = torch.full_like(some, 1 + 1j if some.is_complex() else 1)
    return Seen(
        as_reals((s * some)[None]).double() - measured(closure.mean),
        as_reals((s.square() * one)[None]).double(),
        measured,
        lambda u: as_reals(data.V((s * from_reals(u, some)).to(like.dtype))).double(),
        _top(problem.gaussian) - 0.5 * data.residual,
    )


def _linearised(problem, closure, like):
    x = from_reals(closure.mean, like)
    A = problem.A.linearize(x)
    W, w = problem.noise.whiten(A, problem.y - problem.A(x))
    e = as_reals(w.flatten(1)).double()
    return Seen(
        e,
        torch.zeros_like(e[:1]),
        lambda z: as_reals(W(from_reals(z, like)).flatten(1)).double(),
        lambda u: as_reals(W.H(from_reals(u, w[0])).reshape(len(u), *like.shape)).double(),
        _top(problem),
    )


def _rotated(problem, closure, like):
    """The linearised data in the eigenvectors of W W^H."""
    data = _linearised(problem.gaussian, closure, like)
    n, m = data.misfit.shape
    if m > ROWS_LIMIT:
        raise BadInput(
            f"y has {m} real numbers, more than the {ROWS_LIMIT} that are taken of a nonlinear operator"
        )
    unit = torch.eye(m, dtype=torch.float64, device=like.device)
    gram = torch.stack([data.forward(data.backward(e.expand(n, m))) for e in unit], -1)
    g, U = torch.linalg.eigh(0.5 * (gram + gram.mT))
    turn = lambda u: (U.mT @ u[..., None])[..., 0]  # noqa: E731
    back = lambda u: data.backward((U @ u[..., None])[..., 0])  # noqa: E731
    return Seen(turn(data.misfit), g.clamp_min(0), lambda z: turn(data.forward(z)), back, data.top)


def _regressed(problem, closure, like):
    """The regression of A(x0) on x0 over points of the closure, and the scatter about it: so that |x|^2, say, is seen to be
    large where x is spread about 0, which no derivative at 0 tells."""
    Q, root = closure.Q, closure.D.sqrt()
    xi = gaussian_points(Q.shape[1], like.device)
    A = problem.A.linearize(from_reals(closure.mean[:1], like))  # whitening asks for a linear operator
    images = []
    for point in xi:
        x = from_reals(closure.mean + ((root * point)[:, None] @ Q)[:, 0], like)
        images.append(as_reals(problem.noise.whiten(A, problem.y - problem.A(x))[1].flatten(1)).double())
    e = torch.stack(images, 1)  # (n, k, m)
    mean = e.mean(1)
    slope = -torch.einsum("kr,nkm->nrm", xi, e) / len(xi)  # of A, in whitened coordinates of the closure
    left = (e - mean[:, None] + xi @ slope) / len(xi) ** 0.5
    seen = root > SMALL * root.amax(1, keepdim=True)  # where the closure has no width nothing can be told
    H = slope * torch.where(seen, 1 / torch.where(seen, root, 1.0), 0.0)[:, :, None]
    return Seen(
        mean,
        torch.zeros_like(mean[:1]),
        lambda z: ((Q @ z[..., None]).mT @ H)[:, 0],
        lambda u: ((H @ u[..., None]).mT @ Q)[:, 0],
        _top(problem),
        left,
    )


@cache
def gaussian_points(d, device):
    """Points (k, d), k = max(64, 4 d), symmetric about 0 and with covariance I: the same for all particles and steps."""
    half = Rng(0, "points").normal(torch.empty(max(POINTS, 4 * d) // 2, d, dtype=torch.float64))
    l, U = torch.linalg.eigh(half.mT @ half / len(half))
    half = half @ (U * l.rsqrt()) @ U.mT
    return torch.cat([half, -half]).to(device)


def _top(problem):
    """The largest value of log p(y | x)."""
    return problem.noise.log_likelihood(problem.y, problem.y).item()
