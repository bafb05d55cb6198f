"""Fan-beam CT: closed-form projections, conventions, its limits, and rays through a known path."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
import torch

from workbench import BadInput, Rng
from workbench.operators import FanBeam, ParallelBeam, arc_detector, dot_test, flat_detector, joseph, siddon

DETECTORS = [flat_detector, arc_detector]


def turn(n):
    return torch.arange(n, dtype=torch.float64) * (2 * pi / n)


def scanner(**words):
    """A desktop scanner: 90 mm field of view, 0.4 mm pixels, an axis that is off the middle of the detector."""
    usual = dict(
        angles=turn(24), shape=(210, 230), detectors=330, dso=300.0, dsd=450.0, spacing=0.5, pixel=0.4
    )
    return FanBeam(**(usual | dict(centre=171.3, dtype=torch.float64) | words))


def distances(A, middle):
    """How far each ray passes from a point, mm; from the corners of the fan, in the words of the docstring."""
    t, s = A.angles[:, None], (torch.arange(A.detectors) - A.axis) * A.spacing
    source = A.dso * torch.stack([t.sin(), -t.cos()], -1)
    gamma = torch.atan(s / A.dsd) if A.detector is flat_detector else s / A.dsd
    # the central ray has direction (-sin t, cos t); a ray at gamma is turned by -gamma towards (cos t, sin t)
    ray = torch.stack([-(t - gamma).sin(), (t - gamma).cos()], -1)
    to = torch.tensor(middle, dtype=torch.float64) - source
    return (to[..., 0] * ray[..., 1] - to[..., 1] * ray[..., 0]).abs()


def disc(A, middle, radius, mu, fine=8):
    """A disc of attenuation mu, each pixel the mean over fine x fine points."""
    H, W = A.shape
    x1 = ((torch.arange(W * fine) + 0.5) / fine - W / 2) * A.pixel
    x2 = (H / 2 - (torch.arange(H * fine) + 0.5) / fine) * A.pixel
    inside = ((x1 - middle[0]) ** 2 + (x2[:, None] - middle[1]) ** 2 < radius**2).double()
    return mu * inside.reshape(H, fine, W, fine).mean((1, 3))


@pytest.mark.parametrize("model", [joseph, siddon])
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_disc_projects_to_its_chords(detector, model):
    A, middle, radius, mu = (
        scanner(detector=detector, model=model, dso=80.0, dsd=120.0),
        (8.0, -5.5),
        25.0,
        0.02,
    )
    y = A(disc(A, middle, radius, mu))
    want = 2 * mu * (radius**2 - distances(A, middle) ** 2).clamp_min(0).sqrt()
    assert torch.linalg.vector_norm(y - want) < 8e-3 * torch.linalg.vector_norm(want)
    other = arc_detector if detector is flat_detector else flat_detector
    wrong = 2 * mu * (radius**2 - distances(replace(A, detector=other), middle) ** 2).clamp_min(0).sqrt()
    assert torch.linalg.vector_norm(y - wrong) > 3e-2 * torch.linalg.vector_norm(want)  # the control


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("model", [joseph, siddon])
def test_rows_are_the_lengths_of_the_rays(detector, model):
    """An image of ones: each ray is given the length of its path through the rectangle, and Joseph's nearly so."""
    A = scanner(detector=detector, model=model, shape=(21, 30), pixel=3.0, dtype=torch.float64)
    y, fine = A(torch.ones(21, 30, dtype=torch.float64)), 40000
    s = (np.arange(A.detectors) - A.axis) * A.spacing
    along, across = detector(s, A.dsd)
    for view in (0, 5, 17):
        t = A.angles[view].item()
        source, forward, lateral = (
            A.dso * np.array([np.sin(t), -np.cos(t)]),
            np.array([-np.sin(t), np.cos(t)]),
            np.array([np.cos(t), np.sin(t)]),
        )
        for u in (60, 171, 240):
            step = along[u] * forward + across[u] * lateral
            points = source + np.linspace(0, 1, fine)[:, None] * step
            inside = (abs(points[:, 0]) < 45) & (abs(points[:, 1]) < 31.5)
            length = inside.mean() * np.linalg.norm(step)
            assert y[view, u].item() == pytest.approx(length, abs=0.05 if model is siddon else 3.5)


def test_a_far_source_is_a_parallel_beam():
    words = dict(spacing=1.2, pixel=0.9, centre=4.3, dtype=torch.float64)
    angles, x = torch.tensor([0.3, 1.2, 2.9, 4.4]), torch.rand(6, 9, dtype=torch.float64)
    far = FanBeam(angles, (6, 9), 11, dso=1e8, dsd=1e8, **words)
    assert torch.allclose(far(x), ParallelBeam(angles, (6, 9), 11, **words)(x), atol=1e-5)


def test_each_ray_of_a_full_turn_is_seen_from_both_ends():
    """The ray at fan angle gamma of view t is that at -gamma of view t + pi + 2 gamma (Kak and Slaney, eq. 136)."""
    A = scanner(detector=arc_detector, detectors=5, spacing=450 * pi / 60, centre=2.0, angles=turn(60))
    y = A(disc(A, (8.0, -5.5), 25.0, 0.02))
    gamma = pi / 60 * (torch.arange(5) - 2)
    for view in (0, 13, 44):
        for u in range(5):
            other = round((view * 2 * pi / 60 + pi - 2 * gamma[u].item()) / (2 * pi / 60)) % 60
            assert y[view, u].item() == pytest.approx(y[other, 4 - u].item(), abs=1e-9)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_adjoint_is_exact(detector, dtype):
    A = replace(scanner(detector=detector, shape=(33, 48), pixel=1.3, detectors=70, spacing=1.1), dtype=dtype)
    assert dot_test(A) < (1e-6 if dtype.to_real() == torch.float32 else 1e-12)


def test_memory_is_as_announced():
    for detector in DETECTORS:
        A = scanner(detector=detector, dtype=torch.float32)
        stored = sum(M.values().nbytes + M.col_indices().nbytes for M in A.projector.matrices)
        assert stored == pytest.approx(A.memory, rel=0.02) and stored <= A.memory


def test_geometry_survives_a_change_of_precision():
    A = FanBeam.example(Rng(0))
    assert torch.equal(A.to(torch.float32).angles, A.angles) and A.to("cpu") is A


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(dso=59.0), "dso = 59"),
        (dict(dso=-300.0), "dso"),
        (dict(dsd=200.0), "dsd = 200"),
        (dict(dsd=float("nan")), "dsd"),
        (dict(spacing=0.0), "spacing"),
        (dict(angles=torch.zeros(2, 2)), "angles"),
        (dict(shape=(4,)), "shape"),
        (dict(detectors=0), "detectors"),
        (dict(centre=float("inf")), "centre"),
        (dict(dtype=torch.int32), "dtype"),
    ],
)
def test_bad_geometry_is_refused(change, word):
    with pytest.raises(BadInput, match=word):
        scanner(**change)


def test_against_astra():
    """ASTRA's line projector on a fan, its matrix against ours: Siddon's lengths, as ASTRA has them."""
    astra = pytest.importorskip("astra", exc_type=ImportError)
    A = scanner(
        angles=turn(7), shape=(20, 20), pixel=1.0, detectors=31, spacing=1.5, centre=15.0, model=siddon
    )
    geometry = astra.create_proj_geom("fanflat", 1.5, 31, A.angles.numpy(), A.dso, A.dsd - A.dso)
    projector = astra.create_projector("line_fanflat", geometry, astra.create_vol_geom(20, 20))
    theirs = astra.matrix.get(astra.projector.matrix(projector)).toarray()
    gap = np.linalg.norm(A.projector.matrices[0].to_dense().numpy() - theirs) / np.linalg.norm(theirs)
    assert gap < 1e-4  # theirs are steps in single precision
