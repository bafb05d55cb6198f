"""The files of a reconstruction: slices kept while it runs, then volumes, report and record, each written whole."""

import json
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from workbench._checkpoint import replace_with
from workbench._errors import BadInput
from workbench.cli._job import Slice
from workbench.io.nifti import write_nifti
from workbench.provenance import digest
from workbench.viz.report import modulus, report_html

IMAGES = ("mean", "std", "lower", "upper", "draws", "support", "spectrum")


class Partial:
    """OUT.partial/: the slices that are done, for the same command to go on from."""

    def __init__(self, folder, arguments, scan):
        self.folder, self.note = Path(folder), Path(folder) / "arguments.json"
        self.text = json.dumps(
            {**arguments, "data": digest(scan.data)}, indent=1, sort_keys=True, default=str
        )
        if not self.note.exists():
            return
        try:
            before = dict(json.loads(self.note.read_text()))
        except (ValueError, TypeError):
            raise self.damaged(self.note) from None
        different = [k for k, v in json.loads(self.text).items() if before.get(k) != v]
        if different:
            raise BadInput(
                f"{folder} holds an unfinished run with another {', another '.join(different)}; "
                f"repeat that command, or remove the folder to start afresh"
            )

    def damaged(self, path):
        return BadInput(f"{path} is damaged; remove the folder {self.folder.name} to start afresh")

    def save(self, i, part):
        """Slice i is done. The first one makes the folder, so that a run that is refused leaves none."""
        if not self.note.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_with(self.note, lambda path: path.write_text(self.text))
        arrays = {name: getattr(part, name).cpu().numpy() for name in IMAGES}
        arrays |= {f"others.{name}": x.cpu().numpy() for name, x in part.others.items()}
        words = {f.name: getattr(part, f.name) for f in fields(part) if f.name not in (*IMAGES, "others")}
        save_npz(self.folder / f"slice-{i}.npz", words=np.array(json.dumps(words)), **arrays)

    def load(self, i):
        """Slice i if it is done, else None."""
        path = self.folder / f"slice-{i}.npz"
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                words = json.loads(str(file["words"]))
                images = {name: torch.from_numpy(file[name]) for name in IMAGES}
                others = {k[7:]: torch.from_numpy(file[k]) for k in file.files if k.startswith("others.")}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            raise self.damaged(path) from None
        return Slice(**images, others=others, **words)


def save_npz(path, **arrays):
    """An .npz, written beside and renamed."""

    def write(beside):
        with open(beside, "wb") as file:
            np.savez_compressed(file, **arrays)

    replace_with(Path(path), write)


def write(targets, parts, unit, spacing, note, args):
    """Write .npz, NIfTI volumes if asked for, the report, and last the record; the paths written."""
    stack = {name: torch.stack([getattr(part, name) for part in parts]).cpu() for name in IMAGES}
    others = {name: torch.stack([part.others[name] for part in parts]).cpu() for name in parts[0].others}
    npz = targets.stem.with_name(targets.stem.name + ".npz")
    save_npz(
        npz,
        **{k: v.numpy() for k, v in {**stack, **others}.items()},
        spacing_mm=np.array(spacing),
        unit=np.array(unit),
    )
    written = [npz]
    if targets.out != npz:
        ending = targets.out.name[len(targets.stem.name) :]
        volumes = dict(
            mean=torch.from_numpy(modulus(stack["mean"])),
            std=stack["std"],
            lower=stack["lower"],
            upper=stack["upper"],
        )
        for name, volume in volumes.items():
            path = (
                targets.out
                if name == "mean"
                else targets.stem.with_name(f"{targets.stem.name}_{name}{ending}")
            )
            write_nifti(path, volume, spacing, units=unit)
            written.append(path)
    for part in parts:
        if note and note not in part.warnings:
            part.warnings.append(note)
    labels = [f"Slice {i + 1} of {len(parts)}" for i in range(len(parts))]
    page = report_html(f"Reconstruction of {Path(args.scan).name}", parts, unit, labels)
    replace_with(targets.report, lambda path: path.write_text(page, encoding="utf-8"))
    record = dict(
        arguments={k: v for k, v in vars(args).items()},
        scan_sha256=sha256(Path(args.scan).read_bytes()).hexdigest(),
        unit=unit,
        spacing_mm=spacing,
        slices=[
            dict(checks=p.checks, settings=p.settings, notes=p.notes, warnings=p.warnings) for p in parts
        ],
    )
    replace_with(targets.run, lambda path: path.write_text(json.dumps(record, indent=1)))
    return [*written, targets.report, targets.run]
