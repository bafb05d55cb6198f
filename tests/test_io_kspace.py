"""Scans on disk: what is read, what is assumed, and a sentence for everything that cannot be read."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from workbench._errors import BadInput
from workbench.io.kspace import parse_slices, read_kspace

HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>{x}</x><y>{y}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>24</x><y>10</y><z>4.5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>1</x><y>1</y><z>1</z></matrixSize></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>6</maximum><center>3</center>
</kspace_encoding_step_1></encodingLimits></encoding></ismrmrdHeader>"""


def kspace(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def fastmri(path, data, header=None, **datasets):
    with h5py.File(path, "w") as file:
        file["kspace"] = data
        file.attrs["patient_id"] = "somebody"
        for name, value in datasets.items():
            file[name] = value
        if header:
            file["ismrmrd_header"] = header
    return path


@pytest.mark.parametrize(
    "shape, full", [((6, 5), (1, 1, 6, 5)), ((3, 6, 5), (1, 3, 6, 5)), ((2, 3, 6, 5), (2, 3, 6, 5))]
)
def test_numpy_axes(tmp_path, shape, full):
    data = kspace(*shape)
    data[..., 1] = 0
    np.save(tmp_path / "scan", data)
    (tmp_path / "scan.npy").rename(tmp_path / "scan.dat")  # the content tells, not the name
    scan = read_kspace(tmp_path / "scan.dat")
    assert np.array_equal(scan.data.numpy(), data.reshape(full))
    assert scan.mask.tolist() == [True, False, True, True, True]
    assert scan.spacing is None and any("voxel size" in note for note in scan.notes)


def test_fastmri_axes_spacing_and_padding(tmp_path):
    data = kspace(3, 2, 12, 10)
    data[..., :2] = 0
    data[..., 9:] = 0
    path = fastmri(tmp_path / "scan.h5", data, HEADER.format(x=12, y=10), mask=np.ones(10))
    scan = read_kspace(path, slices="1:3")
    assert np.array_equal(scan.data.numpy(), data[1:3])
    assert scan.spacing == pytest.approx((4.5, 2.0, 1.0))
    assert scan.mask.tolist() == [False] * 2 + [True] * 7 + [False]
    assert any("3 columns" in note for note in scan.notes)
    assert "somebody" not in repr(scan)


def test_fastmri_mask_and_single_coil(tmp_path):
    mask = np.arange(10) % 2
    scan = read_kspace(fastmri(tmp_path / "a.h5", kspace(3, 12, 10), mask=mask))
    assert scan.data.shape == (3, 1, 12, 10)
    assert scan.mask.tolist() == (mask > 0).tolist()
    assert not scan.data[..., ::2].any()


def test_a_header_of_another_size_still_gives_the_spacing(tmp_path):
    scan = read_kspace(fastmri(tmp_path / "a.h5", kspace(1, 2, 8, 10), HEADER.format(x=12, y=10)))
    assert scan.spacing == pytest.approx((4.5, 2.0, 1.0))
    assert scan.mask.all() and any("12 x 10 points" in note for note in scan.notes)


def test_a_header_without_limits_still_gives_the_spacing(tmp_path):
    header = HEADER.format(x=8, y=10).replace("encodingLimits", "otherLimits")
    scan = read_kspace(fastmri(tmp_path / "a.h5", kspace(1, 2, 8, 10), header))
    assert scan.spacing == pytest.approx((4.5, 3.0, 1.0))


def test_a_damaged_header_costs_only_the_spacing(tmp_path):
    scan = read_kspace(fastmri(tmp_path / "a.h5", kspace(1, 2, 8, 10), "<broken"))
    assert scan.spacing is None and any("header" in note for note in scan.notes)


def test_a_given_mask_hides_the_rest(tmp_path):
    np.save(tmp_path / "a.npy", kspace(3, 6, 5))
    np.save(tmp_path / "mask.npy", np.array([1, 0, 1, 0, 0]))
    scan = read_kspace(tmp_path / "a.npy", mask=tmp_path / "mask.npy")
    assert scan.mask.tolist() == [True, False, True, False, False]
    assert not scan.data[..., 1].any() and scan.data[..., 2].all()


def test_maps_and_noise_are_read_and_cut_to_the_slices(tmp_path):
    np.save(tmp_path / "a.npy", kspace(4, 3, 6, 5))
    maps = kspace(4, 3, 6, 5, seed=1)
    scan = read_kspace(tmp_path / "a.npy", slices="1:3", maps=maps, noise=kspace(3, 7))
    assert np.array_equal(scan.maps.numpy(), maps[1:3]) and scan.noise.shape == (3, 7)
    assert read_kspace(tmp_path / "a.npy", maps=maps[0]).maps.shape == (3, 6, 5)


@pytest.mark.parametrize(
    "text, expected", [("1:3", [1, 2]), (":2", [0, 1]), ("3:", [3]), ("2", [2]), (None, [0, 1, 2, 3])]
)
def test_parse_slices(text, expected):
    assert list(parse_slices(text, 4)) == expected


@pytest.mark.parametrize("text", ["2:1", "0:5", "-1:2", "4", "a:b", "1:1", "", "1:2:3", "1.5"])
def test_slices_out_of_range(text):
    with pytest.raises(BadInput, match="slices = "):
        parse_slices(text, 4)


def broken(folder):
    """(path, what the sentence says) for everything that is not a scan."""
    good = kspace(2, 3, 6, 5)
    bad = {
        "nan": np.where(np.arange(5) == 2, np.nan, good),
        "inf": np.where(np.arange(5) == 2, np.inf, good),
        "zeros": 0 * good,
        "real": good.real,
        "vector": good[0, 0, 0],
        "five axes": good[None],
        "different": good * (np.random.default_rng(0).random((2, 1, 6, 5)) < 0.5),
    }
    for name, array in bad.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "whole.npy", good)
    (folder / "short.npy").write_bytes((folder / "whole.npy").read_bytes()[:300])
    (folder / "empty.npy").write_bytes(b"")
    (folder / "text.npy").write_text("hello")
    fastmri(folder / "real.h5", good.real)
    fastmri(folder / "flat.h5", good[0, 0])
    fastmri(folder / "mask.h5", good, mask=np.ones(7))
    (folder / "short.h5").write_bytes(fastmri(folder / "long.h5", kspace(4, 3, 60, 50)).read_bytes()[:3000])
    with h5py.File(folder / "none.h5", "w") as file:
        file["image"] = good
    with h5py.File(folder / "group.h5", "w") as file:
        file.create_group("kspace")
    says = {
        "missing.npy": "does not exist", ".": "is a folder", "empty.npy": "is empty", "text.npy": "neither",
        "pickled.npy": "Python objects", "short.npy": "cut short", "real.npy": "complex", "vector.npy": "shape",
        "five axes.npy": "shape", "nan.npy": "NaN", "inf.npy": "NaN or infinite", "zeros.npy": "only zeros",
        "different.npy": "different masks", "real.h5": "complex", "flat.h5": "shape", "none.h5": "no dataset 'kspace'",
        "group.h5": "no dataset 'kspace'", "short.h5": "cut short", "mask.h5": "mask of shape",
    }  # fmt: skip
    return says.items()


def test_everything_that_is_not_a_scan_gets_one_sentence(tmp_path):
    for name, says in broken(tmp_path):
        with pytest.raises(BadInput, match=says) as caught:
            read_kspace(tmp_path / name)
        assert "\n" not in str(caught.value), name
        assert name == "." or name in str(caught.value) or name == "different.npy", name


def test_masks_maps_and_noise_that_do_not_fit(tmp_path):
    data = kspace(2, 3, 6, 5)
    data[..., 1] = 0
    np.save(tmp_path / "a.npy", data)
    for given, says in [
        (dict(mask=np.ones(6)), r"mask has shape \(6,\)"),
        (dict(mask=np.ones(5)), "mask claims 6 points"),
        (dict(mask=np.zeros(5)), "no True entry"),
        (dict(mask="nowhere.npy"), "nowhere.npy does not exist"),
        (dict(mask=object()), "array of numbers"),
        (dict(maps=data[0, :2]), r"maps is torch.complex64 of shape \(2, 6, 5\)"),
        (dict(maps=data[0].real), "maps is torch.float32"),
        (dict(maps=data[0] * np.nan), "maps has NaN"),
        (dict(noise=kspace(7, 3)), r"noise is .* shape \(7, 3\)"),
        (dict(noise=kspace(3, 7) * np.inf), "noise has NaN"),
        (dict(slices="1:9"), "slices = '1:9'"),
    ]:
        with pytest.raises(BadInput, match=says):
            read_kspace(tmp_path / "a.npy", **given)


def test_the_real_brain():
    path = Path(__file__).parent.parent / os.environ.get("WORKBENCH_SCANS", "../shared/data")
    path = path / "mri_brain8_sigpy" / "cartesian_ksp.npy"
    if not path.exists():
        pytest.skip("no scans here")
    scan = read_kspace(path)
    assert scan.data.shape == (1, 8, 230, 180) and scan.mask.shape == (230, 180)
    assert float(scan.mask.float().mean()) == pytest.approx(1 / 8.04, rel=1e-3)
