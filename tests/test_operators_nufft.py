"""Non-Cartesian MRI: against the exact sum, sigpy and finufft; Toeplitz, coils, trajectories, density compensation."""

from math import pi, prod

import numpy as np
import pytest
import torch
from laws import close, dense_matrix, measurements, signals
from torch.linalg import vector_norm

from workbench import BadInput, Rng
from workbench.operators import (
    NUFFT,
    Fourier,
    NonCartesianMRI,
    SenseToeplitz,
    Toeplitz,
    WithNormal,
    dot_test,
    from_cycles,
    from_normalised,
    golden_angle,
    kooshball,
    pipe_menon,
    radial,
    radial_density,
    rosette,
    spiral,
    stack_of,
)
from workbench.operators import _batches as batches

# shape, oversampling, width: 1 to 3 axes, odd and even, square and not
SHAPES = [(37,), (24,), (17, 12), (16, 16), (9, 22), (7, 8, 9), (8, 5, 6)]
KERNELS = [(1.25, 4), (1.25, 6), (1.5, 5), (2, 6)]


def points(m, ndim, seed=0):
    return (2 * Rng(seed, "points").uniform(m, ndim) - 1) * pi


def exact(points, shape):
    """The matrix (m, *shape) of the formula in the docstring."""
    matrix = torch.ones(len(points), dtype=torch.complex128) / prod(shape) ** 0.5
    for axis, n in enumerate(shape):
        wave = torch.exp(-1j * points[:, axis, None] * (torch.arange(n) - n // 2))
        matrix = matrix[..., None] * wave.reshape(len(points), *[1] * axis, n)
    return matrix


def apply(matrix, x):
    return torch.tensordot(x, matrix, dims=[tuple(range(1, x.ndim))] * 2)


def gap(got, want):
    return (vector_norm(got - want) / vector_norm(want)).item()


def blob(shape, middle, width):
    """A Gaussian image that ends well inside the field of view."""
    axes = [torch.arange(n, dtype=torch.float64) - n // 2 for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - torch.tensor(middle)
    return torch.exp(-(grid**2).sum(-1) / (2 * width**2)).to(torch.complex128)


# The NUFFT.


@pytest.mark.parametrize("oversampling, width", KERNELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_error_is_what_it_says(shape, oversampling, width):
    w = points(400, len(shape))
    A = NUFFT(w, shape, oversampling, width, torch.complex128)
    x = signals(A, 8)
    assert A.error / 1.3 < gap(A(x), apply(exact(w, shape), x)) < 1.3 * A.error


def test_the_error_falls_with_width_and_oversampling():
    w = points(50, 2)
    errors = [[NUFFT(w, (32, 32), s, width).error for width in (4, 6, 8)] for s in (1.25, 1.5, 2)]
    assert np.all(np.diff(errors, axis=0) < 0) and np.all(np.diff(errors, axis=1) < 0)
    assert NUFFT(w, (256, 256)).error < 2e-5  # the default
    assert NUFFT(w, (256, 256), 1.25, 6).error == pytest.approx(3.6e-4, rel=0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_wide_kernel_gives_the_exact_sum_and_its_adjoint(shape):
    w = points(30, len(shape), seed=1)
    A, M = NUFFT(w, shape, 2, 14, torch.complex128), exact(w, shape)
    x, y = signals(A, 3), measurements(A, 3)
    assert gap(A(x), apply(M, x)) < 1e-12
    assert gap(A.H(y), torch.tensordot(y, M.conj(), dims=1)) < 1e-12


@pytest.mark.parametrize("seed", range(6))
def test_the_adjoint_is_exact_for_any_size_and_kernel(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 12, size=rng.integers(1, 4)))
    w = points(int(rng.integers(1, 40)), len(shape), seed)
    s, width = float(rng.uniform(1.1, 3)), int(rng.integers(2, 9))
    assert dot_test(NUFFT(w, shape, s, width, torch.complex128)) < 1e-14
    assert dot_test(NUFFT(w, shape, s, width)) < 1e-5


def test_single_precision_reaches_2e_5_by_default():
    w = points(300, 2)
    A = NUFFT(w, (64, 48))
    x = signals(A, 4)
    assert gap(A(x).to(torch.complex128), apply(exact(w, (64, 48)), x.to(torch.complex128))) < 2e-5


@pytest.mark.parametrize("shape", [(6, 5), (8, 9), (7,)])
def test_on_the_cartesian_grid_it_is_the_unitary_fft(shape):
    axes = [2 * pi * (torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape]
    A = NUFFT(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1), shape, 2, 14, torch.complex128)
    x = signals(A, 2)
    assert A.out_shape == shape and gap(A(x), Fourier(shape, torch.complex128)(x)) < 1e-12


@pytest.mark.parametrize("shape", [(16, 12), (15, 11), (6, 7, 8)])
def test_against_sigpy(shape):
    sp = pytest.importorskip("sigpy")
    k = (Rng(2, "points").uniform(60, len(shape)) - 0.5) * torch.tensor(shape)  # cycles per field of view
    A = NUFFT(from_cycles(k, shape), shape, 2, 8, torch.complex128)
    x, y = signals(A, 1)[0], measurements(A, 1)[0]
    options = dict(oversamp=2, width=8)
    assert gap(A(x), torch.from_numpy(sp.nufft(x.numpy(), k.numpy(), **options))) < 1e-6
    assert gap(A.H(y), torch.from_numpy(sp.nufft_adjoint(y.numpy(), k.numpy(), shape, **options))) < 1e-6


@pytest.mark.parametrize("shape", [(16, 13), (7, 10, 8)])
def test_against_finufft(shape):
    finufft = pytest.importorskip("finufft")
    w = points(80, len(shape), seed=3)
    A = NUFFT(w, shape, 2, 14, torch.complex128)
    x = signals(A, 1)[0]
    transform = {2: finufft.nufft2d2, 3: finufft.nufft3d2}[len(shape)]
    theirs = transform(*w.T.numpy().copy(), x.numpy(), eps=1e-13, isign=-1) / prod(shape) ** 0.5
    assert gap(A(x), torch.from_numpy(theirs)) < 1e-11


def test_large_batches_are_taken_in_parts(monkeypatch):
    A = NUFFT(points(20, 2), (6, 5), dtype=torch.complex128)
    B = NonCartesianMRI(signals(A, 3), points(20, 2))
    x, y = signals(A, 7), measurements(A, 7)
    parts, split = [], torch.Tensor.split
    monkeypatch.setattr("workbench.operators.nufft.CHUNK", 2 * 8 * 10)
    monkeypatch.setattr("workbench.operators.non_cartesian_mri.CHUNK", 3 * 30)
    monkeypatch.setattr(torch.Tensor, "split", lambda v, n, *a: parts.append(n) or split(v, n, *a))
    assert close(A(x), torch.stack([A(row) for row in x])) and parts[0] < 7
    assert close(A.H(y), torch.stack([A.H(row) for row in y]))
    assert close(B(x), torch.stack([B(row) for row in x]))


def test_rows_of_a_batch():
    v = torch.arange(24.0).reshape(2, 3, 4)
    seen = []
    double = lambda rows: seen.append(len(rows)) or 2 * rows[:, :2]
    assert torch.equal(batches.by_rows(double, v, 1, 4), 2 * v[..., :2]) and seen == [4, 2]
    assert torch.equal(batches.by_rows(double, v[0, 0], 1, 4), 2 * v[0, 0, :2])
    assert batches.by_rows(double, v[:0], 1, 4).shape == (0, 3, 2)


def test_an_adjoint_of_a_conjugate_view():
    A = NUFFT.example(Rng(0))
    x, y = signals(A, 2), measurements(A, 2)
    assert close(A(x.conj()), A(x.conj().resolve_conj()))
    assert close(A.H(y.conj()), A.H(y.conj().resolve_conj()))


def test_to_keeps_the_precision_of_the_points():
    A = NUFFT.example(Rng(0), torch.complex64).to(torch.float64)
    assert A.points.dtype == torch.float64 and A.dtype == torch.complex128
    assert A.to(torch.float32).points.dtype == torch.float64
    assert NonCartesianMRI.example(Rng(0)).to(torch.float32).points.dtype == torch.float64


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(points=torch.tensor([[100.0, 0]])), "100.*from_cycles"),
        (dict(points=torch.tensor([[float("nan"), 0]])), "rad per pixel"),
        (dict(points=torch.zeros(4, 3)), r"\(4, 3\).*\(\*samples, 2\)"),
        (dict(points=torch.zeros(4, 2, dtype=torch.int64)), "int64"),
        (dict(points=torch.zeros(0, 2)), "empty"),
        (dict(points=[[0.0, 0.0]]), "list"),
        (dict(shape=(4, 0)), "at least 1 pixel"),
        (dict(oversampling=1.0), "oversampling = 1.0"),
        (dict(width=1), "width = 1"),
        (dict(width=5.5), "width = 5.5"),
        (dict(dtype=torch.float32), "float32"),
        (dict(points=torch.zeros(6_000_000, 2), width=12), "GB.*smaller width"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(BadInput, match=message):
        NUFFT(**(dict(points=torch.zeros(4, 2), shape=(6, 5)) | change))


# The Toeplitz form of A^H W A.


@pytest.mark.parametrize("shape", SHAPES)
def test_toeplitz_is_the_normal_map_within_the_error(shape):
    w, weights = points(150, len(shape)), Rng(4).uniform(150)
    A = NUFFT(w, shape, dtype=torch.complex128)
    x, M = signals(A, 3), exact(w, shape).flatten(1)
    for T, scale in ((A.toeplitz(), torch.ones(150)), (A.toeplitz(weights), weights)):
        want = (x.flatten(1) @ (M.mH @ (scale[:, None] * M)).mT).reshape(x.shape)
        assert gap(T(x), want) < 3 * A.error
        assert gap(T(x), A.H(scale * A(x))) < 3 * A.error
        assert dot_test(T) < 1e-14 and T.in_shape == shape
    assert A.to(torch.complex64).toeplitz(weights).in_dtype == torch.complex64
    with pytest.raises(BadInput, match=r"\(149,\).*\(150,\)"):
        A.toeplitz(weights[1:])
    with pytest.raises(BadInput, match="complex128"):
        A.toeplitz(weights * 1j)


def test_toeplitz_matrix_from_its_kernel():
    kernel = Rng(0).normal(torch.empty(1, 8, dtype=torch.complex128))[0]  # lags -4 to 3
    kernel[4], kernel[5:] = kernel[4].real.item(), kernel[1:4].flip(0).conj()
    T = Toeplitz.of(kernel)
    x = signals(T, 2)
    want = torch.stack([torch.stack([kernel[4 + i - j] for j in range(4)]) for i in range(4)])
    assert close(T(x), x @ want.mT)
    eye = torch.eye(4, dtype=torch.complex128)
    assert close(T(eye).mT, T(eye).conj())


def test_a_solution_by_the_toeplitz_form():
    w = golden_angle(30, 24)
    A = NonCartesianMRI(signals(Fourier((12, 11), torch.complex128), 4), w, 1.5, 8)
    fast = WithNormal(A, A.toeplitz())
    x = signals(A, 2)
    y = A(x)
    bound = 4 * A.nufft.error * A.norm() ** 2 / 2
    assert torch.equal(fast(x), y) and torch.equal(fast.H(y), A.H(y))
    assert 0 < gap(fast.solve(A.H(y), 2), A.solve(A.H(y), 2)) < bound < 1e-3
    assert fast.norm() == pytest.approx(A.norm(), rel=1e-3)
    with pytest.raises(BadInput, match=r"use A.toeplitz"):
        WithNormal(A, A.nufft)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Toeplitz(torch.zeros(5, 4)), r"\(5, 4\).*twice"),
        (lambda: Toeplitz(torch.zeros(4, 4, dtype=torch.complex64)), "complex64"),
        (lambda: Toeplitz.of(torch.zeros(5)), "even sides"),
        (lambda: SenseToeplitz(torch.zeros(2, 3, 3).cfloat(), Toeplitz(torch.zeros(4, 4))), r"\(2, 2\)"),
    ],
)
def test_bad_toeplitz(make, message):
    with pytest.raises(BadInput, match=message):
        make()


# Coils.


@pytest.mark.parametrize("shape", [(6, 5), (9,), (4, 5, 3)])
def test_coils_over_any_trajectory(shape):
    maps = Rng(1).normal(torch.empty(3, *shape, dtype=torch.complex128))
    w = points(40, len(shape)).reshape(4, 10, len(shape))
    A = NonCartesianMRI(maps, w, 2, 12)
    x, M = signals(A, 4), exact(w.flatten(0, 1), shape)
    y = A(x.reshape(2, 2, *shape))
    want = torch.stack([apply(M, m * x) for m in maps], 1).reshape(2, 2, 3, 4, 10)
    assert A.out_shape == (3, 4, 10) and gap(y, want) < 1e-10
    assert gap(A.toeplitz()(x), A.H(A(x))) < 1e-10
    weights = Rng(2).uniform(4, 10)
    assert gap(A.toeplitz(weights)(x), A.H(weights * A(x))) < 1e-10


def test_a_gradient_of_the_maps():
    A = NonCartesianMRI.example(Rng(0))
    x, y = signals(A, 2), measurements(A, 2)

    def misfit(maps):
        return (NonCartesianMRI(maps, A.points)(x) - y).abs().square().sum()

    assert torch.autograd.gradcheck(misfit, A.maps.clone().requires_grad_())


def test_sense_from_few_spokes():
    """Eight coils see what 1 in 4 spokes of Nyquist's leave out; one coil does not."""
    shape, w = (32, 30), golden_angle(13, 48)
    middles = torch.tensor([[18 * np.cos(a), 18 * np.sin(a)] for a in 2 * np.pi * np.arange(8) / 8])
    maps = torch.stack([blob(shape, m.tolist(), 18) for m in middles])
    x = sum(1j**i * blob(shape, (9 * np.sin(2 * i), 9 * np.cos(3 * i)), 1.5) for i in range(12))
    errors = []
    for coils in (maps, torch.ones(1, *shape, dtype=torch.complex128)):
        A = NonCartesianMRI(coils, w)
        errors.append(gap(WithNormal(A, A.toeplitz()).solve(A.H(A(x)), 1e-4, tol=1e-4), x))
    assert errors[0] < 0.02 < 0.1 < errors[1]


def test_bad_maps():
    with pytest.raises(BadInput, match="coil axis"):
        NonCartesianMRI(torch.ones(6).cfloat(), torch.zeros(4, 1))
    with pytest.raises(BadInput, match="NaN"):
        NonCartesianMRI(torch.full((2, 6), float("nan")).cfloat(), torch.zeros(4, 1))
    with pytest.raises(BadInput, match="from_cycles"):
        NonCartesianMRI(torch.ones(2, 6).cfloat(), torch.full((4, 1), 6.0))


# Trajectories.


@pytest.mark.parametrize("samples", [1, 16, 17])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: radial(7, n),
        lambda n: golden_angle(9, n),
        lambda n: golden_angle(9, n, tiny=7),
        lambda n: spiral(3, n, 4.5),
        lambda n: spiral(3, n, 4, power=2.5),
        lambda n: rosette(5, 4 * n, 3.2),
        lambda n: kooshball(11, n),
        lambda n: stack_of(radial(3, n), 5),
    ],
)
def test_trajectories_stay_within_k_space(make, samples):
    w = make(samples)
    assert w.ndim == 3 and w.dtype == torch.float64 and -pi <= w.min() and w.max() < pi


@pytest.mark.parametrize("samples", [16, 17])
def test_a_spoke_is_a_diameter_through_the_middle(samples):
    for w in (radial(6, samples), golden_angle(6, samples), kooshball(6, samples)):
        assert (w[:, samples // 2] == 0).all()
        assert torch.allclose(w.diff(dim=1).norm(dim=-1), torch.tensor(2 * pi / samples).double())
    assert torch.equal(radial(6, samples)[0, :, 0].abs(), torch.zeros(samples).double())  # along the columns
    # and turns by pi / 6 towards the rows
    end = radial(6, samples)[1, -1]
    assert torch.atan2(end[0], end[1]).item() == pytest.approx(pi / 6)


def test_golden_angles():
    ends = golden_angle(3, 8)[:, -1]
    turn = torch.atan2(ends[:, 0], ends[:, 1]).rad2deg() % 180
    assert turn.diff().tolist() == pytest.approx([111.2461, 111.2461 - 180], abs=1e-3)
    ends = golden_angle(2, 8, tiny=7)[:, -1]
    assert torch.atan2(ends[1, 0], ends[1, 1]).rad2deg().item() == pytest.approx(23.6281, abs=1e-3)


def test_radial_agrees_with_sigpy():
    samp = pytest.importorskip("sigpy.mri.samp")
    theirs = from_cycles(samp.radial((40, 32, 2), (24, 20), golden=False), (24, 20))
    ours = radial(20, 64).flip(1)  # two half spokes of theirs, 20 apart, are one of ours
    assert torch.allclose(theirs[:20], radial(20, 64)[:, 32:], atol=1e-12)
    assert torch.allclose(theirs[20:, 1:], ours[:, 32:-1], atol=1e-12)


def test_a_spiral_keeps_its_pitch_and_speed():
    w = spiral(4, 4000, 6)
    radius, turn = w.norm(dim=-1), 2 * pi * 6 * (torch.arange(4000) / 4000) ** 0.5
    assert torch.allclose(radius, (turn / (2 * pi * 6) * pi).expand(4, -1).double(), atol=1e-5)
    speed = w.diff(dim=1).norm(dim=-1)[:, 1000:]
    assert speed.max() / speed.min() < 1.01
    turned = torch.stack([w[0, :, 1], -w[0, :, 0]], -1)  # the second arm is the first, a quarter turn on
    assert torch.allclose(w[1], turned)


def test_golden_means_cover_the_half_sphere():
    ends = torch.nn.functional.normalize(kooshball(2000, 8)[:, -1], dim=-1)
    assert (ends[:, 0] >= 0).all()
    assert torch.allclose(ends.T @ ends / 2000, torch.eye(3).double() / 3, atol=3e-3)


def test_a_stack_is_cartesian_along_the_slices():
    plane = radial(3, 8)
    w = stack_of(plane, 4)
    assert w.shape == (12, 8, 3) and torch.equal(w[3:6, :, 1:], plane)
    assert w[::3, 0, 0].tolist() == pytest.approx([-pi, -pi / 2, 0, pi / 2])


def test_units():
    k = torch.tensor([[-8.0, 4.0], [7.0, 0.0], [8.0, -6.0]])
    want = torch.tensor([[-pi, 2 * pi / 3], [7 * pi / 8, 0], [-pi, -pi]]).double()
    assert torch.allclose(from_cycles(k, (16, 12)), want)
    assert torch.allclose(from_normalised(k / torch.tensor([16, 12])), want)
    assert torch.allclose(from_cycles(k.numpy(), (16, 12)), want)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: radial(0, 8), "spokes = 0"),
        (lambda: golden_angle(3, 8, tiny=0), "tiny = 0"),
        (lambda: spiral(1, 8, -1), "turns = -1"),
        (lambda: rosette(3, 0, 1), "samples = 0"),
        (lambda: kooshball(-2, 8), "spokes = -2"),
        (lambda: stack_of(kooshball(2, 8), 3), r"\(2, 8, 3\)"),
        (lambda: from_cycles(torch.zeros(3, 2), (4, 4, 4)), "3 axes"),
        (lambda: from_cycles(torch.full((3, 2), 9.0), (16, 16)), "0.5625"),
        (lambda: from_normalised(torch.full((3, 2), 9.0)), "from_cycles"),
        (lambda: radial_density(spiral(2, 8, 1), (4, 4, 4)), r"\(spokes, samples, 3\)"),
    ],
)
def test_bad_trajectories(make, message):
    with pytest.raises(BadInput, match=message):
        make()


# Density compensation.


def gridding_error(A, weights, width=5):
    """Of A.H(w A x) for a smooth x inside the field of view."""
    x = blob(A.in_shape, [3, -2, 1][: len(A.in_shape)], width) + 0.5j * blob(
        A.in_shape, [-5, -4, 0][: len(A.in_shape)], 3
    )
    return gap(A.H(weights * A(x)), x)


@pytest.mark.parametrize("shape", [(40, 40), (32, 44)])
@pytest.mark.parametrize("make", [radial, golden_angle])
def test_the_ramp_grids_a_radial_scan(make, shape):
    w = make(80, 96)
    weights = radial_density(w, shape)
    assert weights.sum().item() / prod(shape) == pytest.approx(pi / 4, rel=1e-3)
    A = NUFFT(w, shape, dtype=torch.complex128)
    assert gridding_error(A, weights) < 0.01
    assert gridding_error(A, torch.full_like(weights, weights.mean())) > 0.5


def test_a_spoke_weighs_as_much_as_half_the_way_to_its_neighbours():
    w = radial(6, 9)[[3, 0, 1]]  # at 90, 0 and 30 degrees
    weights = radial_density(w, (8, 8))
    assert (weights[:, 0] / weights[:, 0].sum()).tolist() == pytest.approx([75 / 180, 60 / 180, 45 / 180])


def test_the_square_of_the_ramp_grids_a_kooshball():
    w = kooshball(1200, 32)
    weights = radial_density(w, (14, 14, 14))
    assert weights.sum().item() / 14**3 == pytest.approx(pi / 6, rel=1e-2)
    assert gridding_error(NUFFT(w, (14, 14, 14), 1.25, 5, torch.complex128), weights, 2) < 0.05


@pytest.mark.parametrize(
    "w, bound",
    [(radial(64, 80), 0.005), (golden_angle(64, 80), 0.005), (spiral(16, 600, 2.5), 0.02)],
    ids=["radial", "golden", "spiral"],
)
def test_pipe_and_menon_grid_any_scan(w, bound):
    A = NUFFT(w, (40, 36), dtype=torch.complex128)
    weights = pipe_menon(A)
    assert weights.shape == A.out_shape and (weights > 0).all()
    assert gridding_error(A, weights) < bound


def test_pipe_and_menon_on_the_cartesian_grid_are_even():
    axes = [2 * pi * (torch.arange(n, dtype=torch.float64) - n // 2) / n for n in (12, 15)]
    A = NUFFT(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1), (12, 15), dtype=torch.complex128)
    weights = pipe_menon(A)
    assert torch.allclose(weights, weights.mean(), rtol=2e-3) and 0.9 < weights.mean() < 1


def test_pipe_and_menon_make_a_point_of_a_point():
    A = NUFFT(radial(70, 84), (40, 40), dtype=torch.complex128)
    point = torch.zeros(40, 40, dtype=torch.complex128)
    point[20, 20] = 1
    psf = A.toeplitz(pipe_menon(A))(point).abs()
    # k-space is measured in a disc, and the outermost samples stand for half a step beyond their place
    assert psf[20, 20] == pytest.approx(pi / 4 * (1 + 1 / 84) ** 2, rel=0.01)
    psf[16:25, 16:25] = 0
    assert psf.max() < 0.02


def test_pipe_and_menon_agree_with_sigpy():
    dcf = pytest.importorskip("sigpy.mri.dcf")
    w = 0.97 * golden_angle(23, 24) + 0.011  # off the grid, where sigpy gives its kernel both ends
    grid, beta = (64, 60), pi * 8.2**0.5  # Beatty's for width 4 and oversampling 2
    A = NUFFT(w, (32, 30), dtype=torch.complex128)
    coordinates = (w * torch.tensor(grid) / (2 * pi)).numpy()
    theirs = dcf.pipe_menon_dcf(coordinates, grid, max_iter=7, beta=beta, width=4, show_pbar=False)
    ratio = torch.from_numpy(theirs) / pipe_menon(A, 7)
    assert torch.allclose(ratio / ratio.mean(), torch.ones_like(ratio), atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_the_matrix_of_an_example(seed):
    A = NUFFT.example(Rng(seed))
    M = exact(A.points.reshape(-1, len(A.shape)), A.shape).flatten(1)
    real = torch.cat([torch.cat([M.real, -M.imag], 1), torch.cat([M.imag, M.real], 1)])
    assert gap(dense_matrix(A), real) < 2 * A.error
