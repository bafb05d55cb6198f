"""Reconstruct a scan with its error bars: workbench reconstruct SCAN --out recon.nii.gz writes volumes and a report."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from workbench import catalogue
from workbench._errors import BadInput
from workbench.cli import Parser
from workbench.cli._flags import add, scalar_fields, set_threads, whole

ENDINGS = (".nii.gz", ".nii", ".npz")


def flags(argv):
    """The parser of the flags that every reconstruction has."""
    parser = Parser("workbench reconstruct", description=__doc__, add_help=False)
    parser.add_argument(
        "scan", nargs="?", help="k-space (.npy, fastMRI HDF5) or a sinogram (.npy, HDF5, Data Exchange)"
    )
    parser.add_argument(
        "--out", help="recon.nii.gz, recon.nii or recon.npz; an .npz is written beside a NIfTI"
    )
    parser.add_argument("--report", help="the HTML report (beside --out)")
    parser.add_argument(
        "--operator", choices=("cartesian-mri", "parallel-beam"), help="what kind of scan (found from it)"
    )
    parser.add_argument("--slices", metavar="A:B", help="slices A to B - 1, or one slice A (all)")
    parser.add_argument(
        "--spacing", metavar="Z,Y,X", help="voxel size in mm (from the header, else 1 with a warning)"
    )
    parser.add_argument("-n", type=whole, default=200, help="posterior draws (200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--hold-out", type=float, default=0.05, help="share of the data held out for the checks (0.05)"
    )
    parser.add_argument("--threads", type=whole, help="CPU threads (the free cores)")
    parser.add_argument("--overwrite", action="store_true", help="replace finished outputs")
    parser.add_argument("--posterior-only", action="store_true", help="leave out the other reconstructions")
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    mri = parser.add_argument_group("k-space")
    mri.add_argument("--mask", help=".npy of what was sampled (found where the data are not zero)")
    mri.add_argument("--maps", help=".npy of coil sensitivities (ESPIRiT)")
    mri.add_argument("--noise", help=".npy of noise samples (coil, N) (the edge of k-space)")
    ct = parser.add_argument_group("sinogram")
    ct.add_argument("--angles", help=".npy or text of view angles in degrees (from the file, else 0 to 180)")
    ct.add_argument("--detector-spacing", type=float, help="mm between detector columns (1, with a note)")
    ct.add_argument("--centre", type=float, help="detector column of the rotation axis (estimated)")
    ct.add_argument("--bin", type=whole, default=1, help="detector columns to average into one (1)")
    other = parser.add_argument_group("another prior")
    other.add_argument(
        "--prior", help="gaussian-field (fitted to the scan), or the folder of a diffusers UNet2DModel"
    )
    other.add_argument(
        "--sampler",
        default=None,
        help="a name from `workbench list samplers` (exact-draws; with a network moment-matching)",
    )
    other.add_argument("--steps", type=whole, default=100, help="of the sampler (100)")
    return parser, parser.parse_known_args(argv)[0]


def main(argv):
    """`workbench reconstruct SCAN [--operator ...] [--prior FOLDER] [--sampler NAME] [--slices A:B] --out recon.nii.gz`."""
    parser, args = flags(argv)
    kind = catalogue.load("samplers", args.sampler) if args.sampler else None
    if kind is not None:
        add(parser, "sampler", scalar_fields(kind))
    if any(a in ("-h", "--help") for a in argv):
        parser.print_help()
        return 0
    args = parser.parse_args(argv)
    if args.scan is None or args.out is None:
        parser.error("SCAN and --out are needed")
    targets = Targets.of(args)
    return reconstruct(args, kind, targets)


@dataclass(frozen=True)
class Targets:
    """The files a reconstruction writes, checked before any work is done."""

    out: Path
    stem: Path
    report: Path

    @classmethod
    def of(cls, args):
        out = Path(args.out)
        ending = next((e for e in ENDINGS if out.name.endswith(e)), None)
        if ending is None or out.name == ending:
            raise BadInput(f"--out {out} should end in {', '.join(ENDINGS)}")
        stem = out.with_name(out.name.removesuffix(ending))
        report = Path(args.report) if args.report else stem.with_name(stem.name + "_report.html")
        targets = cls(out, stem, report)
        writable("--out", out.parent)
        writable("--report", report.parent)
        finished = targets.run.exists() or (out.exists() and not targets.partial.exists())
        if finished and not args.overwrite:
            raise BadInput(f"--out {out} is there already and finished; give another name, or --overwrite")
        return targets

    @property
    def run(self):
        """The record that is written last: it says that the rest is whole."""
        return self.stem.with_name(self.stem.name + "_run.json")

    @property
    def partial(self):
        return self.stem.with_name(self.stem.name + ".partial")


def writable(flag, folder):
    """Raise BadInput, naming `flag`, unless files can be made in `folder`."""
    import tempfile

    if not folder.is_dir():
        raise BadInput(f"{flag}: the folder {folder} does not exist; make it first")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise BadInput(
            f"{flag}: the folder {folder} cannot be written ({error.strerror}); give another"
        ) from None


def reconstruct(args, kind, targets):
    """Read, reconstruct slice by slice (each kept in OUT.partial/ until all are done), write."""
    from workbench._allocator import keep_large_blocks
    from workbench.cli import _job, _results
    from workbench.provenance import versions

    keep_large_blocks()
    set_threads(args.threads)
    scan, measure, methods = read(args)
    spacing, note = voxel_size(args, scan)
    store = _results.Partial(
        targets.partial, {**{k: v for k, v in vars(args).items() if k != "overwrite"}, **versions()}, scan
    )
    parts, unit = [], None
    for i in range(len(scan.data)):
        measured = measure(scan, i, share=args.hold_out, seed=args.seed)
        unit = measured.unit
        part = store.load(i)
        if part is None:
            print(f"slice {i + 1} of {len(scan.data)}", flush=True)
            part, _ = _job.reconstruct(
                measured,
                draws=args.n,
                seed=args.seed,
                sampler=sampler(args, kind),
                steps=args.steps,
                make_prior=prior_maker(args, measured),
                classical=() if args.posterior_only else methods,
                say=lambda text: print(f"  {text}", flush=True),
            )
            store.save(i, part)
        parts.append(part)
    written = _results.write(targets, parts, unit, spacing, note, args)
    shutil.rmtree(targets.partial, ignore_errors=True)
    if args.json:
        print(json.dumps([part.checks for part in parts], indent=1))
    for part in parts:
        for sentence in part.warnings:
            print(f"  warning: {sentence}")
    for path in written:
        print(f"wrote {path}")
    return 0


def read(args):
    """The scan, how a slice of it is measured, and what it is compared with."""
    from problems._scan import from_kspace, from_sinogram
    from workbench.cli import _yardsticks
    from workbench.io.kspace import read_kspace
    from workbench.io.sinogram import read_sinogram

    if not 0 < args.hold_out < 1:
        raise BadInput(f"--hold-out {args.hold_out:g} should lie between 0 and 1, for example 0.05")
    if (args.operator or kind_of(args.scan)) == "cartesian-mri":
        refuse_flags(args, "k-space", angles=None, detector_spacing=None, centre=None, bin=1)
        scan = read_kspace(args.scan, args.slices, args.mask, args.maps, args.noise)
        if scan.data.ndim != 4:
            raise BadInput(
                f"scan: {args.scan} has {scan.data.ndim - 2} spatial axes; reconstruct takes 2-D slices"
            )
        return scan, from_kspace, _yardsticks.KSPACE
    refuse_flags(args, "a sinogram", mask=None, maps=None, noise=None)
    scan = read_sinogram(
        args.scan, args.angles, args.detector_spacing, args.centre, as_slice(args.slices), args.bin
    )
    return scan, from_sinogram, _yardsticks.SINOGRAM


def refuse_flags(args, what, **defaults):
    """Raise BadInput for a flag of the other kind of scan."""
    for name, default in defaults.items():
        if getattr(args, name) != default:
            raise BadInput(
                f"--{name.replace('_', '-')} does not go with {what}; leave it out, or set --operator"
            )


def kind_of(path):
    """Which operator measured the scan in a file: complex numbers are k-space, real ones a sinogram."""
    import h5py
    import numpy as np

    try:
        with open(path, "rb") as file:
            start = file.read(8)
        if start.startswith(b"\x93NUMPY"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return "cartesian-mri" if np.iscomplexobj(array) else "parallel-beam"
        if start.startswith(b"\x89HDF"):
            with h5py.File(path, "r") as file:
                return "cartesian-mri" if "kspace" in file else "parallel-beam"
    except IsADirectoryError:
        raise BadInput(f"scan: {path} is a folder; give a file") from None
    except FileNotFoundError:
        raise BadInput(f"scan: {path} does not exist; check the path") from None
    except (ValueError, OSError) as error:
        raise BadInput(
            f"scan: {path} cannot be read ({error}); it may be truncated or hold pickled objects"
        ) from None
    raise BadInput(f"scan: {path} is neither .npy nor HDF5; convert it, for example with numpy.save")


def as_slice(text):
    """A:B, or A alone, as a slice; None for all."""
    if text is None:
        return None
    first, colon, last = text.partition(":")
    try:
        a = int(first) if first else 0
        b = (int(last) if last else None) if colon else a + 1
    except ValueError:
        raise BadInput(f"--slices {text!r} should read A:B with whole numbers") from None
    if a < 0 or (b is not None and b <= a):
        raise BadInput(f"--slices {text!r} should read A:B with 0 <= A < B")
    return slice(a, b)


def sampler(args, kind):
    """The sampler that was asked for: None for exact draws, moment matching where the prior is a network."""
    from workbench.cli._flags import given
    from workbench.samplers.moment_matching import MomentMatching

    if kind is None:
        from workbench.samplers.ddpm import DDPM

        return None if args.prior in (None, "gaussian-field") else DDPM(guidance=MomentMatching(iterations=5))
    made = kind(**given(args, "sampler"))
    if hasattr(made, "guidance") and made.guidance is None:
        from dataclasses import replace

        return replace(made, guidance=MomentMatching())  # a stepper without guidance would sample the prior
    return made


def prior_maker(args, measured):
    """None for the fitted field, or a function scale -> network prior on the signal of the scan."""
    if args.prior in (None, "gaussian-field"):
        return None
    if not Path(args.prior).is_dir():
        raise BadInput(
            f"--prior {args.prior} is not a folder of a diffusers UNet2DModel; give one, or gaussian-field"
        )
    from workbench.priors.network import from_diffusers

    def make(scale):
        return from_diffusers(args.prior, shape=measured.A.in_shape, dtype=measured.A.in_dtype, scale=scale)

    return make


def voxel_size(args, scan):
    """mm of (slice, y, x), and a sentence where they were assumed."""
    if args.spacing is not None:
        try:
            spacing = tuple(float(v) for v in args.spacing.split(","))
        except ValueError:
            spacing = ()
        if len(spacing) != 3 or not all(0 < v < float("inf") for v in spacing):
            raise BadInput(
                f"--spacing {args.spacing} should be three positive lengths in mm, Z,Y,X, such as 5,1,1"
            )
        return spacing, None
    if getattr(scan, "known_spacing", False):
        return (1.0, scan.spacing, scan.spacing), "The slice distance is not known: 1 mm was written."
    if isinstance(scan.spacing, tuple):
        return tuple(scan.spacing), None
    return (1.0, 1.0, 1.0), "The voxel size is not known: 1 mm was written; give --spacing Z,Y,X."
