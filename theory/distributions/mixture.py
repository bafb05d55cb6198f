"""Gaussian mixtures: every quantity of a diffusion, and the posterior under linear measurements, in closed form."""

from math import log, pi, prod

import torch

from theory.distributions._analytic import Analytic, real_inner
from theory.distributions._condition import condition, formed
from theory.distributions._posterior_grid import posterior
from theory.distributions.covariance import covariance
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM
from workbench.operators._linear import Linear


class GaussianMixture(Analytic):
    """p(x) = sum_k w_k N(x; m_k, C_k), noised to p_t = sum_k w_k N(alpha m_k, B_k) with B_k = alpha^2 C_k + sigma^2 I.

    weights: (K,) > 0, normalised here.  means: (K, *shape), real, or complex with circular components.
    covariances, per real component: (K,) isotropic, (K, d) diagonal, (K, d, d) full, or LowRank(U, lam, delta).
    """

    card = dict(engine="mixture", exact=True, source="")

    def __init__(self, weights, means, covariances, process=None, noise_range=None):
        weights = torch.as_tensor(weights, dtype=torch.float64)
        if (
            weights.ndim != 1
            or len(weights) != len(means)
            or not (weights >= 0).all()
            or not weights.sum() > 0
        ):
            raise BadInput(
                f"weights = {weights.tolist()} should be {len(means)} numbers >= 0, one a row of means"
            )
        self.process = process or EDM()
        self.weights = (weights / weights.sum()).to(means.device, means.dtype.to_real())
        self.means = means
        self.shape, self.dtype, self.device = tuple(means.shape[1:]), means.dtype, means.device
        self.dimension = prod(self.shape)
        self.covariances = covariance(covariances, len(means), self.dimension)
        self.noise_range = noise_range or self._range()

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        m = rng.normal(torch.empty(3, 2, 2, dtype=dtype))
        root = rng.normal(torch.empty(3, 4, 4, dtype=dtype))
        return cls([0.5, 0.3, 0.2], 2 * m, root @ root.mH / 4 + 0.2 * torch.eye(4, dtype=dtype))

    def _range(self):
        """From a hundredth of the smallest standard deviation to ten times the size of the whole law."""
        low, high = self.covariances.extremes()
        size = self.means.flatten(1).abs().pow(2).sum(1).max() + high
        return 0.01 * low.sqrt().item(), 10 * size.sqrt().item()

    @property
    def _flat(self):
        return self.means.flatten(1)

    @property
    def _components_per_entry(self):
        return 2 if self.dtype.is_complex else 1

    def _levels(self, t):
        """alpha, and c -> alpha^2 c + sigma^2."""
        if getattr(t, "ndim", 0):
            raise BadInput(f"t has shape {tuple(t.shape)}, it should be one time; call once for each")
        alpha, sigma = (1.0, 0.0) if t is None else (self.process.alpha(t), self.process.sigma(t))
        return alpha, lambda c: alpha**2 * c + sigma**2

    def _log_det(self, level):
        """log det(2 pi B_k) over the real components, (K,)."""
        c = self._components_per_entry
        return c * (self.covariances.trace(lambda e: torch.log(level(e))) + self.dimension * log(2 * pi))

    def _noised(self, x, t):
        """Component scores g_k: (n, K, d), log(w_k N_k): (n, K) and offsets x - alpha m_k at time t."""
        alpha, level = self._levels(t)
        d = x.flatten(1)[:, None] - alpha * self._flat
        g = -self.covariances.apply(lambda c: 1 / level(c), d)
        log_n = 0.5 * (real_inner(d, g)[..., 0] - self._log_det(level))
        return g, torch.log(self.weights) + log_n, d

    def _denoised(self, x, t):
        """Component denoisers m_k + alpha C_k B_k^{-1} (x - alpha m_k): (n, K, d), responsibilities: (n, K, 1), g."""
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        g, log_w, d = self._noised(x, t)
        shrink = self.covariances.apply(lambda c: alpha * c / (alpha**2 * c + sigma**2), d)
        return self._flat + shrink, torch.softmax(log_w, 1)[..., None].to(d.dtype), g

    def _weighed(self, x, t):
        """log(w_k N_k): (n, K) and the offsets x - alpha m_k, in the form that the covariances make of them."""
        alpha, level = self._levels(t)
        offsets = self.covariances.offsets(x.flatten(1), alpha * self._flat)
        square = self.covariances.quadratic(lambda c: 1 / level(c), offsets)
        return torch.log(self.weights) - 0.5 * (square + self._log_det(level)), offsets

    def log_prob(self, x, t=None):
        """log p_t(x), (n,); t=None for the law itself (all covariances positive definite then)."""
        return torch.logsumexp(self._weighed(x, t)[0], 1)

    def responsibilities(self, x, t=None):
        """The posterior probability of each component given x_t = x, (n, K)."""
        return torch.softmax(self._weighed(x, t)[0], 1)

    def score(self, x, t=None):
        """-sum_k rho_k B_k^{-1} (x - alpha m_k); t=None for the law itself."""
        _, level = self._levels(t)
        log_w, offsets = self._weighed(x, t)
        return -self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets).reshape(
            x.shape
        )

    def denoise(self, x, t):
        """E[x0 | x_t = x] = sum_k rho_k (m_k + alpha C_k B_k^{-1} (x - alpha m_k))."""
        alpha, level = self._levels(t)
        log_w, offsets = self._weighed(x, t)
        rho = torch.softmax(log_w, 1)
        shrunk = self.covariances.pulled(lambda c: alpha * c / level(c), rho, offsets)
        return (rho.to(self._flat.dtype) @ self._flat + shrunk).reshape(x.shape)

    def denoiser_jvp(self, x, t, v):
        """sum_k rho_k [alpha C_k B_k^{-1} v + xhat_k Re<g_k - s, v>], finite as sigma -> 0."""
        return self._derivative(x, t)[1](v)

    def tweedie(self, x, t):
        """E[x0 | x_t = x], and v -> Cov[x0 | x_t = x] v = (sigma^2 / alpha) J v, of which only the last products are
        made for every v."""
        x0, jvp = self._derivative(x, t)
        scale = self.process.sigma(t) ** 2 / self.process.alpha(t)
        return x0, lambda v: scale * jvp(v)

    def _derivative(self, x, t):
        """The denoiser at x, and its derivative v -> J v there."""
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        x0, rho, g = self._denoised(x, t)
        turned = (g - (rho * g).sum(1, keepdim=True)).conj()
        weighted, share = rho * x0, rho[..., 0].real

        def jvp(v):
            u = v.flatten(1)
            straight = self.covariances.mixed(lambda c: alpha * c / (alpha**2 * c + sigma**2), share, u)
            turn = (turned @ u[..., None]).real.to(u.dtype)
            return (straight + (weighted.mT @ turn)[..., 0]).reshape(x.shape)

        return weighted.sum(1).reshape(x.shape), jvp

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws: a component, then m_k + C_k^{1/2} z."""
        rng = Rng(seed, stream or self.stream, first=first)
        return self.draw(rng.normal(self.means.new_empty(n, *self.shape)), rng.uniform(n))

    def draw(self, z, u):
        """The draws that standard normal z: (n, *shape) and uniform u: (n,) make."""
        edges = torch.cumsum(self.weights.double(), 0)[:-1].cpu()
        k = torch.searchsorted(edges, u, right=True)
        x = torch.empty_like(z.flatten(1))
        for j in k.unique().tolist():
            rows = k == j
            root = self.covariances.pick(j).apply(torch.sqrt, z[rows].flatten(1)[:, None])[:, 0]
            x[rows] = self._flat[j] + root
        return x.reshape(z.shape)

    def mean(self):
        """E[x], of the signal's shape."""
        return torch.tensordot(self.weights.to(self.dtype), self.means, dims=1)

    def cov(self):
        """Cov[x] as (d, d), per real component; for complex laws the Hermitian part E[(x - m)(x - m)^H] / 2."""
        m = self._flat - self.mean().flatten()
        w = self.weights.to(self.dtype)
        spread = torch.einsum("k,kd,ke->de", w, m, m.conj()) / self._components_per_entry
        return torch.einsum("k,kde->de", w, self.covariances.dense().to(self.dtype)) + spread

    def at(self, t):
        """The law of x_t, a mixture again."""
        a, s = self.process.alpha(t).item(), self.process.sigma(t).item()
        return GaussianMixture(
            self.weights, a * self.means, self.covariances.affine(a**2, s**2), self.process
        )

    def condition(self, A, y, noise):
        """The exact posterior of x given y = A x + Gaussian noise: a mixture again (for d <= 256, or d <= 1024 and more
        than d / 2 data), or a law with the same methods that only solves systems of the size of y. It carries
        `log_evidence` = log p(y). In one or two real dimensions A may be any operator and noise any law: a `Grid`.

        Raises BadInput elsewhere when A is not linear or the noise is not Gaussian.
        """
        if (
            self.dimension <= 2
            and not self.dtype.is_complex
            and not (isinstance(A, Linear) and hasattr(noise, "cov"))
        ):
            return posterior(self, A, y, noise, *self._box())
        law = condition(self, A, y, noise)
        if not formed(self.dimension, len(law.y)):
            return law
        means = law.component_means.reshape(-1, *self.shape)  # small enough to be seen whole
        q = GaussianMixture(law.weights, means, law.full_covariances(), self.process)
        q.log_evidence, q.stream = law.log_evidence, law.stream
        return q

    def _box(self):
        """The corners of the box that reaches 8 standard deviations beyond each component."""
        reach = 8 * self.covariances.dense().diagonal(dim1=1, dim2=2).double().sqrt()
        means = self._flat.double()
        return (means - reach).amin(0), (means + reach).amax(0)

    def __repr__(self):
        form = type(self.covariances).__name__
        return f"{type(self).__name__}(K={len(self.weights)}, shape={self.shape}, {form}, {self.dtype})"


class Gaussian(GaussianMixture):
    """p(x) = N(x; mean, covariance): the law for which nearly everything is exact.

    mean: (*shape), real or complex (circular).  covariance, per real component: a number, (d,), (d, d), or LowRank.
    """

    card = dict(engine="mixture", exact=True, source="")

    def __init__(self, mean, covariance, process=None, noise_range=None):
        if isinstance(covariance, (int, float)):
            covariance = torch.tensor(covariance, dtype=mean.dtype.to_real(), device=mean.device)
        forms = covariance[None] if isinstance(covariance, torch.Tensor) else covariance
        super().__init__([1.0], mean[None], forms, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        root = rng.normal(torch.empty(6, 6, dtype=dtype))
        return cls(
            rng.normal(torch.empty(1, 2, 3, dtype=dtype))[0],
            root @ root.mH / 6 + 0.1 * torch.eye(6, dtype=dtype),
        )

    def entropy(self):
        """-E log p = c (d log(2 pi e) + log det C) / 2 in nats, c = 2 for complex laws and else 1; a float."""
        log_det = self.covariances.trace(torch.log)[0]
        return 0.5 * self._components_per_entry * (self.dimension * (1 + log(2 * pi)) + log_det).item()

    def at(self, t):
        """The law of x_t, a Gaussian again."""
        a, s = self.process.alpha(t).item(), self.process.sigma(t).item()
        return Gaussian(a * self.means[0], self.covariances.affine(a**2, s**2), self.process)
