"""What made a result: versions, device, threads, the data's hash; and the fingerprint that a resumed run must match."""

import platform
import subprocess
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch

import workbench


def environment(problem):
    """Versions, device, threads and the hash of the data."""
    return dict(
        versions=versions(),
        device=str(problem.y.device),
        threads=torch.get_num_threads(),
        data_sha256=digest(problem.y),
        commit=commit(),
    )


def versions():
    """The versions that decide the numbers."""
    return dict(workbench=workbench.__version__, torch=torch.__version__, python=platform.python_version())


@cache
def commit():
    """The git commit of the source tree, or None outside one."""
    home = Path(workbench.__file__).resolve().parent.parent
    if not (home / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=home, capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def digest(value):
    """The SHA-256 of every number that `value` (a tensor, or an object that holds some) is made of."""
    hasher = sha256()
    _absorb(value, hasher, 0)
    return hasher.hexdigest()


def _absorb(value, hasher, depth):
    if isinstance(value, torch.Tensor):
        dense = value.detach().cpu().contiguous()
        hasher.update(f"{value.dtype}{tuple(value.shape)}".encode())
        hasher.update(
            torch.view_as_real(dense).numpy().tobytes() if dense.is_complex() else dense.numpy().tobytes()
        )
    elif isinstance(value, torch.nn.Module):
        for name, tensor in value.state_dict().items():
            hasher.update(name.encode())
            _absorb(tensor, hasher, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _absorb(item, hasher, depth + 1)
    elif is_dataclass(value) and not isinstance(value, type):
        hasher.update(type(value).__name__.encode())
        for item in fields(value):
            _absorb(getattr(value, item.name), hasher, depth + 1)
    elif isinstance(value, (int, float, str, bool, torch.dtype, type(None))):
        hasher.update(repr(value).encode())
    elif hasattr(value, "__code__"):
        hasher.update(value.__code__.co_code + repr(value.__code__.co_consts).encode())
    elif hasattr(value, "denoise") and depth < 8:
        hasher.update(type(value).__name__.encode())
        for name in sorted(vars(value)):
            _absorb(vars(value)[name], hasher, depth + 1)


def fingerprint(problem, sampler, n, times, seed, ensembles, record):
    """What a checkpoint must have been made with, name by name."""
    return dict(
        problem=problem.name,
        data=digest(problem.y),
        operator=digest(problem.A),
        noise=digest(problem.noise),
        prior=digest(problem.prior),
        sampler=repr(sampler),
        n=n,
        steps=len(times) - 1,
        grid=digest(times),
        seed=seed,
        ensembles=ensembles,
        record=record or 0,
        device=str(problem.y.device),
        torch=torch.__version__,
    )
