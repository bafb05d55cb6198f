"""The largest eigenvalue by Lanczos' method, and the Jacobian of one signal on a batch of tangents."""

import numpy as np
import pytest
import torch
from laws import close

from workbench import Rng
from workbench.operators import Intensity, SinglePixel
from workbench.operators._solve import largest_eigenvalue


def normal(*shape, dtype=torch.float64, seed=0):
    return Rng(seed, "test").normal(torch.empty(1, *shape, dtype=dtype))[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float32])
@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_it_is_numpys(size, dtype):
    M = normal(size, size, dtype=dtype)
    M = M @ M.mH
    want = np.linalg.eigvalsh(M.numpy())[-1]
    calls = []
    found = largest_eigenvalue(lambda v: calls.append(0) or M @ v, normal(size, dtype=dtype, seed=1))
    assert found == pytest.approx(want, rel=1e-6) and len(calls) <= 2 * size


def test_close_and_repeated_eigenvalues():
    for d in ([1.0, 1.0, 1.0], [1.0, 0.9999, 0.1, 0.0], [0.0, 0.0, 3.0], [2.0] * 40 + [1.99] * 40):
        d = torch.tensor(d, dtype=torch.float64)
        found = largest_eigenvalue(lambda v, d=d: d * v, normal(len(d)))
        assert found == pytest.approx(d.max().item(), rel=1e-4)


def test_a_map_to_zero_has_norm_zero():
    assert largest_eigenvalue(lambda v: 0 * v, normal(5)) == 0.0


def test_it_needs_few_products_where_the_power_method_needs_many():
    d, calls = torch.linspace(0, 1, 3000, dtype=torch.float64), []
    found = largest_eigenvalue(lambda v: calls.append(0) or d * v, normal(3000))
    assert found == pytest.approx(1, abs=2e-4) and len(calls) < 150


def test_a_jacobian_at_one_signal_takes_a_batch_and_a_norm():
    A, x = Intensity((3, 4), torch.float64), normal(3, 4)
    J, v = A.linearize(x), normal(5, 2, 3, 4, seed=1)
    assert close(J(v), 2 * x * v) and close(J.H(v), 2 * x * v) and close(J(v[0, 0]), 2 * x * v[0, 0])
    assert J.norm() == pytest.approx(2 * x.abs().max().item(), rel=1e-3)
    both = A.linearize(torch.stack([x, 2 * x]))
    assert close(both(v[0, 0]), torch.stack([2 * x, 4 * x]) * v[0, 0])
    assert close(both.H(v[0]), torch.stack([2 * x, 4 * x]) * v[0])


def test_a_single_pixel_camera_is_solved_in_single_precision():
    """The mean has m times the power of the rest; the exact solution of the same system, in double precision."""
    A = SinglePixel.draw(257, (32, 32), 0)
    b, rho = A.H(A(normal(32, 32).float())), 1e-6 * A.norm() ** 2
    want = A.to(torch.float64).solve(b.double(), rho)
    assert torch.linalg.vector_norm(A.solve(b, rho) - want) < 1e-5 * torch.linalg.vector_norm(want)
