"""Reading parallel-beam scans: what is read, what is assumed and said, and what is refused."""

from math import pi

import h5py
import numpy as np
import pytest
import torch

from workbench._errors import BadInput
from workbench.classical.fbp import filtered_back_projection, hann
from workbench.io.sinogram import counting_statistics, estimate_centre, read_sinogram

RNG = np.random.default_rng(0)
DISCS = [
    (6.0, -9.0, 8.0, 0.03),
    (-11.0, 4.0, 5.0, 0.05),
    (2.0, 13.0, 3.0, 0.08),
]  # x1, x2, radius, attenuation


def projections(angles, detectors, centre):
    """The line integrals of three discs, (angles, detectors), columns of 1 mm."""
    s, t = np.arange(detectors) - centre, angles[:, None]
    square = [r**2 - (s - a * np.cos(t) - b * np.sin(t)) ** 2 for a, b, r, _ in DISCS]
    return sum(2 * mu * np.sqrt(np.maximum(q, 0)) for q, (*_, mu) in zip(square, DISCS, strict=True))


def exchange(path, p, t, gain=2.0, read=3.0, flats=10, **change):
    """A Data Exchange file of counts, with photon noise (variance gain per count) and read-out noise."""
    slices, n, detectors = p.shape
    beam = 20000 * (1 + 0.2 * np.cos(np.arange(detectors) / 30))

    def counts(mean):
        return gain * RNG.poisson(mean / gain) + 100 + read * RNG.standard_normal(mean.shape)

    fields = dict(
        data=counts((beam * np.exp(-p)).swapaxes(0, 1)),
        data_white=counts(
            np.broadcast_to(beam, (flats, slices, detectors)) * RNG.uniform(0.99, 1.01, (flats, 1, 1))
        ),
        data_dark=counts(np.zeros((flats, slices, detectors))),
        theta=np.rad2deg(t),
    )
    with h5py.File(path, "w") as file:
        for name, value in (fields | change).items():
            if value is not None:
                file["exchange/" + name] = value
    return path


@pytest.fixture(autouse=True)
def same_draws():
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


@pytest.fixture
def npy(tmp_path):
    np.save(tmp_path / "a.npy", RNG.standard_normal((2, 9, 16)).astype(np.float32))
    return tmp_path / "a.npy"


def test_npy_with_its_angles(npy, tmp_path):
    degrees = np.linspace(0, 160, 9)
    np.savetxt(tmp_path / "angles.txt", degrees)
    np.save(tmp_path / "angles.npy", degrees)
    array = np.load(npy)
    for given in (degrees, list(degrees), tmp_path / "angles.txt", str(tmp_path / "angles.npy")):
        scan = read_sinogram(npy, angles=given, spacing=0.3, centre=7.2)
        assert torch.equal(scan.data, torch.as_tensor(array)) and scan.data.dtype == torch.float32
        assert np.allclose(scan.angles, np.deg2rad(degrees), rtol=1e-12)
        assert (scan.spacing, scan.centre, scan.known_spacing, scan.sigma) == (0.3, 7.2, True, None)
    np.save(npy, array[1])
    assert torch.equal(read_sinogram(npy).data, torch.as_tensor(array[1:]))


def test_assumptions_are_said(npy):
    scan = read_sinogram(npy)
    assert not scan.known_spacing and scan.spacing == 1
    assert np.allclose(scan.angles, np.arange(9) * pi / 9)
    said = " ".join(scan.notes)
    assert "180 degrees were assumed" in said and "1 mm" in said and "axis is at column" in said
    assert "rad" in " ".join(read_sinogram(npy, angles=np.linspace(0, 3, 9)).notes)


def test_slices(npy):
    array = np.load(npy)
    for slices, want in [
        (1, array[1:]),
        (-1, array[1:]),
        (slice(0, 1), array[:1]),
        (slice(None, None, 2), array[::2]),
    ]:
        assert torch.equal(read_sinogram(npy, slices=slices).data, torch.as_tensor(want))
    for slices in (2, slice(5, 9), "0:1", slice(None, None, -1)):
        with pytest.raises(BadInput, match="slices"):
            read_sinogram(npy, slices=slices)


def test_binned_line_integrals(npy):
    scan, array = read_sinogram(npy, spacing=0.3, centre=7.0, bin=3), np.load(npy)
    assert torch.allclose(scan.data, torch.as_tensor(array[..., :15].reshape(2, 9, 5, 3).mean(-1)), atol=1e-6)
    assert scan.spacing == pytest.approx(0.9) and scan.centre == 2.0  # column 7 is the middle of 6, 7, 8
    assert "last 1 of the 16" in " ".join(scan.notes)


@pytest.mark.parametrize("name", ["sinogram", "group/observation", "only_one"])
@pytest.mark.parametrize("unit, scale", [("degrees", 180 / pi), ("rad", 1), (None, 180 / pi), (None, 1)])
def test_hdf5(tmp_path, name, unit, scale):
    array, t = RNG.standard_normal((9, 16)), np.linspace(0.1, 3, 9)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[name] = array
        file["theta"] = t * scale
        if unit:
            file["theta"].attrs["units"] = unit
    scan = read_sinogram(tmp_path / "a.h5")
    assert np.allclose(scan.data[0], array, atol=1e-6) and np.allclose(scan.angles, t)
    assert ("no unit" in " ".join(scan.notes)) is (unit is None)


@pytest.mark.parametrize("flats", [2, 10])
def test_counts_become_line_integrals_with_their_noise(tmp_path, flats):
    t = np.arange(90) * pi / 90
    p = np.stack([projections(t, 64, 33.4), 0.5 * projections(t, 64, 33.4)])
    scan = read_sinogram(exchange(tmp_path / "a.h5", p, t, flats=flats), spacing=1.0)
    error = scan.data - torch.as_tensor(p)
    assert np.allclose(scan.angles, t)
    assert abs(error.mean()) < 6e-3  # the flats drift by up to 1 percent
    assert (error / scan.sigma).std().item() == pytest.approx(1, rel=0.1)
    for half in (p > np.median(p), p <= np.median(p)):
        assert (error / scan.sigma)[torch.as_tensor(half)].std().item() == pytest.approx(1, rel=0.15)
    assert scan.centre == pytest.approx(33.4, abs=0.1)
    one = read_sinogram(tmp_path / "a.h5", slices=1)
    assert torch.allclose(one.data[0], scan.data[1]) and "raised" not in " ".join(scan.notes)


def test_binned_counts(tmp_path):
    t = np.arange(60) * pi / 60
    p = projections(t, 96, 44.7)[None]
    scan = read_sinogram(exchange(tmp_path / "a.h5", p, t), spacing=0.5, bin=2)
    want = -np.log(
        np.exp(-p).reshape(1, 60, 48, 2).mean(-1)
    )  # the transmission is averaged, not its logarithm
    error = scan.data - torch.as_tensor(want)
    assert scan.spacing == 1.0 and scan.centre == pytest.approx((44.7 - 0.5) / 2, abs=0.1)
    assert (error / scan.sigma).std().item() == pytest.approx(1, rel=0.1)


def test_photon_transfer():
    flux = RNG.uniform(0.95, 1.05, (40, 1, 1))  # the beam drifts, which is not noise
    white = (
        0.65 * RNG.poisson(flux * 20000 / 0.65, (40, 2, 200)) + 100 + 3 * RNG.standard_normal((40, 2, 200))
    )
    dark = 100 + 3 * RNG.standard_normal((40, 2, 200))
    gain, read = counting_statistics(white, dark)
    assert gain == pytest.approx(0.65, rel=0.05) and read == pytest.approx(9, rel=0.1)


def test_opaque_entries_are_raised_and_counted(tmp_path):
    t, p = np.arange(30) * pi / 30, projections(np.arange(30) * pi / 30, 64, 31.0)[None].copy()
    p[0, 4:7, 30] = 60.0
    scan = read_sinogram(exchange(tmp_path / "a.h5", p, t, read=0.0), centre=31.0)
    assert torch.allclose(scan.data[0, 4:7, 30], torch.tensor(-np.log(1e-4)).float())
    assert "3 of 1920 entries" in " ".join(scan.notes)
    assert scan.sigma[0, 5, 30] > 10 * scan.sigma.median()


def test_fields_that_are_missing(tmp_path):
    t = np.arange(30) * pi / 30
    p = projections(t, 64, 31.0)[None]
    with pytest.raises(BadInput, match="data_white"):
        read_sinogram(exchange(tmp_path / "a.h5", p, t, data_white=None))
    scan = read_sinogram(exchange(tmp_path / "b.h5", p, t, theta=None, data_dark=None))
    assert "no dark field" in " ".join(scan.notes) and len(scan.angles) == 30
    scan = read_sinogram(exchange(tmp_path / "c.h5", p, t, flats=1))
    assert scan.sigma is None and "noise is not known" in " ".join(scan.notes)
    with pytest.raises(BadInput, match="brighter"):
        read_sinogram(exchange(tmp_path / "d.h5", p, t, data_white=np.full((3, 1, 64), 90.0)))
    with pytest.raises(BadInput, match="data_dark"):
        read_sinogram(exchange(tmp_path / "e.h5", p, t, data_dark=np.zeros((3, 1, 60))))


@pytest.mark.parametrize(
    "t, how",
    [
        (np.arange(180) * pi / 180, "pairs"),  # no view at 180 degrees: neighbours are extrapolated
        (np.arange(181) * pi / 180, "pairs"),
        (np.arange(120) * pi / 60, "pairs"),
        (np.arange(12) * pi / 12, "centroids"),
        (np.arange(100) * pi / 180, "centroids"),
        (np.arange(40) * pi / 180, "assumed"),
    ],
)
def test_the_axis_is_found(t, how):
    p = projections(t, 101, 45.3)[None] + 0.01 * RNG.standard_normal((2, len(t), 101))
    column, said = estimate_centre(p, t)
    assert how in said
    assert column == pytest.approx(50 if how == "assumed" else 45.3, abs=0.15)


def test_the_axis_of_a_cut_object():
    t = np.arange(181) * pi / 180
    column, _ = estimate_centre(projections(t, 101, 45.3)[None, :, 30:72], t)
    assert column == pytest.approx(15.3, abs=0.15)


def test_files_that_cannot_be_read(tmp_path, npy):
    whole = exchange(tmp_path / "whole.h5", np.zeros((2, 30, 64)), np.arange(30) * 0.1).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.npy").write_bytes(npy.read_bytes()[:-100])
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("not an array at all")
    np.save(tmp_path / "objects.npy", np.array([[{}, {}]], dtype=object))
    np.save(tmp_path / "flat.npy", np.zeros(9))
    np.save(tmp_path / "four.npy", np.zeros((1, 2, 3, 4)))
    np.save(tmp_path / "none.npy", np.zeros((3, 0)))
    np.save(tmp_path / "nan.npy", np.array([[0.0, np.nan], [np.inf, 1.0]]))
    np.save(tmp_path / "complex.npy", np.zeros((3, 4), complex))
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"] = file["b"] = np.zeros((3, 4))
    words = dict(
        cut_h5="cut short", cut_npy="cut short", empty_npy="empty", text_npy="neither", objects_npy="objects",
        flat_npy="shape", four_npy="shape", none_npy="shape", nan_npy="2 NaN", complex_npy="complex",
        two_h5="a, b", absent_npy="not a file",
    )  # fmt: skip
    for name, word in words.items():
        with pytest.raises(BadInput, match=word) as caught:
            read_sinogram(tmp_path / name.replace("_", "."))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(spacing=0.0), "spacing"),
        (dict(spacing=float("nan")), "spacing"),
        (dict(centre=float("inf")), "centre"),
        (dict(bin=0), "bin"),
        (dict(bin=1.5), "bin"),
        (dict(bin=17), "bin"),
        (dict(angles=np.zeros(8)), "8 entries"),
        (dict(angles=np.zeros((9, 1))), "angles"),
        (dict(angles=np.full(9, np.nan)), "angles"),
        (dict(angles="nowhere.txt"), "nowhere"),
    ],
)
def test_bad_arguments_are_refused(npy, change, word):
    with pytest.raises(BadInput, match=word):
        read_sinogram(npy, **change)


def test_a_real_tooth(scans):
    """Synchrotron counts. The axis: 295.5 from the views at 0 and 179 degrees alone, which are 1 degree short of
    a pair; corrected for that, 295.9, where the image is also the least negative."""
    path = scans / "ct_tooth_tomopy" / "tooth.h5"
    if not path.is_file():
        pytest.skip("the tooth is not among the scans")
    scan = read_sinogram(path, slices=0, bin=2)
    assert scan.data.shape == (1, 181, 320) and scan.spacing == 2 and not scan.known_spacing
    assert 2 * scan.centre + 0.5 == pytest.approx(295.5, abs=0.5)
    assert 2 * scan.centre + 0.5 == pytest.approx(295.93, abs=0.15)
    air = scan.data[..., :20]
    assert scan.sigma[..., :20].mean().item() == pytest.approx(air.diff(dim=1).std().item() / 2**0.5, rel=0.1)
    x = filtered_back_projection(scan.operator(), scan.data, hann)[0]
    tooth = x > 0.004
    assert 0.1 < tooth.float().mean() < 0.2  # of the field of view
    assert x[~tooth].mean().abs() < 0.05 * x[tooth].mean()
