"""Laws whose first entry is a normal z and whose others are Gaussian given z: one integral over z does everything."""

import copy
from math import log, pi

import torch

from theory.distributions._analytic import Analytic
from theory.distributions._condition import matrix, whitened
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM

DEPTH = 45.0  # a node whose log weight is this far below the best is left out
COARSE, ROUNDS, NODES = 65, 5, 161  # nodes while the interval of z is looked for, how often, and in the end
FINE = 4001  # nodes of the inverse distribution function that posterior draws are made with
UNRESOLVED = 1e-3  # tolerance from which a posterior is no longer called exact


class Latent(Analytic):
    """x = (z, r), z ~ N(0, a^2), r | z ~ N(m(z), V(z) I) in d - 1 entries, and data y = M x + N(0, I) if any.

    A kind of law has `rest(z)`, the mean and the variance of an entry of r, of the shape of z. At (alpha, sigma) all but
    z is Gaussian algebra; z is integrated by the trapezoidal rule on an interval of its own for each row, found by
    narrowing that of z given x_1, or widening it, so that small noise is no harder than large. All in float64.
    """

    data = None  # z's column, the other columns turned, their squared singular values and y turned, of a posterior
    log_evidence, log_jacobian, nodes = 0.0, 0.0, NODES

    def __init__(self, a, d, dtype, process, noise_range):
        if not (a > 0 and d >= 2) or dtype.is_complex:
            raise BadInput(
                f"{type(self).__name__}: a = {a} should be positive, d = {d} at least 2 and dtype = {dtype} real"
            )
        self.a, self.dimension, self.shape = float(a), d, (d,)
        self.process, self.dtype, self.device = process or EDM(), dtype, torch.device("cpu")
        self.noise_range = noise_range or self._range()

    def _range(self):
        """From a hundredth of a to ten times the size of the law."""
        return 0.01 * self.a, 10 * self.cov().diagonal().sum().sqrt().item()

    def _given(self, x, alpha, sigma, z):
        """log p(z, x, y): (n, Q), E[r | z, x, y]: (n, Q, d - 1), the variance of r | z, x and 1 / (1 + P lam)."""
        mean, V = self.rest(z)
        S = alpha**2 * V + sigma**2
        off = x[:, None, 1:] - alpha * mean[..., None]
        log_w = (
            -0.5 * (z / self.a) ** 2
            - 0.5 * ((x[:, :1] - alpha * z) / sigma) ** 2
            - 0.5 * off.square().sum(2) / S
        )
        log_w = log_w - 0.5 * (self.dimension - 1) * torch.log(S) - log(self.a * sigma)
        log_w = log_w - 0.5 * (self.dimension + 1) * log(2 * pi)
        r, P = mean[..., None] + (alpha * V / S)[..., None] * off, V * sigma**2 / S
        if self.data is None:
            return log_w, r, P, None
        column, others, lam, y = self.data
        damp = 1 / (1 + P[..., None] * lam)
        gap = y - z[..., None] * column - r @ others.mT
        log_w = log_w - 0.5 * (gap.square() * damp - torch.log(damp)).sum(2) - 0.5 * len(y) * log(2 * pi)
        return log_w, r + P[..., None] * ((gap * damp) @ others), P, damp

    def _nodes(self, x, alpha, sigma, count):
        """Nodes of z on an interval that holds all but exp(-DEPTH), for each row: (n, count), and their spacing (n, 1)."""
        total = (alpha * self.a) ** 2 + sigma**2
        centre, reach = alpha * self.a**2 * x[:, :1] / total, 10 * self.a * sigma / total**0.5
        low, high = centre - reach, centre + reach
        for _ in range(ROUNDS):
            z = spread(low, high, COARSE)
            log_w = self._given(x, alpha, sigma, z)[0]
            rise = log_w.diff(dim=1).abs()
            rise = torch.cat([rise, 0 * rise[:, :1]], 1).maximum(torch.cat([0 * rise[:, :1], rise], 1))
            kept = (
                log_w + rise > log_w.amax(1, keepdim=True) - DEPTH
            )  # as a peak between two nodes may be higher
            index = torch.arange(COARSE, device=x.device).expand_as(kept)
            first = torch.where(kept, index, COARSE).amin(1, keepdim=True)
            last = torch.where(kept, index, -1).amax(1, keepdim=True)
            more = 0.5 * (high - low)  # where the data pull z beyond the interval
            low = torch.where(first == 0, low - more, z.gather(1, (first - 1).clamp_min(0)))
            high = torch.where(last == COARSE - 1, high + more, z.gather(1, (last + 1).clamp_max(COARSE - 1)))
        return spread(low, high, count), (high - low) / (count - 1)

    def _level(self, t):
        """alpha and sigma; 0 and 1, so that x says nothing, for t = None."""
        return (0.0, 1.0) if t is None else (self.process.alpha(t).item(), self.process.sigma(t).item())

    def _seen(self, x, t):
        """rho: (n, Q), E[x0 | z, x, y]: (n, Q, d), log p_t(x, y): (n,), and P and 1 / (1 + P lam) for `_cov`."""
        alpha, sigma = self._level(t)
        x = x.double()
        with torch.no_grad():
            z, step = self._nodes(x, alpha, sigma, self.nodes)
        log_w, r, P, damp = self._given(x, alpha, sigma, z)
        log_w = log_w + torch.log(step)
        return torch.softmax(log_w, 1), torch.cat([z[..., None], r], 2), torch.logsumexp(log_w, 1), P, damp

    def log_prob(self, x, t=None):
        """log p_t(x | y), (n,)."""
        if t is not None:
            return self._seen(x, t)[2] + self.log_jacobian - self.log_evidence
        x = x.double()
        mean, V = self.rest(x[:, 0])
        energy = (x[:, 0] / self.a) ** 2 + (x[:, 1:] - mean[:, None]).square().sum(1) / V
        log_p = -0.5 * energy - 0.5 * (self.dimension - 1) * torch.log(V) - log(self.a)
        log_p = log_p - 0.5 * self.dimension * log(2 * pi)
        if self.data is None:
            return log_p
        column, others, _, y = self.data
        gap = y - x[:, :1] * column - x[:, 1:] @ others.mT
        fit = -0.5 * gap.square().sum(1) - 0.5 * len(y) * log(2 * pi) + self.log_jacobian
        return log_p + fit - self.log_evidence

    def score(self, x, t=None):
        """(alpha E[x0 | x] - x) / sigma^2; the gradient of log_prob for t = None."""
        if t is not None:
            return super().score(x, t)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(self.log_prob(leaf).sum(), leaf)[0]

    def denoise(self, x, t):
        """E[x0 | x_t = x, y]."""
        rho, best, *_ = self._seen(x, t)
        return (rho[:, None] @ best)[:, 0].to(x.dtype)

    def denoiser_jvp(self, x, t, v):
        """(alpha / sigma^2) Cov[x0 | x_t = x, y] v, the mean of covariances given z and the covariance of means."""
        alpha, sigma = self._level(t)
        return (alpha / sigma**2 * self._cov(self._seen(x, t), v.double())).to(v.dtype)

    def _cov(self, seen, v):
        rho, best, _, P, damp = seen
        centred = best - rho[:, None] @ best
        turned = (rho[..., None] * centred).mT @ (centred @ v[..., None])
        inside = (rho * P).sum(1, keepdim=True) * v[:, 1:]
        if damp is not None:
            others = self.data[1]
            inside = inside - ((rho * P**2)[:, None] @ damp)[:, 0] * (v[:, 1:] @ others.mT) @ others
        return turned[..., 0] + torch.cat([torch.zeros_like(v[:, :1]), inside], 1)

    def mean(self):
        """E[x | y]."""
        return self.denoise(self._nothing(1), None)[0]

    def cov(self):
        """Cov[x | y] as (d, d)."""
        eye = torch.eye(self.dimension, dtype=torch.float64, device=self.device)
        return self._cov(self._seen(self._nothing(self.dimension), None), eye).to(self.dtype)

    def _nothing(self, n):
        return torch.zeros(n, self.dimension, dtype=self.dtype, device=self.device)

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws: z, by its inverse distribution function where there are data, then r given z."""
        rng = Rng(seed, stream or self.stream, first=first)
        noise = rng.normal(torch.empty(n, self.dimension, dtype=torch.float64)).to(self.device)
        z = self.a * noise[:, 0] if self.data is None else self._draw_z(rng.uniform(n).to(self.device))
        mean, V = self.rest(z)
        r = mean[:, None] + V.sqrt()[:, None] * noise[:, 1:]
        if self.data is not None:
            column, others, lam, y = self.data
            gap = y - z[:, None] * column - r @ others.mT - rng.normal(y.expand(n, -1))
            r = r + V[:, None] * (gap / (1 + V[:, None] * lam)) @ others
        return torch.cat([z[:, None], r], 1).to(self.dtype)

    def _draw_z(self, u):
        """z of the posterior at the probabilities u: (n,), its distribution function linear between FINE nodes."""
        x = self._nothing(1).double()
        z, _ = self._nodes(x, 0.0, 1.0, FINE)
        p = torch.softmax(self._given(x, 0.0, 1.0, z)[0], 1)[0]
        below = torch.cat([torch.zeros_like(p[:1]), (0.5 * (p[1:] + p[:-1])).cumsum(0)])
        k = torch.searchsorted(below, u * below[-1], right=True).clamp(1, FINE - 1) - 1
        share = (u * below[-1] - below[k]) / (below[k + 1] - below[k]).clamp_min(1e-300)
        return z[0, k] + share.clamp(0, 1) * (z[0, 1] - z[0, 0])

    @property
    def tolerance(self):
        """What doubling the nodes changes: the log evidence, and the mean in standard deviations."""
        twin, x = self.refined(), self._nothing(1)
        (_, _, one, *_), (_, _, two, *_) = self._seen(x, None), twin._seen(x, None)
        shift = (self.mean() - twin.mean()).abs() / self.cov().diagonal().sqrt()
        return max((one - two).abs().item(), shift.max().item())

    def refined(self):
        """The same law with twice the nodes of z."""
        twin = copy.copy(self)
        twin.nodes = 2 * self.nodes - 1
        return twin

    def condition(self, A, y, noise):
        """The exact posterior of x given y = A x + Gaussian noise, a law of this kind, with `log_evidence`.

        BadInput where A is not linear, the noise not Gaussian, or the integral over z is not resolved.
        """
        if self.data is not None:
            raise BadInput(
                "condition: this law has data already; stack the operators, condition the prior once"
            )
        A, y, log_jacobian = whitened(self, A, y, noise)
        M, y = (a.double() for a in matrix(A, y))
        lam, U = torch.linalg.eigh(M[:, 1:] @ M[:, 1:].mT)
        q = copy.copy(self)
        q.data, q.stream = (U.mT @ M[:, 0], U.mT @ M[:, 1:], lam.clamp_min(0), U.mT @ y), "posterior"
        q.log_jacobian = log_jacobian
        nothing = -0.5 * self.dimension * log(2 * pi)  # log N(x; 0, I) at x = 0
        q.log_evidence = q._seen(q._nothing(1), None)[2].item() - nothing + log_jacobian
        if not q.tolerance < UNRESOLVED:
            raise BadInput(
                f"condition: {NODES} nodes leave a tolerance of {q.tolerance:.1g}: too little noise"
            )
        return q


def spread(low, high, count):
    """count equally spaced numbers from low to high: (n, 1) -> (n, count)."""
    return low + (high - low) * torch.linspace(0, 1, count, dtype=torch.float64, device=low.device)
