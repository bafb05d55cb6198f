"""NIfTI-1: volumes with their voxel size, for every viewer of medical images."""

import os
import tempfile
import zlib
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from workbench._errors import BadInput


def write_nifti(path, volume, spacing=None, units=""):
    """Write a real volume, (slices, y, x) or (y, x), to .nii or .nii.gz as float32, with its voxel size in mm.

    spacing: mm of the volume's axes in their order, or None for 1 of no unit.  units: of the values (HU, 1/mm, ...),
    kept in the header's description, up to 70 characters.  The file's axes are (x, y, slices), as
    NIfTI has it, so file[i, j, k] = volume[k, j, i]; the affine is diagonal, without an origin or a rotation: voxel
    sizes are right, the position in the scanner is not known. It is written under a temporary name beside and renamed,
    so `path` is never half a file. Raises BadInput for a name, a shape or a spacing that NIfTI cannot hold.
    """
    import nibabel

    path, volume = Path(path), torch.as_tensor(volume)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise BadInput(f"write_nifti: path = {path} should end in .nii or .nii.gz")
    if not path.parent.is_dir():
        raise BadInput(f"write_nifti: path = {path}, whose folder does not exist; make it first")
    if volume.is_complex() or volume.ndim not in (2, 3) or not volume.numel():
        raise BadInput(
            f"write_nifti: volume is {volume.dtype} of shape {tuple(volume.shape)}, it should be real of shape (y, x) "
            f"or (slices, y, x); use volume.abs()"
        )
    sizes = (1.0,) * volume.ndim if spacing is None else tuple(float(s) for s in spacing)
    if len(sizes) != volume.ndim or not all(isfinite(s) and s > 0 for s in sizes):
        raise BadInput(
            f"write_nifti: spacing = {spacing} should be {volume.ndim} positive lengths in mm, one for each axis"
        )
    array = volume.detach().cpu().to(torch.float32).numpy().transpose()
    image = nibabel.Nifti1Image(array, np.diag([*sizes[::-1], 1.0, 1.0][:4]))
    image.header.set_xyzt_units("unknown" if spacing is None else "mm")
    image.header["descrip"] = f"values in {units}"[:79].encode() if units else b""
    ending = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    handle, name = tempfile.mkstemp(suffix=ending, prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        nibabel.save(image, name)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_nifti(path):
    """(volume, spacing) of a NIfTI file: float32 in the order (slices, y, x), mm of each axis in that order.

    The inverse of `write_nifti`; scaling of the header is applied, orientation is not: axes are reversed, not turned.
    Raises BadInput for a file that is not a readable NIfTI volume.
    """
    import nibabel

    path = Path(path)
    if not path.is_file():
        raise BadInput(f"read_nifti: path = {path} is not a file; check the path")
    try:
        image = nibabel.load(path)
        array = np.asarray(image.dataobj, dtype=np.float32)
    except (
        nibabel.filebasedimages.ImageFileError,
        zlib.error,
        OSError,
        ValueError,
        EOFError,
        TypeError,
    ) as error:
        line = str(error).split("\n")[0]
        raise BadInput(
            f"read_nifti: path = {path} is not a readable NIfTI file ({line}); copy it again"
        ) from None
    spacing = tuple(float(s) for s in image.header.get_zooms())[::-1]
    return torch.from_numpy(np.ascontiguousarray(array.transpose())), spacing
