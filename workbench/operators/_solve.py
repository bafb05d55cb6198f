"""Iterations on a Hermitian map: conjugate gradients, batched by row, and Lanczos' method for its largest eigenvalue."""

from collections import deque

import torch

DELAY = 8  # steps over which conjugate gradients estimate the error that is left


def cg(apply, b, ndim, x0=None, tol=1e-6, iterations=100, precondition=None, energy=None):
    """The solution x of apply(x) = b by (preconditioned) conjugate gradients, each row on its own.

    b: (*batch, *item), item having `ndim` axes. apply, precondition: Hermitian positive definite in Re<u, v>, acting
    on the whole batch. A row stops when its residual norm is at most tol * ||b||, or, if `energy` is given, when the
    energy norm sqrt(Re<e, apply(e)>) of its error e is at most `energy`, by the estimate of Hestenes and Stiefel: what
    the last 8 steps gained (Strakos and Tichy 2002). It is frozen then, so its result does not depend on the rows
    beside it. Stops after `iterations` at the latest. Golub and Van Loan, Algorithm 11.5.1.
    """
    axes = tuple(range(b.ndim - ndim, b.ndim))

    def dot(u, v):
        return torch.sum(u.conj() * v, dim=axes, keepdim=True).real if axes else (u.conj() * v).real

    x = torch.zeros_like(b) if x0 is None else x0.expand_as(b).clone()
    r = b.clone() if x0 is None else b - apply(x)
    z = r if precondition is None else precondition(r)
    p, rz = z.clone(), dot(r, z)
    active, goal, gained = rz > 0, tol**2 * dot(b, b), deque(maxlen=DELAY)
    for _ in range(iterations):
        active = active & (rz > 0)  # zero where the solution is exact
        if energy is None:
            active = active & (dot(r, r) > goal)
        elif len(gained) == DELAY:
            active = active & (sum(gained) > energy**2)
        if not active.any():
            break
        q = apply(p)
        curvature = dot(p, q)
        alpha = torch.where(active & (curvature > 0), rz / curvature, 0.0)
        gained.append(alpha * rz)
        x = x + alpha * p
        r = r - alpha * q
        z = r if precondition is None else precondition(r)
        new = dot(r, z)
        p = z + torch.where(active, new / rz, 0.0) * p
        rz = new
    return x


def largest_eigenvalue(apply, x, tol=1e-4, steps=200):
    """The largest eigenvalue of a Hermitian positive semidefinite map, by Lanczos' method from x: a float.

    x: (*shape), complex ones as real vectors of twice the size. Every new vector is made orthogonal to all before it
    (twice, which is enough: Parlett 1998, section 6.9). Stops when the residual of the Ritz vector, a bound on its
    distance to an eigenvalue, is at most tol times its value: the relative error, and tol^2 of it where the largest
    eigenvalue stands alone.
    """
    vectors, diagonal, beside = [], [], []
    dot = lambda u, v: torch.sum(u.conj() * v).real
    for _ in range(min(steps, x.numel() * (1 + x.is_complex()))):
        size = dot(x, x).sqrt().item()
        if vectors and size <= 1e-6 * tol * max(diagonal):  # an invariant subspace
            break
        beside.append(size)
        vectors.append(x / size)
        x = apply(vectors[-1])
        diagonal.append(dot(vectors[-1], x).item())
        for _ in range(2):
            for v in vectors:
                x = x - dot(v, x) * v
        T = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        T = T + torch.diag(torch.tensor(beside[1:], dtype=torch.float64), -1)
        values, ritz = torch.linalg.eigh(T)  # which reads the lower triangle
        left = dot(x, x).sqrt().item() * abs(ritz[-1, -1].item())
        if left <= tol * values[-1].item():
            break
    return max(values[-1].item(), 0.0)
