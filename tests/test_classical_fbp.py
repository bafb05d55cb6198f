"""Filtered back-projection: the absolute scale, limited and uneven angles, and the geometry."""

from math import pi
from types import SimpleNamespace

import pytest
import torch

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.classical._ramp import ramp_filtered
from workbench.classical.fbp import (
    FBP,
    angular_shares,
    filtered_back_projection,
    hann,
    ram_lak,
    shepp_logan,
)
from workbench.operators.dense import Dense
from workbench.operators.radon import ParallelBeam

MIDDLE, RADIUS, MU = (9.0, -6.0), 18.0, 0.02  # mm, mm, 1/mm


def half_turn(n):
    return torch.arange(n, dtype=torch.float64) * (pi / n)


def uneven(n):
    return (half_turn(n) + (pi / n) * Rng(0, "angles").uniform(n)).flip(0)


def scan(angles, dtype=torch.float64):
    return ParallelBeam(angles, (120, 140), 220, spacing=0.4, pixel=0.5, centre=101.3, dtype=dtype)


def chords(A):
    """The line integrals of a disc, in closed form."""
    s, t = (torch.arange(A.detectors) - A.axis) * A.spacing, A.angles[:, None]
    square = RADIUS**2 - (s - MIDDLE[0] * t.cos() - MIDDLE[1] * t.sin()) ** 2
    return (2 * MU * square.clamp_min(0).sqrt()).to(A.dtype)


def distance(A):
    """Of each pixel from the middle of the disc, mm."""
    H, W = A.shape
    x1, x2 = (torch.arange(W) - (W - 1) / 2) * A.pixel, ((H - 1) / 2 - torch.arange(H)) * A.pixel
    return ((x1 - MIDDLE[0]) ** 2 + (x2[:, None] - MIDDLE[1]) ** 2).sqrt()


@pytest.mark.parametrize(
    "angles",
    [half_turn(180), 2 * half_turn(240), torch.cat([half_turn(180), torch.tensor([pi])]), uneven(240)],
    ids=["half turn", "full turn", "both ends", "uneven"],
)
def test_a_disc_has_its_attenuation(angles):
    A = scan(angles.double())
    x = FBP().reconstruct(SimpleNamespace(A=A, y=chords(A)))
    inside, outside = distance(A) < RADIUS - 2, distance(A) > RADIUS + 2
    assert x.shape == A.in_shape
    assert x[inside].mean().item() == pytest.approx(MU, rel=2e-3)
    assert (x[inside] / MU - 1).abs().max() < 0.03
    assert abs(x[outside].mean()) < 2e-3 * MU and x[outside].std() < 0.05 * MU


@pytest.mark.parametrize("window", [shepp_logan, hann])
def test_windows_keep_the_scale_and_calm_the_noise(window):
    A = scan(half_turn(180))
    y = chords(A) + 0.02 * Rng(0, "noise").normal(torch.empty(1, *A.out_shape, dtype=A.dtype))[0]
    inside = distance(A) < RADIUS - 2
    plain, calm = (
        filtered_back_projection(A, y)[inside],
        FBP(window).reconstruct(SimpleNamespace(A=A, y=y))[inside],
    )
    assert calm.mean().item() == pytest.approx(MU, rel=1e-2)
    assert calm.std() < 0.9 * plain.std()


def test_it_inverts_the_projection_of_a_smooth_image():
    A = scan(half_turn(240))
    x = MU * torch.exp(-((distance(A) / 8) ** 2)).double()
    error = filtered_back_projection(A, A(x)) - x
    assert torch.linalg.vector_norm(error) < 2e-2 * torch.linalg.vector_norm(x)


def test_the_ramp_is_convolution_in_space():
    y = torch.randn(2, 3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    n = torch.arange(12) - torch.arange(12)[:, None]
    h = torch.where(n % 2 == 1, -1 / (pi * n) ** 2, 0.0).double()
    h.fill_diagonal_(0.25)
    assert torch.allclose(ramp_filtered(y, 0.7, ram_lak), y @ h / 0.7, atol=1e-13)


def test_shares_of_the_half_turn():
    assert torch.allclose(angular_shares(half_turn(8) * 2), torch.full((8,), pi / 8, dtype=torch.float64))
    shares = angular_shares(torch.tensor([1.0, 0.0, 2.2, pi + 0.2], dtype=torch.float64))
    assert torch.allclose(shares, torch.tensor([1.0, (pi - 2) / 2, (pi - 1) / 2, 0.5], dtype=torch.float64))
    assert angular_shares(torch.tensor([1.0])).item() == pytest.approx(pi)
    wedge = half_turn(180)[:120]  # a third is missing: nobody stands for it
    assert torch.allclose(angular_shares(wedge), torch.full((120,), pi / 180, dtype=torch.float64))


def test_batches_and_precisions():
    A = scan(half_turn(20), torch.float32)
    y = torch.stack([chords(A), 2 * chords(A), -chords(A)]).reshape(3, 1, *A.out_shape)
    x = filtered_back_projection(A, y)
    assert x.dtype == torch.float32 and x.shape == (3, 1, *A.in_shape)
    assert torch.allclose(x[1, 0], 2 * filtered_back_projection(A, y[0, 0]), atol=1e-6)
    B = A.to(torch.float64)
    assert torch.allclose(filtered_back_projection(B, y.double()).float(), x, atol=1e-5)
    C = scan(half_turn(20), torch.complex64)
    assert torch.allclose(filtered_back_projection(C, torch.complex(y, -y)), torch.complex(x, -x), atol=1e-6)


def test_other_operators_and_data_are_refused():
    with pytest.raises(BadInput, match="ParallelBeam"):
        FBP().reconstruct(SimpleNamespace(A=Dense(torch.eye(3)), y=torch.zeros(3)))
    A = scan(half_turn(5))
    with pytest.raises(BadInput, match="shape"):
        filtered_back_projection(A, torch.zeros(5, 7, dtype=torch.float64))
