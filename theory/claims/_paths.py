"""Paths of the probability-flow ODE: of a Gaussian in closed form, and of any law by the library's score."""

import torch

from theory.claims._reverse import rk4, velocity


def levels(process, lam, t):
    """sqrt(sigma^2 + lam alpha^2), the standard deviation of each mode at time t."""
    return torch.sqrt(process.sigma(t) ** 2 + lam * process.alpha(t) ** 2)


def jump(law, x, T, t, cov=None):
    """x_t of the ODE that starts at x_T = x: (n, d), had the data the mean and covariance (or `cov`) of `law`.

    alpha_t m + sum_k psi_k u_k u_k' (x - alpha_T m), psi_k = sqrt((sigma_t^2 + lam_k alpha_t^2) / (the same at T)).
    """
    lam, Q = torch.linalg.eigh(law.cov() if cov is None else cov)
    m, process = law.mean(), law.process
    psi = levels(process, lam.clamp_min(0), t) / levels(process, lam.clamp_min(0), T)
    return process.alpha(t) * m + ((x - process.alpha(T) * m) @ Q * psi) @ Q.mT


def path(law, x, times):
    """Points (n, len(times), d) of the library's ODE from x, RK4."""
    v, out = velocity(law.score, law.process), [x]
    for i in range(len(times) - 1):
        out.append(rk4(v, out[-1], times[i : i + 2]))
    return torch.stack(out, 1)


def relative(a, b):
    """max ||a - b|| / max ||b|| over rows."""
    return ((a - b).norm(dim=-1).max() / b.norm(dim=-1).max()).item()
