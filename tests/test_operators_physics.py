"""Scattering, interferometry, flow and sound: each against a solution that someone found without a computer."""

from itertools import combinations

import numpy as np
import pytest
import torch
from laws import close

from workbench import BadInput, Rng
from workbench.operators import (
    ClosurePhase,
    FullWaveform,
    Interferometry,
    InverseScattering,
    LogClosureAmplitude,
    MultipleScattering,
    NavierStokes,
    TotalFlux,
    circle,
    closure_quadrangles,
    closure_triangles,
    dot_test,
    earth_rotation,
    green_field,
    green_function,
    pixel_interaction,
    pixel_positions,
    plane_waves,
    ricker,
    second_difference,
)
from workbench.operators.interferometry import EHT_2017, MICROARCSECOND

C, R = torch.complex128, torch.float64


def normal(*shape, dtype=R, seed=0):
    return Rng(seed, "test").normal(torch.empty(1, *shape, dtype=dtype))[0]


# Scattering.


def mie(contrast, radius, wavelength, angles, distance):
    """The field that a cylinder scatters from exp(i k x), by its series of Bessel functions, at `distance`."""
    from scipy.special import h1vp, hankel1, jv, jvp

    k, n = 2 * np.pi / wavelength, np.arange(-40, 41)
    k1, ka = k * (1 + contrast) ** 0.5, k * radius
    k1a = k1 * radius
    a = (k1 * jvp(n, k1a) * jv(n, ka) - k * jvp(n, ka) * jv(n, k1a)) / (
        k * h1vp(n, ka) * jv(n, k1a) - k1 * jvp(n, k1a) * hankel1(n, ka)
    )
    waves = 1j**n * a * hankel1(n, k * distance) * np.exp(1j * n * angles[:, None])
    return torch.from_numpy(waves.sum(1))


def disc(n, pixel, radius, fine=8):
    """The share of each of n x n pixels that a disc covers."""
    points = pixel_positions((n * fine, n * fine), pixel / fine).norm(dim=-1)
    return (points <= radius).to(R).reshape(n, fine, n, fine).mean((1, 3))


def cylinder_operators(n, wavelength=1.0, radius=0.6, distance=3.0):
    pixel = 2.2 * radius / n
    points = pixel_positions((n, n), pixel)
    receivers = circle(24, distance)
    incident = plane_waves(points, torch.zeros(1, dtype=R), wavelength)
    green = green_function(points, receivers, wavelength, pixel)
    once = InverseScattering(incident, green)
    return once, MultipleScattering(incident, green, pixel_interaction((n, n), wavelength, pixel)), pixel


def gap(a, b):
    return (torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)).item()


def test_born_scattering_of_a_cylinder():
    """The error of the Born approximation is of first order in the contrast, so it goes with it."""
    once, _, pixel = cylinder_operators(48)
    angles = 2 * np.pi * np.arange(24) / 24
    errors = [
        gap(once(c * disc(48, pixel, 0.6))[0], mie(c, 0.6, 1.0, angles, 3.0)) for c in (0.1, 0.01, 0.001)
    ]
    assert errors[2] < 3e-3 and 0.1 < errors[0] < 0.5
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)


def test_multiple_scattering_of_a_cylinder():
    """A contrast of 1 for which Born's error exceeds the field; the error of the grid halves faster than its pixels."""
    angles, errors = 2 * np.pi * np.arange(24) / 24, []
    want = mie(1.0, 0.6, 1.0, angles, 3.0)
    for n in (16, 32):
        once, many, pixel = cylinder_operators(n)
        errors.append(gap(many(disc(n, pixel, 0.6))[0], want))
    assert gap(once(disc(n, pixel, 0.6))[0], want) > 0.5
    assert errors[1] < 0.02 and errors[1] < errors[0] / 2.5


def test_multiple_scattering_of_little_contrast_is_single():
    once, many, pixel = cylinder_operators(10)
    x = 1e-6 * normal(2, 10, 10)
    assert gap(many(x), once(x)) < 1e-5
    v = normal(2, 10, 10, seed=1)
    assert gap(many.linearize(torch.zeros_like(v))(v), once(v)) < 1e-12


def test_scattering_is_reciprocal():
    """A source and a receiver may change places, also where waves scatter many times."""
    points, pixel = pixel_positions((5, 6), 0.15), 0.15
    places = circle(4, 2.0, start=0.3)
    incident, green = green_field(points, places, 1.0, pixel), green_function(points, places, 1.0, pixel)
    A = MultipleScattering(incident, green, pixel_interaction((5, 6), 1.0, pixel))
    y = A(normal(5, 6).abs())
    assert close(y, y.mT) and y.abs().min() > 0


@pytest.mark.parametrize("shape, transmitters, receivers", [((5, 7), 3, 4), ((6, 6), 1, 9), ((4, 3), 5, 2)])
@pytest.mark.parametrize("dtype", [R, C])
def test_scattering_is_the_sum_over_pixels(shape, transmitters, receivers, dtype):
    from scipy.special import hankel1, j1

    pixel, wavelength, radius = 0.11, 0.7, 1.9
    A = InverseScattering.ring(shape, pixel, wavelength, transmitters, receivers, radius, dtype)
    x, k, a = normal(*shape, dtype=dtype), 2 * np.pi / wavelength, pixel / np.pi**0.5
    want = np.zeros((transmitters, receivers), dtype=complex)
    around = lambda n, m: radius * np.array([np.cos(2 * np.pi * m / n), np.sin(2 * np.pi * m / n)])
    g = lambda p, q: 0.25j * hankel1(0, k * np.hypot(*(p - q)))
    for i in range(shape[0]):
        for j in range(shape[1]):
            at = pixel * np.array([j - (shape[1] - 1) / 2, (shape[0] - 1) / 2 - i])
            sends = k * 2 * np.pi * a * j1(k * a) * x[i, j].item()
            want += [
                [
                    g(around(transmitters, t), at) * sends * g(at, around(receivers, r))
                    for r in range(receivers)
                ]
                for t in range(transmitters)
            ]
    assert close(A(x), torch.from_numpy(want)) and dot_test(A) < 1e-14


def test_the_integral_over_a_pixel_is_nearly_its_area():
    points, receivers, pixel = pixel_positions((3, 3), 0.01), circle(2, 1.0), 0.01
    ratio = green_function(points, receivers, 1.0, pixel) / green_field(points, receivers, 1.0, pixel)
    assert (ratio - (2 * np.pi * pixel) ** 2).abs().max() < 1e-3 * (2 * np.pi * pixel) ** 2


def test_the_field_of_a_pixel_on_itself():
    """Against the integral of (i / 4) H0(k r) over the disc, by quadrature."""
    from scipy.integrate import quad
    from scipy.special import hankel1

    k, a = 2 * np.pi / 0.9, 0.2 / np.pi**0.5
    parts = [
        quad(lambda r, f=f: f(0.25j * hankel1(0, k * r)) * 2 * np.pi * r, 0, a)[0] for f in (np.real, np.imag)
    ]
    got = pixel_interaction((2, 2), 0.9, 0.2)[0, 0].item()
    assert got == pytest.approx(k**2 * complex(*parts), rel=1e-8)


def test_scattering_that_cannot_be():
    with pytest.raises(BadInput, match="move it out"):
        InverseScattering.ring((8, 8), 0.1, 1.0, 2, 2, 0.3)
    A = InverseScattering.example(Rng(0))
    with pytest.raises(BadInput, match="grids"):
        InverseScattering(A.incident[:, 1:], A.green)
    with pytest.raises(BadInput, match="complex"):
        InverseScattering(A.incident.real, A.green)
    with pytest.raises(BadInput, match="precision"):
        InverseScattering(A.incident, A.green, torch.float32)
    with pytest.raises(BadInput, match="interaction"):
        MultipleScattering(A.incident, A.green, torch.eye(3, dtype=C))


# Interferometry.


def event_horizon(hours=24):
    """The stations of 2017 and M87: right ascension 12.5137 h, declination 12.3911 deg, at 1.3 mm."""
    stations = torch.tensor(list(EHT_2017.values()), dtype=R)
    return earth_rotation(stations, torch.linspace(0, 23, hours, dtype=R), 12.5137, 12.3911, 1.3e-3)


@pytest.mark.parametrize("shape", [(6, 6), (5, 8), (7, 4)])
def test_visibilities_are_the_fourier_sum(shape):
    """A point of flux at an offset from the middle has a phase, and nothing else."""
    uv, view = 5e9 * normal(9, 2), (80 * MICROARCSECOND, 100 * MICROARCSECOND)
    A, x = Interferometry(uv, shape, view, R), normal(2, *shape)
    want = 0
    for i in range(shape[0]):
        for j in range(shape[1]):
            east = -(j - (shape[1] - 1) / 2) * view[1] / shape[1]
            north = ((shape[0] - 1) / 2 - i) * view[0] / shape[0]
            want = want + x[:, i, j, None] * torch.exp(-2j * np.pi * (uv[:, 0] * east + uv[:, 1] * north))
    assert close(A(x), want)


def test_a_gaussian_has_gaussian_visibilities():
    view, n, width = 100 * MICROARCSECOND, 64, 8 * MICROARCSECOND
    offset = (torch.arange(n, dtype=R) - (n - 1) / 2) * view / n
    x = torch.exp(-(offset[:, None] ** 2 + offset**2) / (2 * width**2))
    uv, _, _ = event_horizon(5)
    y = Interferometry(uv, (n, n), (view, view), R)(0.7 * x / x.sum())
    want = 0.7 * torch.exp(-2 * (np.pi * width) ** 2 * uv.square().sum(1))
    assert (y - want).abs().max() < 1e-6


def test_east_is_left_and_north_is_up():
    uv, view = torch.tensor([[1e9, 0.0], [0.0, 1e9]], dtype=R), (1e-10, 1e-10)
    x = torch.zeros(2, 3, 3, dtype=R)
    x[0, 1, 0] = x[1, 0, 1] = 1  # one to the east, one to the north
    phase = Interferometry(uv, (3, 3), view, R)(x).angle()
    assert (
        close(phase[0, 0], phase[1, 1]) and phase[0, 0] < 0 and phase[0, 1].abs() < 1e-12 > phase[1, 0].abs()
    )


def test_total_flux_is_the_visibility_of_no_baseline():
    x = normal(2, 5, 4)
    A = Interferometry(torch.zeros(1, 2, dtype=R), (5, 4), (1e-10, 1e-10), R)
    assert close(A(x).real, TotalFlux((5, 4), R)(x)) and A(x).imag.abs().max() == 0


def test_earth_rotation():
    """A baseline along the axis of the Earth stands still; one on the equator draws an ellipse of axis ratio sin(dec)."""
    L, dec = 1e6, 30.0
    stations = torch.tensor([[6e6, 0, 0], [6e6, 0, L], [6e6, L, 0]], dtype=R)
    hours = torch.arange(0, 24, 3.0, dtype=R)
    uv, baselines, scans = earth_rotation(stations, hours, 5.0, dec, 1e-3, elevation=-90.0)
    polar, equator = (uv[(baselines == torch.tensor(pair)).all(1)] for pair in ((0, 1), (0, 2)))
    up = np.cos(np.radians(dec))
    assert len(scans) == 24 and close(polar, torch.tensor([[0.0, -L / 1e-3 * up]], dtype=R).expand(8, 2), 1e4)
    ellipse = equator[:, 0] ** 2 + (equator[:, 1] / np.sin(np.radians(dec))) ** 2
    assert close(ellipse, torch.full((8,), (L / 1e-3) ** 2, dtype=R))
    # At hour angle 0 of Greenwich the source is over the meridian: the eastern station has the larger u.
    u, v = earth_rotation(stations, [5.0], 5.0, dec, 1e-3)[0][1].tolist()
    assert u == pytest.approx(-L / 1e-3) and v == pytest.approx(0, abs=1e-3)


def test_uv_is_the_baseline_seen_from_the_source():
    """Its parts along the derivatives of the source's direction by right ascension (east) and declination (north)."""
    stations, hours, ra, dec = 6e6 * normal(4, 3), [0.0, 7.3, 16.1], 3.7, -21.0
    uv, baselines, scans = earth_rotation(stations, hours, ra, dec, 2e-3, elevation=-90.0)

    def direction(longitude, latitude):
        return torch.stack(
            [
                latitude.cos() * longitude.cos(),
                latitude.cos() * longitude.sin(),
                latitude.sin() + 0 * longitude,
            ]
        )

    for row, (i, j), scan in zip(uv, baselines.tolist(), scans.tolist(), strict=True):
        at = torch.deg2rad(torch.tensor([15 * (ra - hours[scan]), dec], dtype=R))  # turning with the Earth
        by_longitude, by_latitude = torch.func.jacrev(direction, argnums=(0, 1))(*at)
        b = (stations[i] - stations[j]) / 2e-3
        assert close(row, torch.stack([b @ by_longitude / at[1].cos(), b @ by_latitude]), 1e4)
    assert len(uv) == 18


def test_stations_below_the_horizon_see_nothing():
    stations = 6.4e6 * torch.tensor([[1.0, 0, 0], [0.99, 0.1, 0], [-1.0, 0, 0]], dtype=R)
    _, baselines, _ = earth_rotation(stations, [0.0], 0.0, 0.0, 1e-3)
    assert baselines.tolist() == [[0, 1]]
    with pytest.raises(BadInput, match="no two stations"):
        earth_rotation(stations[1:], [0.0], 0.0, 0.0, 1e-3)


def test_the_event_horizon_telescope_reaches_as_far_as_published():
    """Paper I of 2019: the longest baselines to M87 are 8 to 9 billion wavelengths."""
    uv, baselines, scans = event_horizon()
    assert 8e9 < uv.norm(dim=1).max() < 9e9 and len(baselines) == len(scans) == len(uv)
    assert (baselines[:, 0] < baselines[:, 1]).all()


def test_closure_phase_of_numbers():
    A = ClosurePhase(torch.tensor([[0, 2, 1]]), 3, C)
    V = torch.polar(torch.tensor([2.0, 0.5, 3.0], dtype=R), torch.tensor([0.3, -0.4, 2.9], dtype=R))
    assert close(A(V), torch.tensor([np.exp(1j * (0.3 + 2.9 + 0.4))], dtype=C))
    B = LogClosureAmplitude(torch.tensor([[0, 1, 2, 3]]), 4, C)
    W = torch.tensor([2j, -3.0, 0.5, 4.0], dtype=C)
    assert close(B(W), torch.tensor([np.log(2 * 3 / 0.5 / 4)], dtype=R))


@pytest.mark.parametrize("stations", [3, 4, 5, 8])
def test_closures_are_independent_and_complete(stations):
    baselines = torch.tensor(list(combinations(range(stations), 2)))
    scans = torch.zeros(len(baselines), dtype=torch.int64)
    n, M = stations, len(baselines)
    for made, corners, signs, count, nuisance in (
        (closure_triangles, 3, (1, 1, -1), (n - 1) * (n - 2) // 2, "phase"),
        (closure_quadrangles, 4, (1, 1, -1, -1), n * (n - 3) // 2, "amplitude"),
    ):
        found = made(baselines, scans)
        assert found.shape == (count, corners)
        if not count:
            continue
        rows = torch.zeros(count, M, dtype=R)
        rows.scatter_(1, found, torch.tensor(signs, dtype=R).expand(count, -1))
        gains = torch.zeros(
            M, n, dtype=R
        )  # what the stations do to phases (i minus j) and logarithms (i plus j)
        gains[torch.arange(M), baselines[:, 0]] = 1
        gains[torch.arange(M), baselines[:, 1]] = -1 if nuisance == "phase" else 1
        assert (rows @ gains).abs().max() == 0
        assert torch.linalg.matrix_rank(rows) == count == M - torch.linalg.matrix_rank(gains)


def test_station_gains_leave_the_closures_alone():
    """Random gains of every station in every scan: the visibilities change, the closures do not; gains of baselines
    that no stations make, the control, change both."""
    uv, baselines, scans = event_horizon(12)
    V = Interferometry(uv, (6, 6), (1e-10, 1e-10), R)(normal(6, 6).abs())
    g = torch.exp(normal(12, len(EHT_2017), dtype=C))
    spoilt = g[scans, baselines[:, 0]] * g[scans, baselines[:, 1]].conj() * V
    control = torch.exp(0.3 * normal(len(V), dtype=C, seed=1)) * V
    phases = ClosurePhase(closure_triangles(baselines, scans), len(V), C)
    amplitudes = LogClosureAmplitude(closure_quadrangles(baselines, scans), len(V), C)
    assert gap(spoilt, V) > 0.5
    for A in (phases, amplitudes):
        assert len(A(V)) > 20
        assert (A(spoilt) - A(V)).abs().max() < 1e-12 * A(V).abs().max().clamp_min(1)
        assert (A(control) - A(V)).abs().max() > 0.1


def test_closures_of_several_scans_stay_in_their_scan():
    _, baselines, scans = event_horizon(7)
    for found in (closure_triangles(baselines, scans), closure_quadrangles(baselines, scans)):
        assert (scans[found] == scans[found][:, :1]).all()
    i, j, k = baselines[closure_triangles(baselines, scans)].unbind(1)
    assert (i[:, 0] == k[:, 0]).all() and (i[:, 1] == j[:, 0]).all() and (j[:, 1] == k[:, 1]).all()


@pytest.mark.parametrize("missing", list(combinations(range(4), 2)))
def test_a_missing_baseline_leaves_one_closure_amplitude(missing):
    """Four stations have three ways to pair, two of them independent; the one without the lost pair is still there."""
    baselines = torch.tensor([pair for pair in combinations(range(4), 2) if pair != missing])
    found = closure_quadrangles(baselines, torch.zeros(5, dtype=torch.int64))
    assert len(found) == 1
    over, under = baselines[found[0]].reshape(2, -1)  # each side has every station once
    assert sorted(over.tolist()) == sorted(under.tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [3e-8, 1e-7, 1e7, 1e-30, 1e30])
def test_closure_phases_do_not_depend_on_the_unit(size):
    V = torch.polar(torch.tensor([1.0, 0.5, 2.0]), torch.tensor([0.3, -0.4, 2.9]))
    A = ClosurePhase(torch.tensor([[0, 2, 1]]), 3)
    x = (size * V).requires_grad_()
    (g,) = torch.autograd.grad(A(x).imag.sum(), x)
    (want,) = torch.autograd.grad(A(v := V.clone().requires_grad_()).imag.sum(), v)
    assert torch.allclose(A(x).abs(), torch.ones(1)) and torch.allclose(A(x), A(V), atol=1e-6)
    assert torch.allclose(size * g, want, rtol=1e-4, atol=1e-5)


def test_closures_of_no_signal_have_no_gradient_and_no_nan():
    x = torch.zeros(3, dtype=C, requires_grad=True)
    y = ClosurePhase(torch.tensor([[0, 2, 1]]), 3, C)(x)
    (g,) = torch.autograd.grad(y.real.sum(), x)
    assert (y == 0).all() and (g == 0).all()
    x = torch.zeros(4, dtype=C, requires_grad=True)
    y = LogClosureAmplitude(torch.tensor([[0, 1, 2, 3]]), 4, C)(x)
    (g,) = torch.autograd.grad(y.sum(), x)
    assert (y == 0).all() and (g == 0).all()


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: Interferometry(torch.zeros(3, 2), (4, 4), (1e-9, 1e-9)), "double"),
        (lambda: Interferometry(torch.zeros(3, 3, dtype=R), (4, 4), (1e-9, 1e-9)), r"\(M, 2\)"),
        (lambda: Interferometry(torch.zeros(3, 2, dtype=R), (4, 4), (0.0, 1e-9)), "field_of_view"),
        (lambda: Interferometry(torch.zeros(3, 2, dtype=R), (4, 4), (1e-9, 1e-9), C), "real"),
        (lambda: ClosurePhase(torch.tensor([[0, 1, 3]]), 3), "indices from 0 to 2"),
        (lambda: ClosurePhase(torch.tensor([[0, 1]]), 3), "triangles"),
        (lambda: LogClosureAmplitude(torch.zeros(0, 4, dtype=torch.int64), 3), "at least one row"),
        (lambda: LogClosureAmplitude(torch.tensor([[0, 1, 2, 2]]), 3, R), "complex"),
    ],
)
def test_interferometry_that_cannot_be(make, says):
    with pytest.raises(BadInput, match=says):
        make()


# Flow.


def grid(shape, lengths):
    y, x = (torch.arange(n, dtype=R) * length / n for n, length in zip(shape, lengths, strict=True))
    return y[:, None], x


def smooth_flow(shape, lengths=(1.0, 1.0), waves=3, seed=0):
    """A random vorticity of a few long waves."""
    y, x = grid(shape, lengths)
    amplitude, phase = normal(waves, waves, seed=seed), 6.28 * normal(waves, waves, seed=seed + 1)
    total = 0
    for a in range(waves):
        for b in range(waves):
            turn = 2 * np.pi * ((a + 1) * y / lengths[0] + (b - 1) * x / lengths[1])
            total = total + amplitude[a, b] * torch.cos(turn + phase[a, b])
    return total


@pytest.mark.parametrize(
    "shape, lengths", [((16, 16), (1.0, 1.0)), ((15, 24), (1.0, 2.0)), ((18, 13), (3.0, 0.7))]
)
@pytest.mark.parametrize("viscosity", [0.0, 3e-3])
def test_taylor_green_vortices_decay_and_do_not_move(shape, lengths, viscosity):
    y, x = grid(shape, lengths)
    ky, kx = (2 * np.pi / length for length in lengths)
    w = torch.cos(kx * x) * torch.cos(ky * y)
    A = NavierStokes(shape, viscosity, 0.8, 5, lengths, dtype=R)
    assert close(A(w), w * np.exp(-viscosity * (kx**2 + ky**2) * 0.8), 1000)


@pytest.mark.parametrize("shape, lengths", [((16, 16), (1.0, 1.0)), ((15, 24), (1.0, 2.0))])
def test_a_wind_carries_a_wave(shape, lengths):
    """A shear flow w = cos(k y) at rest, with a short wave across it whose motion is its shift by the local wind."""
    y, x = grid(shape, lengths)
    A = NavierStokes(shape, 0.0, 0.5, 20, lengths, dtype=R)
    ky, kx = (2 * np.pi / length for length in lengths)
    u, v = A.velocity(torch.cos(ky * y) + 0 * x)
    assert close(u, -torch.sin(ky * y) / ky + 0 * x) and v.abs().max() < 1e-15  # w = -du/dy
    u, v = A.velocity(torch.cos(kx * x) + 0 * y)
    assert close(v, torch.sin(kx * x) / kx + 0 * y) and u.abs().max() < 1e-15  # w = dv/dx
    # Small waves on a shear: dw/dt = -U(y) dw/dx - v dW/dy, to first order in them, is what linearize says at once.
    base, e = torch.cos(ky * y) + 0 * x, 1e-3
    small = torch.cos(kx * x + ky * y)
    short = NavierStokes(shape, 0.0, e, 1, lengths, dtype=R)
    rate = (short.linearize(base)(small) - small) / e
    U, slope = -torch.sin(ky * y) / ky, -ky * torch.sin(ky * y)
    across = torch.sin(kx * x + ky * y) * kx / (kx**2 + ky**2)  # v = -d psi/dx of psi = small / k^2
    want = U * kx * torch.sin(kx * x + ky * y) - across * slope
    assert gap(rate, want) < 2 * e


def test_flow_converges_with_the_fourth_order():
    w, force = 2 * smooth_flow((16, 18)), smooth_flow((16, 18), seed=5)
    solve = lambda steps: NavierStokes((16, 18), 1e-3, 0.5, steps, forcing=force, dtype=R)(w)
    exact = solve(160)
    errors = [gap(solve(steps), exact) for steps in (5, 10, 20)]
    assert errors[0] < 0.05
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 3.6 < np.log2(coarse / fine) < 4.6


def test_flow_without_viscosity_keeps_energy_and_enstrophy():
    """Products without aliases conserve both; the control, on a grid that resolves less, moves as much."""
    shape, w = (20, 20), 8 * smooth_flow((20, 20))
    A = NavierStokes(shape, 0.0, 0.3, 60, dtype=R)
    energy = lambda w: (w * _stream(w)).sum()
    assert gap(A(w), w) > 0.3
    assert energy(A(w)).item() == pytest.approx(energy(w).item(), rel=1e-6)
    assert A(w).square().sum().item() == pytest.approx(w.square().sum().item(), rel=1e-6)
    viscous = NavierStokes(shape, 1e-3, 0.3, 60, dtype=R)(w)
    assert viscous.square().sum() < 0.99 * w.square().sum()
    assert A(w).mean().item() == pytest.approx(w.mean().item(), abs=1e-12)


@pytest.mark.parametrize("shape", [(12, 12), (9, 14), (16, 11)])
def test_no_alias_along_either_axis(shape):
    """Noise fills every wave that is resolved; advection still takes neither energy nor enstrophy from it."""
    e, w = 1e-7, normal(*shape)
    change = NavierStokes(shape, 0.0, e, 1, dtype=R)(w) - w
    for field in (w, _stream(w)):
        cosine = (field * change).sum() / (torch.linalg.vector_norm(field) * torch.linalg.vector_norm(change))
        assert cosine.abs() < 1e-5


def _stream(w):
    y, x = (2 * np.pi * torch.fft.fftfreq(n, 1 / n, dtype=R) for n in w.shape)
    power = y[:, None] ** 2 + x**2
    return torch.fft.ifft2(torch.fft.fft2(w) / torch.where(power > 0, power, torch.inf)).real


def test_a_finer_grid_gives_the_same_flow():
    """Every second point of a twice finer grid, with the same waves on it: what the 2/3 rule keeps is exact."""
    coarse, fine = (NavierStokes((n, n), 5e-3, 0.2, 20, dtype=R) for n in (24, 48))
    small, large = (2 * smooth_flow((n, n), waves=2) for n in (24, 48))
    assert close(small, large[::2, ::2]) and gap(coarse(small), small) > 0.1
    assert gap(coarse(small), fine(large)[::2, ::2]) < 1e-5


def test_forcing_alone_spins_a_flow_up():
    y, x = grid((12, 12), (1.0, 1.0))
    force, nu = torch.cos(2 * np.pi * (x + y)), 0.01
    A, k2 = NavierStokes((12, 12), nu, 2.0, 40, forcing=force, dtype=R), 8 * np.pi**2
    want = force * (1 - np.exp(-nu * k2 * 2.0)) / (nu * k2)
    assert gap(A(torch.zeros(12, 12, dtype=R)), want) < 1e-6


@pytest.mark.parametrize(
    "words, says",
    [
        (dict(viscosity=-1.0), "viscosity"),
        (dict(time=0.0), "time"),
        (dict(steps=0), "steps"),
        (dict(shape=(3, 8)), "shape"),
        (dict(lengths=(1.0, 0.0)), "lengths"),
        (dict(forcing=torch.ones(5)), "broadcast"),
        (dict(dtype=C), "real"),
    ],
)
def test_a_flow_that_cannot_be(words, says):
    with pytest.raises(BadInput, match=says):
        NavierStokes(**{**dict(shape=(8, 8), viscosity=0.1, time=1.0, steps=2), **words})


# Sound.


def sound(shape, h, dt, T, sources, receivers, frequency, fastest=2.5, absorbing=20, order=8):
    points = (torch.tensor(p).reshape(-1, 2) for p in (sources, receivers))
    return FullWaveform(shape, h, dt, ricker(frequency, dt, T, dtype=R), *points, fastest, absorbing, order)


def green_trace(r, c, frequency, times):
    """The pressure at r from a point in the plane: the wavelet over 2 pi sqrt(t^2 - r^2 / c^2), by quadrature."""
    from scipy.integrate import quad

    delay = 1.5 / frequency

    def wave(t):
        a = (np.pi * frequency * (t - delay)) ** 2
        return (1 - 2 * a) * np.exp(-a)

    def one(t):
        late = t**2 - (r / c) ** 2
        if t <= r / c:
            return 0.0
        integrand = lambda s: wave(t - np.hypot(r / c, s)) / np.hypot(r / c, s)
        return quad(integrand, 0, late**0.5, epsabs=1e-10, limit=200)[0] / (2 * np.pi)

    return torch.tensor([one(t) for t in times], dtype=R)


@pytest.mark.parametrize("offset", [(0, 12), (9, 5), (14, 0)])
def test_sound_in_a_homogeneous_medium(offset):
    """Arrival, shape and amplitude, to the error of the time step; the border sends back less than that."""
    h, dt, T, c, f = 0.02, 0.002, 160, 2.0, 12.0
    A = sound((24, 24), h, dt, T, [[4, 6]], [[4 + offset[0], 6 + offset[1]]], f, absorbing=30)
    got = A(torch.full((24, 24), c, dtype=R))[0, :, 0]
    want = green_trace(h * np.hypot(*offset), c, f, dt * (1 + np.arange(T)))
    assert gap(got, want) < 0.015
    assert abs(int(got.argmax()) - int(want.argmax())) <= 1


def test_sound_converges_with_the_square_of_the_step():
    """In time alone, against a run of much shorter steps."""
    c = 1.5 + 0.5 * torch.linspace(0, 1, 14, dtype=R)[:, None].expand(14, 14)

    def trace(n):
        dt = 0.004 / n
        return sound((14, 14), 0.03, dt, 110 * n, [[3, 3]], [[9, 10]], 7.0, absorbing=6)(c)[0, n - 1 :: n, 0]

    exact = trace(16)
    errors = [gap(trace(n), exact) for n in (1, 2, 4)]
    assert errors[0] < 0.05 and 1.8 < np.log2(errors[0] / errors[1]) < 2.3
    assert 1.8 < np.log2(errors[1] / errors[2]) < 2.3


@pytest.mark.parametrize("order", [2, 4, 8, 12])
def test_second_differences_have_their_order(order):
    weights, half = second_difference(order), order // 2
    k = np.arange(-half, half + 1)
    row = np.array(weights)[np.abs(k)]
    for degree in range(order + 2):
        assert (row @ k.astype(float) ** degree) == pytest.approx(
            2.0 * (degree == 2), abs=1e-6 * half**degree
        )
    assert abs(row @ k.astype(float) ** (order + 2)) > 0.5


def test_known_second_differences():
    assert second_difference(2) == pytest.approx([-2, 1])
    assert second_difference(4) == pytest.approx([-5 / 2, 4 / 3, -1 / 12])
    assert second_difference(8) == pytest.approx([-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])


@pytest.mark.parametrize("absorbing", [0, 7])
def test_sound_is_reciprocal(absorbing):
    """Sources and receivers change places in any medium, border included."""
    places = [[1, 2], [8, 3], [5, 9]]
    A = sound((10, 11), 0.05, 0.006, 70, places, places, 8.0, fastest=3.5, absorbing=absorbing)
    y = A(1.5 + Rng(2, "test").uniform(10, 11) * 2)
    assert y.abs().max() > 1e-3 and (y - y.transpose(0, 2)).abs().max() < 1e-12 * y.abs().max()


def test_the_border_absorbs():
    """What comes back, beside a run in a domain so large that nothing has; the control has no border."""
    c = torch.full((20, 20), 2.0, dtype=R)
    trace = lambda n, at, width: sound(
        (n, n), 0.02, 0.003, 300, [[at, at]], [[at + 4, at - 3]], 12.0, absorbing=width
    )(c[:1, :1].expand(n, n))
    free = trace(140, 70, 0)
    assert gap(trace(20, 10, 20), free) < 0.03 and gap(trace(20, 10, 40), free) < 0.006
    assert gap(trace(20, 10, 0), free) > 0.5


def test_nothing_arrives_before_sound_can():
    """Twice the velocity, half the time; and a slow layer delays."""
    h, dt, T = 0.02, 0.002, 150
    A = sound((20, 20), h, dt, T, [[2, 10]], [[17, 10]], 12.0, fastest=4.1)
    peak = lambda c: int(A(c)[0, :, 0].argmax()) * dt
    fast, slow = torch.full((20, 20), 4.0, dtype=R), torch.full((20, 20), 2.0, dtype=R)
    assert peak(slow) - peak(fast) == pytest.approx(15 * h / 2 - 15 * h / 4, abs=2 * dt)
    layer = fast.clone()
    layer[8:12] = 2.0
    assert peak(fast) < peak(layer) < peak(slow)


def test_gradient_of_a_waveform_misfit():
    """At velocities as they are in rock, against differences."""
    A = sound(
        (12, 13), 0.05, 0.006, 60, [[2, 3], [2, 9]], [[9, 2], [9, 6], [9, 11]], 8.0, fastest=4.0, absorbing=5
    )
    c, true, v = (2.5 + 0.3 * normal(12, 13, seed=s).clamp(-3, 3) for s in (0, 1, 2))
    y, misfit = A(true), lambda c: (A(c) - A(true)).square().sum() / 2
    (g,) = torch.autograd.grad(misfit(x := c.requires_grad_()), x)
    c = c.detach()
    assert close(g, A.linearize(c).H(A(c) - y), 1000)
    h = 1e-4
    assert (g * v).sum().item() == pytest.approx(
        ((misfit(c + h * v) - misfit(c - h * v)) / (2 * h)).item(), rel=1e-5
    )


def test_the_longest_step_is_just_stable():
    longest = sound((12, 12), 0.05, 1e-4, 2, [[2, 2]], [[9, 9]], 8.0).longest_step
    c = torch.full((12, 12), 2.5, dtype=R)
    stable = sound((12, 12), 0.05, 0.999 * longest, 800, [[2, 2]], [[9, 9]], 8.0, absorbing=0)
    assert stable(c).abs().max() < 10
    with pytest.raises(BadInput, match="unstable.*at most"):
        sound((12, 12), 0.05, 1.01 * longest, 2, [[2, 2]], [[9, 9]], 8.0)
    faster = torch.full((12, 12), 2.5 * 1.02, dtype=R)
    object.__setattr__(stable, "fastest", 3.0)  # what the check keeps away
    assert not stable(faster).abs().max() < 10


@pytest.mark.parametrize(
    "words, says",
    [
        (dict(sources=[[0, 12]]), "sources"),
        (dict(receivers=[[-1, 0]]), "receivers"),
        (dict(order=3), "order"),
        (dict(h=-0.05), "spacing"),
        (dict(absorbing=-1), "absorbing"),
        (dict(frequency=0.0), "frequency"),
    ],
)
def test_sound_that_cannot_be(words, says):
    given = dict(shape=(12, 12), h=0.05, dt=0.004, T=4, sources=[[2, 2]], receivers=[[3, 3]], frequency=8.0)
    with pytest.raises(BadInput, match=says):
        sound(**{**given, **words})


def test_a_velocity_that_is_too_high():
    A = sound((8, 8), 0.05, 0.004, 4, [[2, 2]], [[3, 3]], 8.0)
    with pytest.raises(BadInput, match="above fastest = 2.5"):
        A(torch.full((8, 8), 2.6, dtype=R))
    assert A(torch.full((3, 8, 8), 2.5, dtype=R)).shape == (3, 1, 4, 1)
