"""DiffPIR: its proximal step, its noise, its limit without noise in the data, and its numbers on G2."""

from dataclasses import replace

import pytest
import torch
from truth import DOUBLE, g2_run, gaussian_problem, line_problem, normal, tensor

import workbench as wb
from workbench.diffusion import VariancePreserving
from workbench.operators.intensity import Intensity
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers.diffpir import proximal

S = wb.samplers


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_proximal_step(dtype):
    """(A^H A + rho sigma^2 I)^{-1} (A^H y + rho sigma^2 z), in the units of the data."""
    problem, z = gaussian_problem(dtype), normal(3, 2, 2, seed=6, dtype=dtype)
    M = problem.A.matrix
    system = M.mH @ M + 2.0 * 0.16 * torch.eye(4, dtype=DOUBLE)
    wanted = torch.linalg.solve(system, (problem.y @ M.conj() + 2.0 * 0.16 * z.flatten(1)).mT).mT
    assert (proximal(problem, z, 2.0, 1).flatten(1) - wanted).abs().max() < 1e-9


@pytest.mark.parametrize("rho", [0.1, 1.0, 30.0])
def test_proximal_step_of_a_nonlinear_operator(rho):
    """A stationary point no worse than where it started, reached by Gauss-Newton; never uphill on the way."""
    problem = replace(line_problem(), A=Intensity((1,), DOUBLE), y=tensor([2.0]))
    z = tensor([[0.3], [1.0], [-2.0], [4.0]])

    def cost(x):
        return 0.5 * rho * (x - z)[:, 0] ** 2 - log_likelihood(problem, x)

    costs = torch.stack([cost(proximal(problem, z, rho, k)) for k in (1, 2, 3, 30)])
    assert (costs[0] <= cost(z)).all() and (costs.diff(dim=0) <= 1e-12).all()
    x = proximal(problem, z, rho, 60)
    slope = rho * (x - z) - 2 * x * (2.0 - x**2) / 0.25
    assert (slope.abs() < 1e-5 * (1 + rho)).all()


@pytest.mark.parametrize("zeta", [0.0, 0.36, 1.0])
def test_step(zeta):
    problem = gaussian_problem(process=VariancePreserving())
    process, x, t, s = problem.prior.process, normal(3, 2, 2, seed=6), tensor(0.7), tensor(0.4)
    z = wb.Rng(3).normal(x)
    x0 = proximal(problem, problem.prior.denoise(x, t), 2.0 / process.kappa(t) ** 2, 1)
    eps = (x - process.alpha(t) * x0) / process.sigma(t)
    wanted = process.alpha(s) * x0 + process.sigma(s) * ((1 - zeta) ** 0.5 * eps + zeta**0.5 * z)
    got = S.DiffPIR(lam=2.0, zeta=zeta).step(problem, S.DiffPIR.State(x), t, s, wb.Rng(3)).x
    assert (got - wanted).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_without_noise_it_is_ddnm(dtype):
    """Sigma_y -> 0 with zeta = 1 = eta: the proximal step is the projection, and both noise afresh."""
    problem, x = gaussian_problem(dtype, sigma=1e-4), normal(3, 2, 2, seed=6, dtype=dtype)
    for t, s in [(1.5, 1.0), (0.5, 0.2)]:
        one, other = (
            made.step(problem, made.State(x), tensor(t), tensor(s), wb.Rng(3)).x
            for made in (S.DiffPIR(zeta=1.0), S.DDNM(eta=1.0))
        )
        assert (one - other).abs().max() < 1e-5
    noisy = replace(problem, noise=wb.noise.Gaussian(0.4))
    assert (
        S.DiffPIR(zeta=1.0).step(noisy, S.DiffPIR.State(x), tensor(0.5), tensor(0.2), wb.Rng(3)).x - other
    ).abs().max() > 0.01  # the control: noise is seen


def test_published_settings():
    assert S.DiffPIR.named("inpainting") == S.DiffPIR(lam=1.0, zeta=1.0)
    assert S.DiffPIR.named("deblurring") == S.DiffPIR(lam=1.0, zeta=0.1)
    assert S.DiffPIR.named("inverse_bench") == S.DiffPIR(lam=8.0, zeta=1.0)
    with pytest.raises(wb.BadInput, match="lam = 0"):
        S.DiffPIR(lam=0)


@pytest.mark.parametrize(
    "lam, zeta, sw2, trace, residual",
    [(1.0, 0.3, 0.104, 1.34, 0.38), (1.0, 1.0, 0.143, 0.95, 0.33), (8.0, 1.0, 0.406, 2.09, 1.14)],
)
def test_reference_row(lam, zeta, sw2, trace, residual):
    got = g2_run(S.DiffPIR(lam=lam, zeta=zeta), 100)
    tolerance = 0.03 if sw2 < 0.3 else 0.05
    assert (
        abs(got.sw2 - sw2) < tolerance
        and abs(got.trace - trace) < 0.1
        and abs(got.residual - residual) < 0.02
    )
