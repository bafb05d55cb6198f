"""A score or denoiser callable as a field on real coordinates, with its Jacobian products."""

import torch

from workbench._rng import Rng


def coordinates(x):
    """x: (n, *shape), real or complex, as (n, d) real: a complex signal is a real one of twice the size."""
    return (torch.view_as_real(x) if x.is_complex() else x).flatten(1)


def signals(u, like):
    """The inverse of `coordinates`: u: (m, d) as (m, *shape) of the dtype of `like`: (n, *shape)."""
    if not like.is_complex():
        return u.reshape(-1, *like.shape[1:])
    return torch.view_as_complex(u.reshape(-1, *like.shape[1:], 2).contiguous())


def field(score, like, t):
    """u -> score(x, t) in real coordinates: (m, d) -> (m, d), for signals shaped as `like`."""
    return lambda u: coordinates(score(signals(u, like), t))


def signs(u, seed, probe):
    """Rademacher probes like u: (n, d), entries +1 or -1, another set for each number `probe`."""
    draws = Rng(seed, "probes").at(probe).uniform(*u.shape)
    return torch.where(draws < 0.5, -1.0, 1.0).to(u)


def step_length(u):
    """The step of central differences, 1e-4 ||x|| / sqrt(d) in float64, wider in float32: (n, 1)."""
    size = u.norm(dim=1, keepdim=True) / u.shape[1] ** 0.5
    return max(1e-4, torch.finfo(u.dtype).eps ** (1 / 3)) * torch.where(size > 0, size, 1.0)


def followed(f, u):
    """f(u) and the copy of u that autograd follows it from; without a graph where f cannot be differentiated."""
    v = u.detach().requires_grad_()
    try:
        with torch.enable_grad():
            return f(v), v
    except RuntimeError:  # such as numpy inside f
        return f(u.detach()), v


def gradient(q, u):
    """grad q at u, q: (n, d) -> (n,) row by row: (n, d), by autograd, else by central differences."""
    out, v = followed(q, u)
    if out.requires_grad:
        return derivative(out.sum(), v)
    u = u.detach()
    h = step_length(u)
    return torch.stack([(q(u + h * e) - q(u - h * e)) / (2 * h[:, 0]) for e in axes(u)], 1)


def derivative(out, x, create_graph=False):
    """d out / dx of a number made from x, zero where x does not enter; the graph of `out` stays."""
    found = torch.autograd.grad(
        out, x, create_graph=create_graph, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return found[0]


def axes(u):
    """The unit vectors e_1 ... e_d, each as (d,) like a row of u."""
    return torch.eye(u.shape[1], dtype=u.dtype, device=u.device)


def products(f, u):
    """f(u), v -> J v and v -> J^T v, J the Jacobian of f: (n, d) -> (n, d) row by row.

    By autograd, J v as the derivative of w -> J^T w; where f is not differentiable, by central differences, and then
    J^T v takes d of them.
    """
    out, x = followed(f, u)
    if not out.requires_grad:
        return out, *_differences(f, u.detach())
    w = torch.zeros_like(out, requires_grad=True)
    back = torch.autograd.grad(out, x, w, create_graph=True)[0]

    def jvp(v):
        return torch.autograd.grad(back, w, v, retain_graph=True)[0]

    def vjp(v):
        return torch.autograd.grad(out, x, v, retain_graph=True)[0]

    return out.detach(), jvp, vjp


def _differences(f, u):
    def jvp(v):
        h = step_length(u) / v.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(u.dtype).tiny)
        return (f(u + h * v) - f(u - h * v)) / (2 * h)

    def vjp(v):
        return torch.stack([(jvp(e.expand_as(u)) * v).sum(1) for e in axes(u)], 1)

    return jvp, vjp


def jacobian_of(f, u):
    """J_ij = d f_i / d u_j for every row: (n, d, d), d products."""
    out, x = followed(f, u)
    if out.requires_grad:
        rows = [derivative(out[:, i].sum(), x) for i in range(out.shape[1])]
        return torch.stack(rows, 1)
    jvp, _ = _differences(f, u.detach())
    return torch.stack([jvp(e.expand_as(u)) for e in axes(u)], 2)
