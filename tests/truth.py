"""Small problems whose posterior is known, and how far samples are from it: shared by the tests of the samplers."""

from dataclasses import dataclass, replace
from math import acos, pi

import torch

import problems
import workbench as wb
from theory import distributions
from theory.diagnostics.transport import sliced_wasserstein
from workbench.diffusion.cosine import Cosine
from workbench.diffusion.grids import karras
from workbench.operators.dense import Dense

DOUBLE = torch.float64
N = 4000
G2 = problems.load("toy/g2")


def tensor(rows):
    return torch.tensor(rows, dtype=DOUBLE)


def normal(*shape, seed=0, dtype=DOUBLE):
    return wb.Rng(seed, "tests").normal(torch.empty(*shape, dtype=dtype))


# --- problem G2: two numbers, three modes, one measurement ---

# The point of the table of pointwise values: alpha = 0.8, sigma = 0.6 under the cosine process.
X, T = tensor([[0.5, -0.3]]), 2 / pi * acos(0.8)


def at_one_point():
    """G2 under the cosine process."""
    prior = G2.prior
    return replace(G2, prior=type(prior)(prior.weights, prior.means, prior.covariances, process=Cosine()))


def agrees(got, wanted, digits=6):
    """Whether numbers agree with ones printed with so many digits."""
    return (got - tensor(wanted)).abs().max() < 0.6 * 10**-digits


def g2_grid(steps):
    """The grid of the reference values: Karras et al. 2022, sigma from 20 to 0.01."""
    return karras(G2.prior.process, 0.01, 20.0, steps)


def gap(x, seed, repeats=2):
    """The sliced W2 between x and as many exact draws of G2's posterior."""
    return sliced_wasserstein(
        x, G2.exact.sample(len(x), 1000 + seed), law=G2.exact, repeats=repeats, seed=seed
    )


@dataclass
class Means:
    """Over groups of draws of G2: sliced W2 to exact draws, trace of the covariance, rms of y - A x."""

    sw2: float
    trace: float
    residual: float


def g2_means(samples, n=N):
    """The Means of (groups * n, 2) samples."""
    rows = [
        (gap(x, i).value, x.mT.cov().trace().item(), (G2.A(x) - G2.y).square().mean().sqrt().item())
        for i, x in enumerate(samples.split(n))
    ]
    return Means(*tensor(rows).mean(0).tolist())


def g2_run(sampler, steps, groups=1, n=N, seed=0):
    """The Means of a sampler whose rows are independent, over groups of n rows."""
    return g2_means(
        wb.sample(G2, sampler, n=groups * n, grid=g2_grid(steps), seed=seed, progress=False).samples, n
    )


# --- a Gaussian, whose posterior every method can be worked out for ---


def gaussian_problem(dtype=DOUBLE, sigma=0.4, process=None):
    """Four entries (2, 2) with a full covariance, three noisy numbers."""
    root = normal(4, 4, seed=1, dtype=dtype)
    real_eye = torch.eye(4, dtype=dtype)
    prior = distributions.Gaussian(
        normal(1, 2, 2, seed=2, dtype=dtype)[0], root @ root.mH / 4 + 0.2 * real_eye, process
    )
    A = Dense(normal(3, 4, seed=3, dtype=dtype), shape=(2, 2))
    return wb.Problem(
        prior, A, wb.noise.Gaussian(sigma), y=normal(1, 3, seed=4, dtype=dtype)[0], name="gaussian"
    )


def line_problem(process=None, sigma=0.5):
    """One number, two modes, seen with noise."""
    prior = distributions.GaussianMixture([0.6, 0.4], tensor([[-1.5], [1.0]]), tensor([0.2, 0.5]), process)
    return wb.Problem(prior, Dense(tensor([[0.8]])), wb.noise.Gaussian(sigma), y=tensor([0.9]), name="line")


def blind(problem):
    """The same problem, whose operator sees nothing."""
    shape = tuple(problem.A.in_shape)
    zeros = torch.zeros(problem.y.numel(), torch.Size(shape).numel(), dtype=problem.A.in_dtype)
    return replace(problem, A=Dense(zeros, shape=shape))


def moments(x, weights=None):
    """Mean and covariance of draws (n, *shape), flat and real, weighted if weights are given."""
    x = (torch.view_as_real(x) if x.is_complex() else x).flatten(1)
    w = torch.full((len(x),), 1 / len(x), dtype=DOUBLE) if weights is None else weights
    mean = w @ x
    return mean, ((x - mean).mT * w) @ (x - mean)
