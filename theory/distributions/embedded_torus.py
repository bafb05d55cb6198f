"""The torus as one knows it, in three dimensions: two angles, by quadrature over both."""

from functools import cached_property
from math import pi

import torch

from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput


class EmbeddedTorus(GaussianMixture):
    """x = ((R + r cos v) cos u, (R + r cos v) sin u, r sin v) + thickness n, uniform in area: p(u, v) ~ R + r cos v.

    R > r > 0.  thickness > 0.  nodes: (around the axis, around the tube). The law is the Gaussian mixture on that grid
    of angles, exact as such; `tolerance` says how far its score is from the smooth surface's, by doubling the nodes.
    """

    card = dict(engine="2-D latent", exact=True, source="")

    def __init__(
        self, R=1.0, r=0.4, thickness=0.1, nodes=(128, 48), dtype=torch.float64, process=None, noise_range=None
    ):  # fmt: skip
        if not (R > r > 0 and thickness > 0 and min(nodes) >= 3) or dtype.is_complex:
            raise BadInput(
                f"EmbeddedTorus: R = {R} should exceed r = {r}, and r and thickness = {thickness} be positive; nodes = "
                f"{nodes} should be at least 3 and dtype = {dtype} real"
            )
        self.R, self.r, self.thickness, self.nodes = float(R), float(r), float(thickness), tuple(nodes)
        u, v = (2 * pi * torch.arange(n, dtype=torch.float64) / n for n in nodes)
        u, v = (a.flatten() for a in torch.meshgrid(u, v, indexing="ij"))
        out = self.R + self.r * v.cos()
        means = torch.stack([out * u.cos(), out * u.sin(), self.r * v.sin()], 1).to(dtype)
        variances = torch.full((len(out),), self.thickness**2, dtype=dtype)
        super().__init__(out, means, variances, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(1.0, 0.4, 0.4, (32, 18), dtype)

    def refined(self):
        """The same torus on twice the nodes each way."""
        nodes = tuple(2 * n for n in self.nodes)
        return EmbeddedTorus(
            self.R, self.r, self.thickness, nodes, self.dtype, self.process, self.noise_range
        )

    @cached_property
    def tolerance(self):
        """The change of the score of the law itself when the nodes are doubled, relative, in norm over 128 draws."""
        x, twin = self.sample(128, 0), self.refined()
        return ((self.score(x) - twin.score(x)).norm() / twin.score(x).norm()).item()

    def intrinsic_dim(self, x):
        """2 everywhere, at scales above the thickness: (n,)."""
        return torch.full((len(x),), 2)
