"""The likelihood of a signal under a problem's data, its gradient, and how sharp it is."""

import torch

from workbench.operators._linear import Linear


def log_likelihood(problem, x):
    """log p(y | x) of each row, float64 (n,)."""
    return problem.noise.log_likelihood(problem.y, problem.A(x))


def relaxed(problem, x):
    """log p(y | x), continued to x that no signal is: what `gradient` is the gradient of, float64 (n,)."""
    return problem.noise.relaxed(problem.y, problem.A(x))


def gradient(problem, x):
    """grad log p(y | x), H^H grad_clean log p(y | clean) at clean = A(x): (n, *shape) of the dtype of x."""
    A = problem.A.linearize(x)
    return A.H(problem.noise.gradient(problem.y, problem.A(x)).to(problem.y.dtype)).to(x.dtype)


def steepness(problem, x, iterations=8):
    """||H^H Sigma_y^{-1} H||, the largest curvature of -log p(y | x): a number for a linear A, else (n, 1, ...) at x, by
    the power method from a fixed start, a lower bound that 8 iterations bring to within a few per cent as a rule."""
    if isinstance(problem.A, Linear):
        return problem.steepness
    A, noise = problem.A.linearize(x), problem.noise.sharpest(problem.y)
    row = (slice(None), *[None] * (x.ndim - 1))
    flat = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype.to_real(), device=x.device)
    v = torch.cos(40 * flat**2 + flat).reshape(1, *x.shape[1:]).expand(x.shape).to(x.dtype)
    size = torch.linalg.vector_norm(v.flatten(1), dim=1)[row]
    for _ in range(iterations):
        v = v / size.clamp_min(torch.finfo(x.dtype.to_real()).tiny)
        v = A.H(weighted(noise, A(v)))
        size = torch.linalg.vector_norm(v.flatten(1), dim=1)[row]
    return size


def weighted(noise, v):
    """Sigma_y^{-1} v, for Gaussian noise: the gradient of its log-density at v."""
    return noise.gradient(v, torch.zeros_like(v))
