"""Cone-beam and volume CT: a dense matrix by hand, closed-form projections, limits, and the transpose."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
import torch
from laws import dense_matrix

from workbench import BadInput, Rng
from workbench.operators import (
    ConeBeam,
    FanBeam,
    ParallelBeam,
    ParallelBeam3D,
    arc_detector,
    dot_test,
    flat_detector,
    siddon,
)

DETECTORS = [flat_detector, arc_detector]


def turn(n):
    return torch.arange(n, dtype=torch.float64) * (2 * pi / n)


def ends(A, view, v, u):
    """Source and detector pixel in mm, (x1, x2, x3), from the docstring."""
    t, s = A.angles[view].item(), (u - A.middle[1]) * A.spacings[1]
    along, across = (v.item() for v in A.detector(np.array([s]), A.dsd))
    height = 0.0 if A.heights is None else A.heights[view].item()
    source = np.array([A.dso * np.sin(t), -A.dso * np.cos(t), height])
    step = along * np.array([-np.sin(t), np.cos(t), 0]) + across * np.array([np.cos(t), np.sin(t), 0])
    return source, source + step + np.array([0, 0, (v - A.middle[0]) * A.spacings[0]])


def by_hand(A, view, v, u):
    """One row of A, (D, H, W): for each plane that the ray crosses, the four voxels around the crossing."""
    (D, H, W), row = A.shape, np.zeros(A.shape)
    source, pixel = ends(A, view, v, u)
    d, size = pixel - source, (A.pixel, A.pixel, A.slice_thickness)
    axis = 1 if abs(d[1]) >= abs(d[0]) else 0
    for step in range(H if axis else W):
        plane = (H - 1) / 2 - step if axis else step - (W - 1) / 2
        tau = (plane * A.pixel - source[axis]) / d[axis]
        x1, x2, x3 = ((source + tau * d) / size).tolist()
        tents = [
            np.maximum(0, 1 - abs(x3 + (D - 1) / 2 - np.arange(D))),
            np.maximum(0, 1 - abs((H - 1) / 2 - x2 - np.arange(H))),
            np.maximum(0, 1 - abs(x1 + (W - 1) / 2 - np.arange(W))),
        ]
        tents[2 - axis] = (np.arange(A.shape[2 - axis]) == step) * 1.0
        row += A.pixel * np.linalg.norm(d) / abs(d[axis]) * np.einsum("i,j,k->ijk", *tents)
    return row


def some_scanner(seed):
    """A random cone: sizes odd and even, an off-centre detector, a helix, rays beside and above the volume."""
    rng = Rng(seed, "geometry")
    D, H, W, n, rows, columns = (int(1 + 6 * v) for v in rng.uniform(6))
    a, b, c, d, e = rng.uniform(5).tolist()
    return ConeBeam(
        7 * rng.uniform(n) - 1,
        (D, H, W),
        (rows, columns),
        dso=7 + 4 * a,
        dsd=12 + 9 * b,
        spacing=(0.4 + a, 0.5 + 2 * b),
        pixel=0.4 + 0.7 * c,
        thickness=0.4 + d,
        centre=(rows * e, columns * c),
        heights=rng.uniform(n) - 0.5,
        detector=DETECTORS[seed % 2],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("seed", range(12))
def test_rows_are_josephs(seed):
    A = some_scanner(seed)
    (n, rows, columns) = A.out_shape
    want = [[[by_hand(A, i, v, u) for u in range(columns)] for v in range(rows)] for i in range(n)]
    assert np.allclose(dense_matrix(A).numpy(), np.array(want).reshape(n * rows * columns, -1), atol=1e-12)
    assert np.allclose(dense_matrix(A.H).numpy(), dense_matrix(A).numpy().T, atol=1e-13)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_the_numbers(threads, monkeypatch):
    A = some_scanner(5)
    x, y = (Rng(0).normal(torch.empty(2, *shape, dtype=torch.float64)) for shape in (A.in_shape, A.out_shape))
    wanted = A(x), A.H(y)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert torch.equal(A(x), wanted[0]) and torch.equal(A.H(y), wanted[1])


@pytest.mark.parametrize("kind", [ConeBeam, ParallelBeam3D])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_adjoint_is_exact(kind, dtype):
    limit = 1e-6 if dtype.to_real() == torch.float32 else 1e-13
    for seed in range(6):
        A = some_scanner(seed) if kind is ConeBeam else some_volume(seed)
        assert dot_test(A.to(dtype) if not dtype.is_complex else replace(A, dtype=dtype), seed) < limit


def blob(A, middle, width):
    """A Gaussian of height 1, sampled at the voxels: (D, H, W)."""
    D, H, W = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) for n in A.shape)
    x1, x2, x3 = W * A.pixel, -H[:, None] * A.pixel, D[:, None, None] * A.slice_thickness
    r2 = (x1 - middle[0]) ** 2 + (x2 - middle[1]) ** 2 + (x3 - middle[2]) ** 2
    return torch.exp(-r2 / (2 * width**2))


def blob_projection(A, middle, width):
    """sqrt(2 pi) width exp(-d^2 / (2 width^2)), d the distance of each ray from the middle."""
    want = torch.zeros(A.out_shape, dtype=torch.float64)
    for place in np.ndindex(*A.out_shape):
        source, pixel = ends(A, place[0], *place[1:])
        d = np.linalg.norm(np.cross(middle - source, pixel - source)) / np.linalg.norm(pixel - source)
        want[place] = (2 * pi) ** 0.5 * width * np.exp(-(d**2) / (2 * width**2))
    return want


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_gaussian_projects_to_gaussians_and_better_on_smaller_voxels(detector):
    """The error is that of linear interpolation: second order in the voxel."""
    middle, width, errors = np.array([4.0, -6.5, 3.0]), 4.0, []
    for n in (1, 2):
        shape, size = (40 * n, 44 * n, 48 * n), dict(pixel=1.0 / n, thickness=1.3 / n)
        words = dict(spacing=(2.8, 2.2), centre=(13.4, 22.3), detector=detector, heights=turn(5) - 3)
        A = ConeBeam(
            turn(5) + 0.2, shape, (28, 46), dso=90.0, dsd=130.0, dtype=torch.float64, **size, **words
        )
        y, want = A(blob(A, middle, width)), blob_projection(A, middle, width)
        errors.append((torch.linalg.vector_norm(y - want) / torch.linalg.vector_norm(want)).item())
    assert errors[0] < 2e-2 and errors[1] == pytest.approx(errors[0] / 4, rel=0.1)
    still = replace(A, heights=None)(blob(A, middle, width))
    assert torch.linalg.vector_norm(still - want) > 0.1 * torch.linalg.vector_norm(want)  # the control


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_middle_row_is_a_fan(detector):
    words = dict(dso=11.0, dsd=17.0, pixel=0.9, detector=detector, dtype=torch.float64)
    A = ConeBeam(turn(5), (3, 6, 9), (5, 11), spacing=1.3, **words)
    x = Rng(0).normal(torch.empty(3, 6, 9, dtype=torch.float64))
    assert torch.allclose(A(x)[:, 2], FanBeam(turn(5), (6, 9), 11, spacing=1.3, **words)(x[1]), atol=1e-12)


def test_a_far_source_is_a_parallel_beam():
    words = dict(spacing=(0.8, 1.2), pixel=0.9, thickness=1.1, centre=(3.2, 4.4), dtype=torch.float64)
    A = ConeBeam(turn(5) + 0.1, (4, 6, 5), (6, 9), dso=1e8, dsd=1e8, **words)
    x = Rng(0).normal(torch.empty(2, 4, 6, 5, dtype=torch.float64))
    assert torch.allclose(A(x), ParallelBeam3D(turn(5) + 0.1, (4, 6, 5), (6, 9), **words)(x), atol=1e-5)


def test_a_helix_is_a_shift_of_the_volume():
    """Raised by two slices, the scanner sees what it saw of the volume two slices further down."""
    words = dict(dso=11.0, dsd=17.0, spacing=1.3, pixel=0.9, thickness=1.1, dtype=torch.float64)
    x = Rng(0).normal(torch.empty(9, 4, 5, dtype=torch.float64))
    x[:2] = x[-2:] = 0
    up = ConeBeam(turn(5), (9, 4, 5), (6, 7), heights=torch.full((5,), 2.2), **words)
    assert torch.allclose(up(x), ConeBeam(turn(5), (9, 4, 5), (6, 7), **words)(x.roll(-2, 0)), atol=1e-5)


def some_volume(seed):
    """A random parallel beam on a volume."""
    rng = Rng(seed, "geometry")
    D, H, W, n, rows, columns = (int(1 + 6 * v) for v in rng.uniform(6))
    a, b, c, d, e = rng.uniform(5).tolist()
    size = dict(spacing=(0.4 + a, 0.5 + 2 * b), pixel=0.4 + 0.7 * c, thickness=0.4 + d)
    centre = (rows * e, columns * c)
    return ParallelBeam3D(
        7 * rng.uniform(n), (D, H, W), (rows, columns), **size, centre=centre, dtype=torch.float64
    )


@pytest.mark.parametrize("model", [None, siddon])
def test_slices_that_meet_detector_rows_are_single_tomographs(model):
    words = dict(dtype=torch.float64) | (dict(model=model) if model else {})
    A = ParallelBeam3D(turn(5), (4, 6, 5), (4, 9), spacing=(1.1, 1.2), pixel=0.9, thickness=1.1, **words)
    x = Rng(0).normal(torch.empty(2, 4, 6, 5, dtype=torch.float64))
    plane = ParallelBeam(turn(5), (6, 5), 9, spacing=1.2, pixel=0.9, **words)
    assert A.aligned and torch.allclose(A(x), plane(x).transpose(1, 2))
    up = replace(A, centre=(0.5, 4.0))(x)  # row 0 is one slice higher
    assert torch.allclose(up[:, :, :-1], A(x)[:, :, 1:]) and not up[:, :, -1].any()
    between = replace(A, centre=(1.0, 4.0))(x)
    assert torch.allclose(between[:, :, :-1], (A(x)[:, :, 1:] + A(x)[:, :, :-1]) / 2)


@pytest.mark.parametrize("kind", [ConeBeam, ParallelBeam3D])
def test_empty_and_nested_batches(kind):
    A = kind.example(Rng(0))
    x = Rng(0).normal(torch.empty(2, 3, *A.in_shape, dtype=A.in_dtype))
    assert torch.allclose(A(x)[1, 2], A(x[1, 2])) and A(x[:0]).shape == (0, 3, *A.out_shape)
    assert torch.allclose(A.H(A(x))[1, 0], A.H(A(x[1, 0])))


GOOD = dict(
    angles=torch.zeros(2),
    shape=(4, 5, 6),
    detectors=(3, 4),
    dso=20.0,
    dsd=30.0,
    centre=None,
    heights=torch.zeros(2),
)


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(shape=(4, 5)), "shape"),
        (dict(detectors=(0, 4)), "detectors"),
        (dict(dso=3.0), "dso = 3.0"),
        (dict(dsd=10.0), "dsd"),
        (dict(spacing=(1.0, -1.0)), "spacing"),
        (dict(thickness=0.0), "thickness"),
        (dict(centre=(1.0, float("nan"))), "centre"),
        (dict(heights=torch.zeros(3)), r"heights has shape \(3,\)"),
        (dict(heights=torch.tensor([0.0, float("nan")])), "heights"),
        (dict(detectors=(80, 4)), "45 degrees"),
        (dict(angles=torch.zeros(0)), "angles"),
    ],
)
def test_bad_geometry_is_refused(change, word):
    with pytest.raises(BadInput, match=word):
        ConeBeam(**(GOOD | change))


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(shape=(4, 5)), "shape"),
        (dict(detectors=(3,)), "detectors"),
        (dict(spacing=(0.0, 1.0)), "spacing"),
        (dict(thickness=float("inf")), "thickness"),
        (dict(angles=torch.zeros(0)), "angles"),
    ],
)
def test_bad_geometry_of_a_volume_is_refused(change, word):
    with pytest.raises(BadInput, match=word):
        ParallelBeam3D(**(dict(angles=torch.zeros(2), shape=(4, 5, 6), detectors=(3, 4)) | change))
