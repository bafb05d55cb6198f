"""Laws with a curved, uneven shape that one number decides: Neal's funnel and Haario's banana."""

import torch

from theory.distributions._latent import Latent
from workbench._errors import BadInput


class Funnel(Latent):
    """z ~ N(0, a^2), x_i | z ~ N(0, e^z), i = 2, ..., d: a neck too narrow and a mouth too wide for any one step.

    x = (z, x_2, ..., x_d).  Neal 2003, sec. 8 (a = 3, d = 10).
    """

    card = dict(engine="1-D latent", exact=True, source="Neal 2003")

    def __init__(self, d=10, a=3.0, dtype=torch.float64, process=None, noise_range=None):
        super().__init__(a, d, dtype, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(3, 0.7, dtype)

    def rest(self, z):
        return torch.zeros_like(z), z.exp()

    def intrinsic_dim(self, x):
        """d everywhere: (n,)."""
        return torch.full((len(x),), self.dimension)


class Banana(Latent):
    """z ~ N(0, a^2), x = (z, b (z^2 - a^2) + c n), n ~ N(0, 1): a parabola's ridge, of mean 0.

    b: curvature.  c > 0: thickness.  Haario, Saksman and Tamminen 1999 (their twisted Gaussian).
    """

    card = dict(engine="1-D latent", exact=True, source="Haario et al. 1999")

    def __init__(self, b=1.0, c=0.3, a=1.0, dtype=torch.float64, process=None, noise_range=None):
        if not c > 0:
            raise BadInput(f"Banana: c = {c} should be positive")
        self.b, self.c = float(b), float(c)
        super().__init__(a, 2, dtype, process, noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(0.8, 0.4, 1.0, dtype)

    def rest(self, z):
        return self.b * (z**2 - self.a**2), torch.full_like(z, self.c**2)

    def intrinsic_dim(self, x):
        """2 everywhere: (n,)."""
        return torch.full((len(x),), 2)
