"""Off-resonance: against the exact sum over pixels, for every operator it takes."""

from dataclasses import replace
from math import pi, prod

import pytest
import torch
from laws import close, measurements, signals
from torch.linalg import vector_norm

from workbench import BadInput, Rng
from workbench.operators import (
    NUFFT,
    CartesianMRI,
    Fourier,
    Intensity,
    NonCartesianMRI,
    OffResonance,
    dot_test,
    radial,
    spiral,
)


def field(shape, hertz, seed=0):
    """A smooth map between about -hertz / 2 and hertz / 2."""
    axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape]
    a = Rng(seed, "field").uniform(2 * len(shape)) - 0.5
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    f = (a[: len(shape)] * grid + a[len(shape) :] * grid**2).sum(-1)
    return hertz * (f - f.min()) / (f.max() - f.min()) - hertz / 2


def exact(points, times, field_map):
    """The matrix (samples, pixels) of the formula in the docstring."""
    shape = field_map.shape
    phase = 2 * pi * times.reshape(-1, *[1] * len(shape)) * field_map
    for axis, n in enumerate(shape):
        place = (torch.arange(n) - n // 2).reshape(-1, *[1] * (len(shape) - 1 - axis))
        phase = phase + points[:, axis].reshape(-1, *[1] * len(shape)) * place
    return torch.exp(-1j * phase).flatten(1) / prod(shape) ** 0.5


def gap(got, want):
    return (vector_norm(got - want) / vector_norm(want)).item()


def scan(shape, hertz=150, readout=0.02, seed=0):
    w = spiral(3, 101, 2.3) if len(shape) == 2 else radial(4, 60)[..., :1]
    times = readout * torch.arange(w.shape[1], dtype=torch.float64) / w.shape[1]
    return w, times, field(shape, hertz, seed)


@pytest.mark.parametrize("seed, shape", [(0, (13, 12)), (1, (8, 15)), (2, (30,))])
@pytest.mark.parametrize("segments", [1, 3, 6, 9])
def test_the_error_is_what_it_says(seed, shape, segments):
    w, times, f = scan(shape, seed=seed)
    A = OffResonance(NUFFT(w, shape, 2, 14, torch.complex128), f, times, segments)
    x = signals(A, 40)
    M = exact(w.flatten(0, 1), times.repeat(len(w)), f)
    want = (x.flatten(1) @ M.mT).reshape(A(x).shape)
    assert A.error / 1.3 < gap(A(x), want) < 1.3 * A.error


def test_the_error_falls_with_the_segments():
    w, times, f = scan((12, 10))
    errors = [OffResonance(NUFFT(w, (12, 10)), f, times, n).error for n in range(1, 10)]
    assert (
        all(b < a for a, b in zip(errors, errors[1:], strict=False)) and errors[-1] < 1e-4 < 0.5 < errors[0]
    )


@pytest.mark.parametrize("segments", [2, 4, 6])
def test_the_weights_are_the_least_squares_fit_over_the_pixels(segments):
    """A map most of which is near 0 Hz, and times most of which are early."""
    f = 300 * Rng(0, "f").uniform(20, 18) ** 6 - 20
    times = 0.01 * torch.tensor([0.0] * 40 + [0.1, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64)
    A = OffResonance(NUFFT(torch.zeros(45, 2), (20, 18)), f, times, segments)
    knots = 0.01 * torch.linspace(0, 1, segments, dtype=torch.float64)
    basis, target = (torch.exp(-2j * pi * f.reshape(-1, 1) * t) for t in (knots, times))
    rest = target - basis @ torch.linalg.lstsq(basis, target).solution
    assert A.error == pytest.approx(rest.abs().square().mean().sqrt().item(), rel=0.02)


@pytest.mark.parametrize("hertz, readout", [(0, 0.02), (40, 0.01), (300, 0.02), (500, 0.04), (2000, 0.1)])
def test_as_many_segments_as_the_error_needs(hertz, readout):
    w, times, f = scan((12, 10), max(hertz, 1e-9), readout)
    A = OffResonance.within(NUFFT(w, (12, 10)), f, times, 1e-3)
    assert A.cycles == pytest.approx(hertz * readout * 100 / 101, abs=1e-6)
    assert A.error <= 1e-3 and A.segments <= 1.2 * hertz * readout + 4
    assert A.segments == 1 or replace(A, segments=A.segments - 1).error > 1e-3


@pytest.mark.parametrize("shape, outliers", [((9, 9), 1), ((9, 9), 3), ((40, 50), 2), ((40, 50), 30)])
def test_outliers_of_the_map_do_not_spoil_what_the_error_says(shape, outliers):
    """Few pixels over many bins: most at almost one frequency, some far from it."""
    w, times, _ = scan(shape)
    f = 10 * Rng(0, "f").uniform(*shape)
    f.view(-1)[:outliers] = 2000 + 500 * Rng(0, "far").uniform(outliers)
    A = OffResonance.within(NUFFT(w, shape, dtype=torch.complex128), f, times, 1e-3)
    waves = [torch.exp(-2j * pi * t[:, None] * f.flatten()) for t in (times, A._knots)]
    rest = waves[0] - A._coefficients.flatten(1).mT @ waves[1]
    true = rest.abs().square().mean().sqrt().item()
    assert A.error / 4 < true < 4 * A.error and true < 1e-3


def test_a_constant_field_is_one_phase_a_sample():
    w, times, _ = scan((12, 10))
    A = NUFFT(w, (12, 10), dtype=torch.complex128)
    x = signals(A, 2)
    B = OffResonance(A, torch.full((12, 10), 70.0, dtype=torch.float64), times, 3)
    assert gap(B(x), torch.exp(-2j * pi * 70 * times) * A(x)) < 1e-10
    still = OffResonance(A, field((12, 10), 100), torch.zeros_like(times), 3)
    assert gap(still(x), A(x)) < 1e-12


def test_segments_one_after_another_are_those_at_once(monkeypatch):
    """However few numbers are held at a time; a large image meets A one segment at a time."""
    w, times, f = scan((12, 10))
    A = OffResonance(NUFFT(w, (12, 10), dtype=torch.complex128), f, times, 5)
    x, y, seen = signals(A, 3), measurements(A, 3), []
    want = A(x), A.H(y)
    forward = NUFFT.forward
    monkeypatch.setattr("workbench.operators.off_resonance.GROUP", 2 * y.numel())
    monkeypatch.setattr(NUFFT, "forward", lambda self, v: seen.append(len(v)) or forward(self, v))
    assert close(A(x), want[0]) and close(A.H(y), want[1]) and seen == [2, 2, 1]


def test_one_time_for_all_is_a_phase_of_the_image():
    w, times, f = scan((12, 10))
    A = NUFFT(w, (12, 10), dtype=torch.complex128)
    x = signals(A, 2)
    B = OffResonance(A, f, torch.full_like(times, 0.03), 2)
    assert gap(B(x), A(torch.exp(-2j * pi * 0.03 * f) * x)) < 1e-12


def test_coils_off_resonance():
    w, times, f = scan((9, 8))
    maps = Rng(1).normal(torch.empty(3, 9, 8, dtype=torch.complex128))
    A = OffResonance(NonCartesianMRI(maps, w, 2, 12), f, times, 12)
    x = signals(A, 4)
    M = exact(w.flatten(0, 1), times.repeat(3), f)
    want = torch.stack([(m * x).flatten(1) @ M.mT for m in maps], 1).reshape(2, 2, *A.out_shape)
    assert gap(A(x.reshape(2, 2, 9, 8)), want) < 1e-5
    assert dot_test(A) < 1e-14


def test_cartesian_mri_off_resonance():
    """Readout along the rows: column by column the same field, a phase that grows with the row index."""
    mask = torch.tensor([1, 0, 1, 1, 0, 1, 1]) > 0
    maps = Rng(1).normal(torch.empty(2, 8, 7, dtype=torch.complex128))
    base, f = CartesianMRI(maps, mask), field((8, 7), 100)
    grid = 0.002 * torch.arange(8, dtype=torch.float64)[:, None].expand(8, 7)
    times = base.sample(grid)
    A = OffResonance(base, f, times, 8)
    x = signals(A, 1)[0]
    F = Fourier((8, 7), torch.complex128)
    for row in (0, 3, 7):  # all samples of one row share one time
        at = F(torch.exp(-2j * pi * f * grid[row, 0]) * maps * x)[:, row, mask]
        got = base.grid(A(x))[:, row, mask]
        assert gap(got, at) < 1e-6
    assert dot_test(A) < 1e-14


@pytest.mark.parametrize("seed", range(4))
def test_the_adjoint_is_exact_for_any_field_and_segments(seed):
    shape = ((7, 6), (5, 9), (8,), (3, 4))[seed]
    w = (2 * Rng(seed, "points").uniform(5, 11, len(shape)) - 1) * pi
    f, times = 200 * Rng(seed, "f").uniform(*shape) - 80, 0.05 * Rng(seed, "t").uniform(5, 11)
    A = OffResonance(NUFFT(w, shape, dtype=torch.complex128), f, times, 2 + 3 * seed)
    assert dot_test(A) < 1e-14 and dot_test(A.to(torch.complex64)) < 1e-5
    B = replace(A, times=times[:1])  # the same for every shot
    assert close(B(signals(A, 2)), replace(A, times=times[:1].expand(5, 11))(signals(A, 2)))


def test_a_gradient_of_the_field():
    """That of the exact sum, as far as the segments reach."""
    w, times, f = scan((7, 6), 60)
    x = signals(NUFFT(w, (7, 6), dtype=torch.complex128), 1)[0]
    y = measurements(NUFFT(w, (7, 6), dtype=torch.complex128), 1)[0]
    g, want = f.clone().requires_grad_(), f.clone().requires_grad_()
    A = OffResonance(NUFFT(w, (7, 6), 2, 14, torch.complex128), g, times, 10)
    for _ in range(2):  # as often as one likes
        g.grad = None
        (A(x) - y).abs().square().sum().backward()
    M = exact(w.flatten(0, 1), times.repeat(3), want)
    (M @ x.flatten() - y.flatten()).abs().square().sum().backward()
    assert gap(g.grad, want.grad) < 1e-4


def test_blurring_by_the_field_is_undone():
    """The image from a spiral with a field of 200 Hz: near with the model, far without it."""
    w = spiral(6, 240, 2.2)
    times, f = 0.012 * torch.arange(240, dtype=torch.float64) / 240, field((20, 20), 200)
    base = NUFFT(w, (20, 20), dtype=torch.complex128)
    A = OffResonance.within(base, f, times, 1e-4)
    grid = torch.stack(torch.meshgrid(*[torch.arange(20.0) - 10] * 2, indexing="ij"), -1)
    middles = torch.tensor([[-5.0, -3], [4, 5], [0, -4], [6, -5], [-4, 4]])
    x = torch.exp(-((grid - middles[:, None, None]) ** 2).sum(-1) / 4).sum(0).to(torch.complex128)
    y = A(x)
    blurred, sharp = (B.solve(B.H(y), 1e-4, tol=1e-5) for B in (base, A))
    assert gap(sharp, x) < 0.01 < 0.2 < gap(blurred, x)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(A=Intensity((6, 5), torch.complex64)), "Intensity.*linear"),
        (dict(field_map=torch.zeros(5, 6)), r"\(5, 6\).*Hz.*\(6, 5\)"),
        (dict(field_map=torch.zeros(6, 5).cfloat()), "complex64"),
        (dict(field_map=torch.full((6, 5), float("nan"))), "finite"),
        (dict(times=torch.zeros(4)), r"\(4,\).*\(7, 3\)"),
        (dict(times=[0.0]), "list"),
        (dict(times=torch.full((7, 3), float("inf"))), "finite"),
        (dict(segments=0), "segments = 0"),
    ],
)
def test_bad_input(change, message):
    A = NUFFT(torch.zeros(7, 3, 2), (6, 5))
    with pytest.raises(BadInput, match=message):
        OffResonance(**(dict(A=A, field_map=torch.zeros(6, 5), times=torch.zeros(7, 3), segments=2) | change))


def test_an_error_that_is_not_in_reach():
    A = NUFFT(torch.zeros(7, 3, 2), (6, 5))
    with pytest.raises(BadInput, match="error = 1e-09"):
        OffResonance.within(A, torch.zeros(6, 5), torch.zeros(3), 1e-9)
