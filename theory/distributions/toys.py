"""Small mixtures that papers and claims share, by their names there."""

import torch

from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput
from workbench._rng import Rng

MEANS = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]], dtype=torch.float64)


def gmm_3(process=None):
    """Three Gaussians in the plane with weights 1/4, 1/4, 1/2 and unlike covariances."""
    covariances = [[[0.3, 0], [0, 0.05]], [[0.2, 0.1], [0.1, 0.15]], [[0.1, 0], [0, 0.4]]]
    return GaussianMixture(
        [0.25, 0.25, 0.5], MEANS, torch.tensor(covariances, dtype=torch.float64), process=process
    )


def gmm_3s(process=None):
    """The three means of `gmm_3` with equal weights and covariance 0.1 I."""
    return GaussianMixture([1, 1, 1], MEANS, torch.full((3,), 0.1, dtype=torch.float64), process=process)


def gmm_1d(process=None):
    """0.3 N(-1.5, 0.3) + 0.7 N(1, 0.4)."""
    means = torch.tensor([[-1.5], [1.0]], dtype=torch.float64)
    return GaussianMixture([0.3, 0.7], means, torch.tensor([0.3, 0.4], dtype=torch.float64), process=process)


def blob_9(process=None):
    """Nine blobs 0.65 {(+-2, +-2), (0, 0), (+-4, 0), (0, +-4)} of variance 0.2 x 0.65^2.  Deveney et al. 2023."""
    places = [(2, 2), (2, -2), (-2, 2), (-2, -2), (0, 0), (4, 0), (-4, 0), (0, 4), (0, -4)]
    means = 0.65 * torch.tensor(places, dtype=torch.float64)
    return GaussianMixture(
        [1] * 9, means, torch.full((9,), 0.2 * 0.65**2, dtype=torch.float64), process=process
    )


def gmm_25(d, seed=0, process=None):
    """Means (-8 i, -8 j) repeated d / 2 times, i, j in -2..2, unit covariances, weights z^2 / sum z^2 with z standard normal
    of `seed`; d even.  Cardoso et al. 2023."""
    if d < 2 or d % 2:
        raise BadInput(f"gmm_25: d = {d} should be even: the means are pairs, repeated d / 2 times")
    r = torch.arange(-2.0, 3.0, dtype=torch.float64)
    means = -8 * torch.cartesian_prod(r, r).repeat(1, d // 2)
    weights = Rng(seed, "weights").normal(means.new_empty(25)) ** 2
    return GaussianMixture(weights, means, torch.ones(25, dtype=torch.float64), process=process)
