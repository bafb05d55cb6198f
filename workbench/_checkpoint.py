"""A run that can be interrupted: every step in one file, written beside and renamed, never pickled."""

import json
import os
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import torch

from workbench._cost import Cost
from workbench._errors import BadInput


class Checkpoint:
    """The folder of one interrupted or running call; does nothing when `folder` is None.

    `checkpoint.json` holds the fingerprint, the batch size and the thread number, `state.safetensors` the step in progress,
    `batch-N.safetensors` a finished batch. A resumed call restores threads and batch size.
    """

    def __init__(self, folder, fingerprint, batch):
        self.folder = None if folder is None else Path(folder)
        self.made_with, self.batch, self.thread_number = fingerprint, None, torch.get_num_threads()
        self.earlier = Cost()
        self.history = []
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"checkpoint = {folder} cannot be made ({error.strerror}); give a folder that can be written"
            ) from None
        if (self.folder / "checkpoint.json").exists():
            self._resume(batch)

    def _resume(self, batch):
        try:
            saved = json.loads((self.folder / "checkpoint.json").read_text())
            different = [k for k, v in self.made_with.items() if saved["fingerprint"].get(k) != v]
            self.batch, self.thread_number = saved["batch"], saved["threads"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"checkpoint {self.folder} is damaged ({error}); remove it to start afresh"
            ) from None
        if batch is not None and batch != self.batch:
            different.append("batch")
        if different:
            raise BadInput(
                f"checkpoint {self.folder} was made with another {' and another '.join(different)}; "
                f"repeat the call as it was, or remove the folder to start afresh"
            )

    def settle(self, batch):
        """The batch size to use: that of the run that is resumed, or `batch`."""
        self.batch = self.batch or batch
        return self.batch

    def _claim(self):
        """Record what the run was made with, once there is a step to resume from: a call that fails at its start does
        not bind the next one."""
        if not (self.folder / "checkpoint.json").exists():
            text = json.dumps(
                dict(fingerprint=self.made_with, batch=self.batch, threads=self.thread_number), indent=1
            )
            replace_with(self.folder / "checkpoint.json", lambda path: path.write_text(text))

    @contextmanager
    def threads(self):
        """Run with the number of threads the run was started with."""
        now = torch.get_num_threads()
        torch.set_num_threads(self.thread_number)
        try:
            yield
        finally:
            torch.set_num_threads(now)

    def save_state(self, index, step, state, extras, cost):
        """The state after `step` steps of batch `index`."""
        if self.folder is None:
            return
        tensors = {f"state.{f.name}": getattr(state, f.name) for f in fields(state)}
        tensors |= {f"extra.{k}": v for k, v in extras.items()}
        self._write(
            "state", tensors, dict(index=index, step=step, cost=asdict(cost), processes=self.processes(cost))
        )

    def load_state(self, index, kind, cost):
        """(step, state, extras) of batch `index`, or None; `cost` takes up where it was."""
        if self.folder is None or not (self.folder / "state.safetensors").exists():
            return None
        tensors, note = self._read("state")
        if note["index"] != index:
            return None
        self._take_up(note, cost)
        state = kind(**{k[6:]: v for k, v in tensors.items() if k.startswith("state.")})
        return note["step"], state, {k[6:]: v for k, v in tensors.items() if k.startswith("extra.")}

    def finish(self, index, tensors, cost):
        """Batch `index` is done."""
        if self.folder is not None:
            note = dict(cost=asdict(cost), processes=self.processes(cost))
            self._write(f"batch-{index}", tensors, note)

    def finished(self, index, cost):
        """The tensors of batch `index` if it is done, else None."""
        if self.folder is None or not (self.folder / f"batch-{index}.safetensors").exists():
            return None
        tensors, note = self._read(f"batch-{index}")
        self._take_up(note, cost)
        return tensors

    def processes(self, cost):
        """What each process of this run did, the last being this one."""
        return [*self.history, asdict(cost - self.earlier)]

    def _take_up(self, note, cost):
        saved = Cost(**note["cost"])
        if saved.denoiser + saved.operator >= self.earlier.denoiser + self.earlier.operator:
            self.earlier, self.history = saved, note["processes"]
            cost.__dict__.update(note["cost"])

    def _write(self, name, tensors, note):
        from safetensors.torch import save_file

        self._claim()
        packed = {}
        for key, value in tensors.items():
            if value is not None:
                value = value.detach().to("cpu", copy=True).contiguous()  # safetensors refuses shared memory
                packed[key + ".complex" if value.is_complex() else key] = (
                    torch.view_as_real(value).contiguous() if value.is_complex() else value
                )
        note = {"note": json.dumps(note), "device": str(next(iter(tensors.values())).device)}
        replace_with(self.folder / f"{name}.safetensors", lambda path: save_file(packed, path, note))

    def _read(self, name):
        from safetensors import SafetensorError, safe_open

        path = self.folder / f"{name}.safetensors"
        try:
            with safe_open(path, "pt") as file:
                note = json.loads(file.metadata()["note"])
                device = file.metadata()["device"]
                tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"checkpoint {path} is damaged ({error}); remove {self.folder} to start afresh"
            ) from None
        keep = {"extra.log_z", "extra.ancestors", "log_z", "ancestors"}  # these live on the CPU
        out = {}
        for key, value in tensors.items():
            clean = key.removesuffix(".complex")
            value = torch.view_as_complex(value) if clean != key else value
            out[clean] = value if clean in keep else value.to(device)
        return out, note


def replace_with(path, write):
    """Write a file beside `path` and rename it, so that `path` is whole at any moment."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    write(beside)
    os.replace(beside, path)
