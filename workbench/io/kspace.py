"""k-space on disk: numpy arrays and fastMRI's HDF5, told apart by their content."""

from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators.coils import find_mask

NUMPY, HDF5 = b"\x93NUMPY", b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class KSpace:
    """A Cartesian scan: k-space of every slice and coil, its middle at index n // 2 of each axis.

    data: (slices, C, *shape) complex64, in the units of the file, zero where the mask is False.  mask: bool,
    broadcastable to shape, True where k-space was measured.  spacing: mm of (slice, *shape), or None if unknown.
    notes: what was assumed, in plain sentences.  maps: (C, *shape) or (slices, C, *shape) complex64, or None.
    noise: (C, N) complex64 samples of a noise scan, or None.
    """

    data: Tensor
    mask: Tensor
    spacing: tuple | None = None
    notes: tuple = ()
    maps: Tensor | None = None
    noise: Tensor | None = None


def read_kspace(path, slices=None, mask=None, maps=None, noise=None):
    """The k-space in a file, as a `KSpace`; the format is read from the content, not from the name.

    .npy: complex (y, x), (coil, y, x) or (slice, coil, y, x).  fastMRI HDF5: `kspace` (slice, coil, row, column) or
    (slice, row, column), with `mask` (column) and `ismrmrd_header` where they are; nothing else is read, so nothing
    of the patient.  slices: "A:B", and only those are read.  mask: bool (or 0 and 1), broadcastable to one image; by
    default the file's own, or what is not zero.  maps, noise: see `KSpace`.  mask, maps and noise are arrays or paths
    of .npy files.  Raises BadInput for whatever cannot be used.
    """
    path = Path(path)
    start = _start(path, "scan")
    if start.startswith(NUMPY):
        scan, count = _from_numpy(path, slices)
    elif start.startswith(HDF5):
        scan, count = _from_hdf5(path, slices)
    else:
        raise BadInput(
            f"scan: {path} is neither a .npy file nor HDF5; convert it, e.g. with numpy.save(name, kspace)"
        )
    _check_data(scan.data, path)
    scan = _found_mask(scan) if mask is None else _given_mask(scan, mask)
    return replace(scan, maps=_maps(maps, scan, slices, count), noise=_noise(noise, scan))


def parse_slices(text, n):
    """The range of "A:B" (A included, B not; either may be left out), of "A" alone, or of None (all), out of n."""
    if text is None:
        return range(n)
    first, colon, last = str(text).partition(":")
    try:
        a = int(first) if first else 0
        b = (int(last) if last else n) if colon else a + 1
    except ValueError:
        raise BadInput(f"slices = {text!r} should read A:B with whole numbers, such as 0:{n}") from None
    if not (colon or first) or not 0 <= a < b <= n:
        raise BadInput(
            f"slices = {text!r} should lie within 0:{n}, the slices of the file, and hold at least one"
        )
    return range(a, b)


def _start(path, who):
    """The first bytes of a file that is there and not empty."""
    if not path.exists():
        raise BadInput(f"{who}: {path} does not exist; check the path")
    if path.is_dir():
        raise BadInput(f"{who}: {path} is a folder; give one file")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise BadInput(f"{who}: {path} cannot be read ({error.strerror}); check its permissions") from None
    if not start:
        raise BadInput(f"{who}: {path} is empty; copy it again")
    return start


def _load(path, who):
    """The array of a .npy file, mapped into memory and never unpickled."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError):
        raise BadInput(
            f"{who}: {path} is cut short or holds Python objects, which are not loaded; save a plain array with numpy.save"
        ) from None


def _from_numpy(path, slices):
    array = _load(path, "scan")
    if array.ndim not in (2, 3, 4):
        raise BadInput(
            f"scan: {path} has shape {array.shape}, it should be (y, x), (coil, y, x) or (slice, coil, y, x); reshape it"
        )
    notes = {
        2: "two axes were read as one slice of one coil, (y, x)",
        3: "three axes were read as one slice, (coil, y, x)",
        4: "four axes were read as (slice, coil, y, x)",
    }
    array, note = array[(None,) * (4 - array.ndim)], notes[array.ndim]
    chosen = parse_slices(slices, len(array))
    notes = (note, "the middle of k-space was taken to be index n // 2", "the file gives no voxel size")
    return KSpace(_complex64(array[chosen.start : chosen.stop], path), None, notes=notes), len(array)


def _from_hdf5(path, slices):
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _from_fastmri(file, path, slices)
    except (OSError, RuntimeError, KeyError) as error:
        raise BadInput(
            f"scan: {path} is damaged or cut short ({_first_line(error)}); copy it again"
        ) from None


def _from_fastmri(file, path, slices):
    kspace = file.get("kspace")
    if not hasattr(kspace, "shape"):
        have = ", ".join(sorted(file)) or "nothing"
        raise BadInput(
            f"scan: {path} has no dataset 'kspace' (it has {have}); give a file of raw k-space, as fastMRI's"
        )
    if kspace.ndim not in (3, 4):
        raise BadInput(
            f"scan: {path} has kspace of shape {kspace.shape}, it should be (slice, coil, row, column) or "
            f"(slice, row, column); reshape it"
        )
    chosen = parse_slices(slices, len(kspace))
    data = _complex64(kspace[chosen.start : chosen.stop], path)
    data = data[:, None] if kspace.ndim == 3 else data
    notes = ["the middle of k-space was taken to be index n // 2, as fastMRI has it"]
    spacing, said = _header(file, *data.shape[-2:])
    own = _own_mask(file, data.shape[-1], path)
    if own is not None:
        notes.append("the mask is the file's own")
    return KSpace(data, own, spacing, tuple(notes + said)), len(kspace)


def _own_mask(file, columns, path):
    mask = file.get("mask")
    if mask is None:
        return None
    mask = np.asarray(mask).squeeze()
    if mask.shape != (columns,):
        raise BadInput(
            f"scan: {path} has a mask of shape {mask.shape} for {columns} columns; remove it or give mask="
        )
    return torch.from_numpy(mask != 0)


def _header(file, rows, columns):
    """(spacing, notes) from an ISMRMRD header; only the encoding is read."""
    if "ismrmrd_header" not in file:
        return None, ["the file gives no voxel size"]
    try:
        encoding = ElementTree.fromstring(file["ismrmrd_header"][()]).find("{*}encoding")
        matrix = _xyz(encoding.find("{*}encodedSpace/{*}matrixSize"))
        size = _xyz(encoding.find("{*}encodedSpace/{*}fieldOfView_mm"))
        spacing = tuple(size[i] / matrix[i] for i in (2, 0, 1))  # rows are the readout, x
        if not all(0 < s < float("inf") for s in spacing):
            raise ValueError
        limit = encoding.findtext("{*}encodingLimits/{*}kspace_encoding_step_1/{*}maximum")
        padded = columns - 1 - int(limit) if limit else 0
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None, ["the header could not be understood, so the voxel size is not known"]
    if (int(matrix[0]), int(matrix[1])) != (rows, columns):
        points = f"{matrix[0]:g} x {matrix[1]:g}"
        return spacing, [
            f"the voxel size is the header's, of {points} points, but k-space has {rows} x {columns}"
        ]
    return spacing, [f"{padded} columns at the edges are zero padding, not measured"] if padded > 0 else []


def _xyz(node):
    return [float(node.findtext("{*}" + axis)) for axis in "xyz"]


def _first_line(error):
    return str(error).strip().strip("'\"").split("\n")[0]


def _complex64(array, path):
    if array.dtype.kind != "c":
        raise BadInput(
            f"scan: {path} holds {array.dtype}, it should be complex k-space; a magnitude image is not k-space"
        )
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.array(array, dtype=np.complex64))


def _check_data(data, path):
    if not data.isfinite().all():
        raise BadInput(
            f"scan: {path} has NaN or infinite numbers in k-space; repair them or leave those slices out"
        )
    if not data.any():
        raise BadInput(f"scan: {path} has only zeros in the slices asked for; choose others with slices")


def _found_mask(scan):
    """The scan with the file's mask, as far as there are data, or else with what is not zero."""
    data = scan.data if scan.mask is None else scan.data * scan.mask
    mask = find_mask(data)
    ragged = (data != 0).any(1).any(0) & ~mask
    if ragged.sum() > 0.01 * mask.broadcast_to(ragged.shape).sum():
        raise BadInput(
            f"scan: its slices were sampled with different masks ({int(ragged.sum())} points are in some slices only); "
            f"read them one at a time with slices"
        )
    note = "points where every coil is zero were taken as not measured"
    notes = scan.notes + (() if scan.mask is not None else (note,))
    return replace(scan, mask=mask, notes=notes, data=data * mask)


def _given_mask(scan, mask):
    """The scan with the user's mask."""
    mask, spatial = _array(mask, "mask") != 0, scan.data.shape[2:]
    try:
        whole = mask.broadcast_to(spatial)
    except RuntimeError:
        raise BadInput(
            f"mask has shape {tuple(mask.shape)}, it should broadcast to {tuple(spatial)}, one image of the scan; "
            f"transpose or crop it"
        ) from None
    if not mask.any():
        raise BadInput("mask has no True entry, so nothing is measured; keep at least one")
    absent = int((whole & ~find_mask(scan.data)).sum())
    if absent:
        raise BadInput(
            f"mask claims {absent} points where the scan holds only zeros; leave mask out to use what the scan holds"
        )
    return replace(
        scan, mask=mask, data=scan.data * mask, notes=(*scan.notes, "the mask was given by the user")
    )


def _maps(maps, scan, slices, count):
    if maps is None:
        return None
    maps = _array(maps, "maps")
    n, *coils = scan.data.shape
    if maps.ndim == 4 and len(maps) == count:
        chosen = parse_slices(slices, count)
        maps = maps[chosen.start : chosen.stop]
    if not maps.is_complex() or list(maps.shape) not in (coils, [n, *coils]):
        raise BadInput(
            f"maps is {maps.dtype} of shape {tuple(maps.shape)}, it should be complex of shape {tuple(coils)} or "
            f"{(n, *coils)}, as the scan is; transpose them, or leave maps out to estimate them"
        )
    if not maps.isfinite().all() or not maps.any():
        raise BadInput(
            "maps has NaN or infinite entries, or only zeros; set them to zero outside the object alone"
        )
    return maps.to(torch.complex64)


def _noise(noise, scan):
    if noise is None:
        return None
    noise, C = _array(noise, "noise"), scan.data.shape[1]
    if not noise.is_complex() or noise.ndim != 2 or len(noise) != C or noise.shape[1] < 2:
        raise BadInput(
            f"noise is {noise.dtype} of shape {tuple(noise.shape)}, it should be complex samples of shape ({C}, N), "
            f"a row for each coil of the scan; transpose it, or leave noise out to estimate it"
        )
    if not noise.isfinite().all():
        raise BadInput("noise has NaN or infinite entries; leave those samples out")
    return noise.to(torch.complex64)


def _array(value, who):
    """A tensor from a tensor, an array, or the path of a .npy file."""
    if isinstance(value, (str, Path)):
        if not _start(Path(value), who).startswith(NUMPY):
            raise BadInput(f"{who}: {value} is not a .npy file; save it with numpy.save")
        value = np.array(_load(value, who))
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise BadInput(f"{who} is of {type(value).__name__}, it should be an array of numbers") from None
