"""The suite `speed`: our operators, calibration, random numbers, laws and start-up against what others take for the same."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from statistics import median

WARM = 2  # calls of each before the clock counts


@dataclass(frozen=True)
class Race:
    """Two ways to the same numbers: `ours`, and the `peer` called `against` (None where it is not installed).

    least: the goal, time of the peer over ours.  most: the goal, milliseconds of ours.  repeats: timed calls of each.
    """

    name: str
    ours: Callable
    against: str
    peer: Callable | None
    least: float | None = None
    most: float | None = None
    repeats: int = 20


def race(entry, repeats=None):
    """The times of both in ms, their calls alternating so that the machine's drift meets them alike."""
    runners = [entry.ours] if entry.peer is None else [entry.ours, entry.peer]
    times = [[] for _ in runners]
    for i in range(WARM + (repeats or entry.repeats)):
        for run, kept in zip(runners, times, strict=True):
            spent = clocked(run)
            if i >= WARM:
                kept.append(spent)
    return summary(entry, *times)


def clocked(run):
    """Milliseconds of one call."""
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def summary(entry, ours, peer=None):
    """One line of the table: medians, minima, the ratio of the medians, the goal and whether it is met."""
    row = dict(
        name=entry.name, repeats=len(ours), ours_ms=median(ours), ours_min_ms=min(ours), against=entry.against
    )
    row |= dict(peer_ms=None, peer_min_ms=None, ratio=None, goal=goal(entry), met=None)
    if peer is not None:
        row |= dict(peer_ms=median(peer), peer_min_ms=min(peer), ratio=median(peer) / row["ours_ms"])
    if entry.most is not None:
        row["met"] = row["ours_ms"] <= entry.most
    elif entry.least is not None and peer is not None:
        row["met"] = row["ratio"] >= entry.least
    return row


def goal(entry):
    """The goal in words."""
    if entry.most is not None:
        return f"<= {entry.most:g} ms"
    return None if entry.least is None else f">= {entry.least:g}x"


def races():
    """Every race of the suite, made when its turn comes."""
    for suite in (sense, tomography, calibration, normals, mixture, start_up):
        yield from suite()


def optional(module):
    """The module, or None where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        return None


def sense(size=256, coils=8, acceleration=1 / 0.3):
    """SENSE with a mask of lines: forward, adjoint, normal, complex64, against sigpy.mri.linop.Sense."""
    import torch

    from workbench._rng import Rng
    from workbench.operators.cartesian_mri import CartesianMRI
    from workbench.operators.coils import simulate_coils
    from workbench.operators.sampling import cartesian_mask

    maps, mask = (
        simulate_coils((size, size), coils),
        cartesian_mask((size, size), acceleration, calibration=size // 16),
    )
    A, x = (
        CartesianMRI(maps, mask),
        Rng(0, "bench").normal(torch.empty(1, size, size, dtype=torch.complex64))[0],
    )
    y, peers = A(x), dict(forward=None, adjoint=None, normal=None)
    if linop := optional("sigpy.mri.linop"):
        weights = mask.expand(size, size).to(torch.float32).numpy()
        S, image, kspace = linop.Sense(maps.numpy(), weights=weights), x.numpy(), A.grid(y).numpy()
        SH, N = S.H, S.N
        peers = dict(forward=lambda: S(image), adjoint=lambda: SH(kspace), normal=lambda: N(image))
    ours = dict(forward=lambda: A(x), adjoint=lambda: A.H(y), normal=lambda: A.normal(x))
    for part, run in ours.items():
        yield Race(f"SENSE {coils}x{size}x{size} {part}", run, "sigpy Sense", peers[part], least=1.5)


def tomography(size=256, views=180, detectors=384):
    """Parallel beam, float32: forward and adjoint against skimage's radon and unfiltered iradon, of their own width."""
    from math import ceil, pi

    import torch

    from workbench._rng import Rng
    from workbench.operators.radon import ParallelBeam

    angles = torch.arange(views, dtype=torch.float64) * pi / views
    A = ParallelBeam(angles, (size, size), detectors)
    x = Rng(0, "bench").uniform(size, size).float()
    y, radon, iradon = A(x), None, None
    if transform := optional("skimage.transform"):
        import numpy as np

        image, degrees = x.numpy(), np.arange(views) * 180 / views
        columns = np.zeros((ceil(2**0.5 * size), views), np.float32)
        radon = lambda: transform.radon(image, degrees, circle=False)
        iradon = lambda: transform.iradon(columns, degrees, size, filter_name=None, circle=False)
    name = f"CT {size}x{size}, {views} views, {detectors} columns"
    yield Race(f"{name} forward", lambda: A(x), "skimage radon", radon, least=5)
    yield Race(f"{name} adjoint", lambda: A.H(y), "skimage iradon", iradon, least=5)


def calibration(size=256, coils=8, width=24):
    """ESPIRiT from the middle of k-space, complex64, against sigpy.mri.app.EspiritCalib (whose 3 repeats take a while)."""
    import torch

    from workbench._rng import Rng
    from workbench.operators.coils import espirit, simulate_coils
    from workbench.operators.fourier import Fourier

    maps = simulate_coils((size, size), coils)
    image = 1 + 0.1 * Rng(0, "bench").normal(torch.empty(1, size, size, dtype=torch.complex64))[0]
    kspace = Fourier((size, size), torch.complex64)(maps * image)
    low = size // 2 - width // 2
    block, peer = kspace[:, low : low + width, low : low + width], None
    if app := optional("sigpy.mri.app"):
        array = kspace.numpy()
        peer = lambda: app.EspiritCalib(array, calib_width=width, show_pbar=False).run()
    name = f"ESPIRiT {coils}x{size}x{size}"
    yield Race(name, lambda: espirit(block, (size, size)), "sigpy EspiritCalib", peer, repeats=3)


def normals(shape=(16, 256, 256)):
    """Normal numbers keyed by sample, float32, against torch.randn, whose rows depend on the batch."""
    import torch

    from workbench._rng import Rng

    like, rng = torch.empty(shape), Rng(0, "bench")
    name = f"Rng.normal {'x'.join(str(n) for n in shape)}"
    yield Race(name, lambda: rng.normal(like), "torch.randn", lambda: torch.randn(shape))


def mixture(components=16, dimension=256, n=256):
    """The score of a mixture with full covariances, float32, against its two matrix products alone."""
    import torch

    from theory.distributions.mixture import GaussianMixture
    from workbench._rng import Rng

    rng = Rng(0, "bench")
    root = rng.normal(torch.empty(components, dimension, dimension)) / dimension**0.5
    law = GaussianMixture(
        torch.ones(components), rng.normal(torch.empty(components, dimension)), root @ root.mT
    )
    x, t, Q = rng.normal(torch.empty(n, dimension)), law.process.time(0.7), law.covariances.Q
    v = x[None].expand(components, n, dimension)
    name = f"mixture score, {components} components, {n} rows of {dimension}"
    yield Race(name, lambda: law.score(x, t), "its matrix products", lambda: v @ Q @ Q.mT)


def start_up():
    """A fresh process, against one of Python alone."""

    def process(*words):
        return lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)

    bare = process("-c", "pass")
    yield Race(
        "start: workbench list samplers",
        process("-m", "workbench", "list", "samplers"),
        "python",
        bare,
        most=300,
    )
    yield Race("start: import workbench", process("-c", "import workbench"), "python", bare)
