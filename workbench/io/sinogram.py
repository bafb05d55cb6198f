"""Parallel-beam scans: sinograms in .npy and HDF5, and counts with flat and dark fields (Data Exchange)."""

from dataclasses import dataclass
from math import inf, isfinite, pi
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators.radon import ParallelBeam

FLOOR = 1e-4  # of transmission, where the counts leave none: 3 counts of 3e4
SINOGRAMS = ("sinogram", "sinograms", "data", "observation", "projections")
ANGLES = ("angles", "theta")


@dataclass(frozen=True, eq=False)
class Sinogram:
    """Line integrals of one or more slices, with the geometry that a reconstruction needs.

    data: (slices, n_angles, detectors) float32, without unit.  angles: (n_angles,) float64, rad.
    spacing: of the columns of `data`, mm; 1 per column of the file, and `known_spacing` False, if nobody said.
    centre: column of `data` onto which the rotation axis projects, a float.
    sigma: standard deviation of each entry of `data`, same shape, or None where it is not known.
    notes: what was assumed or done on the way, in sentences.
    """

    data: Tensor
    angles: Tensor
    spacing: float
    centre: float
    sigma: Tensor | None = None
    notes: tuple = ()
    known_spacing: bool = True

    def operator(self, shape=None, pixel=None, dtype=torch.float32):
        """The ParallelBeam of one slice: `shape` (default: detectors each way), `pixel` in mm (default: spacing)."""
        detectors = self.data.shape[-1]
        shape, pixel = tuple(shape or (detectors, detectors)), pixel or self.spacing
        return ParallelBeam(self.angles, shape, detectors, self.spacing, pixel, self.centre, dtype)


@dataclass(frozen=True, eq=False)
class _Scan:
    """What a file holds, (slices, n_angles, detectors): line integrals, or counts with flat and dark fields."""

    data: np.ndarray
    angles: np.ndarray | None = None  # rad
    notes: tuple = ()
    white: np.ndarray | None = None  # (repeats, slices, detectors)
    dark: np.ndarray | None = None


def read_sinogram(path, angles=None, spacing=None, centre=None, slices=None, bin=1):
    """The `Sinogram` in a file; the format is told from the content.

    .npy: line integrals (n_angles, detectors) or (slices, n_angles, detectors).
    HDF5: the same, in a dataset called sinogram, data, observation or projections, or in the only one with 2 or 3
    axes; `angles` or `theta` in the unit that they state, else in degrees where they span more than 2 pi.
    Data Exchange HDF5 (De Carlo et al. 2014): counts exchange/data with data_white, data_dark and theta (degrees)
    become -log((data - dark) / (white - dark)), with sigma from counting statistics.

    angles: in degrees, an array or the path of a .npy or text file; default: the file's, or 180 / n_angles apart.
    spacing: of the file's columns, mm.  centre: a column of the file; default: estimated.
    slices: a number or a slice.  bin: how many columns are averaged into one, as counts where there are counts.
    Raises BadInput for a file that is missing, empty, cut short or of another kind, and for what does not fit.
    """
    path = Path(path)
    if spacing is not None and not 0 < spacing < inf:
        raise BadInput(f"read_sinogram: spacing = {spacing} should be a length in mm, above 0")
    if centre is not None and not isfinite(centre):
        raise BadInput(f"read_sinogram: centre = {centre} should be a detector column, a finite number")
    scan = _reader(path)(path, slices)
    t, about_angles = _angles(scan, angles, path)
    scan, about_bins = _binned(scan, bin, path)
    p, sigma, about_counts = _line_integrals(scan, path)
    column, about_centre = _centre(p, t, centre, bin)
    about_spacing = (
        () if spacing else ("The detector spacing is not known: 1 mm per column of the file was assumed.",)
    )
    return Sinogram(
        data=torch.from_numpy(p).float(),
        angles=torch.from_numpy(t),
        spacing=float(spacing or 1) * bin,
        centre=column,
        sigma=None if sigma is None else torch.from_numpy(sigma).float(),
        notes=(*scan.notes, *about_angles, *about_bins, *about_counts, about_centre, *about_spacing),
        known_spacing=spacing is not None,
    )


def _reader(path):
    """The function that reads this file, by its first bytes."""
    import h5py

    if not path.is_file():
        raise BadInput(f"read_sinogram: {path} is not a file; check the path")
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise BadInput(f"read_sinogram: {path} is empty; copy the scan again")
    if head.startswith(b"\x93NUMPY"):
        return _read_npy
    if h5py.is_hdf5(path):
        return _read_hdf5
    raise BadInput(f"read_sinogram: {path} is neither .npy nor HDF5; save the line integrals with numpy.save")


def _read_npy(path, slices):
    return _Scan(_stack(_load(path), slices, path))


def _load(path):
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        reason = "holds Python objects" if "object" in str(error).lower() else "is cut short or damaged"
        raise BadInput(f"read_sinogram: {path} {reason}; save it again as an array of numbers") from error


def _read_hdf5(path, slices):
    import h5py

    try:
        with h5py.File(path) as file:
            return (_exchange if "exchange/data" in file else _generic)(file, path, slices)
    except (OSError, RuntimeError, KeyError) as error:
        raise BadInput(
            f"read_sinogram: {path} is HDF5, but cut short or damaged; copy the scan again"
        ) from error


def _generic(file, path, slices):
    """Line integrals from an HDF5 file without a convention."""
    found = {}
    file.visititems(lambda name, item: found.update({name: item}) if hasattr(item, "dtype") else None)
    arrays = [name for name, item in found.items() if item.ndim in (2, 3)]
    named = [name for name in arrays if name.split("/")[-1].lower() in SINOGRAMS]
    choice = named or arrays
    if len(choice) != 1:
        raise BadInput(
            f"read_sinogram: {path} holds {', '.join(found) or 'no dataset'}, and it is not clear which is the "
            f"sinogram; call one of shape (angles, detectors) or (slices, angles, detectors) 'sinogram'"
        )
    t = next((item for name, item in found.items() if name.split("/")[-1].lower() in ANGLES), None)
    angles, notes = (None, ()) if t is None else _file_angles(t, path)
    return _Scan(
        _stack(found[choice[0]], slices, path),
        angles,
        (f"The sinogram is the dataset {choice[0]!r}.", *notes),
    )


def _exchange(file, path, slices):
    """Counts from a Data Exchange file: (views, slices, columns) in each of its three arrays."""
    group = file["exchange"]
    if "data_white" not in group:
        raise BadInput(
            f"read_sinogram: {path} has exchange/data but no data_white; add it, or give line integrals"
        )
    for name in {"data", "data_white", "data_dark"} & set(group):
        if group[name].ndim != 3 or group[name].shape[1:] != group["data"].shape[1:] or not group[name].size:
            raise BadInput(
                f"read_sinogram: exchange/{name} of {path} has shape {group[name].shape}, it should be (views, "
                f"slices, columns), with the slices and columns of exchange/data"
            )
    data, white = (_picked(group[name], slices, path, axis=1) for name in ("data", "data_white"))
    dark = (
        _picked(group["data_dark"], slices, path, axis=1)
        if "data_dark" in group
        else np.zeros_like(white[:1])
    )
    notes = () if "data_dark" in group else ("The file has no dark field: 0 was assumed.",)
    t, more = _file_angles(group["theta"], path, "deg") if "theta" in group else (None, ())
    return _Scan(data.swapaxes(0, 1), t, (*notes, *more), white, dark)


def _stack(array, slices, path):
    """An array on disk as (slices, n_angles, detectors)."""
    if array.ndim not in (2, 3) or not array.size:
        raise BadInput(
            f"read_sinogram: {path} has shape {array.shape}, it should be (angles, detectors) or "
            f"(slices, angles, detectors)"
        )
    return _picked(array if array.ndim == 3 else array[()][None], slices, path)


def _picked(array, slices, path, axis=0):
    """The chosen slices of an array on disk, finite float64; only they are read."""
    if array.dtype.kind not in "iuf":
        raise BadInput(
            f"read_sinogram: {path} holds {array.dtype}, a sinogram is real; convert it to float32"
        )
    n = array.shape[axis]
    part = slice(None) if slices is None else slices
    if isinstance(part, int) and -n <= part < n:
        part = slice(part % n, part % n + 1)
    if not isinstance(part, slice) or len(range(n)[part]) == 0 or (part.step or 1) < 1:
        raise BadInput(
            f"read_sinogram: slices = {slices} picks none of the {n} slices of {path}; give a number below {n} or a slice"
        )
    part = slice(*part.indices(n))
    values = np.asarray(array[(slice(None),) * axis + (part,)], dtype=np.float64)
    if bad := values.size - np.isfinite(values).sum():
        raise BadInput(
            f"read_sinogram: {path} has {bad} NaN or infinite entries; replace them before reading"
        )
    return values


def _file_angles(dataset, path, unit=None):
    """The angles in an HDF5 file, in rad."""
    values = _vector(dataset[()], f"{path}: {dataset.name}")
    unit = dataset.attrs.get("units", unit)
    unit = unit.decode() if isinstance(unit, bytes) else unit
    if isinstance(unit, str) and unit.lower()[:3] in ("deg", "rad"):
        return (np.deg2rad(values) if unit.lower().startswith("deg") else values), ()
    degrees = np.ptp(values) > 2 * pi
    unit = "degrees were" if degrees else "rad was"
    note = f"The angles in the file state no unit; {unit} assumed, as they span {np.ptp(values):.4g}."
    return (np.deg2rad(values) if degrees else values), (note,)


def _vector(values, name):
    values = np.asarray(values)
    if values.dtype.kind not in "iuf" or values.ndim != 1 or not np.isfinite(values).all():
        raise BadInput(
            f"read_sinogram: angles ({name}) is {values.dtype} {values.shape}, it should be one row of finite numbers"
        )
    return values.astype(np.float64)


def _angles(scan, given, path):
    """(n_angles,) in rad, and what to say about them."""
    n = scan.data.shape[1]
    t, notes = scan.angles, ()
    if given is not None:
        degrees = _vector(_angle_file(Path(given)) if isinstance(given, (str, Path)) else given, "given")
        t = np.deg2rad(degrees)
        if np.ptp(degrees) <= 2 * pi and n > 1:
            notes = (f"The angles given span only {np.ptp(degrees):.3g} degrees: was it rad?",)
    if t is None:
        t, notes = (
            np.arange(n) * (pi / n),
            (f"The angles are not known: {n} of them from 0 to 180 degrees were assumed.",),
        )
    if len(t) != n:
        raise BadInput(
            f"read_sinogram: angles has {len(t)} entries, {path} has {n} views; give one angle for each view"
        )
    return t, notes


def _angle_file(path):
    if not path.is_file():
        raise BadInput(f"read_sinogram: angles = {path} is not a file; check the path")
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            return _load(path)
    try:
        return np.loadtxt(path).ravel()
    except ValueError as error:
        raise BadInput(
            f"read_sinogram: angles = {path} is not a list of numbers; write one angle per line, in degrees"
        ) from error


def _binned(scan, bin, path):
    """The scan with `bin` columns averaged into one, and what to say about it."""
    detectors = scan.data.shape[-1]
    if not isinstance(bin, int) or not 1 <= bin <= detectors:
        raise BadInput(
            f"read_sinogram: bin = {bin} should be a whole number from 1 to the {detectors} columns of {path}"
        )
    if bin == 1:
        return scan, ()

    def mean(array):
        kept = array[..., : detectors // bin * bin]
        return kept.reshape(*array.shape[:-1], -1, bin).mean(-1)

    counts = scan.white is not None
    how = ", as counts before the logarithm" if counts else ""
    note = f"Every {bin} detector columns were averaged into one{how}."
    if detectors % bin:
        note += f" The last {detectors % bin} of the {detectors} columns were left out."
    fields = (mean(scan.white), mean(scan.dark)) if counts else (None, None)
    return _Scan(mean(scan.data), scan.angles, scan.notes, *fields), (note,)


def _line_integrals(scan, path):
    """-log of the transmission, its standard deviation to first order, and what to say about them."""
    if scan.white is None:
        return scan.data, None, ()
    dark = scan.dark.mean(0)
    flat = scan.white.mean(0) - dark
    if (flat <= 0).any():
        raise BadInput(
            f"read_sinogram: {(flat <= 0).sum()} detector columns of {path} are no brighter in data_white than in "
            f"data_dark, so they see nothing; bin the columns, or repair these three arrays"
        )
    flat = flat[:, None]
    counts = scan.data - dark[:, None]
    low = counts < FLOOR * flat
    counts = np.where(low, FLOOR * flat, counts)
    notes = ("Line integrals are -log((data - mean dark) / (mean white - mean dark)).",)
    if low.any():
        notes += (
            f"{low.sum()} of {low.size} entries had a transmission below {FLOOR:g} and were raised to it.",
        )
    variance, note = _variance(counts, flat, scan.white, scan.dark)
    return -np.log(counts / flat), None if variance is None else np.sqrt(variance), (*notes, note)


def _variance(counts, flat, white, dark):
    """The variance of log(flat / counts), where counts have variance gain * counts + read."""
    if len(white) < 2:
        return None, "The noise is not known: its estimate needs two or more flat fields."
    gain, read = counting_statistics(white, dark)
    if gain <= 0:
        return None, "The noise is not known: the flat fields vary less than the dark ones."
    ours = (gain * counts + read) / counts**2
    flats = (gain * flat + read) / flat**2 / len(white)
    darks = read / len(dark) * (1 / counts - 1 / flat) ** 2
    variance = ours + flats + darks
    return variance, (
        f"Noise from {len(white)} flat and {len(dark)} dark fields: variance {gain:.3g} per count, and {read**0.5:.3g} "
        f"counts of read-out noise; the median sigma of the line integrals is {np.median(variance) ** 0.5:.2g}."
    )


def counting_statistics(white, dark):
    """(gain, read): the variance of net counts n is gain * n + read, from repeated flat and dark fields.

    white, dark: (repeats, slices, detectors), counts. Photon transfer (Janesick 2007): the variance over the
    repeats, each flat scaled to the mean brightness first, since the drift of the beam is not counting noise.
    """
    net = white - dark.mean(0)
    level = net.mean(-1, keepdims=True)
    steady = net / level * level.mean(0)
    read = dark.var(0, ddof=1).mean() if len(dark) > 1 else 0.0
    return (steady.var(0, ddof=1).mean() - read) / net.mean(), read


def _centre(p, t, given, bin):
    """The column of the binned data onto which the axis projects, and how it was found."""
    if given is not None:
        return (
            given - (bin - 1) / 2
        ) / bin, f"The rotation axis is at column {given:g} of the file, as given."
    column, how = estimate_centre(p, t)
    return column, f"The rotation axis is at column {column * bin + (bin - 1) / 2:.2f} of the file, {how}."


def estimate_centre(p, t):
    """(column, how): onto which detector column the rotation axis projects, and how that was found.

    p: (slices, n_angles, detectors) line integrals.  t: (n_angles,) rad. Opposite views are each other's mirror
    image about the axis. Without such views, the centroids of the views trace a sine wave about it (the first
    moment condition of Helgason and Ludwig); they must span a right angle and see the whole object. Otherwise
    the middle.
    """
    detectors = p.shape[-1]
    for estimate in (_centre_from_pairs, _centre_from_centroids):
        column, how = estimate(p, t)
        if column is not None and 0 <= column <= detectors - 1:
            return float(column), how
    return (
        detectors - 1
    ) / 2, "the middle, which was assumed as the views did not tell; if the image has arcs, give centre"


def _centre_from_pairs(p, t, most=12):
    """From views at t and t + pi + d, which mirror about centre + d (a cos t + b sin t) to first order in d."""
    step = np.median(np.diff(np.sort(t))) if len(t) > 1 else inf
    d = (t[None] - t[:, None]) % (2 * pi) - pi
    i, j = np.nonzero(np.triu(np.abs(d) <= min(2.5 * step, np.deg2rad(5))))
    if not len(i):
        return None, ""
    nearest = np.argsort(np.abs(d[i, j]), kind="stable")[:most]
    i, j = i[nearest], j[nearest]
    middles, likeness = np.array([_mirror(p[:, a], p[:, b]) for a, b in zip(i, j, strict=True)]).T
    if np.median(likeness) < 0.5:
        return None, ""
    design = np.stack([np.ones(len(i)), d[i, j] * np.cos(t[i]), d[i, j] * np.sin(t[i])], 1)
    return np.linalg.lstsq(design, middles, rcond=1e-6)[0][0], f"found from {len(i)} pairs of opposite views"


def _mirror(a, b):
    """(column, likeness in [-1, 1]) about which the views a, b: (slices, detectors) best mirror each other.

    The edges of the views are compared, so a constant offset and a cut object do no harm.
    """
    a, b = (np.diff(v[:, :-1] + v[:, 1:], axis=-1) for v in (a, b))
    size = 2 * a.shape[-1]
    match = -np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size), size).sum(0)[:-1]
    k = np.clip(match.argmax(), 1, len(match) - 2)
    left, top, right = match[k - 1 : k + 2]
    bend = left - 2 * top + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return (k + shift) / 2 + 1, top / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-300)


def _centre_from_centroids(p, t):
    mass = p.sum(-1)
    order = np.sort(t % pi)
    gap = np.diff(order, append=order[0] + pi).max()
    if len(t) < 3 or pi - gap < pi / 2 or (mass.std(1) > 0.05 * mass.mean(1)).any() or (mass <= 0).any():
        return None, ""
    centroids = (p * np.arange(p.shape[-1])).sum(-1) / mass
    design = np.stack([np.ones(len(t)), np.cos(t), np.sin(t)], 1)
    return np.linalg.lstsq(design, centroids.T, rcond=None)[0][
        0
    ].mean(), "found from the centroids of the views"
