"""The other reconstructions of the same data that a report shows, by the kind of scan."""

from collections.abc import Callable
from dataclasses import dataclass

from workbench.classical.cg_sense import CGSense
from workbench.classical.fbp import filtered_back_projection
from workbench.classical.l1_wavelet import L1Wavelet
from workbench.classical.total_variation import TotalVariation
from workbench.classical.zero_filled import ZeroFilled


@dataclass(frozen=True)
class Yardstick:
    """A name for the report, and `reconstruct(problem, measured)`."""

    name: str
    reconstruct: Callable


def of_problem(name, method):
    return Yardstick(name, lambda problem, measured: method.reconstruct(problem))


KSPACE = (
    of_problem("zero-filled", ZeroFilled()),
    of_problem("CG-SENSE", CGSense()),
    of_problem("L1-wavelet", L1Wavelet()),
    of_problem("total variation", TotalVariation()),
)
SINOGRAM = (
    Yardstick(
        "filtered back-projection",
        lambda problem, measured: filtered_back_projection(
            measured.extras["projector"], measured.extras["sinogram"]
        ),
    ),
    of_problem("least squares (Tikhonov)", CGSense(lam=1e-4)),
    of_problem(
        "L1-wavelet", L1Wavelet(tol=1e-4)
    ),  # a projection costs twenty times an FFT: stop where the eye does
    of_problem("total variation", TotalVariation(tol=1e-3)),
)
