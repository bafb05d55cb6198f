"""The torus in space: its density by quadrature over both angles, its symmetry, its moments."""

import numpy as np
import pytest
import torch
from scipy import integrate

from theory.distributions import EmbeddedTorus
from workbench import BadInput


def test_density_by_quadrature():
    law = EmbeddedTorus(1.2, 0.5, 0.15)
    x = law.sample(3, 1)

    def joint(v, u, row):
        out = 1.2 + 0.5 * np.cos(v)
        point = np.array([out * np.cos(u), out * np.sin(u), 0.5 * np.sin(v)])
        p = out / (1.2 * 4 * np.pi**2)  # uniform in area
        return p * np.exp(-0.5 * ((row - point) ** 2).sum() / 0.0225) / (2 * np.pi * 0.0225) ** 1.5

    for row, log_p in zip(x.numpy(), law.log_prob(x).tolist(), strict=True):
        u = np.arctan2(row[1], row[0])
        wanted = integrate.dblquad(joint, u - np.pi, u + np.pi, 0, 2 * np.pi, args=(row,), epsabs=1e-9)[0]
        assert log_p == pytest.approx(np.log(wanted), abs=1e-6)


def test_moments_of_a_uniform_torus():
    """E x_3^2 = r^2 / 2; E (x_1^2 + x_2^2) = R^2 + 3 r^2 / 2, as the outer half has the more area."""
    cov = EmbeddedTorus(1.0, 0.4, 0.1).cov()
    wanted = torch.tensor([0.5 * (1 + 1.5 * 0.16), 0.5 * (1 + 1.5 * 0.16), 0.08], dtype=torch.float64) + 0.01
    assert torch.allclose(cov, wanted.diag(), rtol=1e-12, atol=1e-12)


def test_error_against_the_smooth_surface():
    assert EmbeddedTorus().tolerance < 1e-12 and EmbeddedTorus.example(None).tolerance < 1e-9
    assert EmbeddedTorus(thickness=0.02).tolerance > 1e-2
    assert EmbeddedTorus().intrinsic_dim(torch.zeros(2, 3)).tolist() == [2, 2]


def test_what_cannot_be_is_said():
    for wrong in (dict(R=0.3), dict(thickness=0.0), dict(nodes=(2, 9)), dict(dtype=torch.complex128)):
        with pytest.raises(BadInput, match="EmbeddedTorus"):
            EmbeddedTorus(**wrong)
