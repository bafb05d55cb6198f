"""Back-projection of fans and cones: the absolute scale on flat and curved detectors, whole, short and limited turns."""

from dataclasses import replace
from math import pi
from types import SimpleNamespace

import pytest
import torch

from workbench import BadInput, Rng
from workbench.classical._fan import redundancy
from workbench.classical.fbp import FBP, filtered_back_projection, hann
from workbench.classical.fdk import FDK
from workbench.operators import (
    ConeBeam,
    FanBeam,
    ParallelBeam,
    arc_detector,
    flat_detector,
    siddon,
)

MU, RADIUS, MIDDLE = 0.02, 18.0, (9.0, -6.0)  # 1/mm, mm, mm
DETECTORS = [flat_detector, arc_detector]


def arc(n, length, first=0.4):
    return torch.arange(n, dtype=torch.float64) * (length / n) + first


def fan(angles, detector, **words):
    usual = dict(dso=100.0, dsd=160.0, spacing=0.7, pixel=0.5, centre=122.3, dtype=torch.float64)
    return FanBeam(angles, (120, 140), 260, detector=detector, **(usual | words))


def distance(A):
    """Of each pixel from the middle of the disc, mm."""
    H, W = A.shape
    x1, x2 = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * A.pixel for n in (W, H))
    return ((x1 - MIDDLE[0]) ** 2 + (x2[:, None] + MIDDLE[1]) ** 2).sqrt()


def soft_disc(A):
    """A disc whose edge is two pixels wide, so that the rays of the operator are those of the disc."""
    return MU * torch.sigmoid((RADIUS - distance(A)) * 4)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize(
    "n, length", [(360, 2 * pi), (220, pi + 1.4), (320, pi + 2.3)], ids=["whole", "short", "more than short"]
)
def test_a_disc_has_its_attenuation(detector, n, length):
    A = fan(arc(n, length), detector, model=siddon)
    x = FBP().reconstruct(SimpleNamespace(A=A, y=A(soft_disc(A))))
    inside, outside = distance(A) < RADIUS - 2, distance(A) > RADIUS + 2
    assert x[inside].mean().item() == pytest.approx(MU, rel=2e-3)
    assert (x[inside] / MU - 1).abs().max() < 0.03
    assert abs(x[outside].mean()) < 2e-3 * MU and x[outside].std() < 0.015 * MU


def test_the_other_detector_is_wrong():
    """The control: a curved detector taken for a flat one, in a wide fan."""
    A, B = (fan(arc(360, 2 * pi), detector) for detector in DETECTORS)
    x = filtered_back_projection(B, A(soft_disc(A)))
    assert (x - soft_disc(A)).std() > 2 * (filtered_back_projection(A, A(soft_disc(A))) - soft_disc(A)).std()


def test_a_short_scan_needs_its_weights():
    """The control: half of everything is right for a whole turn, and wrong for a short scan."""
    A = fan(arc(220, pi + 1.4), flat_detector)
    gamma = torch.atan((torch.arange(260) - A.axis) * A.spacing / A.dsd)
    weights = redundancy(A.angles, gamma)
    assert (weights / weights.max()).std() > 0.1
    whole = redundancy(arc(360, 2 * pi), gamma)
    assert torch.allclose(whole, torch.full_like(whole, pi / 360))


@pytest.mark.parametrize("length", [2 * pi, pi + 1.4, pi + 2.3])
def test_every_ray_counts_once(length):
    """The weights of a ray's two measurements sum to the step between views, wherever both ends of it were seen."""
    n = 400
    angles, gamma = (
        arc(n, length, 0.0),
        torch.arange(-20, 21) * (length / n),
    )  # so that t + pi - 2 gamma is near a view
    weights, step = redundancy(angles, gamma), length / n
    for view in (0, 3, 57, 200, 399):
        for u in (0, 7, 20, 35):
            other = ((angles[view] + pi - 2 * gamma[u]) % (2 * pi)).item() / step
            low, f = int(other), other % 1
            if low + 1 >= n:  # not measured again: it counts alone, but for the fading ends
                assert length < 2 * pi and weights[view, u] <= step * 1.0001
            else:
                twin = (1 - f) * weights[low, 40 - u] + f * weights[low + 1, 40 - u]
                assert (weights[view, u] + twin).item() == pytest.approx(step, rel=5e-3)


def test_an_arc_less_than_half_a_turn_keeps_what_was_measured():
    A = fan(arc(120, 2.2), flat_detector)
    x = filtered_back_projection(A, A(soft_disc(A)))
    assert x.isfinite().all() and x[distance(A) < RADIUS - 2].mean().item() == pytest.approx(MU, rel=0.35)


def test_far_away_it_is_the_parallel_one():
    angles = arc(90, 2 * pi)
    words = dict(spacing=0.5, pixel=0.5, centre=140.2, dtype=torch.float64)
    far, near = (
        FanBeam(angles, (60, 70), 280, dso=1e7, dsd=1e7, **words),
        ParallelBeam(angles, (60, 70), 280, **words),
    )
    y = near(torch.rand(60, 70, dtype=torch.float64))
    gap = filtered_back_projection(far, y, hann) - filtered_back_projection(near, y, hann)
    assert gap.abs().max() < 1e-5 * filtered_back_projection(near, y, hann).abs().max()


def cone(detector, dtype=torch.float64, views=160):
    words = dict(spacing=1.2, thickness=1.1, centre=(30.2, 53.0), detector=detector, dtype=dtype)
    return ConeBeam(arc(views, 2 * pi), (36, 60, 64), (64, 110), dso=150.0, dsd=240.0, **words)


def radius(A):
    D, H, W = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in A.shape)
    x1, x2, x3 = W * A.pixel, -H[:, None] * A.pixel, D[:, None, None] * A.slice_thickness
    return ((x1 - 9) ** 2 + (x2 + 6) ** 2 + (x3 - 3) ** 2).sqrt()


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_ball_has_its_attenuation(detector):
    A = cone(detector)
    ball = MU * torch.sigmoid(3 * (12 - radius(A)))
    x = FDK().reconstruct(SimpleNamespace(A=A, y=A(ball)))
    inside, outside = radius(A) < 10, radius(A) > 14
    assert x.shape == A.in_shape
    assert x[inside].mean().item() == pytest.approx(MU, rel=3e-3)
    assert (x[inside] / MU - 1).abs().max() < 0.04
    assert abs(x[outside].mean()) < 2e-3 * MU and x[outside].std() < 0.015 * MU


def test_batches_complex_and_single_precision():
    A = cone(flat_detector, torch.complex128, 9)
    y = Rng(0).normal(torch.empty(2, *A.out_shape, dtype=A.dtype))
    x = FDK(hann).reconstruct(SimpleNamespace(A=A, y=y))
    real = FDK(hann).reconstruct(SimpleNamespace(A=cone(flat_detector, views=9), y=y[1].imag.contiguous()))
    assert torch.allclose(x[1].imag, real)
    single = FDK(hann).reconstruct(
        SimpleNamespace(A=cone(flat_detector, torch.float32, 9), y=y[1].imag.float())
    )
    assert single.dtype == torch.float32 and torch.allclose(
        single.double(), real, atol=1e-4 * real.abs().max().item()
    )


def test_bad_input():
    A = replace(cone(flat_detector, views=9), heights=0.2 * torch.arange(9.0))
    with pytest.raises(BadInput, match="no circle"):
        FDK().reconstruct(SimpleNamespace(A=A, y=torch.zeros(A.out_shape, dtype=A.dtype)))
    with pytest.raises(BadInput, match="FanBeam"):
        FDK().reconstruct(SimpleNamespace(A=fan(arc(9, 3), flat_detector), y=None))
    with pytest.raises(BadInput, match="FDK"):
        filtered_back_projection(A, None)
    with pytest.raises(BadInput, match="shape"):
        FDK().reconstruct(SimpleNamespace(A=cone(flat_detector), y=torch.zeros(3, dtype=torch.float64)))
    odd = fan(arc(9, 3), lambda s, dsd: (0 * s + dsd, s))
    with pytest.raises(BadInput, match="lambda.*arc_detector"):
        filtered_back_projection(odd, torch.zeros(odd.out_shape, dtype=odd.dtype))
