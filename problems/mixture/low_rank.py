"""A mixture of smooth low-rank Gaussians, pixels of it missing: a picture-sized posterior with weights worth finding."""

import torch

from theory.distributions.covariance import LowRank
from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.noise.gaussian import Gaussian
from workbench.operators.mask import Mask
from workbench.problem import Problem

card = dict(family="mixture", operator="mask", prior="gaussian-mixture", exact=True, source="")
MOST = 512  # measurements, so that their systems are solved at once
FLOOR = 0.05  # standard deviation of every pixel beside the subspace


def problem(seed=0, size=16, components=8, rank=5, measurements=5, spread=0.3, sigma=0.3):
    """truth: (size, size), float64, a draw of the prior; every component of unit variance a pixel, about.

    Each has `rank` smooth random orthonormal pictures U and variances lam = size^2 (1, 1/2, ..., 1/rank), normalised,
    beside a floor of 0.05.  spread: of the means, standard deviation of a pixel; small beside the components' own, so
    that they overlap.  measurements: pixels seen, at random, at most 512; as many as the rank leave the components in doubt.
    sigma: of the noise."""
    if components < 1 or not 1 <= rank <= size**2:
        raise BadInput(
            f"components = {components} and rank = {rank} should be at least 1, rank at most size^2"
        )
    if not 1 <= measurements <= min(MOST, size**2):
        raise BadInput(
            f"measurements = {measurements} should be from 1 to {min(MOST, size**2)} of the pixels"
        )
    prior = mixture(seed, size, components, rank, spread)
    truth = prior.sample(1, seed)[0]
    order = Rng(seed, "mask").uniform(size**2).argsort().argsort()
    A, noise = Mask((order < measurements).reshape(size, size), torch.float64), Gaussian(sigma)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="mixture/low-rank")


def mixture(seed, size, components, rank, spread):
    """Means, subspaces and weights from streams of the seed."""
    means = spread * smooth(Rng(seed, "means"), components, size)
    pictures = smooth(Rng(seed, "subspaces"), components * rank, size).reshape(components, rank, -1)
    U = torch.linalg.qr(pictures.mT).Q
    decay = 1 / torch.arange(1, rank + 1, dtype=torch.float64)
    lam = (size**2 * decay / decay.sum()).expand(components, rank)
    weights = 0.5 + Rng(seed, "weights").uniform(components)
    return GaussianMixture(weights, means, LowRank(U, lam, FLOOR**2))


def smooth(rng, n, size, length=0.1):
    """n smooth random pictures of unit variance: white noise through a Gaussian of `length` times the size."""
    k = torch.fft.fftfreq(size, dtype=torch.float64) * size
    gain = torch.exp(-2 * (torch.pi * length) ** 2 * (k[:, None] ** 2 + k**2))
    z = rng.normal(torch.empty(n, size, size, dtype=torch.float64))
    return torch.fft.ifft2(gain * torch.fft.fft2(z)).real / gain.square().mean().sqrt()
