"""A real picture that every installation has: the MR slice of a head in matplotlib's sample data."""

import gzip

import numpy as np
import torch

from workbench._errors import BadInput


def head_slice(size=256, dtype=torch.float32):
    """A sagittal head, (size, size) in [0, 1]: matplotlib's s1045.ima.gz, 256 x 256 big-endian 16-bit, divided by its
    maximum and, for a smaller size that divides 256, averaged over blocks."""
    if size < 1 or 256 % size:
        raise BadInput(f"size = {size} should divide 256: 256, 128, 64 or 32")
    from matplotlib.cbook import get_sample_data

    with get_sample_data("s1045.ima.gz", asfileobj=True) as file:
        raw = file.read()
    raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    image = np.frombuffer(raw, ">u2").reshape(256, 256).astype(np.float64)
    image = image.reshape(size, 256 // size, size, 256 // size).mean((1, 3))
    return torch.from_numpy(image / image.max()).to(dtype)


def inside(image, level=0.05):
    """True inside the head: the pixels between the first and the last bright one of their row or column, which keeps
    dark ventricles and drops the air around."""
    bright = image > level
    rows = bright.cummax(1).values & bright.flip(1).cummax(1).values.flip(1)
    columns = bright.cummax(0).values & bright.flip(0).cummax(0).values.flip(0)
    return rows & columns
