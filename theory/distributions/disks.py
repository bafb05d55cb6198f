"""Images of one disk: a manifold of five dimensions in as many as there are pixels, to draw from only."""

import torch

from workbench._errors import BadInput
from workbench._rng import Rng


class Disks:
    """x = b + (a - b) m((r - |p - c|)), c a place, r a radius, a and b grey values: N x N pixels, five numbers.

    r is uniform on (0.1, 0.25) N, c where the disk is inside, a and b on (0, 1); m rises from 0 to 1 over the pixel on
    the edge, so the image is a continuous function of the five. No score is known.  Kadkhodaie et al. 2024.
    """

    card = dict(engine="sampler", exact=False, source="Kadkhodaie et al. 2024")
    stream = "prior"

    def __init__(self, N=32, dtype=torch.float64):
        if N < 8:
            raise BadInput(f"Disks: N = {N} should be 8 or more pixels")
        self.N, self.shape, self.dtype = N, (N, N), dtype

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        if dtype.is_complex:
            raise BadInput("Disks is a law of real signals")
        return cls(16, dtype)

    def parameters(self, n, seed, stream=None, first=0):
        """Centre (two, in pixels), radius, value inside and outside: (n, 5) float64."""
        u = Rng(seed, stream or self.stream, first=first).uniform(n, 5)
        r = self.N * (0.1 + 0.15 * u[:, 2:3])
        return torch.cat([r + (self.N - 2 * r) * u[:, :2], r, u[:, 3:]], 1)

    def draw(self, parameters):
        """The images of parameters (n, 5): (n, N, N)."""
        cx, cy, r, a, b = (p[:, None, None] for p in parameters.unbind(1))
        at = torch.arange(self.N, dtype=torch.float64) + 0.5
        m = (r - torch.hypot(at[:, None] - cx, at - cy) + 0.5).clamp(0, 1)
        return (b + (a - b) * m).to(self.dtype)

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, (n, N, N)."""
        return self.draw(self.parameters(n, seed, stream, first))

    def intrinsic_dim(self, x):
        """5 for every image, (n,)."""
        return torch.full((len(x),), 5)
