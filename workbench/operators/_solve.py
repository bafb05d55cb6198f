"""Iterations on a Hermitian positive definite map: conjugate gradients and the power method, batched by row."""

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


def power_iteration(apply, x, tol=1e-4, iterations=1000):
    """The largest eigenvalue of a Hermitian positive semidefinite map, by the power method from x: a float."""
    value = 0.0
    for _ in range(iterations):
        x = x / torch.linalg.vector_norm(x)
        y = apply(x)
        new = torch.linalg.vector_norm(y).item()
        if new == 0 or abs(new - value) <= tol * 1e-2 * new:
            return new
        x, value = y, new
    return value
