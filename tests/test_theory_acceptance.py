"""What test_theory_laws does not ask of a distribution: the equation its log-density obeys in time, and its covariance."""

from math import prod

import pytest
import torch

from theory.distributions import GaussianMixture, LowRank
from workbench import BadInput, Rng
from workbench.catalogue import load
from workbench.diffusion import VariancePreserving

NAMES = (
    "sphere", "von-mises-fisher", "flat-torus", "multivariate-t", "moons", "spirals", "pinwheel", "rings", "kde",
    "funnel", "banana", "embedded-torus",
)  # fmt: skip
VP = VariancePreserving()
laws = pytest.mark.parametrize("name", NAMES)


def example(name):
    law = load("distributions", name).example(Rng(5, "example"), torch.float64)
    law.process = VP
    for part in getattr(law, "circles", ()):
        part.process = VP
    return law


def noised(law, n, t):
    eps = Rng(3, "noise").normal(torch.empty(n, *law.shape, dtype=torch.float64))
    return VP.alpha(t) * law.sample(n, 3) + VP.sigma(t) * eps


@laws
@pytest.mark.parametrize("kappa", [0.3, 2.0])
def test_log_density_obeys_the_fokker_planck_equation(name, kappa):
    """d log p / dt = -d f - f <x, s> + (g^2 / 2)(div s + |s|^2), the divergence by the denoiser's Jacobian."""
    law, t = example(name), VP.time(kappa)
    x, d, h = noised(law, 5, t), prod(law.shape), 1e-3 * t.item()
    a, s2 = VP.alpha(t), VP.sigma(t) ** 2
    at = lambda k: law.log_prob(x, t + k * h)  # noqa: E731
    slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
    score, trace = law.score(x, t), law.denoiser_jacobian(x, t).diagonal(dim1=1, dim2=2).sum(1)
    divergence = (a * trace - d) / s2
    right = -VP.f(t) * (d + (x * score).sum(1)) + 0.5 * VP.g2(t) * (divergence + score.square().sum(1))
    assert torch.allclose(slope, right, rtol=1e-6, atol=1e-6 * right.abs().max().item())


@laws
def test_second_moments_of_draws(name):
    law = example(name)
    x = law.sample(20000, 6) - law.mean()
    products = x[:, :, None] * x[:, None]
    z = (products.mean(0) - law.cov()).abs() / (products.std(0) / 20000**0.5).clamp_min(1e-12)
    assert z.max() < 4.8


def test_low_rank_takes_a_million_entries_in_single_precision():
    """Orthonormal columns stay so for the check: sums of a million products are made in double precision."""
    U = torch.linalg.qr(Rng(0, "columns").normal(torch.empty(10**6, 3, dtype=torch.float64))).Q.float()
    law = GaussianMixture(
        [0.4, 0.6], torch.zeros(2, 10**6), LowRank(torch.stack([U, U]), torch.ones(2, 3), 0.01)
    )
    t = law.process.time(0.5)
    x = U[:, 0][None] + 0.0
    assert torch.allclose(
        law.score(x, t) / x.norm(), -x / 1.26, rtol=1e-3, atol=1e-5
    )  # 1 + 0.01 + 0.25 along U
    with pytest.raises(BadInput, match="orthonormality"):
        LowRank(1.001 * U[None], torch.ones(1, 3))
