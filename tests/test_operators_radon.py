"""Parallel-beam CT: exact adjoint, closed-form projections, conventions, and a control that must fail."""

from dataclasses import replace
from functools import partial
from math import pi

import numpy as np
import pytest
import torch

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators import _planar
from workbench.operators.adjointness import dot_test
from workbench.operators.fan_beam import FanBeam
from workbench.operators.radon import ParallelBeam
from workbench.operators.rays import joseph, siddon
from workbench.operators.wrap import from_function

torch.set_num_threads(1)


def half_turn(n):
    return torch.arange(n, dtype=torch.float64) * (pi / n)


def small(dtype=torch.float64):
    angles = torch.cumsum(0.1 + 0.4 * Rng(3).uniform(7), 0)
    return ParallelBeam(angles, (6, 9), detectors=11, spacing=1.2, pixel=0.9, centre=4.3, dtype=dtype)


def randn(*shape, dtype=torch.float64, seed=0):
    return Rng(seed, "test").normal(torch.empty(1, *shape, dtype=dtype))[0]


def by_hand(A, t, u):
    """One row of A: the loop of Joseph 1982, step by step, in its own words."""
    (H, W), row = A.shape, np.zeros(A.shape)
    s = (u - A.axis) * A.spacing
    for step in range(H if abs(np.cos(t)) >= abs(np.sin(t)) else W):
        if abs(np.cos(t)) >= abs(np.sin(t)):
            x2 = ((H - 1) / 2 - step) * A.pixel
            column = (s - x2 * np.sin(t)) / np.cos(t) / A.pixel + (W - 1) / 2
            for j in range(W):
                row[step, j] += max(0, 1 - abs(column - j)) * A.pixel / abs(np.cos(t))
        else:
            x1 = (step - (W - 1) / 2) * A.pixel
            line = (H - 1) / 2 - (s - x1 * np.cos(t)) / np.sin(t) / A.pixel
            for i in range(H):
                row[i, step] += max(0, 1 - abs(line - i)) * A.pixel / abs(np.sin(t))
    return row


def disc(A, middle, radius, mu, fine=8):
    """A disc of attenuation mu, each pixel the mean over fine x fine points."""
    H, W = A.shape
    x1 = (torch.arange(W * fine) + 0.5) / fine - W / 2
    x2 = H / 2 - (torch.arange(H * fine) + 0.5) / fine
    inside = ((x1 * A.pixel - middle[0]) ** 2 + (x2[:, None] * A.pixel - middle[1]) ** 2 < radius**2).double()
    return mu * inside.reshape(H, fine, W, fine).mean((1, 3))


def disc_projection(A, middle, radius, mu):
    """mu 2 sqrt(r^2 - (s - m1 cos t - m2 sin t)^2), the line integrals of that disc."""
    s = (torch.arange(A.detectors) - A.axis) * A.spacing
    t = A.angles[:, None]
    chord = radius**2 - (s - middle[0] * t.cos() - middle[1] * t.sin()) ** 2
    return 2 * mu * chord.clamp_min(0).sqrt()


@pytest.mark.parametrize("seed", range(8))
def test_rows_are_josephs(seed):
    A = replace(ParallelBeam.example(Rng(seed)), model=joseph)
    matrix = A.projector.matrices[0].to_dense().reshape(*A.out_shape, *A.in_shape)
    rows = [[by_hand(A, t, u) for u in range(A.detectors)] for t in A.angles.tolist()]
    assert torch.allclose(matrix, torch.as_tensor(np.array(rows)), atol=1e-13)


def test_forward_and_adjoint_are_the_matrix_and_its_transpose():
    A = small()
    matrix = A.projector.matrices[0].to_dense()
    x, y = randn(*A.in_shape), randn(*A.out_shape)
    assert torch.allclose(A(x).ravel(), matrix @ x.ravel(), atol=1e-12)
    assert torch.allclose(A.H(y).ravel(), matrix.T @ y.ravel(), atol=1e-12)
    assert torch.equal(A.projector.matrices[1].to_dense(), matrix.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_adjoint_is_exact(dtype):
    limit = 1e-6 if dtype.to_real() == torch.float32 else 1e-12
    assert dot_test(small(dtype)) < limit
    larger = ParallelBeam(half_turn(31), (33, 48), detectors=70, centre=30.2, dtype=dtype)
    assert dot_test(larger) < limit


def test_an_unmatched_pair_is_rejected():
    """The control: skimage's backprojection is not the adjoint of its projection, and the dot test sees it."""
    from skimage.transform import iradon, radon

    size, theta = 64, np.arange(0, 180, 3.0)
    grid = torch.arange(size) - size // 2
    circle = (grid**2 + grid[:, None] ** 2 < (size // 2) ** 2).double()  # all that skimage projects

    def each(function, v):
        images = [torch.as_tensor(function(row.mT.numpy())) for row in v.reshape(-1, *v.shape[-2:])]
        return torch.stack(images).reshape(*v.shape[:-2], *images[0].shape)

    back = partial(iradon, theta=theta, filter_name=None, circle=True)
    theirs = from_function(
        lambda x: each(lambda v: radon(v.T, theta, circle=True).T.copy(), x * circle),
        (size, size),
        (len(theta), size),
        in_dtype=torch.float64,
        adjoint=lambda y: circle * each(back, y) * 2 * len(theta) / pi,
    )
    x = randn(size, size)
    ratio = torch.linalg.vector_norm(theirs.H(theirs(x))) / torch.linalg.vector_norm(circle * x)
    ours = ParallelBeam(torch.deg2rad(torch.as_tensor(theta)), (size, size), size, dtype=torch.float64)
    assert ratio > 1  # it does back-project, at the right scale
    assert dot_test(theirs) > 1e-5
    assert dot_test(ours) < 1e-12 and dot_test(ours.to(torch.float32)) < 1e-6


def test_a_batch_is_its_rows():
    A = small(torch.float32)
    x = randn(2, 3, *A.in_shape, dtype=torch.float32)
    y = A(x)
    assert y.shape == (2, 3, *A.out_shape)
    for i in range(2):
        for j in range(3):
            assert torch.allclose(y[i, j], A(x[i, j]), atol=1e-5)
            assert torch.allclose(A.H(y)[i, j], A.H(y[i, j]), atol=1e-4)
    assert A(x[:0]).shape == (0, 3, *A.out_shape)


def test_complex_signals_are_two_real_ones():
    A, z = small(torch.complex128), randn(2, *small().in_shape, dtype=torch.complex128)
    assert torch.allclose(A(z), torch.complex(small()(z.real), small()(z.imag)))
    assert torch.allclose(A.H(A(z)).imag, small().H(small()(z.imag)))


def test_gradients_of_every_order():
    A = ParallelBeam(
        torch.tensor([0.2, 1.1, 2.5], dtype=torch.float64), (4, 5), 6, centre=2.2, dtype=torch.float64
    )
    x = randn(2, 4, 5).requires_grad_()
    square = lambda v: (A(v) ** 2).sum((-2, -1))
    assert torch.autograd.gradcheck(square, x)
    assert torch.autograd.gradgradcheck(square, x)
    y = randn(2, *A.out_shape).requires_grad_()
    assert torch.autograd.gradcheck(A.H, y)
    v = randn(2, 4, 5, seed=1)
    assert torch.allclose(torch.func.jvp(A, (x.detach(),), (v,))[1], A(v))
    assert torch.allclose(torch.func.vjp(A, x.detach())[1](y.detach())[0], A.H(y.detach()))


def test_a_disc_projects_to_its_chords():
    A = ParallelBeam(
        half_turn(30), (256, 256), 384, spacing=0.7, pixel=0.5, centre=180.3, dtype=torch.float64
    )
    middle, radius, mu = (11.0, -7.0), 40.0, 0.02
    y, want = A(disc(A, middle, radius, mu)), disc_projection(A, middle, radius, mu)
    assert torch.linalg.vector_norm(y - want) < 6e-3 * torch.linalg.vector_norm(want)
    mass = mu * pi * radius**2  # every view sees all of the disc
    assert torch.allclose(y.sum(1) * A.spacing, torch.tensor(mass, dtype=y.dtype), rtol=2e-3)


@pytest.mark.parametrize("row, column", [(3, 40), (41, 5), (20, 25)])
def test_a_point_projects_to_its_sine_wave(row, column):
    """s = x1 cos t + x2 sin t, x2 up, u = centre + s / spacing: on a fine detector, the centroid is there."""
    A = ParallelBeam(
        half_turn(24) * 2, (45, 51), 900, spacing=0.1, pixel=0.8, centre=433.3, dtype=torch.float64
    )
    x = torch.zeros(45, 51, dtype=torch.float64)
    x[row, column] = 1.0
    y = A(x)
    seen = (y * torch.arange(900)).sum(1) / y.sum(1)
    x1, x2 = (column - 25) * 0.8, (22 - row) * 0.8
    want = 433.3 + (x1 * A.angles.cos() + x2 * A.angles.sin()) / 0.1
    assert torch.allclose(seen, want, atol=0.05)


def test_opposite_views_are_mirrored():
    t = torch.tensor([0.3, 0.3 + pi], dtype=torch.float64)
    y = ParallelBeam(t, (9, 12), 15, dtype=torch.float64)(randn(9, 12))
    assert torch.allclose(y[1], y[0].flip(0), atol=1e-12)


def test_lengths_are_in_mm():
    t, x = half_turn(5), randn(9, 12)
    y = ParallelBeam(t, (9, 12), 15, dtype=torch.float64)(x)
    doubled = ParallelBeam(t, (9, 12), 15, spacing=2.0, pixel=2.0, dtype=torch.float64)(x)
    assert torch.allclose(doubled, 2 * y)


def test_to_changes_the_precision_and_nothing_else():
    A = small()
    B = A.to(torch.float32)
    assert B.in_dtype == torch.float32 and A.to("cpu") is A
    assert torch.equal(B.angles, A.angles) and B.to(torch.float64).projector.matrices[0].values().equal(
        A.projector.matrices[0].values()
    )
    x = randn(*A.in_shape)
    assert torch.allclose(B(x.float()).double(), A(x), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu():
    A, x = small(), randn(3, *small().in_shape)
    assert torch.allclose(A.to("cuda")(x.cuda()).cpu(), A(x))
    assert dot_test(A.to("cuda")) < 1e-12


def test_memory_is_as_announced():
    for angles, shape, detectors in [(half_turn(60), (64, 64), 96), (half_turn(50), (40, 70), 60)]:
        A = ParallelBeam(angles, shape, detectors)
        stored = sum(M.values().nbytes + M.col_indices().nbytes for M in A.projector.matrices)
        assert stored == pytest.approx(A.memory, rel=0.25) and stored <= A.memory * 1.01
    N, n = 256, 180
    assert ParallelBeam(half_turn(n), (N, N), 384).memory == pytest.approx(16 * 1.79 * N**2 * n, rel=0.02)


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(angles=[0.0, 1.0]), "angles"),
        (dict(angles=torch.tensor([0.0, float("nan")])), "angles"),
        (dict(angles=torch.zeros(0)), "angles"),
        (dict(shape=(4,)), "shape"),
        (dict(shape=(0, 4)), "shape"),
        (dict(detectors=0), "detectors"),
        (dict(spacing=0.0), "spacing"),
        (dict(pixel=-1.0), "pixel"),
        (dict(centre=float("nan")), "centre"),
        (dict(dtype=torch.bfloat16), "dtype"),
    ],
)
def test_bad_geometry_is_refused(change, word):
    with pytest.raises(BadInput, match=word):
        ParallelBeam(**(dict(angles=torch.zeros(3), shape=(4, 5), detectors=6) | change))


def clipped(A, t, u):
    """One row of A: the length of the line within every pixel, from the corners where it enters and leaves."""
    (H, W), row = A.shape, np.zeros(A.shape)
    s, direction = (u - A.axis) * A.spacing, np.array([-np.sin(t), np.cos(t)])
    point = s * np.array([np.cos(t), np.sin(t)])
    for i in range(H):
        for j in range(W):
            low = A.pixel * np.array([j - W / 2, H / 2 - i - 1])
            ends = np.sort((np.stack([low, low + A.pixel]) - point) / direction, axis=0)
            row[i, j] = max(0, ends[1].min() - ends[0].max())
    return row


def test_rows_of_siddon_are_the_lengths_within_the_pixels():
    A = replace(small(), model=siddon)
    matrix = A.projector.matrices[0].to_dense().reshape(*A.out_shape, *A.in_shape)
    rows = [[clipped(A, t, u) for u in range(A.detectors)] for t in A.angles.tolist()]
    assert torch.allclose(matrix, torch.as_tensor(np.array(rows)), atol=1e-13)


def test_siddon_along_the_axes():
    """Rays through the middle of columns and rows, and one on the border of two: one of them has all of it."""
    x = randn(4, 4)
    A = ParallelBeam(
        torch.tensor([0.0, pi / 2], dtype=torch.float64), (4, 4), 4, dtype=torch.float64, model=siddon
    )
    assert torch.allclose(A(x), torch.stack([x.sum(0), x.flip(0).sum(1)]), atol=1e-12)
    border = replace(A, detectors=1, centre=0.0)(x)
    assert min((border[0, 0] - x.sum(0)[k]).abs() for k in (1, 2)) < 1e-12


def some_geometry(rng, kind, model):
    """A random tomograph: odd and even, non-square, off-centre, rays that miss the image."""
    H, W, n, detectors = (int(2 + 9 * v) for v in rng.uniform(4))
    angles = 7 * rng.uniform(n) - 1
    a, b, c = rng.uniform(3).tolist()
    words = dict(spacing=0.5 + a, pixel=0.4 + b, centre=detectors * c, dtype=torch.float64, model=model)
    if kind is FanBeam:
        words |= dict(dso=20 + a, dsd=25 + b)
    return kind(angles, (H, W), detectors, **words)


@pytest.mark.parametrize("model", [joseph, siddon])
@pytest.mark.parametrize("kind", [ParallelBeam, FanBeam])
@pytest.mark.parametrize("threads", [1, 2])
def test_without_a_matrix_the_numbers_are_the_same(kind, model, threads, monkeypatch):
    for seed in range(12):
        A = some_geometry(Rng(seed, "geometry"), kind, model)
        x, y = randn(3, *A.in_shape), randn(3, *A.out_shape)
        wanted = A(x), A.H(y)
        with monkeypatch.context() as m:
            m.setattr(_planar, "BUDGET", 0)
            m.setattr(torch, "get_num_threads", lambda: threads)
            B = replace(A)
            assert isinstance(B.projector, _planar.Marching) and not isinstance(A.projector, _planar.Marching)
            assert torch.allclose(B(x), wanted[0], atol=1e-12) and torch.allclose(
                B.H(y), wanted[1], atol=1e-12
            )
            assert dot_test(B) < 1e-14 and dot_test(B.to(torch.float32)) < 1e-6
            assert torch.allclose(B(x[0]), wanted[0][0], atol=1e-12)  # one image has kernels of its own
            assert torch.allclose(B.H(y[0]), wanted[1][0], atol=1e-12)
            assert B(x[:0]).shape == (0, *A.out_shape)


@pytest.mark.parametrize("shape", [(64, 64), (40, 64), (64, 40)])
def test_rays_far_beside_the_image_along_its_axes(shape, monkeypatch):
    """cos(pi / 2) is 6e-17 and not 0: such a ray meets the image after 1e19 steps, which no integer holds."""
    angles = torch.tensor([0, pi / 2, pi / 2 + 0.05, pi, 3 * pi / 2, 2 * pi], dtype=torch.float64)
    for centre in (20.0, 700.0, 1380.0):
        A = ParallelBeam(angles, shape, 1400, centre=centre, dtype=torch.float64)
        x, y = randn(*shape), randn(*A.out_shape)
        wanted = A(x), A.H(y)
        with monkeypatch.context() as m:
            m.setattr(_planar, "BUDGET", 0)
            B = replace(A)
            assert torch.allclose(B(x), wanted[0], atol=1e-9) and torch.allclose(B.H(y), wanted[1], atol=1e-9)
            assert torch.allclose(B(x.expand(2, *shape)), wanted[0].expand(2, *A.out_shape), atol=1e-9)


def test_beyond_the_budget_no_matrix_is_built():
    """The sizes at which a stored pair would take 5.4 GB: the operator is there at once, and projects."""
    A = ParallelBeam(half_turn(720), (512, 512), 724)
    assert A.memory > _planar.BUDGET and isinstance(A.projector, _planar.Marching)
    assert A.projector.rays is A.rays
