"""Laws whose coordinates are independent in an orthonormal basis, given a component: score(x) = W^T s(W x)."""

from math import log, pi

import torch

from theory.distributions import _pieces
from theory.distributions._analytic import Analytic
from theory.distributions._diagonal import sites
from theory.distributions._pieces import NODES, nodes, pick
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM

ENTRIES = 2**19  # nodes that are held at once


class Product(Analytic):
    """p(x) prop. to p0(W x) exp(sum_i k_i z_i - K_i z_i^2 / 2), z = W x, for p0 made of `Pieces`; prior or posterior.

    Every integral is over one coordinate, with relative error 1e-14 by Gauss-Legendre nodes that move with x_t, so no
    tail is too far and no difference cancels. Calculus is in float64, signals are of `dtype`.
    basis: an orthonormal linear operator W, or None for the identity.  precision K, shift k: (d,).
    """

    def __init__(self, pieces, shape, dtype, process, noise_range, basis=None, precision=None, shift=None):
        self.pieces, self.basis = pieces, basis
        self.shape, self.dtype, self.device = tuple(shape), dtype, pieces.low.device
        self.process, self.noise_range = process or EDM(), noise_range
        zeros = torch.zeros(pieces.low.shape[1], dtype=torch.float64, device=self.device)
        self.precision = zeros if precision is None else precision
        self.shift = zeros if shift is None else shift

    def _analysed(self, x):
        """z = W x as (n, d) float64."""
        x = x.double()
        return (x if self.basis is None else self.basis(x)).reshape(len(x), -1)

    def _synthesised(self, z):
        """W^T z of the signal's shape and dtype."""
        x = z if self.basis is None else self.basis.H(z)
        return x.reshape(len(z), *self.shape).to(self.dtype)

    def _nodes(self, z, t):
        """Nodes y and log weights (n, K, d, J * NODES), which as a discrete law have every moment of x0 given x_t."""
        p, b, q = self.pieces, self.pieces.slope + self.shift[:, None], self.precision[:, None]
        if t is None:
            y, log_w = (a[None] for a in nodes(b, q.expand_as(b), p.low, p.high))
            energy = 0.0
        else:
            alpha, sigma = self.process.alpha(t), self.process.sigma(t)
            z = z[:, None, :, None]
            b, q = b + alpha / sigma**2 * z, (q + alpha**2 / sigma**2).expand_as(b)
            y, log_w = nodes(b, q.expand_as(b), p.low, p.high)
            energy = -0.5 * ((z[..., None] - alpha * y) / sigma) ** 2 - sigma.log() - 0.5 * log(2 * pi)
        tilt = (p.slope + self.shift[:, None])[..., None] * y - 0.5 * self.precision[:, None, None] * y**2
        return y.flatten(3), (log_w + p.c[..., None] + tilt + energy).flatten(3)

    def _moments(self, z, t):
        """log(w_k p(x_t | k)): (n, K), and the mean and variance of z0 given x_t and k: (n, K, d)."""
        if z is None:
            return self._moments_of_rows(None, None)
        rows = max(1, ENTRIES // (self.pieces.low.numel() * NODES))
        return [torch.cat(a) for a in zip(*(self._moments_of_rows(r, t) for r in z.split(rows)), strict=True)]

    def _moments_of_rows(self, z, t):
        y, log_w = self._nodes(z, t)
        log_p, r = torch.logsumexp(log_w, 3), torch.softmax(log_w, 3)
        mean = (r * y).sum(3)
        return self.pieces.log_w + log_p.sum(2), mean, (r * (y - mean[..., None]) ** 2).sum(3)

    @property
    def _log_mass(self):
        return torch.logsumexp(self._moments(None, None)[0], 1)

    def log_prob(self, x, t=None):
        """log p_t(x), (n,); at t=None BadInput where the law has atoms, -inf outside its support."""
        z = self._analysed(x)
        if t is not None:
            return torch.logsumexp(self._moments(z, t)[0], 1) - self._log_mass
        p = self.pieces
        if p.atoms.any():
            raise BadInput(f"{type(self).__name__} has no density at t = None: a coordinate may be an atom")
        at = z[:, None, :, None]
        inside = (at > p.low) & (at < p.high)
        log_p = torch.where(inside, p.c + p.slope * at, torch.full_like(at, -torch.inf)).logsumexp(3)
        tilt = (self.shift * z - 0.5 * self.precision * z**2).sum(1)
        return torch.logsumexp(p.log_w + log_p.sum(2), 1) + tilt - self._log_mass

    def denoise(self, x, t):
        """E[x0 | x_t = x]: coordinate by coordinate in each component."""
        log_r, mean, _ = self._moments(self._analysed(x), t)
        return self._synthesised((torch.softmax(log_r, 1)[..., None] * mean).sum(1))

    def tweedie(self, x, t):
        """E[x0 | x_t = x], and v -> Cov[x0 | x_t = x] v, from one set of moments."""
        log_r, mean, var = self._moments(self._analysed(x), t)
        r = torch.softmax(log_r, 1)[..., None]
        z0 = (r * mean).sum(1)
        inside, off = (r * var).sum(1), mean - z0[:, None]

        def cov(v):
            u = self._analysed(v)
            across = (r * off * (off * u[:, None]).sum(2, keepdim=True)).sum(1)
            return self._synthesised(inside * u + across)

        return self._synthesised(z0), cov

    def denoiser_jvp(self, x, t, v):
        """(alpha / sigma^2) Cov[x0 | x_t = x] v."""
        return self.process.alpha(t) / self.process.sigma(t) ** 2 * self.tweedie(x, t)[1](v)

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws: a component, a piece of each coordinate, and a quantile of it."""
        p, rng = self.pieces, Rng(seed, stream or self.stream, first=first)
        d = len(self.precision)
        u, v, w = (rng.uniform(n, *s).to(self.device) for s in ((), (d,), (d,)))
        log_w = self._nodes(None, None)[1].unflatten(3, (p.low.shape[2], -1)).logsumexp(4)[0]
        k = pick(u, (p.log_w + log_w.logsumexp(2).sum(1)).expand(n, -1))
        j = pick(v, log_w[k])[..., None]
        low, high, slope = (a[k].gather(2, j)[..., 0] for a in (p.low, p.high, p.slope))
        return self._synthesised(
            _pieces.draw(w, slope + self.shift, self.precision.expand_as(low), low, high)
        )

    def mean(self):
        """E[x], of the signal's shape."""
        log_r, mean, _ = self._moments(None, None)
        return self._synthesised((torch.softmax(log_r, 1)[..., None] * mean).sum(1))[0]

    def cov(self):
        """Cov[x] as (d, d)."""
        log_r, mean, var = self._moments(None, None)
        r, mean = torch.softmax(log_r, 1)[0], mean[0]
        off = mean - r @ mean
        C = torch.einsum("k,ki,kj->ij", r, off, off) + torch.diag(r @ var[0])
        half = self._synthesised(C).flatten(1).double()  # rows turned by W, then columns
        return self._synthesised(half.mT).flatten(1)

    def condition(self, A, y, noise):
        """The exact posterior of x given y = A x + Gaussian noise, a product again, with `log_evidence` = log p(y).

        W A^T R^-1 A W^T has to be diagonal: masks and point-wise gains where W = I, or x seen whole. Else BadInput.
        """
        data = sites(self, A, y, noise, self._analysed, self._synthesised)
        law = (self.pieces, self.shape, self.dtype, self.process, self.noise_range, self.basis)
        q = Product(*law, self.precision + data.precision, self.shift + data.shift)
        q.stream = "posterior"
        q.log_evidence = (q._log_mass - self._log_mass).item() + data.constant
        return q

    def __repr__(self):
        return f"{type(self).__name__}(shape={self.shape}, {self.dtype})"
