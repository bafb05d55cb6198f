"""Twenty-five Gaussians on a lattice, tiled to any size, seen through a few numbers: a posterior of many modes."""

import torch

from theory.distributions.toys import gmm_25
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.noise.gaussian import Gaussian
from workbench.operators.dense import Dense
from workbench.problem import Problem

card = dict(
    family="mixture", operator="dense", prior="gaussian-mixture", exact=True, source="Cardoso et al. 2023"
)
QUIETEST = 1e-3  # of the largest singular value: the noise is uniform in (0, 1) of it, and not less than this


def problem(seed=0, size=8, measurements=1):
    """x in R^size, float64, a draw of the prior: means (-8 i, -8 j) repeated size / 2 times, i, j in -2..2, unit
    covariances, weights the normalised squares of standard normals.  y = A x + sigma n, A = U diag(s) V^T with random
    orthogonal U and V, s uniform(0, 1) descending, sigma uniform(0, 1) max(s), at least a thousandth of max(s): a
    smaller draw, one in a thousand, would leave a posterior that double precision does not factor."""
    if size < 2 or size % 2:
        raise BadInput(f"size = {size} should be even: the means are pairs, repeated size / 2 times")
    if not 1 <= measurements <= size:
        raise BadInput(f"measurements = {measurements} should be from 1 to size = {size}")
    prior = gmm_25(size, seed)
    truth = prior.sample(1, seed)[0]
    A, largest = operator(seed, measurements, size)
    share = Rng(seed, "sigma").uniform(1).item()
    noise = Gaussian(max(share, QUIETEST) * largest)
    return Problem(prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, name="mixture/gmm-25")


def operator(seed, m, d):
    """U diag(s) V^T, and its largest singular value."""
    rng = Rng(seed, "operator")
    U, V = orthogonal(rng, m, m), orthogonal(rng, d, m)
    s = rng.uniform(m).sort(descending=True).values
    return Dense((U * s) @ V.mT), s[0].item()


def orthogonal(rng, d, m):
    """m orthonormal columns in R^d, uniform: Q of a Gaussian matrix, with the signs of R's diagonal."""
    Q, R = torch.linalg.qr(rng.normal(torch.empty(d, m, dtype=torch.float64)))
    return Q * R.diagonal().sign()
