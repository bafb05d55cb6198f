"""Subspaces at the angles that were asked for, and the denoiser of the paper's formula."""

from math import pi

import pytest
import torch
from laws import close

from theory.diagnostics.subspaces import principal_angles
from theory.distributions import MoLRG
from workbench import BadInput, Rng
from workbench.diffusion import VariancePreserving

VP = VariancePreserving(2.0, 2.0)


@pytest.mark.parametrize("angle", [pi / 2, 1.1, 0.3])
def test_principal_angles(angle):
    U = MoLRG(4, 3, 20, angle=angle, seed=5).covariances.U
    for j in range(4):
        for k in range(j):
            assert torch.allclose(principal_angles(U[j], U[k]), torch.full((3,), angle).double(), atol=1e-7)


def test_the_denoiser_of_the_formula():
    law = MoLRG(3, 4, 15, process=VP)
    a, s = VP.alpha(0.4), VP.sigma(0.4)
    x = a * law.sample(20, 0) + s * Rng(0, "noise").normal(law.sample(20, 0))
    inside = torch.einsum("kdr,nd->nkr", law.covariances.U, x)
    rho = torch.softmax(0.5 * (1 / s**2 - 1 / (a**2 + s**2)) * inside.square().sum(2), 1)
    expected = a / (a**2 + s**2) * torch.einsum("nk,kdr,nkr->nd", rho, law.covariances.U, inside)
    assert close(law.denoise(x, 0.4), expected)


def test_bad_input():
    with pytest.raises(BadInput, match="d >= 12"):
        MoLRG(3, 4, 11)
    with pytest.raises(BadInput, match="d >= 16"):
        MoLRG(3, 4, 12, angle=1.0)
    with pytest.raises(BadInput, match="angle"):
        MoLRG(3, 4, 20, angle=0.0)
