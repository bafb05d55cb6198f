"""Curves in the plane that every sampler paper draws: two moons, spirals, a pinwheel, all with exact scores."""

from math import pi

import torch

from theory.distributions._curve import Curve, in_plane, legendre, normal
from workbench._errors import BadInput


class Moons(Curve):
    """Two half circles that interlock: (cos z, sin z) and (1 - cos z, 1/2 - sin z), z uniform on [0, pi], thickened.

    thickness: standard deviation of the Gaussian about them.  nodes: on each moon. Pedregosa et al. 2011 (make_moons).
    """

    card = dict(engine="1-D latent", exact=True, source="Pedregosa et al. 2011")

    def __init__(self, thickness=0.1, nodes=128, dtype=torch.float64, process=None, noise_range=None):
        super().__init__(thickness, nodes, dtype, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(0.25, 32, dtype)

    def rule(self, nodes):
        return legendre(0.0, pi, nodes)

    def arms(self, z):
        upper = in_plane(torch.ones_like(z), z)
        return torch.stack([upper, torch.tensor([1.0, 0.5], dtype=z.dtype) - upper])


class Spirals(Curve):
    """Archimedean spirals: size z (cos, sin)(2 pi (turns z + j / arms)), z uniform on [0, 1], j = 0, ..., arms - 1.

    thickness: standard deviation of the Gaussian about them.  nodes: on each arm.
    """

    card = dict(engine="1-D latent", exact=True, source="")

    def __init__(
        self, arms=2, turns=1.5, size=3.0, thickness=0.1, nodes=384, dtype=torch.float64, process=None, noise_range=None
    ):  # fmt: skip
        if not (arms >= 1 and turns > 0 and size > 0):
            raise BadInput(f"Spirals: arms = {arms}, turns = {turns} and size = {size} should be positive")
        self.count, self.turns, self.size = arms, turns, size
        super().__init__(thickness, nodes, dtype, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(2, 0.6, 1.5, 0.3, 32, dtype)

    def rule(self, nodes):
        return legendre(0.0, 1.0, nodes)

    def arms(self, z):
        start = torch.arange(self.count, dtype=z.dtype)[:, None] / self.count
        return in_plane((self.size * z).expand(self.count, -1), 2 * pi * (self.turns * z + start))


class Pinwheel(Curve):
    """Bent spokes: r (cos, sin)(2 pi j / arms + rate exp(r)), r = 1 + spread z, z ~ N(0, 1), thickened.

    thickness: standard deviation of the Gaussian about each spoke.  nodes: on each. Johnson et al. 2016 (their data
    have a tangential Gaussian before the bend; here it comes after, so that the noised law stays a mixture).
    """

    card = dict(engine="1-D latent", exact=True, source="Johnson et al. 2016")

    def __init__(
        self, arms=5, rate=0.25, spread=0.3, thickness=0.08, nodes=256, dtype=torch.float64, process=None, noise_range=None
    ):  # fmt: skip
        if not (arms >= 1 and spread > 0):
            raise BadInput(f"Pinwheel: arms = {arms} and spread = {spread} should be positive")
        self.count, self.rate, self.spread = arms, rate, spread
        super().__init__(thickness, nodes, dtype, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(3, 0.25, 0.3, 0.2, 64, dtype)

    def rule(self, nodes):
        return normal(nodes)

    def arms(self, z):
        r = 1 + self.spread * z
        start = 2 * pi * torch.arange(self.count, dtype=z.dtype)[:, None] / self.count
        return in_plane(r.expand(self.count, -1), start + self.rate * r.exp())
