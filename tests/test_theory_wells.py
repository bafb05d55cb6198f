"""Wells: the quartic one against quadrature, Mueller and Brown's minima and saddles, and grids that converge."""

from math import exp

import pytest
import torch
from laws import close
from scipy.integrate import dblquad, quad
from scipy.optimize import root
from test_theory_laws import noised, z
from test_theory_product import F64, VP, residual_of_the_log_density_equation

from theory.distributions.double_well import QuarticWell, two_modes, unequal_modes
from theory.distributions.mueller_brown import MuellerBrown, energy
from workbench import BadInput
from workbench.noise import Gaussian as Noise
from workbench.operators.mask import Mask


@pytest.mark.parametrize("kappa", [0.05, 0.4, 3.0])
def test_the_quartic_well_against_quadrature(kappa):
    law = QuarticWell(2.0)
    t, x = law.process.time(kappa), 0.8

    def moment(m):
        f = lambda y: y**m * exp(-2.0 * (y * y - 1) ** 2 - 0.5 * ((x - y) / kappa) ** 2)  # noqa: E731
        return quad(f, -3, 3, points=(-1, x, 1), epsabs=1e-14, epsrel=1e-12, limit=200)[0]

    mean = law.denoise(torch.tensor([[x]], dtype=F64), t).item()
    slope = law.denoiser_jvp(torch.tensor([[x]], dtype=F64), t, torch.ones(1, 1, dtype=F64)).item()
    want = moment(1) / moment(0)
    assert mean == pytest.approx(want, abs=2e-4) and law.tolerance < 1e-3
    assert slope == pytest.approx(
        (moment(2) / moment(0) - want**2) / kappa**2, rel=2e-2 if kappa < 0.1 else 2e-3
    )
    mass = quad(lambda y: exp(-2.0 * (y * y - 1) ** 2), -3, 3, epsrel=1e-12)[0]
    assert exp(law.log_evidence) == pytest.approx(mass, rel=1e-9)


def test_the_quartic_well_is_even_and_its_score_is_the_force():
    law = QuarticWell(5.0)
    x = torch.tensor([[0.3], [-1.2]], dtype=F64)
    assert close(law.score(x), -20.0 * x * (x**2 - 1), 1e3) and abs(law.mean().item()) < 1e-12
    t = law.process.time(0.5)
    assert close(law.denoise(x, t), -law.denoise(-x, t), 1e4)


def test_mueller_and_brown_s_stationary_points():
    """The three minima and two saddles of the paper, and their energies."""
    known = [
        ((-0.558, 1.442), -146.700),
        ((0.623, 0.028), -108.167),
        ((-0.050, 0.467), -80.768),
        ((-0.822, 0.624), -40.665),
        ((0.212, 0.293), -72.249),
    ]
    for place, value in known:
        found = root(_slope, place, tol=1e-12).x
        assert abs(found[0] - place[0]) < 2e-3 and abs(found[1] - place[1]) < 2e-3
        assert energy(torch.from_numpy(found)).item() == pytest.approx(value, abs=1e-3)


def _slope(p):
    leaf = torch.tensor(p, dtype=F64, requires_grad=True)
    return torch.autograd.grad(energy(leaf), leaf)[0].numpy()


def test_mueller_brown_denoised_against_quadrature():
    law, x, s = MuellerBrown(), torch.tensor([[-0.4, 1.2]], dtype=F64), 0.3
    t = law.process.time(s)

    def moment(m):
        def f(v, u):
            e = (
                energy(torch.tensor([u, v], dtype=F64)).item() / 23
                + 0.5 * ((u + 0.4) ** 2 + (v - 1.2) ** 2) / s**2
            )
            return (1, u, v)[m] * exp(-e)

        return dblquad(f, -1.8, 1.1, -0.5, 2.0, epsabs=1e-4, epsrel=1e-6)[0]

    mass, u, v = (moment(m) for m in range(3))
    assert law.denoise(x, t)[0].tolist() == pytest.approx([u / mass, v / mass], abs=1e-4)
    assert law.tolerance < 2e-3


def test_mueller_brown_s_grid_converges():
    fine = MuellerBrown(cells=256)
    _, x, t = noised(fine, 5, 0.3)
    errors = [
        (MuellerBrown(cells=n).denoise(x, t) - fine.denoise(x, t)).abs().max().item() for n in (64, 128)
    ]
    assert errors[1] < 0.3 * errors[0] < 1e-2  # of second order: against 256, the ratio is 1/5
    assert MuellerBrown(cells=128).tolerance > fine.tolerance


@pytest.mark.parametrize(
    "law", [QuarticWell(2.0, 300, process=VP()), MuellerBrown(cells=64, process=VP())], ids=["quartic", "mb"]
)
def test_the_log_density_obeys_its_equation_and_draws_have_the_moments(law):
    assert residual_of_the_log_density_equation(law, torch.tensor(0.3, dtype=F64)) < 1e-6
    off = law.sample(8000, 1) - law.mean()
    assert z(off) < 4.5 and z(off[:, :, None] * off[:, None] - law.cov()) < 4.5


def test_a_well_that_data_choose():
    law = QuarticWell(4.0)
    A = Mask(torch.tensor([True]), F64)
    q = law.condition(A, torch.tensor([0.3], dtype=F64), Noise(0.6))
    weight = lambda y, m: y**m * exp(-4.0 * (y * y - 1) ** 2 - 0.5 * ((0.3 - y) / 0.6) ** 2)  # noqa: E731
    mass, first = (quad(weight, -2.5, 2.5, (m,), epsrel=1e-11)[0] for m in (0, 1))
    assert q.mean().item() == pytest.approx(first / mass, rel=1e-6)


def test_the_modes():
    one, two = two_modes(), unequal_modes()
    assert one.mean().tolist() == [0.0] and one.cov().item() == pytest.approx(26)
    assert two.mean().tolist() == pytest.approx([3.0, 3.0]) and two.cov()[0, 1].item() == pytest.approx(16)


def test_what_is_refused():
    with pytest.raises(BadInput, match="beta = -1"):
        QuarticWell(-1)
    with pytest.raises(BadInput, match="kT = 0"):
        MuellerBrown(0)


@pytest.mark.parametrize("law", [QuarticWell(2.0, 300), MuellerBrown(cells=64)], ids=["quartic", "mb"])
@pytest.mark.parametrize("kappa", [0.05, 0.7, 5.0])
def test_the_score_is_the_gradient_to_rounding(law, kappa):
    """Whatever `tolerance` says of the smooth density: the law on the cells is exact."""
    _, x, t = noised(law, 5, kappa)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(law.log_prob(leaf, t).sum(), leaf)
    assert close(law.score(x, t), g, 1e6)
