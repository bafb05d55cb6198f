"""The exact posterior of a Gaussian mixture under y = A x + n, n ~ N(0, R): by matrices, or by systems of y's size."""

from math import log, pi

import torch

from theory.distributions._analytic import Analytic, real_inner
from theory.distributions.covariance import Full
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._linear import Linear

DENSE_LIMIT = 1024  # entries up to which posterior covariances may be formed
FORMED = 256  # and up to which they are, whatever the size of y
ROWS_LIMIT = 4096  # measurements up to which their system is solved directly


def whitened(prior, A, y, noise):
    """A' and y' with standard normal noise, and the log-Jacobian of y -> y'; BadInput where no closed form exists."""
    if not isinstance(A, Linear):
        raise BadInput(
            f"condition: A = {type(A).__name__} is not linear, so the posterior has no closed form"
        )
    if not hasattr(noise, "cov"):
        raise BadInput(
            f"condition: noise = {type(noise).__name__} is not Gaussian, so the posterior has no closed form"
        )
    if tuple(A.in_shape) != tuple(prior.shape) or A.in_dtype != prior.dtype:
        raise BadInput(
            f"condition: A takes {tuple(A.in_shape)} {A.in_dtype}, the prior is on {prior.shape} {prior.dtype}; "
            f"they should agree"
        )
    if prior.dtype.is_complex and not A.out_dtype.is_complex:
        raise BadInput(
            "condition: a real measurement of a complex law leaves no circular posterior; use real coordinates"
        )
    if tuple(y.shape) != tuple(A.out_shape) or y.dtype != A.out_dtype:
        raise BadInput(
            f"condition: y is {tuple(y.shape)} {y.dtype}, A gives {tuple(A.out_shape)} {A.out_dtype}"
        )
    reals = (2 if y.is_complex() else 1) * y.numel()
    log_jacobian = noise.log_likelihood(y, y[None]).item() + 0.5 * reals * log(2 * pi)
    return *noise.whiten(A, y), log_jacobian


def matrix(A, y):
    """A as (m, d) and y as (m,); a complex measurement of a real signal counts as two real ones."""
    d, m = torch.Size(A.in_shape).numel(), torch.Size(A.out_shape).numel()
    split = A.out_dtype.is_complex and not A.in_dtype.is_complex
    if d <= m:
        M = A(torch.eye(d, dtype=A.in_dtype, device=y.device).reshape(d, *A.in_shape)).reshape(d, m).mT
        M = torch.cat([M.real, M.imag]) if split else M
    else:
        unit = torch.eye(m, dtype=A.out_dtype, device=y.device).reshape(m, *A.out_shape)
        unit = torch.cat([unit, 1j * unit]) if split else unit
        M = A.H(unit).reshape(len(unit), d).conj()
    y = y.flatten()
    return M, torch.cat([y.real, y.imag]) if split else y


def formed(d, m):
    """Whether the posterior covariances of d entries given m data are worth forming."""
    return d <= (DENSE_LIMIT if 2 * m > d else min(FORMED, DENSE_LIMIT))


def log_normal(r, L, c):
    """log N(r; 0, L L^H) for r: (..., m), L lower triangular (..., m, m), c real components an entry."""
    z = torch.linalg.solve_triangular(L, r[..., None], upper=False)[..., 0]
    log_det = 2 * L.diagonal(dim1=-2, dim2=-1).real.log().sum(-1)
    return -0.5 * (z.abs() ** 2).sum(-1) - 0.5 * c * (log_det + r.shape[-1] * log(2 * pi))


def condition(prior, A, y, noise):
    """The posterior law of `prior` given y, with `log_evidence`."""
    A, y, log_jacobian = whitened(prior, A, y, noise)
    reals = (2 if y.is_complex() else 1) * y.numel()
    if prior.dimension > DENSE_LIMIT and reals > ROWS_LIMIT:
        raise BadInput(
            f"condition: {prior.dimension} entries and {reals} measurements are too many for direct algebra "
            f"({DENSE_LIMIT} and {ROWS_LIMIT}); use GaussianField, or a sampler"
        )
    return Conditioned(prior, *matrix(A, y), log_jacobian)


class Conditioned(Analytic):
    """p(x | y) of a mixture: per component S_k = M C_k M^H + I, r_k = y - M m_k, K_k = C_k M^H S_k^{-1}.

    Only systems of the size of y are solved, so d may be large. M: (m, d) and y: (m,) whitened.
    """

    stream = "posterior"

    def __init__(self, prior, M, y, log_jacobian):
        self.prior, self.M, self.y = prior, M, y
        self.shape, self.dtype, self.device = prior.shape, prior.dtype, prior.device
        self.process, self.noise_range, self.dimension = prior.process, prior.noise_range, prior.dimension
        self.c = 2 if prior.dtype.is_complex else 1
        self.CMH, L = self._gain(lambda c: c)
        r = y - prior._flat @ M.mT
        log_w = torch.log(prior.weights) + log_normal(r, L, self.c)
        self.log_jacobian = log_jacobian
        self.log_evidence = torch.logsumexp(log_w, 0).item() + log_jacobian
        self.weights = torch.softmax(log_w, 0)
        self.L = L
        self.component_means = prior._flat + self._kalman(self.CMH, L, r[None])[0]

    def _gain(self, f):
        """f(C_k) M^H as (K, d, m), and the Cholesky factor of M f(C_k) M^H + I, (K, m, m)."""
        rows = self.M.conj()[:, None].expand(-1, len(self.prior.weights), -1)
        G = self.prior.covariances.apply(f, rows).permute(1, 2, 0)
        eye = torch.eye(len(self.y), dtype=self.dtype, device=self.M.device)
        return G, torch.linalg.cholesky(self.M @ G + eye)

    @staticmethod
    def _kalman(G, L, r):
        """G_k S_k^{-1} r_k for r: (n, K, m) -> (n, K, d)."""
        u = torch.cholesky_solve(r.permute(1, 2, 0), L)
        return (G @ u).permute(2, 0, 1)

    def full_covariances(self):
        """C_k - K_k M C_k, formed and factored in double precision: a measured direction may keep 1e-6 of its variance
        or less."""
        double = torch.complex128 if self.dtype.is_complex else torch.float64
        C, M = self.prior.covariances.dense().to(double), self.M.to(double)
        eye = torch.eye(len(self.y), dtype=double, device=M.device)
        L = torch.linalg.cholesky(M @ C @ M.mH + eye)
        gain = torch.linalg.solve_triangular(L, M @ C, upper=False)
        factored = Full.of(C - gain.mH @ gain)
        return Full(factored.c.to(self.dtype.to_real()), factored.Q.to(self.dtype))

    def cov(self):
        """Cov[x | y] as (d, d), formed: per real component, for complex laws the Hermitian part."""
        w, m = self.weights.to(self.dtype), self.component_means - self.mean().flatten()
        spread = torch.einsum("k,kd,ke->de", w, m, m.conj()) / self.c
        return torch.einsum("k,kde->de", w, self.full_covariances().dense()) + spread

    def mean(self):
        """E[x | y]."""
        return (self.weights.to(self.dtype) @ self.component_means).reshape(self.shape)

    def sample(self, n, seed, stream=None, first=0):
        """Draw the component, a prior draw x of it and a noise draw e, then x + K_k (y - M x - e) (Matheron)."""
        rng = Rng(seed, stream or self.stream, first=first)
        z, e = (
            rng.normal(self.prior.means.new_empty(n, *self.shape)),
            rng.normal(self.y.new_empty(n, len(self.y))),
        )
        k = torch.searchsorted(torch.cumsum(self.weights.double(), 0)[:-1].cpu(), rng.uniform(n), right=True)
        x = torch.empty_like(z.flatten(1))
        for j in k.unique().tolist():
            rows = k == j
            root = self.prior.covariances.pick(j).apply(torch.sqrt, z[rows].flatten(1)[:, None])[:, 0]
            draw = self.prior._flat[j] + root
            r = self.y - draw @ self.M.mT - e[rows]
            x[rows] = draw + self._kalman(self.CMH[j : j + 1], self.L[j : j + 1], r[:, None])[:, 0]
        return x.reshape(n, *self.shape)

    def _given(self, x, t):
        """Component means of p(x0 | x_t = x, y): (n, K, d), log(w_k p(x_t | k) p(y | x_t, k)): (n, K), gain and factor."""
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        _, log_w, d = self.prior._noised(x, t)
        x0 = self.prior._flat + self.prior.covariances.apply(
            lambda c: alpha * c / (alpha**2 * c + sigma**2), d
        )
        G, L = self._gain(lambda c: sigma**2 * c / (alpha**2 * c + sigma**2))
        r = self.y - x0 @ self.M.mT
        return x0 + self._kalman(G, L, r), log_w + log_normal(r, L, self.c), G, L

    def _rho(self, log_w):
        return torch.softmax(log_w, 1)[..., None].to(self.dtype)

    def responsibilities(self, x, t=None):
        """The probability of each component given x_t = x and y, (n, K); y adds nothing where x itself is known."""
        return self.prior.responsibilities(x) if t is None else torch.softmax(self._given(x, t)[1], 1)

    def log_prob(self, x, t=None):
        """log p_t(x | y), (n,); at t=None log p(x) + log p(y | x) - log p(y)."""
        if t is None:
            r = self.y - x.flatten(1) @ self.M.mT
            fit = -0.5 * r.abs().square().sum(1) - 0.5 * self.c * len(self.y) * log(2 * pi)
            log_p = self.prior.log_prob(x) + fit
        else:
            log_p = torch.logsumexp(self._given(x, t)[1], 1)
        return log_p + self.log_jacobian - self.log_evidence

    def score(self, x, t=None):
        """grad log p_t(x | y); at t=None grad log p(x) + M^H (y - M x)."""
        if t is not None:
            return super().score(x, t)
        pull = (self.y - x.flatten(1) @ self.M.mT) @ self.M.conj()
        return self.prior.score(x) + pull.reshape(x.shape)

    def denoise(self, x, t):
        """E[x0 | x_t = x, y]."""
        x0, log_w, _, _ = self._given(x, t)
        return (self._rho(log_w) * x0).sum(1).reshape(x.shape)

    def denoiser_jvp(self, x, t, v):
        """(alpha / sigma^2) Cov[x0 | x_t = x, y] v."""
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        x0, log_w, G, L = self._given(x, t)
        rho, u = self._rho(log_w), v.flatten(1)[:, None].expand_as(x0)
        inside = self.prior.covariances.apply(lambda c: sigma**2 * c / (alpha**2 * c + sigma**2), u)
        inside = inside - self._kalman(G, L, inside @ self.M.mT)
        centred = x0 - (rho * x0).sum(1, keepdim=True)
        out = (rho * (inside + centred * real_inner(centred, u))).sum(1)
        return (alpha / sigma**2 * out).reshape(x.shape)
