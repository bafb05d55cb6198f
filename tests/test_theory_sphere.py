"""Spheres, von Mises-Fisher laws and flat tori: Bessel functions of many digits, quadrature over angles, Bayes' rule."""

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import kstest, vonmises_fisher

from theory.distributions import FlatTorus, Sphere, VonMisesFisher
from theory.distributions._bessel import log_mean_exp, mean_over, variance
from workbench import BadInput, Rng
from workbench.diffusion import EDM, VariancePreserving
from workbench.noise import Gaussian as Noise
from workbench.operators import Dense

F64 = torch.float64
VP = VariancePreserving()


def tensor(*values):
    return torch.tensor(values, dtype=F64)


def normal(*shape, seed=0):
    return Rng(seed, "sphere").normal(torch.empty(*shape, dtype=F64))


@pytest.mark.parametrize("d", [2, 3, 8, 64, 1000])
@pytest.mark.parametrize("kappa", [1e-8, 0.5, 20.0, 49.99, 50.01, 300.0, 1e4, 1e8])
def test_bessel_functions_to_many_digits(d, kappa):
    with mpmath.workdps(80):
        nu, k = mpmath.mpf(d) / 2 - 1, mpmath.mpf(kappa)
        below, above = mpmath.besseli(nu, k), mpmath.besseli(nu + 1, k)
        A = above / below
        log_mean = mpmath.log(below) + mpmath.loggamma(nu + 1) + nu * mpmath.log(2 / k)
        wanted = [float(v) for v in (log_mean, A / k, 1 - A**2 - (2 * nu + 1) / k * A)]
    got = [f(d, tensor(kappa)).item() for f in (log_mean_exp, mean_over, variance)]
    assert got[0] == pytest.approx(wanted[0], rel=1e-13, abs=1e-12)
    assert got[1] == pytest.approx(wanted[1], rel=1e-14) and got[2] == pytest.approx(wanted[2], rel=2e-11)


def circle_by_angles(law, x, t, count=4000):
    """log p_t(x) and E[x0 | x_t = x] of a law on a circle, by the trapezoidal rule over its angle."""
    angle = torch.arange(count, dtype=F64) * (2 * np.pi / count)
    u = torch.stack([angle.cos(), angle.sin()], 1)
    a, s, tau = law.process.alpha(t), law.process.sigma(t), law.thickness
    s2 = s**2 + (a * tau) ** 2
    on = law.centre + law.radius * u
    log_w = torch.log_softmax(law.concentration * (u @ law.direction), 0)
    log_p = log_w - 0.5 * torch.cdist(x, a * on) ** 2 / s2 - torch.log(2 * np.pi * s2)
    best = on + (a * tau**2 / s2) * (x[:, None] - a * on)
    return torch.logsumexp(log_p, 1), (torch.softmax(log_p, 1)[..., None] * best).sum(1)


@pytest.mark.parametrize("thickness, concentration", [(0.0, 0.0), (0.0, 3.0), (0.3, 1.5)])
def test_circle_against_quadrature(thickness, concentration):
    law = VonMisesFisher(tensor(1, -2), concentration, 1.7, thickness, tensor(0.4, 0.1), VP)
    x = 2 * normal(6, 2)
    for kappa in (0.1, 0.6, 4.0):
        log_p, x0 = circle_by_angles(law, x, VP.time(kappa))
        assert torch.allclose(law.log_prob(x, VP.time(kappa)), log_p, rtol=1e-10, atol=1e-10)
        assert torch.allclose(law.denoise(x, VP.time(kappa)), x0, rtol=0, atol=1e-10)


@pytest.mark.parametrize("d, kappa", [(2, 3.0), (3, 0.5), (3, 200.0), (7, 10.0)])
def test_draws_have_the_law_of_wood(d, kappa):
    """Heights against scipy's own sampler by moments, tangents uniform; for d = 3 the heights' distribution exactly."""
    axis = normal(1, d)[0]
    law = VonMisesFisher(axis, kappa)
    u = law.sample(20000, 4)
    assert torch.allclose(u.norm(dim=1), torch.ones(1, dtype=F64), rtol=0, atol=1e-14)
    ours = (u @ law.direction).numpy()
    theirs = vonmises_fisher(law.direction.numpy(), kappa).rvs(20000, random_state=1) @ law.direction.numpy()
    for power in (1, 2):
        z = (ours**power).mean() - (theirs**power).mean()
        assert abs(z) < 4.5 * np.hypot((ours**power).std(), (theirs**power).std()) / 20000**0.5
    if d == 3:
        cdf = lambda w: np.expm1(kappa * (w + 1)) / np.expm1(2 * kappa)  # noqa: E731
        assert kstest(ours, cdf).pvalue > 1e-4
    moments = (u - law.mean()).T.cov()
    assert (moments - law.cov()).abs().max() < 0.03 * law.cov().max()


def test_sphere_far_into_both_ends():
    """Next to no noise: the nearest point of the sphere.  Much noise: the mean.  float64 throughout, no NaN."""
    law = Sphere(64, 3.0)
    x = 3 * normal(4, 64)
    near = law.denoise(x, EDM().time(1e-4))
    assert torch.allclose(near, 3 * x / x.norm(dim=1, keepdim=True), rtol=1e-6)
    assert law.denoise(x, EDM().time(1e6)).abs().max() < 1e-8
    zero = torch.zeros(1, 64, dtype=F64)
    assert (law.denoise(zero, EDM().time(0.1)) == 0).all() and torch.isfinite(
        law.log_prob(zero, EDM().time(0.1))
    ).all()


def test_entropy_is_minus_the_mean_of_the_log_density():
    """On S^2 the density in area is kappa exp(kappa w) / (4 pi sinh kappa)."""
    kappa, radius = 2.5, 1.4
    w = np.linspace(-1, 1, 200001)
    p = kappa * np.exp(kappa * w) / (4 * np.pi * np.sinh(kappa))
    wanted = -np.trapezoid(2 * np.pi * p * np.log(p / radius**2), w)
    assert VonMisesFisher(tensor(0, 0, 1), kappa, radius).entropy() == pytest.approx(wanted, abs=1e-8)
    assert Sphere(3, radius).entropy() == pytest.approx(np.log(4 * np.pi * radius**2), abs=1e-12)
    assert FlatTorus((1.0, 0.5)).entropy() == pytest.approx(np.log(2 * np.pi * np.pi), abs=1e-12)
    with pytest.raises(BadInput, match="thickness"):
        Sphere(3, 1.0, 0.1).entropy()


LAWS = {
    "sphere": Sphere(3, 1.5, process=VP),
    "thick sphere": Sphere(3, 1.5, 0.4, process=VP),
    "von Mises-Fisher": VonMisesFisher(tensor(1, 2, -1), 1.2, 1.1, 0.3, tensor(0.2, 0, -0.4), VP),
    "torus": FlatTorus((1.2, 0.7), process=VP),
    "thick torus": FlatTorus((1.2, 0.7), 0.3, process=VP),
}


def rotation(d, gain):
    return Dense(gain * torch.linalg.qr(normal(d, d, seed=9)).Q)


def seen(law, gain=1.3):
    """An operator under which the posterior is closed, and its data."""
    A = Dense(torch.diag(tensor(0.8, 0.8, 1.5, 1.5))) if law.dimension == 4 else rotation(3, gain)
    return A, Noise(0.6), Noise(0.6).sample(A(law.sample(1, 3)), 3)[0]


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_posterior_is_prior_times_likelihood(law):
    """Where there is a density at t = None, Bayes' rule; evidence and mean by weights on draws of the prior."""
    A, noise, y = seen(law)
    q = law.condition(A, y, noise)
    x = law.sample(40000, 5)
    fit = noise.log_likelihood(y, A(x))
    weights = torch.exp(fit)
    assert abs(weights.mean() / np.exp(q.log_evidence) - 1) < 4.5 * weights.std() / weights.mean() / 200
    error = weights[:, None] * (x - q.mean())
    assert ((error.mean(0) / (error.std(0) / 200)).abs() < 4.5).all()
    spread = weights[:, None, None] * ((x - q.mean())[:, :, None] * (x - q.mean())[:, None] - q.cov())
    assert ((spread.mean(0).abs() / (spread.std(0) / 200).clamp_min(1e-12)) < 4.5).all()
    if law.thickness:
        x = x[:9]
        assert torch.allclose(q.log_prob(x), law.log_prob(x) + fit[:9] - q.log_evidence, rtol=0, atol=1e-10)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_guidance_is_the_gradient_of_the_evidence(law):
    """p(y | x_t) itself by weights is not needed: p_t(x | y) and p_t(x) are closed, and their ratio is the evidence of
    p(x0 | x_t), which is the law's own posterior under x_t = alpha x0 + sigma eps."""
    A, noise, y = seen(law)
    q, t = law.condition(A, y, noise), VP.time(0.8)
    a, s = VP.alpha(t).item(), VP.sigma(t).item()
    x = (a * law.sample(3, 8) + s * normal(3, law.dimension)).requires_grad_()
    eye = Dense(a * torch.eye(law.dimension, dtype=F64))
    for row in x.detach():
        inside = law.condition(eye, row, Noise(s))
        assert inside.log_evidence == pytest.approx(law.log_prob(row[None], t).item(), abs=1e-10)
        assert torch.allclose(inside.mean(), law.denoise(row[None], t)[0], rtol=0, atol=1e-12)
        both = inside.condition(A, y, noise).log_evidence
        ratio = (q.log_prob(row[None], t) - law.log_prob(row[None], t)).item()
        assert both == pytest.approx(ratio + q.log_evidence, abs=1e-10)
    (g,) = torch.autograd.grad((q.log_prob(x, t) - law.log_prob(x, t)).sum(), x)
    assert torch.allclose(g, a / s**2 * (q.denoise(x, t) - law.denoise(x, t)), rtol=1e-9, atol=1e-10)


def test_torus_is_its_circles():
    law, (one, two) = FlatTorus((1.0, 0.5), process=VP), (Sphere(2, r, process=VP) for r in (1.0, 0.5))
    x, t = normal(5, 4), VP.time(0.4)
    assert torch.allclose(law.log_prob(x, t), one.log_prob(x[:, :2], t) + two.log_prob(x[:, 2:], t))
    assert law.intrinsic_dim(x).tolist() == [2] * 5 and Sphere(7).intrinsic_dim(normal(2, 7)).tolist() == [
        6,
        6,
    ]
    radii = law.sample(50, 0).reshape(-1, 2, 2).norm(dim=2)
    assert torch.allclose(radii, tensor(1.0, 0.5).expand(50, 2), rtol=1e-12)


BAD = {
    "mean": lambda: VonMisesFisher(tensor(0, 0)),
    "radius": lambda: Sphere(3, -1.0),
    "d = 1": lambda: Sphere(1),
    "density": lambda: Sphere(3).log_prob(normal(2, 3)),
    "multiple of the identity": lambda: Sphere(3).condition(Dense(normal(2, 3)), normal(1, 2)[0], Noise(1.0)),
    "circles": lambda: FlatTorus().condition(Dense(normal(4, 4)), normal(1, 4)[0], Noise(1.0)),
    "radii": lambda: FlatTorus(()),
    "real signals": lambda: Sphere.example(Rng(0, "x"), torch.complex128),
}


@pytest.mark.parametrize("word", BAD)
def test_what_cannot_be_is_said(word):
    with pytest.raises(BadInput, match=word):
        BAD[word]()
