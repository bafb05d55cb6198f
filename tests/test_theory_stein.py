"""Kernel Stein discrepancy: against the kernel's derivatives, its mean under the law, and what the floor promises."""

import pytest
import torch

import problems
from theory.diagnostics import ksd, ksd_squared, median_distance, stein_matrix
from theory.distributions import Gaussian, GaussianMixture
from workbench import BadInput, Rng

G2 = problems.load("toy/g2").exact


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "stein").normal(torch.empty(*shape, dtype=dtype))


@pytest.mark.parametrize("beta, c", [(-0.5, 1.0), (-0.3, 2.0)])
def test_the_kernel_is_what_its_derivatives_say(beta, c):
    """u = s_x.s_y k + s_x.grad_y k + s_y.grad_x k + tr grad_x grad_y k, by automatic differentiation."""
    x, s = normal(4, 3), normal(4, 3, seed=1)

    def kernel(a, b):
        return (c**2 + ((a - b) ** 2).sum()) ** beta

    got = stein_matrix(x, s, c, beta)
    for i in range(4):
        for j in range(4):
            a, b = x[i].clone().requires_grad_(), x[j].clone().requires_grad_()
            ga, gb = torch.autograd.grad(kernel(a, b), (a, b), create_graph=True)
            trace = sum(torch.autograd.grad(ga[k], b, retain_graph=True)[0][k] for k in range(3))
            want = kernel(a, b) * (s[i] @ s[j]) + s[i] @ gb + s[j] @ ga + trace
            assert got[i, j].item() == pytest.approx(want.item(), rel=1e-9, abs=1e-12)


def test_mean_zero_under_exact_draws_and_not_under_others():
    found = torch.tensor([ksd_squared(G2.sample(400, 10 + i), G2.score) for i in range(30)])
    assert abs(found.mean()) < 3 * found.std() / 30**0.5
    shifted = ksd_squared(G2.sample(400, 1) + torch.tensor([0.3, 0.0]).double(), G2.score)
    assert shifted > 10 * found.std()


def test_floors_agree_and_hold_what_they_promise():
    x = G2.sample(500, 3)
    by_law, by_signs = ksd(x, G2.score, law=G2), ksd(x, G2.score)
    assert by_law.value == by_signs.value and by_signs.floor == pytest.approx(by_law.floor, rel=0.25)
    inside = sum(ksd(G2.sample(200, 50 + i), G2.score, seed=i).at_floor for i in range(40))
    assert inside >= 33  # 38 are expected; 32 or fewer has chance 0.3 %
    assert not ksd(1.3 * x, G2.score).at_floor and ksd(1.3 * x, G2.score).interval[0] > 0


def test_blind_to_the_weights_of_modes_that_lie_apart():
    means = torch.tensor([[-10.0, 0.0], [10.0, 0.0]], dtype=torch.float64)
    right, wrong = (GaussianMixture(w, means, torch.ones(2).double()) for w in ([0.5, 0.5], [0.95, 0.05]))
    assert ksd(wrong.sample(500, 0), right.score).at_floor


def test_weights_are_repetitions():
    x = normal(30, 2)
    doubled = torch.cat([x, x[:10]])
    w = torch.ones(30)
    w[:10] = 2
    assert ksd(x, lambda x: -2 * x, weights=w).value == pytest.approx(
        ksd(doubled, lambda x: -2 * x).value, rel=1e-10
    )


def test_complex_draws_are_reals_of_twice_the_size():
    x = normal(50, 3, dtype=torch.complex128)
    real = torch.view_as_real(x).flatten(1)
    assert ksd(x, lambda x: -2 * x).value == pytest.approx(ksd(real, lambda x: -2 * x).value, rel=1e-12)
    law = Gaussian(torch.zeros(3, dtype=torch.complex128), torch.tensor(1.0, dtype=torch.float64))
    assert ksd(law.sample(300, 0), lambda x: -x).at_floor


def test_float32_and_far_from_the_origin():
    x = normal(100, 4)
    near = ksd(x, lambda x: -x).value
    assert ksd(x.float(), lambda x: -x).value == pytest.approx(near, rel=1e-4)
    assert ksd(x + 1e6, lambda x: -(x - 1e6)).value == pytest.approx(near, rel=1e-6)


def test_the_length_is_the_median():
    assert median_distance(torch.tensor([[0.0], [1.0], [3.0], [7.0]])) == 3.0


@pytest.mark.parametrize(
    "bad", [dict(c=0.0), dict(beta=0.5), dict(weights=torch.ones(3)), dict(repeats=1, law=G2)]
)
def test_bad_input_is_named(bad):
    with pytest.raises(BadInput):
        ksd(G2.sample(10, 0), G2.score, **bad)
    with pytest.raises(BadInput, match="score gives"):
        ksd(G2.sample(10, 0), lambda x: x[:, :1])
