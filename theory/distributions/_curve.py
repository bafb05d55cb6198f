"""Curves with a Gaussian thickness: the integral along a curve on quadrature nodes, which is a Gaussian mixture."""

import copy
from functools import cached_property

import numpy as np
import torch

from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput
from workbench._rng import Rng


def legendre(low, high, nodes):
    """Gauss and Legendre's nodes and weights of the uniform law on [low, high]: (Q,), (Q,)."""
    z, w = np.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy(0.5 * (low + high) + 0.5 * (high - low) * z), torch.from_numpy(0.5 * w)


def normal(nodes):
    """The trapezoidal rule of the standard normal law on [-9, 9]: its error is spectral too, its nodes closer together
    than Hermite's."""
    z = 9 * torch.linspace(-1, 1, nodes, dtype=torch.float64)
    w = torch.exp(-0.5 * z**2)
    return z, w / w.sum()


def in_plane(radius, angle):
    """(radius cos angle, radius sin angle), (..., 2)."""
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


class Curve(GaussianMixture):
    """x = gamma_j(z) + thickness n in the plane: arm j at random, z of a law on a line, n ~ N(0, I).

    A kind of curve has `rule(nodes)`, the nodes and weights of z, and `arms(z)`, (J, Q, 2). The law is the mixture on
    those nodes, exact as such with all that a mixture has, posteriors too; `tolerance` says how far its score is from
    that of the smooth curve: what doubling the nodes changes, spectrally small once they are closer than the thickness.
    """

    def __init__(self, thickness, nodes, dtype, process, noise_range):
        if not (thickness > 0 and nodes >= 2) or dtype.is_complex:
            raise BadInput(
                f"{type(self).__name__}: thickness = {thickness} should be positive, nodes = {nodes} at least 2 and "
                f"dtype = {dtype} real"
            )
        self.thickness, self.nodes = float(thickness), nodes
        z, w = self.rule(nodes)
        means = self.arms(z)
        self.labels = torch.arange(len(means)).repeat_interleave(len(z))  # the arm of each component
        variances = torch.full((len(self.labels),), self.thickness**2, dtype=dtype)
        means = means.flatten(0, 1).to(dtype)
        super().__init__(w.repeat(len(self.labels) // len(z)), means, variances, process, noise_range)

    @cached_property
    def tolerance(self):
        """The change of the score of the law itself when the nodes are doubled, relative, in norm over 256 draws."""
        x, twin = self.sample(256, 0), self.refined()
        return ((self.score(x) - twin.score(x)).norm() / twin.score(x).norm()).item()

    def refined(self):
        """The same curve on twice the nodes."""
        twin = copy.copy(self)
        twin.__dict__.pop("tolerance", None)
        Curve.__init__(twin, self.thickness, 2 * self.nodes, self.dtype, self.process, self.noise_range)
        return twin

    def labelled(self, n, seed, stream=None, first=0):
        """The draws of `sample`, and the arm each is from: (n, 2), (n,)."""
        rng = Rng(seed, stream or self.stream, first=first)
        z, u = rng.normal(self.means.new_empty(n, 2)), rng.uniform(n)
        edges = torch.cumsum(self.weights.double(), 0)[:-1].cpu()
        return self.draw(z, u), self.labels[torch.searchsorted(edges, u, right=True)]

    def arm_probabilities(self, x, t=None):
        """The posterior probability of each arm given x_t = x, (n, J)."""
        return self.responsibilities(x, t).unflatten(1, (int(self.labels[-1]) + 1, -1)).sum(2)

    def intrinsic_dim(self, x):
        """1 everywhere, at scales above the thickness: (n,)."""
        return torch.ones(len(x), dtype=torch.long)
