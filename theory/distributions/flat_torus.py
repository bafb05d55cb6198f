"""A product of circles, the flat torus: no curvature, the topology of a torus, every formula a Bessel function."""

from math import log, pi

import torch

from theory.distributions._analytic import Analytic
from theory.distributions._condition import matrix, whitened
from theory.distributions.sphere import Sphere, proportional
from workbench._errors import BadInput
from workbench.diffusion.variance_exploding import EDM


class FlatTorus(Analytic):
    """x = (radii_1 u_1, ..., radii_m u_m) + thickness n, each u_i uniform on its circle: a torus in R^{2m}.

    radii: m numbers > 0 (two: the torus in R^4).  thickness >= 0: standard deviation of a Gaussian added to x. Noise and
    data y = A x with A^T R^{-1} A = diag(c_1 I_2, ..., c_m I_2) leave the circles independent, von Mises laws each.
    """

    card = dict(engine="radial", exact=False, source="Mardia and Jupp 2000")  # not under every linear A

    def __init__(self, radii=(1.0, 1.0), thickness=0.0, dtype=torch.float64, process=None, noise_range=None):
        if not len(radii):
            raise BadInput("FlatTorus: radii is empty; give one radius a circle")
        self.process, self.dtype, self.device = process or EDM(), dtype, torch.device("cpu")
        self.circles = [Sphere(2, r, thickness, dtype, self.process) for r in radii]
        self.thickness, self.shape, self.dimension = float(thickness), (2 * len(radii),), 2 * len(radii)
        size = sum(float(r) ** 2 for r in radii) ** 0.5 + thickness * self.dimension**0.5
        self.noise_range = noise_range or (0.01 * min(map(float, radii)), 10 * size)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        if dtype.is_complex:
            raise BadInput("FlatTorus is a law of real signals")
        return cls((1.0, 0.6), 0.05, dtype)

    def _each(self, name, *args):
        """What each circle's method says of its two coordinates of the first argument, and of others of that shape."""
        pairs = [a.split(2, 1) if isinstance(a, torch.Tensor) and a.ndim == 2 else None for a in args]
        pick = lambda i: [a if p is None else p[i] for a, p in zip(args, pairs, strict=True)]  # noqa: E731
        return [getattr(circle, name)(*pick(i)) for i, circle in enumerate(self.circles)]

    def log_prob(self, x, t=None):
        """The sum of the circles' log p_t, (n,); BadInput at t = None without thickness."""
        return sum(self._each("log_prob", x, t))

    def score(self, x, t=None):
        """Each circle's own."""
        return torch.cat(self._each("score", x, t), 1)

    def denoise(self, x, t):
        """Each circle's own E[x0 | x_t = x]."""
        return torch.cat(self._each("denoise", x, t), 1)

    def denoiser_jvp(self, x, t, v):
        """Each circle's own J v."""
        return torch.cat(self._each("denoiser_jvp", x, t, v), 1)

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, each circle from a stream of its own."""
        stream = stream or self.stream
        draws = [c.sample(n, seed, f"{stream}/{i}", first) for i, c in enumerate(self.circles)]
        return torch.cat(draws, 1).to(self.device)

    def mean(self):
        """E[x]."""
        return torch.cat([circle.mean() for circle in self.circles]).to(self.device)

    def cov(self):
        """Cov[x], (2m, 2m), a block a circle."""
        return torch.block_diag(*[circle.cov() for circle in self.circles]).to(self.device)

    def entropy(self):
        """-E log p with respect to area, in nats; thickness 0 only."""
        return sum(circle.entropy() for circle in self.circles)

    def intrinsic_dim(self, x):
        """m everywhere: (n,).  With thickness, the dimension at scales above it."""
        return torch.full((len(x),), len(self.circles))

    def at(self, t):
        """The law of x_t: smaller circles, thicker."""
        return self._of([circle.at(t) for circle in self.circles])

    def _of(self, circles):
        twin = FlatTorus([c.radius for c in circles], circles[0].thickness, self.dtype, self.process)
        twin.circles, twin.device = circles, self.device
        return twin

    def condition(self, A, y, noise):
        """The exact posterior of x given y = A x + Gaussian noise: circles again, of which some parts are likelier.

        For whitened data M the product M^T M has to be diag(c_1 I_2, ..., c_m I_2); BadInput otherwise.
        """
        A, y, log_jacobian = whitened(self, A, y, noise)
        M, y = (a.double() for a in matrix(A, y))
        square = M.mT @ M
        blocks = [square[i : i + 2, i : i + 2] for i in range(0, self.dimension, 2)]
        off = (square - torch.block_diag(*blocks)).abs().max().item()
        if off > 1e-9 * square.abs().max().item():
            raise BadInput(
                f"condition: A^T R^-1 A ties the circles of the torus together, by {off:.1e}; use an A that is diagonal, "
                f"with one number a circle, or a sampler"
            )
        c = [proportional(block, type(self).__name__) for block in blocks]
        h = (M.mT @ (y - M @ self._centre())).split(2)
        q = self._of([circle.tilted(*data) for circle, *data in zip(self.circles, c, h, strict=True)])
        gain = sum(circle.gain(*data) for circle, *data in zip(self.circles, c, h, strict=True))
        r = y - M @ self._centre()
        q.log_evidence = gain - 0.5 * (r.square().sum().item() + len(y) * log(2 * pi)) + log_jacobian
        q.noise_range, q.stream = self.noise_range, "posterior"
        return q

    def _centre(self):
        return torch.cat([circle.centre for circle in self.circles])

    def __repr__(self):
        return f"FlatTorus(radii={[c.radius for c in self.circles]}, thickness={self.thickness:g})"
