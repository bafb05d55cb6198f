"""Inverse Workbench: inverse problems with diffusion priors, and how right the answer is.

Six ideas: an `operator` maps a signal to a measurement, `noise` turns that into data, a `prior` is a denoiser
E[x0 | x_t], a `process` is the noise schedule, a `sampler` is an algorithm box, a `Posterior` is what comes out.
Rooms load when named, so `import workbench` costs nothing.
"""

from workbench._export import rooms
from workbench._shadow import refuse_shadows

__version__ = "0.1.0"

refuse_shadows()
__getattr__, __dir__ = rooms(
    __name__,
    packages=(
        "operators",
        "noise",
        "diffusion",
        "priors",
        "samplers",
        "classical",
        "metrics",
        "io",
        "viz",
        "catalogue",
    ),
    names=dict(
        Problem="problem",
        Posterior="posterior",
        sample="run",
        tune="tuning",
        Prior="priors._prior",
        BadInput="_errors",
        Rng="_rng",
    ),
)
