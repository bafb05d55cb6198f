"""The suite `speed`: operators, calibration, random numbers, laws and start-up beside what others take for the same."""

import subprocess
import sys

from workbench.cli._race import Race
from workbench.cli._races_mri import calibration, radial, sense
from workbench.cli._races_tomography import cone, tomography


def races():
    """Every race of the suite, made when its turn comes."""
    for suite in (sense, radial, calibration, tomography, cone, normals, mixture, start_up):
        yield from suite()


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
