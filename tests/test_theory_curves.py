"""Moons, spirals, pinwheels and rings: densities by adaptive quadrature along the curve, draws against their labels."""

from math import pi

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from theory.distributions import KDE, Moons, Pinwheel, Points, Rings, Spirals
from workbench import BadInput, Rng
from workbench.diffusion import VariancePreserving
from workbench.noise import Gaussian as Noise
from workbench.operators import Dense

F64 = torch.float64
VP = VariancePreserving()
UNIFORM = lambda low, high: (lambda z: 1 / (high - low), low, high)  # noqa: E731
NORMAL = (stats.norm.pdf, -9, 9)


def polar(r, angle):
    return r * np.array([np.cos(angle), np.sin(angle)])


# law, its curves written out again, the density of z and its range
CURVES = {
    "moons": (
        Moons(process=VP),
        [lambda z: polar(1, z), lambda z: np.array([1 - np.cos(z), 0.5 - np.sin(z)])],
        UNIFORM(0, pi),
    ),
    "spirals": (
        Spirals(3, 1.0, 2.0, process=VP),
        [lambda z, j=j: polar(2 * z, 2 * pi * (z + j / 3)) for j in range(3)],
        UNIFORM(0, 1),
    ),
    "pinwheel": (
        Pinwheel(4, 0.3, 0.25, process=VP),
        [lambda z, j=j: polar(1 + 0.25 * z, pi * j / 2 + 0.3 * np.exp(1 + 0.25 * z)) for j in range(4)],
        NORMAL,
    ),
    "rings": (Rings(process=VP), [lambda z, r=r: polar(r, z) for r in (1.3, 2.8)], UNIFORM(0, 2 * pi)),
}
curves = pytest.mark.parametrize("law, arms, latent", CURVES.values(), ids=CURVES)


def arm_densities(x, arms, latent, a, s2):
    """p_t(x | arm j) of each, by adaptive quadrature over z."""
    p, low, high = latent
    out = []
    for arm in arms:
        f = lambda z, arm=arm: p(z) * np.exp(-0.5 * ((x - a * arm(z)) ** 2).sum() / s2) / (2 * pi * s2)  # noqa: E731
        out.append(integrate.quad(f, low, high, epsrel=1e-11, epsabs=1e-300, limit=1000)[0])
    return np.array(out)


@curves
def test_density_and_arms_by_quadrature(law, arms, latent):
    for kappa in (None, 0.5):
        t = None if kappa is None else VP.time(kappa)
        a, s = (1.0, 0.0) if t is None else (VP.alpha(t).item(), VP.sigma(t).item())
        x = a * law.sample(4, 2) + s * Rng(2, "noise").normal(torch.empty(4, 2, dtype=F64))
        wanted = np.array(
            [arm_densities(r, arms, latent, a, (a * law.thickness) ** 2 + s**2) for r in x.numpy()]
        )
        assert np.allclose(law.log_prob(x, t).numpy(), np.log(wanted.mean(1)), rtol=0, atol=1e-8)
        shares = wanted / wanted.sum(1, keepdims=True)
        assert np.allclose(law.arm_probabilities(x, t).numpy(), shares, rtol=0, atol=1e-8)


@curves
def test_draws_lie_about_the_arm_they_name(law, arms, latent):
    """|x - nearest point of its own curve| is at most the thickness times |n|; arms are equally often drawn."""
    x, j = law.labelled(3000, 4)
    assert torch.equal(x, law.sample(3000, 4))
    z = np.linspace(*latent[1:], 4000)
    for k, arm in enumerate(arms):
        curve = torch.from_numpy(np.stack([arm(v) for v in z]))
        away = torch.cdist(x[j == k], curve).min(1).values / law.thickness
        assert (
            away.max() < 5 and 0.5 < away.square().mean() < 1.3
        )  # about one of two normals is across the curve
        share = (j == k).double().mean()
        assert abs(share - 1 / len(arms)) < 4.5 * (1 / len(arms) / 3000) ** 0.5
    assert law.intrinsic_dim(x[:4]).tolist() == [1] * 4


@curves
def test_moments_of_draws(law, arms, latent):
    x = law.sample(20000, 5)
    products = ((x - law.mean())[:, :, None] * (x - law.mean())[:, None]).flatten(1)
    z = (products.mean(0) - law.cov().flatten()) / (products.std(0) / 20000**0.5)
    assert z.abs().max() < 4.5


@pytest.mark.parametrize("law", [Moons(), Spirals(), Pinwheel(), Moons.example(None)], ids=repr)
def test_error_against_the_smooth_curve(law):
    assert 0 < law.tolerance < 1e-8
    assert law.refined().nodes == 2 * law.nodes


def test_a_coarse_curve_says_so():
    assert Moons(0.05, 16).tolerance > 1e-3


def test_rings_are_rice():
    """The radius of a thick circle has Rice's law; the mixture on nodes is the same law."""
    law = Rings((1.3, 2.8), 0.2, [0.3, 0.7])
    radii = law.sample(8000, 1).norm(dim=1).numpy()
    cdf = lambda r: sum(w * stats.rice(c / 0.2, scale=0.2).cdf(r) for w, c in ((0.3, 1.3), (0.7, 2.8)))  # noqa: E731
    assert stats.kstest(radii, cdf).pvalue > 1e-4
    x = 3 * Rng(1, "x").normal(torch.empty(9, 2, dtype=F64))
    for t in (None, law.process.time(0.6)):
        assert torch.allclose(law.log_prob(x, t), law.mixture().log_prob(x, t), rtol=0, atol=1e-11)
        assert torch.allclose(law.score(x, t), law.mixture().score(x, t), rtol=0, atol=1e-9)


@curves
def test_posterior_is_bayes(law, arms, latent):
    A, noise = Dense(torch.tensor([[1.0, 0.4]], dtype=F64)), Noise(0.1)
    y = noise.sample(A(law.sample(1, 7)), 7)[0]
    q = law.condition(A, y, noise)
    x = q.sample(20, 0)
    bayes = law.log_prob(x) + noise.log_likelihood(y, A(x)) - q.log_evidence
    assert torch.allclose(q.log_prob(x), bayes, rtol=0, atol=1e-9)


def test_kernel_density_estimate():
    """Noised points are a kernel density estimate, and that is scipy's."""
    points = Rng(0, "kde").normal(torch.empty(30, 2, dtype=F64))
    law, x = KDE(points, 0.4), Rng(1, "kde").normal(torch.empty(5, 2, dtype=F64))
    theirs = np.log([stats.multivariate_normal(r, 0.16).pdf(points.numpy()).mean() for r in x.numpy()])
    assert np.allclose(law.log_prob(x).numpy(), theirs, atol=1e-12)
    raw = Points(points)
    assert torch.allclose(law.log_prob(x), raw.log_prob(x, raw.process.time(0.4)))
    assert law.intrinsic_dim(x).tolist() == [0] * 5


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Moons(0.0),
        lambda: Moons(nodes=1),
        lambda: Spirals(arms=0),
        lambda: Pinwheel(spread=0),
        lambda: Rings(()),
        lambda: Rings(weights=[1.0]),
        lambda: Rings(thickness=0),
        lambda: KDE(torch.zeros(3, 2), 0.0),
        lambda: Moons.example(None, torch.complex128),
    ],
)
def test_what_cannot_be_is_said(wrong):
    with pytest.raises(BadInput):
        wrong()
