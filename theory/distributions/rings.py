"""Concentric circles with a Gaussian thickness: a mixture of circles, each one Bessel function."""

from math import ceil, pi

import torch

from theory.distributions._analytic import Analytic
from theory.distributions._curve import in_plane
from theory.distributions.mixture import GaussianMixture
from theory.distributions.sphere import Sphere
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM

CLOSE = 2.0  # nodes a thickness along a circle, in its posterior: the error is exp(-2 pi^2 4)


class Rings(Analytic):
    """x = radii_j u + thickness n in the plane, j with probability w_j, u uniform on the circle, n ~ N(0, I).

    radii: m numbers > 0 (default: the preset `circles2`).  weights: m numbers >= 0 (default: equal).  p_t = sum_j w_j p_{j,t}, each in closed form. The
    posterior under a linear A is the Gaussian mixture on nodes around each ring, closer than the thickness.
    """

    card = dict(engine="radial", exact=True, source="")

    def __init__(
        self, radii=(1.3, 2.8), thickness=0.2, weights=None, dtype=torch.float64, process=None, noise_range=None
    ):  # fmt: skip
        if not (len(radii) and thickness > 0):
            raise BadInput(
                f"Rings: radii = {radii} should not be empty, thickness = {thickness} should be positive"
            )
        weights = torch.as_tensor([1.0] * len(radii) if weights is None else weights, dtype=torch.float64)
        if len(weights) != len(radii) or not (weights >= 0).all() or not weights.sum() > 0:
            raise BadInput(f"Rings: weights = {weights.tolist()} should be {len(radii)} numbers >= 0")
        self.process, self.dtype, self.device = process or EDM(), dtype, torch.device("cpu")
        self.circles = [Sphere(2, r, thickness, dtype, self.process) for r in radii]
        self.radii, self.thickness, self.weights = (
            list(map(float, radii)),
            float(thickness),
            weights / weights.sum(),
        )
        self.shape, self.dimension = (2,), 2
        self.noise_range = noise_range or (0.01 * self.thickness, 10 * (max(self.radii) + 2 * self.thickness))

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        if dtype.is_complex:
            raise BadInput("Rings is a law of real signals")
        return cls((0.7, 1.8), 0.3, [0.4, 0.6], dtype)

    def _log(self, x, t):
        """log(w_j p_{j,t}(x)): (n, m)."""
        return self.weights.log() + torch.stack([c.log_prob(x, t) for c in self.circles], 1)

    def _all(self, name, *args):
        """What the circles say, (n, m, 2)."""
        return torch.stack([getattr(c, name)(*args) for c in self.circles], 1)

    def log_prob(self, x, t=None):
        """log p_t(x), (n,)."""
        return torch.logsumexp(self._log(x, t), 1)

    def arm_probabilities(self, x, t=None):
        """The posterior probability of each ring given x_t = x, (n, m)."""
        return torch.softmax(self._log(x, t), 1)

    def _weighted(self, x, t, values):
        return (self.arm_probabilities(x, t).to(values.dtype)[..., None] * values).sum(1)

    def score(self, x, t=None):
        """sum_j rho_j s_j."""
        return self._weighted(x, t, self._all("score", x, t))

    def denoise(self, x, t):
        """sum_j rho_j E[x0 | x_t = x, ring j]."""
        return self._weighted(x, t, self._all("denoise", x, t))

    def denoiser_jvp(self, x, t, v):
        """sum_j rho_j (J_j v + D_j <s_j - s, v>)."""
        scores = self._all("score", x, t)
        turn = ((scores - self._weighted(x, t, scores)[:, None]) * v[:, None]).sum(2, keepdim=True)
        return self._weighted(x, t, self._all("denoiser_jvp", x, t, v) + self._all("denoise", x, t) * turn)

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws."""
        return self.labelled(n, seed, stream, first)[0]

    def labelled(self, n, seed, stream=None, first=0):
        """n independent draws, and the ring each is from: (n, 2), (n,)."""
        rng = Rng(seed, stream or self.stream, first=first)
        luck, noise = rng.uniform(n, 2), rng.normal(torch.empty(n, 2, dtype=torch.float64))
        j = torch.searchsorted(self.weights.cumsum(0)[:-1].cpu(), luck[:, 0].contiguous(), right=True)
        on = in_plane(torch.tensor(self.radii, dtype=torch.float64)[j], 2 * pi * luck[:, 1])
        return (on + self.thickness * noise).to(self.device, self.dtype), j

    def mean(self):
        """0."""
        return torch.zeros(2, dtype=self.dtype, device=self.device)

    def cov(self):
        """(sum_j w_j radii_j^2 / 2 + thickness^2) I, (2, 2)."""
        second = sum(w * r**2 for w, r in zip(self.weights.tolist(), self.radii, strict=True)) / 2
        return (second + self.thickness**2) * torch.eye(2, dtype=self.dtype, device=self.device)

    def at(self, t):
        """The law of x_t: smaller rings, thicker."""
        a, s = self.process.alpha(t).item(), self.process.sigma(t).item()
        thickness = (s**2 + (a * self.thickness) ** 2) ** 0.5
        law = Rings([a * r for r in self.radii], thickness, self.weights.cpu(), self.dtype, self.process)
        law.circles, law.weights, law.device = [c.at(t) for c in self.circles], self.weights, self.device
        return law

    def mixture(self):
        """The Gaussian mixture on nodes around each ring, equal to the law to rounding."""
        counts = [max(16, ceil(2 * pi * CLOSE * r / self.thickness)) for r in self.radii]
        angles = [2 * pi * torch.arange(n, dtype=torch.float64) / n for n in counts]
        means = torch.cat(
            [r * in_plane(torch.ones_like(a), a) for r, a in zip(self.radii, angles, strict=True)]
        )
        weights = torch.cat([(w / n).expand(n) for w, n in zip(self.weights, counts, strict=True)])
        variances = torch.full((len(means),), self.thickness**2, dtype=self.dtype, device=self.device)
        means = means.to(self.device, self.dtype)
        return GaussianMixture(weights, means, variances, self.process, self.noise_range)

    def condition(self, A, y, noise):
        """The exact posterior of x given y, with `log_evidence`: for a linear A and Gaussian noise that of `mixture`, for
        any other operator and noise a Grid."""
        return self.mixture().condition(A, y, noise)

    def intrinsic_dim(self, x):
        """1 everywhere, at scales above the thickness: (n,)."""
        return torch.ones(len(x), dtype=torch.long)

    def __repr__(self):
        return f"Rings(radii={self.radii}, thickness={self.thickness:g})"
