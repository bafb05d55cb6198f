"""Priors with a planted error: the score of a law plus a known field, for diagnostics and claims to find."""

from math import sqrt

import torch

from workbench.priors._prior import Prior


class Perturbed(Prior):
    """shat(x, t) = s(x, t) + error(x, t), the score of `law` and a field of the same shape; its denoiser is
    (x + sigma^2 shat) / alpha."""

    def __init__(self, law, error):
        self.law, self.error = law, error
        self.shape, self.dtype, self.device = law.shape, law.dtype, getattr(law, "device", None)
        self.process, self.noise_range = law.process, law.noise_range

    def score(self, x, t):
        return self.law.score(x, t) + self.error(x, t)

    def denoise(self, x, t):
        process = self.process
        return (x + process.sigma(t) ** 2 * self.score(x, t)) / process.alpha(t)


def scaled(law, eps):
    """(1 + eps) s."""
    return Perturbed(law, lambda x, t: eps * law.score(x, t))


def biased(law, b):
    """s + b, b: (*shape)."""
    return Perturbed(law, lambda x, t: b.to(x).expand_as(x))


def gauged(law, A, kappa=1.0):
    """s + kappa A s with A: (d, d) antisymmetric: div(p A s) = tr(A Hess p) = 0, whatever p is."""
    return Perturbed(law, lambda x, t: kappa * _turned(law.score(x, t), A))


def gauged_by(law, A, amplitude):
    """s + v with v_i = sum_j (d_j A_ij(x) + A_ij(x) s_j), A(x) = amplitude(x) A: div(p v) = 0, but div v is not.

    amplitude: (n, d) -> (n,), differentiable; A: (d, d) antisymmetric.
    """
    return Perturbed(
        law,
        lambda x, t: _turned(_gradient(amplitude, x) + amplitude(x)[:, None] * law.score(x, t), A),
    )


def rotated(law, A, omega=1.0, centre=0.0):
    """s + omega A (x - centre), A antisymmetric: not conservative, and no gauge unless p is symmetric about `centre`."""
    return Perturbed(law, lambda x, t: omega * _turned(x - centre, A))


def tilted(law, psi, eps=1.0):
    """s + eps grad psi(x, t), psi: (n, d), t -> (n,): the score of p_t e^(eps psi), of which every residual is known."""
    return Perturbed(law, lambda x, t: eps * _gradient(lambda u: psi(u, t), x))


def smoothed(law, h):
    """The score of p_t * N(0, h^2), for a process with alpha = 1: that of another law, seen at sqrt(sigma^2 + h^2)."""
    later = lambda t: law.process.time(torch.sqrt(law.process.sigma(t) ** 2 + h**2))
    return Perturbed(law, lambda x, t: law.score(x, later(t)) - law.score(x, t))


def frozen(law, earliest):
    """The score of time max(t, earliest): what early stopping leaves."""
    held = lambda t: torch.as_tensor(t, dtype=torch.float64).clamp_min(earliest)
    return Perturbed(law, lambda x, t: law.score(x, held(t)) - law.score(x, t))


def quantised(law, bits, reach=8.0):
    """s rounded to 2^bits levels between -reach / sigma and reach / sigma."""

    def error(x, t):
        s = law.score(x, t)
        step = 2 * reach / (law.process.sigma(t) * 2**bits)
        half = 2 ** (bits - 1)
        return (s / step).round().clamp(-half, half - 1) * step - s

    return Perturbed(law, error)


def _turned(v, A):
    """A v for v: (n, *shape)."""
    return (v.flatten(1) @ A.to(v).mT).reshape(v.shape)


def _gradient(potential, x):
    """The gradient of potential: (n, d) -> (n,) at x, differentiable again where x is."""
    with torch.enable_grad():
        leaf = x if x.requires_grad else x.detach().requires_grad_()
        value = potential(leaf).sum()
        if not value.requires_grad:
            return torch.zeros_like(x)
        return torch.autograd.grad(value, leaf, create_graph=x.requires_grad)[0]


def quarter_turn(d=2):
    """The antisymmetric (d, d) matrix that turns each pair of neighbouring axes by a right angle: A'A = I for even d."""
    A = torch.zeros(d, d, dtype=torch.float64)
    first = torch.arange(0, d - 1, 2)
    A[first, first + 1], A[first + 1, first] = -1.0, 1.0
    return A


def random_turn(d, rng):
    """A random antisymmetric (d, d) matrix with A'A of trace d."""
    M = rng.normal(torch.empty(d, d, dtype=torch.float64))
    A = M - M.mT
    return A * (sqrt(d) / A.norm())
