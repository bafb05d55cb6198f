"""A kernel density estimate: what a denoiser learns that sees its training set through a little noise."""

import torch

from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput


class KDE(GaussianMixture):
    """p(x) = (1 / K) sum_k N(x; x_k, h^2 I): a data set smoothed by a bandwidth.

    points: (K, *shape), real or complex.  h > 0; for h = 0 take `Points`, which has no density without noise. Noise at
    sigma is a bandwidth of sqrt(alpha^2 h^2 + sigma^2) on the points alpha x_k. Silverman 1986, eq. 4.1.
    """

    card = dict(engine="mixture", exact=True, name="kde", source="Silverman 1986")

    def __init__(self, points, h, process=None, noise_range=None):
        if not (points.ndim >= 2 and len(points) and h > 0):
            raise BadInput(
                f"KDE: points of shape {tuple(points.shape)} should be (K, *shape), h = {h} positive; h = 0 is Points"
            )
        self.h = float(h)
        variances = torch.full((len(points),), self.h**2, dtype=points.dtype.to_real(), device=points.device)
        super().__init__([1.0] * len(points), points, variances, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(rng.normal(torch.empty(20, 2, dtype=dtype)), 0.3)

    def intrinsic_dim(self, x):
        """0 everywhere, at scales above the bandwidth: (n,)."""
        return torch.zeros(len(x), dtype=torch.long)
