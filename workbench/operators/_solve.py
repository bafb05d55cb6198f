"""Iterations on a Hermitian positive definite map: conjugate gradients and the power method, batched by row."""

import torch


def cg(apply, b, ndim, x0=None, tol=1e-6, iterations=100, precondition=None, energy=None):
    """The solution x of apply(x) = b by (preconditioned) conjugate gradients, each row on its own.

    b: (*batch, *item), item having `ndim` axes. apply, precondition: Hermitian positive definite in Re<u, v>, acting
    on the whole batch. A row stops when its residual norm is at most tol * ||b||, or, if `energy` is given, when
    sqrt(Re<r, precondition(r)>), which estimates the energy norm sqrt(Re<e, apply(e)>) of its error e, is at most
    `energy`. It is frozen then, so its result does not depend on the rows beside it. Stops after `iterations`.
    Hestenes and Stiefel 1952; Golub and Van Loan, Algorithm 11.5.1.
    """
    axes = tuple(range(b.ndim - ndim, b.ndim))

    def dot(u, v):
        return torch.sum(u.conj() * v, dim=axes, keepdim=True).real if axes else (u.conj() * v).real

    x = torch.zeros_like(b) if x0 is None else x0.expand_as(b).clone()
    r = b.clone() if x0 is None else b - apply(x)
    z = r if precondition is None else precondition(r)
    p, rz = z.clone(), dot(r, z)
    goal = tol**2 * dot(b, b) if energy is None else energy**2
    for _ in range(iterations):
        active = (dot(r, r) if energy is None else rz) > goal
        if not active.any():
            break
        q = apply(p)
        curvature = dot(p, q)
        alpha = torch.where(active & (curvature > 0), rz / curvature, 0.0)
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
