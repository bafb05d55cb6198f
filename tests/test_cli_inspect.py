"""`workbench inspect`: what is said of every kind of file is what was put in, and a bad one is a sentence."""

import json
import os

import h5py
import numpy as np
import pytest
import torch
from test_io_kspace import HEADER, fastmri

import workbench as wb
from workbench.cli import main
from workbench.cli._results import save_npz
from workbench.io.nifti import write_nifti


def run(capsys, *words):
    """Status, standard output and standard error of `workbench inspect WORDS`."""
    status = main(["inspect", *map(str, words)])
    text = capsys.readouterr()
    return status, text.out, text.err


def said(capsys, *words):
    """The facts about a file that is good."""
    status, out, err = run(capsys, *words, "--json")
    assert status == 0, err
    plain = run(capsys, *words)[1]
    found = json.loads(out)
    assert all(label in plain and str(value) in plain for label, value in found.items() if label != "notes")
    assert all(f"- {note}" in plain for note in found.get("notes", []))
    return found


def kspace(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def test_numpy_kspace(tmp_path, capsys):
    data = kspace(3, 20, 16)
    data[..., 12:] = 0
    data[..., 0] = 0  # 11 of 16 columns: 1 ... 11
    np.save(tmp_path / "scan.npy", data)
    found = said(capsys, tmp_path / "scan.npy")
    assert found["holds"] == "k-space (MRI)" and found["numbers on disk"] == "complex64, 3 x 20 x 16 (.npy)"
    assert (found["slices"], found["coils"], found["matrix"]) == (1, 3, "20 x 16")
    assert found["sampled"] == "68.8 % of the points, acceleration 1.45, whole lines of phase encodes"
    assert found["calibration"] == "the middle 20 x 8 points are complete, enough for ESPIRiT"
    assert found["voxel size"] == "not known" and found["modulus"].startswith(
        f"up to {np.abs(data).max():.4g}, median "
    )
    assert any("voxel size" in note for note in found["notes"])


def test_points_of_kspace_and_no_middle(tmp_path, capsys):
    data = kspace(8, 8)
    data[::2, ::2] = 0
    np.save(tmp_path / "scan.npy", data)
    found = said(capsys, tmp_path / "scan.npy")
    assert found["sampled"] == "75.0 % of the points, acceleration 1.33, single points"
    assert "--maps" in found["calibration"]


def test_fastmri_without_the_patient(tmp_path, capsys):
    path = fastmri(tmp_path / "scan.h5", kspace(3, 2, 12, 10), HEADER.format(x=12, y=10))
    found = said(capsys, path)
    assert found["numbers on disk"] == "complex64, 3 x 2 x 12 x 10 (HDF5)" and found["slices"] == 3
    assert found["voxel size"] == "4.5 x 2 x 1 mm (slice, row, column)"
    assert found["sampled"] == "100.0 % of the points, acceleration 1.00, all of them"
    assert said(capsys, path, "--slices", "1:3")["slices"] == 2
    assert "somebody" not in json.dumps(found)


def test_sinogram(tmp_path, capsys):
    np.save(tmp_path / "s.npy", np.linspace(-1, 2, 30 * 21, dtype=np.float32).reshape(30, 21))
    found = said(capsys, tmp_path / "s.npy")
    assert (
        found["holds"] == "a sinogram (parallel-beam CT)"
        and found["numbers on disk"] == "float32, 30 x 21 (.npy)"
    )
    assert (found["slices"], found["views"], found["detector columns"]) == (1, 30, 21)
    assert found["angles"] == "0 to 174 degrees" and found["line integrals"] == "-1 to 2"
    assert found["column spacing"] == found["noise"] == "not known"
    assert found["rotation axis"].endswith("the middle being 10")
    assert any("were assumed" in note for note in found["notes"])


def test_data_exchange(tmp_path, capsys):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["exchange/data"] = rng.poisson(500, (12, 2, 9)).astype(np.float32)
        file["exchange/data_white"] = rng.poisson(1000, (4, 2, 9)).astype(np.float32)
        file["exchange/theta"] = np.linspace(10, 65, 12)
        file["measurement/sample/name"] = "somebody"
    found = said(capsys, tmp_path / "s.h5")
    assert found["numbers on disk"] == "float32, 12 x 2 x 9 (HDF5)"
    assert (found["slices"], found["views"], found["detector columns"]) == (2, 12, 9)
    assert found["angles"] == "10 to 65 degrees" and found["noise"].startswith("median sigma 0.0")
    assert said(capsys, tmp_path / "s.h5", "--slices", "1")["slices"] == 1
    assert "somebody" not in json.dumps(found)


def test_hdf5_sinogram_of_another_name(tmp_path, capsys):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["sinogram"] = np.ones((6, 5))
        file["angles"] = np.arange(6) * 30.0
    found = said(capsys, tmp_path / "s.h5")
    assert found["numbers on disk"] == "HDF5" and found["angles"] == "0 to 150 degrees"


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti(tmp_path, capsys, ending):
    path = tmp_path / f"v{ending}"
    write_nifti(path, torch.arange(24.0).reshape(2, 3, 4), (5.0, 1.5, 1.0), units="1/mm")
    found = said(capsys, path)
    assert (
        found["holds"] == "a NIfTI volume"
        and found["numbers on disk"] == "float32"
        and found["unit"] == "1/mm"
    )
    assert found["shape"].startswith("2 x 3 x 4 ") and found["voxel size"] == "5 x 1.5 x 1 mm"
    assert found["orientation"].startswith("RAS") and found["values"] == "0 to 23"


def test_nifti_texts_stay_unread(tmp_path, capsys):
    import nibabel

    image = nibabel.Nifti1Image(np.array([[[1, np.nan, 3]]], dtype=np.float32), np.diag([-1, 1, 1, 1]))
    image.header["descrip"] = image.header["aux_file"] = image.header["db_name"] = b"somebody"
    nibabel.save(image, tmp_path / "v.nii")
    found = said(capsys, tmp_path / "v.nii")
    assert "somebody" not in json.dumps(found) and "unit" not in found
    assert found["values"] == "1 to 3, 1 not finite" and found["orientation"].startswith("LAS")


def test_complex_nifti(tmp_path, capsys, recwarn):
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), 1 + 2j, np.complex64), np.eye(4)), tmp_path / "v.nii")
    assert said(capsys, tmp_path / "v.nii")["numbers on disk"] == "complex64" and not recwarn


def test_arrays(tmp_path, capsys):
    save_npz(
        tmp_path / "recon.npz",
        mean=np.ones((2, 3, 4), np.complex64),
        spacing_mm=np.array((5.0, 1, 1)),
        unit=np.array("1/mm"),
    )
    found = said(capsys, tmp_path / "recon.npz")
    assert (
        found["mean"] == "2 x 3 x 4 complex64"
        and found["spacing_mm"] == "[5.0, 1.0, 1.0]"
        and found["unit"] == "1/mm"
    )


def test_run_folder(tmp_path, capsys):
    assert (
        main(
            [
                "run",
                "toy/g2",
                "--sampler",
                "tds",
                "-n",
                "20",
                "--steps",
                "5",
                "--out",
                str(tmp_path / "g2"),
                "--quiet",
            ]
        )
        == 0
    )
    capsys.readouterr()
    found, post = said(capsys, tmp_path / "g2"), wb.Posterior.load(tmp_path / "g2")
    assert found["holds"].startswith("a run") and found["samples"] == "20 of shape 2, float64"
    assert (
        found["problem"] == "toy/g2"
        and found["steps"] == 5
        and found["seed"] == 0
        and found["sampler"].startswith("TDS(")
    )
    assert found["effective samples"] == round(post.ess, 1) and found["log evidence"] == round(
        post.log_evidence, 4
    )
    assert found["denoiser calls"] == post.cost.denoiser == 100
    assert found["values"] == f"{post.samples.min():.4g} to {post.samples.max():.4g}"


def test_unfinished_run(tmp_path, capsys):
    (tmp_path / "g2.partial").mkdir()
    (tmp_path / "g2.partial" / "checkpoint.json").write_text("{}")
    (tmp_path / "g2.partial" / "batch-0.safetensors").write_bytes(b"")
    found = said(capsys, tmp_path / "g2.partial")
    assert found["holds"].startswith("an unfinished run") and found["parts done"] == 1


def truncated(path, good):
    path.write_bytes(good.read_bytes()[:-40])


def make_bad(kind, folder):
    """A file of a bad kind."""
    path = folder / "bad"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("patient: somebody")
    elif kind == "folder":
        path.mkdir()
    elif kind == "run.json without samples":
        path.mkdir()
        (path / "run.json").write_text("{}")
    elif kind == "cut .npy":
        np.save(folder / "good.npy", kspace(4, 4))
        truncated(path, folder / "good.npy")
    elif kind == "pickle in .npy":
        np.save(folder / "good.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        (folder / "good.npy").rename(path)
    elif kind == "pickle in .npz":
        np.savez(folder / "good.npz", a=np.array([{"a": 1}], dtype=object))
        (folder / "good.npz").rename(path)
    elif kind == "cut .npz":
        np.savez(folder / "good.npz", a=np.ones(100))
        truncated(path, folder / "good.npz")
    elif kind == "cut HDF5":
        with h5py.File(folder / "good.h5", "w") as file:
            file["kspace"] = kspace(1, 1, 40, 40)
        path.write_bytes((folder / "good.h5").read_bytes()[:3000])
    elif kind == "HDF5 without a scan":
        with h5py.File(path, "w") as file:
            file["a"], file["b"] = np.ones((3, 3)), np.ones((3, 3))
    elif kind == "not k-space, NaN":
        np.save(folder / "good.npy", np.full((4, 4), np.nan, np.complex64))
        (folder / "good.npy").rename(path)
    elif kind == "cut NIfTI":
        write_nifti(folder / "good.nii", torch.ones(3, 3, 3))
        path = folder / "bad.nii"
        truncated(path, folder / "good.nii")
    elif kind == "gzip of something":
        path = folder / "bad.nii.gz"
        path.write_bytes(b"\x1f\x8b\x08\x00" + b"0" * 50)
    return path  # of "missing", nothing


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "empty",
        "text",
        "folder",
        "run.json without samples",
        "cut .npy",
        "pickle in .npy",
        "pickle in .npz",
        "cut .npz",
        "cut HDF5",
        "HDF5 without a scan",
        "not k-space, NaN",
        "cut NIfTI",
        "gzip of something",
    ],
)
def test_a_bad_file_is_a_sentence(tmp_path, capsys, kind):
    path = make_bad(kind, tmp_path)
    status, out, err = run(capsys, path)
    assert status == 2 and out == "" and len(err.splitlines()) == 1
    assert path.name in err and "Traceback" not in err and "somebody" not in err


def test_a_forbidden_file_is_a_sentence(tmp_path, capsys, monkeypatch):
    path = tmp_path / "scan.npy"
    np.save(path, kspace(4, 4))
    if os.geteuid() == 0:  # whom no mode of a file keeps out
        usual = open

        def guarded(file, *args, **kwargs):
            if str(file) == str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return usual(file, *args, **kwargs)

        monkeypatch.setattr("builtins.open", guarded)
        monkeypatch.setattr("io.open", guarded)
    path.chmod(0)
    status, _, err = run(capsys, path)
    assert status == 2 and len(err.splitlines()) == 1


def test_slices_out_of_the_scan(tmp_path, capsys):
    np.save(tmp_path / "scan.npy", kspace(4, 4))
    assert run(capsys, tmp_path / "scan.npy", "--slices", "3:9")[0] == 2


def test_real_scans(scans, capsys):
    brain = said(capsys, scans / "mri_brain8_sigpy" / "cartesian_ksp.npy")
    assert (
        brain["sampled"] == "12.4 % of the points, acceleration 8.04, single points" and brain["coils"] == 8
    )
    assert brain["calibration"] == "the middle 24 x 24 points are complete, enough for ESPIRiT"
    tooth = said(capsys, scans / "ct_tooth_tomopy" / "tooth.h5")
    assert (tooth["views"], tooth["slices"], tooth["detector columns"]) == (181, 2, 640)
    assert tooth["rotation axis"].startswith("at column 295.") and tooth["angles"] == "0 to 179 degrees"
