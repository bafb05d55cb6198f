"""Say what a file holds, in plain words: k-space, a sinogram, a NIfTI volume, arrays, or the folder of a run."""

import json
from pathlib import Path

from workbench._errors import BadInput
from workbench.cli import Parser

NIFTI = (
    b"\x5c\x01\x00\x00",
    b"\x00\x00\x01\x5c",
    b"\x1c\x02\x00\x00",
    b"\x00\x00\x02\x1c",
    b"\x1f\x8b",
)  # 348, 540, gzip


def main(argv):
    """`workbench inspect FILE [--slices A:B] [--json]`; nothing that names a patient is read or printed."""
    parser = Parser("workbench inspect", description=__doc__)
    parser.add_argument("file", help="a scan (.npy, HDF5), a volume (.nii, .nii.gz, .npz) or a run folder")
    parser.add_argument(
        "--slices", metavar="A:B", help="of a scan: look at slices A to B - 1, or at slice A (all)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    found = describe(Path(args.file), args.slices)
    print(json.dumps(found, indent=1) if args.json else text(found))


def text(found):
    """The facts, a line each, and the notes below them."""
    facts = {label: value for label, value in found.items() if label != "notes"}
    width = max(map(len, facts))
    lines = [f"{label:{width}}  {value}" for label, value in facts.items()]
    return "\n".join([*lines, *[f"- {note}" for note in found.get("notes", ())]])


def describe(path, slices=None):
    """Label -> words or number, and `notes`: what `path` holds. Raises BadInput for what is not read here."""
    from workbench.cli.reconstruct import kind_of

    if path.is_dir():
        return folder(path)
    start = first_bytes(path)
    if start.startswith(NIFTI):
        return nifti(path)
    if start.startswith(b"PK"):
        return arrays(path)
    if not start.startswith((b"\x93NUMPY", b"\x89HDF")):
        raise BadInput(
            f"file: {path} is of no kind that is read here; give .npy, HDF5, NIfTI, .npz or a run folder"
        )
    return kspace(path, slices) if kind_of(path) == "cartesian-mri" else sinogram(path, slices)


def first_bytes(path):
    """The first bytes of a file that is there and not empty."""
    if not path.exists():
        raise BadInput(f"file: {path} does not exist; check the path")
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise BadInput(f"file: {path} is empty; copy it again")
    return start


def kspace(path, slices):
    """Slices, coils, matrix, what was sampled, the calibration block, voxel size."""
    from workbench.io.kspace import read_kspace

    scan = read_kspace(path, slices)
    n, coils, *shape = scan.data.shape
    size, mask = scan.data.abs(), scan.mask.broadcast_to(tuple(shape))
    share = mask.float().mean().item()
    return {
        "file": path.name,
        "holds": "k-space (MRI)",
        "numbers on disk": stored(path, "kspace"),
        "slices": n,
        "coils": coils,
        "matrix": by(shape),
        "sampled": f"{100 * share:.1f} % of the points, acceleration {1 / share:.2f}, {pattern(scan.mask)}",
        "calibration": calibration(scan),
        "voxel size": "not known" if scan.spacing is None else f"{by(scan.spacing)} mm (slice, row, column)",
        "modulus": f"up to {size.max().item():.4g}, median {size[..., mask].median().item():.4g} where sampled",
        "notes": sentences(scan.notes),
    }


def pattern(mask):
    """What kind of mask it is, in words."""
    if mask.all():
        return "all of them"
    return "whole lines of phase encodes" if mask.ndim == 1 else "single points"


def calibration(scan):
    """The fully sampled middle of k-space, or why there is none to use."""
    from workbench.operators.coils import calibration_region

    try:
        block = calibration_region(scan.data[0], scan.mask)
    except BadInput:
        return "the middle is not fully sampled over 6 points an axis; give --maps to reconstruct"
    return f"the middle {by(block.shape[1:])} points are complete, enough for ESPIRiT"


def sinogram(path, slices):
    """Slices, views, columns, angles, spacing, rotation axis, noise."""
    from math import degrees

    from workbench.cli.reconstruct import as_slice
    from workbench.io.sinogram import read_sinogram

    scan = read_sinogram(path, slices=as_slice(slices))
    n, views, columns = scan.data.shape
    first, last = (degrees(t) for t in (scan.angles.min().item(), scan.angles.max().item()))
    return {
        "file": path.name,
        "holds": "a sinogram (parallel-beam CT)",
        "numbers on disk": stored(path, "exchange/data"),
        "slices": n,
        "views": views,
        "detector columns": columns,
        "angles": f"{first:.4g} to {last:.4g} degrees",
        "column spacing": f"{scan.spacing:.4g} mm" if scan.known_spacing else "not known",
        "rotation axis": f"at column {scan.centre:.2f}, the middle being {(columns - 1) / 2:g}",
        "line integrals": f"{scan.data.min().item():.4g} to {scan.data.max().item():.4g}",
        "noise": "not known" if scan.sigma is None else f"median sigma {scan.sigma.median().item():.2g}",
        "notes": sentences(scan.notes),
    }


def nifti(path):
    """Shape, voxel size, orientation, unit where we wrote it, and values; no text of the header."""
    from warnings import catch_warnings, simplefilter

    import nibabel

    from workbench.io.nifti import read_nifti

    with catch_warnings():
        simplefilter("ignore")  # of complex volumes the real part is looked at
        volume, spacing = read_nifti(path)
    image = nibabel.load(path)
    said = (
        bytes(image.header["descrip"].tobytes()).rstrip(b"\0").decode("ascii", "replace")
        if "descrip" in image.header
        else ""
    )
    return {
        "file": path.name,
        "holds": "a NIfTI volume",
        "numbers on disk": str(image.get_data_dtype()),
        "shape": f"{by(volume.shape)} (the file's axes, last one first)",
        "voxel size": f"{by(spacing)} {image.header.get_xyzt_units()[0]}",
        "orientation": "".join(nibabel.aff2axcodes(image.affine)) + " (the file's axes, first one first)",
        **({"unit": said.removeprefix("values in ")} if said.startswith("values in ") else {}),
        "values": extent(volume),
    }


def arrays(path):
    """The arrays of an .npz, such as `workbench reconstruct` writes."""
    import zipfile

    import numpy as np

    found = {"file": path.name, "holds": "arrays (.npz)"}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                array = file[name]
                shown = array.ndim == 0 or (array.ndim == 1 and array.size <= 3)
                found[name] = str(array.tolist()) if shown else f"{by(array.shape)} {array.dtype}"
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile):
        raise BadInput(
            f"file: {path} is no .npz, or is cut short or holds Python objects; save it with numpy.savez"
        ) from None
    return found


def folder(path):
    """A finished run, or one that is not."""
    for name in ("checkpoint.json", "arguments.json"):
        if (path / name).is_file():
            done = len([*path.glob("batch-*.safetensors"), *path.glob("slice-*.npz")])
            return {
                "folder": path.name,
                "holds": "an unfinished run; the same command goes on",
                "parts done": done,
            }
    return run(path)


def run(path):
    """What was sampled and how, of a run folder."""
    from workbench.posterior import Posterior

    post = Posterior.load(path)
    said = post.provenance
    asked = ("problem", "sampler", "steps", "ensembles", "seed", "device", "warning")
    return {
        "folder": path.name,
        "holds": "a run: posterior samples",
        "samples": f"{len(post)} of shape {by(post.samples.shape[1:])}, {str(post.samples.dtype).removeprefix('torch.')}",
        "effective samples": round(post.ess, 1),
        **{name: said[name] for name in asked if said.get(name) is not None},
        **({} if post.log_evidence is None else {"log evidence": round(post.log_evidence, 4)}),
        "denoiser calls": post.cost.denoiser,
        "operator calls": post.cost.operator,
        "seconds": round(post.cost.seconds, 2),
        "values": extent(post.samples.abs() if post.samples.is_complex() else post.samples),
        "versions": ", ".join(f"{name} {version}" for name, version in said.get("versions", {}).items()),
    }


def stored(path, name):
    """The dtype and shape of the array in a .npy file, or of the dataset `name` of an HDF5 file (HDF5 if it has none)."""
    import h5py
    import numpy as np

    if not h5py.is_hdf5(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return f"{array.dtype}, {by(array.shape)} (.npy)"
    with h5py.File(path, "r") as file:
        return f"{file[name].dtype}, {by(file[name].shape)} (HDF5)" if name in file else "HDF5"


def extent(values):
    """The range of the finite values, and how many are not finite."""
    finite = values[values.isfinite()]
    if not finite.numel():
        return "none is finite"
    odd = values.numel() - finite.numel()
    return f"{finite.min().item():.4g} to {finite.max().item():.4g}" + (f", {odd} not finite" if odd else "")


def by(sizes):
    """(256, 230) -> 256 x 230."""
    return " x ".join(f"{size:g}" for size in sizes)


def sentences(notes):
    """Notes with a capital and a full stop."""
    return [f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in notes]
