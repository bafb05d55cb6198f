"""Images of independent patches, each of a Gaussian mixture: exact where overlapping patches would not be a law."""

from math import log, pi

import torch

from theory.distributions._analytic import Analytic
from theory.distributions._condition import whitened
from theory.distributions.independent_laplace import real
from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.noise.gaussian import Gaussian
from workbench.operators.dense import Dense

F64 = torch.float64


class _Patchwork(Analytic):
    """p(x) = prod_b p_b(patch b of x), patches side by side: prior (one law for all) or posterior (a law for each).

    laws: the mixtures of patches (p, q), one or as many as there are patches, row by row.  shape: (H, W) of the image.
    """

    def __init__(self, laws, shape):
        self.laws, self.shape = laws, tuple(shape)
        first = laws[0]
        self.size, self.dtype, self.device = first.shape, first.dtype, first.device
        self.process = first.process
        self.count = (shape[0] // self.size[0]) * (shape[1] // self.size[1])
        low, high = (torch.tensor([law.noise_range[i] for law in laws]) for i in (0, 1))
        self.noise_range = low.min().item(), high.max().item() * self.count**0.5

    def _cut(self, x):
        """(n, H, W) -> (n, count, p, q)."""
        p, q = self.size
        return x.unflatten(2, (-1, q)).unflatten(1, (-1, p)).transpose(2, 3).flatten(1, 2)

    def _paste(self, patches):
        """(n, count, p, q) -> (n, H, W)."""
        rows = patches.unflatten(1, (-1, self.shape[1] // self.size[1])).transpose(2, 3)
        return rows.flatten(3, 4).flatten(1, 2)

    def _each(self, f, *xs):
        """f(law, *patches) for every patch: (n, count, ...)."""
        xs = [self._cut(x) for x in xs]
        if len(self.laws) == 1:
            return f(self.laws[0], *(x.flatten(0, 1) for x in xs)).unflatten(0, (-1, self.count))
        return torch.stack([f(law, *(x[:, b] for x in xs)) for b, law in enumerate(self.laws)], 1)

    def _of_each(self):
        return self.laws * self.count if len(self.laws) == 1 else self.laws

    def log_prob(self, x, t=None):
        """log p_t(x), (n,): a sum over patches."""
        return self._each(lambda law, z: law.log_prob(z, t), x).sum(1)

    def score(self, x, t=None):
        """The patches' scores, side by side; t=None for the law itself."""
        return self._paste(self._each(lambda law, z: law.score(z, t), x))

    def denoise(self, x, t):
        """E[x0 | x_t = x], patch by patch."""
        return self._paste(self._each(lambda law, z: law.denoise(z, t), x))

    def denoiser_jvp(self, x, t, v):
        """J v, patch by patch."""
        return self._paste(self._each(lambda law, z, u: law.denoiser_jvp(z, t, u), x, v))

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, (n, H, W)."""
        stream = stream or self.stream
        if len(self.laws) == 1:
            patches = self.laws[0].sample(n * self.count, seed, stream, first * self.count)
            return self._paste(patches.unflatten(0, (n, self.count)))
        draws = [law.sample(n, seed, f"{stream}/{b}", first) for b, law in enumerate(self.laws)]
        return self._paste(torch.stack(draws, 1))

    def mean(self):
        """E[x], (H, W)."""
        return self._paste(torch.stack([law.mean() for law in self._of_each()])[None])[0]

    def cov(self):
        """Cov[x], (d, d): zero between patches."""
        blocks = torch.block_diag(*(law.cov() for law in self._of_each()))
        half = self._paste(blocks.reshape(-1, self.count, *self.size)).flatten(1)
        return self._paste(half.mT.reshape(-1, self.count, *self.size)).flatten(1)

    def condition(self, A, y, noise):
        """The exact posterior of x given y = A x + Gaussian noise, patches again, with `log_evidence` = log p(y).

        A^T R^-1 A must not couple patches: a mask, a gain, a blur within each. BadInput otherwise.
        """
        B, w, log_jacobian = whitened(self, A, y, noise)
        K, k = self._blocks(B), self._cut(B.H(w[None]).to(self.dtype))[0].flatten(1)
        log_evidence = -0.5 * (w.abs() ** 2).sum().item() - 0.5 * log(2 * pi) * _reals(w) + log_jacobian
        laws = []
        for law, block, pull in zip(self._of_each(), K, k, strict=True):
            q, log_p = _conditioned(law, block, pull)
            laws.append(q)
            log_evidence += log_p
        q = _Patchwork(laws, self.shape)
        q.stream, q.log_evidence = "posterior", log_evidence
        return q

    def _blocks(self, B):
        """The diagonal blocks of B^T B, (count, d, d): the same unit vector in every patch at once, for each of d."""
        d = self.size[0] * self.size[1]
        normal = lambda x: B.H(B(x)).to(self.dtype)  # noqa: E731
        units = torch.eye(d, dtype=self.dtype, device=self.device).reshape(d, 1, *self.size)
        K = self._cut(normal(self._paste(units.expand(-1, self.count, -1, -1)))).flatten(2).permute(1, 2, 0)
        z = Rng(0, "probe").normal(units.new_empty(2, *self.shape))
        want = torch.einsum("bij,nbj->nbi", K, self._cut(z).flatten(2))
        gap = (self._cut(normal(z)).flatten(2) - want).abs().max()
        if not gap <= 1e4 * torch.finfo(self.dtype).eps * K.abs().max().clamp_min(1e-300):
            raise BadInput(
                f"condition: the data couple patches of {self.size} pixels, which {type(self).__name__} keeps apart; use a "
                f"mask, a point-wise gain, or a sampler"
            )
        return 0.5 * (K + K.mT)


def _reals(w):
    return w.numel() * (2 if w.is_complex() else 1)


def _conditioned(law, K, k):
    """The law of a patch times exp(k^T x - x^T K x / 2), and the log of the integral."""
    lam, Q = torch.linalg.eigh(K)
    seen = lam > 1e-13 * lam.abs().max()
    if not seen.any():
        return law, 0.0
    root, Q = lam[seen].sqrt(), Q[:, seen]
    y = (Q.mT @ k) / root
    q = law.condition(Dense(root[:, None] * Q.mT, law.shape), y, Gaussian(1.0))
    return q, q.log_evidence + 0.5 * (y @ y).item() + 0.5 * log(2 * pi) * len(y)


class PatchMixture(_Patchwork):
    """x of (H, W) in independent patches of (p, q), each from the same Gaussian mixture of K components.

    weights, means (K, p, q), covariances: of `GaussianMixture`.  shape: (H, W), multiples of (p, q). Patches that
    overlap (EPLL) make no normalised law and are not here.  Zoran and Weiss 2011.
    """

    card = dict(engine="mixture", exact=False, source="Zoran and Weiss 2011")  # not under every linear A

    def __init__(self, weights, means, covariances, shape, process=None, noise_range=None):
        real(means.dtype, "PatchMixture")
        if means.ndim != 3 or len(shape) != 2 or shape[0] % means.shape[1] or shape[1] % means.shape[2]:
            raise BadInput(
                f"PatchMixture: shape = {tuple(shape)} should be multiples of the patches, means {tuple(means.shape)[1:]}"
            )
        super().__init__([GaussianMixture(weights, means, covariances, process)], shape)
        self.noise_range = noise_range or self.noise_range

    @classmethod
    def example(cls, rng, dtype=F64):
        root = rng.normal(torch.empty(3, 4, 4, dtype=dtype))
        covariances = root @ root.mT / 4 + 0.05 * torch.eye(4, dtype=dtype)
        return cls([0.5, 0.3, 0.2], 2 * rng.normal(torch.empty(3, 2, 2, dtype=dtype)), covariances, (4, 2))

    def __repr__(self):
        return f"PatchMixture(K={len(self.laws[0].weights)}, {self.size} in {self.shape}, {self.dtype})"
