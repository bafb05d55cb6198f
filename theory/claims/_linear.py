"""Linear scores shat(x, t) = M(t) x + b(t): mean and covariance of what the reverse family makes, to rounding."""

import torch

from theory.claims._reverse import rk4


def moments(matrix, process, mean, cov, times, eta=0.0, bias=None):
    """(mean, cov) at the last of the decreasing `times`, of the reverse family started from N(mean, cov).

    matrix: t -> (d, d); bias: t -> (d,), zero by default; eta = 0 the ODE, 1 the SDE. With B = f I - (1 + eta^2) g^2 M / 2
    the moments follow dm/dt = B m - (1 + eta^2) g^2 b / 2 and dS/dt = B S + S B' - eta^2 g^2 I (t decreases), by RK4.
    """
    d = len(mean)
    eye = torch.eye(d, dtype=torch.float64)

    def slope(state, t):
        m, S = state[0], state[1:]
        half = 0.5 * (1 + eta**2) * process.g2(t)
        B = process.f(t) * eye - half * matrix(t)
        push = 0.0 if bias is None else half * bias(t)
        return torch.cat([(B @ m - push)[None], B @ S + S @ B.mT - eta**2 * process.g2(t) * eye])

    state = rk4(slope, torch.cat([mean[None], cov]).double(), times)
    return state[0], state[1:]


def gaussian_kl(m1, C1, m2, C2):
    """KL(N(m1, C1) || N(m2, C2)), a float."""
    L = torch.linalg.cholesky(C2)
    white = torch.linalg.solve_triangular(L, torch.linalg.cholesky(C1), upper=False)
    shift = torch.linalg.solve_triangular(L, (m1 - m2)[:, None], upper=False)
    log_det = white.diagonal().log().sum()
    return (0.5 * ((white**2).sum() + (shift**2).sum() - len(m1)) - log_det).item()
