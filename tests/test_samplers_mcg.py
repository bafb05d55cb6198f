"""MCG: the gradient of the projected misfit, and the projection."""

from dataclasses import replace

import pytest
import torch
from truth import DOUBLE, gaussian_problem, normal, tensor

import workbench as wb
from workbench.diffusion import VariancePreserving
from workbench.operators.intensity import Intensity
from workbench.samplers._ancestral import moments

S = wb.samplers


def pseudoinverse(problem):
    """A^+ and A^+ A as matrices of the flat signal."""
    plus = torch.linalg.pinv(problem.A.matrix)
    return plus, plus @ problem.A.matrix


class Silent:
    """Draws that are zero but for the k-th, which is `z`."""

    def __init__(self, z, k):
        self.z, self.k = z, k

    def normal(self, like):
        self.k -= 1
        return self.z if self.k == -1 else torch.zeros_like(like)


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_step(dtype):
    """Both lines of the algorithm with matrices, the gradient by automatic differentiation."""
    problem = gaussian_problem(dtype, process=VariancePreserving())
    plus, onto = pseudoinverse(problem)
    process, x, t, s = problem.prior.process, normal(3, 2, 2, seed=6, dtype=dtype), tensor(0.7), tensor(0.4)
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        x0 = problem.prior.denoise(leaf, t).flatten(1)
        misfit = torch.linalg.vector_norm((problem.y - x0 @ problem.A.matrix.mT) @ plus.mT, dim=1)
        (slope,) = torch.autograd.grad(misfit.sum(), leaf)
    mean, _ = moments(process, x, problem.prior.denoise(x, t), t, s)
    ahead = (mean - 0.3 * slope).flatten(1)
    z = normal(3, 2, 2, seed=8, dtype=dtype)
    data = process.alpha(s) * (plus @ problem.y) + process.sigma(s) * z.flatten(1) @ onto.mT
    wanted = ahead - ahead @ onto.mT + data
    got = S.MCG(zeta=0.3).step(problem, S.MCG.State(x), t, s, Silent(z, 1)).x.flatten(1)
    assert (got - wanted).abs().max() < 1e-9 and (0.3 * slope).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_data_are_fitted_exactly(dtype):
    problem = gaussian_problem(dtype)
    x = wb.sample(problem, S.MCG(zeta=0.3), n=5, steps=20, progress=False).samples
    assert (problem.A(x) - problem.y).abs().max() < 1e-9 and x.flatten(1).std(0).abs().max() > 0.1


def test_norms_are_per_sample():
    problem, x = gaussian_problem(), normal(3, 2, 2, seed=6)
    far = torch.cat([x[:1], 50 * x[1:]])
    step = lambda x: S.MCG().step(problem, S.MCG.State(x), tensor(0.7), tensor(0.0), wb.Rng(0)).x[0]
    assert (step(x) - step(far)).abs().max() < 1e-12


def test_nothing_to_project_on():
    base = gaussian_problem()

    problem = replace(base, A=Intensity((2, 2), DOUBLE), y=torch.ones(2, 2, dtype=DOUBLE))
    for sampler in (S.MCG(), S.DDRM(), S.DDNM(), S.DDNMPlus(), S.ScalarDDNMPlus()):
        with pytest.raises(wb.BadInput, match="not linear"):
            wb.sample(problem, sampler, n=2, steps=2, progress=False)
