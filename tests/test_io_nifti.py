"""NIfTI files: order of the axes, voxel size, and nothing half-written."""

import nibabel
import numpy as np
import pytest
import torch

from workbench._errors import BadInput
from workbench.io.nifti import read_nifti, write_nifti


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape, spacing", [((3, 5, 4), (5.0, 0.5, 0.75)), ((5, 4), (0.5, 0.75))])
def test_a_volume_comes_back_with_its_spacing(tmp_path, ending, shape, spacing):
    volume = torch.randn(shape)
    path = tmp_path / f"a{ending}"
    write_nifti(path, volume, spacing)
    back, sizes = read_nifti(path)
    assert torch.equal(back, volume)
    assert sizes == pytest.approx(spacing)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_another_reader_sees_x_y_slices_and_mm(tmp_path):
    volume = torch.arange(60, dtype=torch.float64).reshape(3, 5, 4)
    write_nifti(tmp_path / "a.nii", volume, (5.0, 0.5, 0.75), units="1/mm")
    image = nibabel.load(tmp_path / "a.nii")
    assert image.shape == (4, 5, 3)
    assert image.get_fdata()[1, 2, 0] == volume[0, 2, 1]
    assert np.allclose(image.affine, np.diag([0.75, 0.5, 5.0, 1.0]))
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.float32
    assert b"1/mm" in bytes(image.header["descrip"])


def test_unknown_spacing_claims_no_unit(tmp_path):
    write_nifti(tmp_path / "a.nii", torch.ones(2, 3))
    assert nibabel.load(tmp_path / "a.nii").header.get_xyzt_units()[0] == "unknown"


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    write_nifti(tmp_path / "a.nii", torch.ones(2, 3))
    before = (tmp_path / "a.nii").read_bytes()

    def full(image, name):
        open(name, "wb").write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(nibabel, "save", full)
    with pytest.raises(OSError):
        write_nifti(tmp_path / "a.nii", torch.zeros(2, 3))
    assert (tmp_path / "a.nii").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "name, volume, spacing, says",
    [
        ("a.png", torch.ones(2, 3), None, "a.png should end in .nii"),
        ("no/a.nii", torch.ones(2, 3), None, "folder does not exist"),
        ("a.nii", torch.ones(2, 3) * 1j, None, "complex64"),
        ("a.nii", torch.ones(2), None, r"\(2,\)"),
        ("a.nii", torch.ones(2, 3), (1.0,), r"\(1.0,\) should be 2"),
        ("a.nii", torch.ones(2, 3), (1.0, -1.0), "positive"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, name, volume, spacing, says):
    with pytest.raises(BadInput, match=says):
        write_nifti(tmp_path / name, volume, spacing)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BadInput, match="not a file"):
        read_nifti(tmp_path / "none.nii")
    (tmp_path / "a.nii").write_bytes(b"not nifti")
    with pytest.raises(BadInput, match="a.nii is not a readable"):
        read_nifti(tmp_path / "a.nii")
    write_nifti(tmp_path / "b.nii.gz", torch.randn(4, 30, 30))
    (tmp_path / "c.nii.gz").write_bytes((tmp_path / "b.nii.gz").read_bytes()[:2000])
    with pytest.raises(BadInput, match="c.nii.gz is not a readable"):
        read_nifti(tmp_path / "c.nii.gz")
