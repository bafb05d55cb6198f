"""Data taken as exact: what methods that reproduce the noise of y, amplified by 1 / s_i, may count as measured."""

from dataclasses import replace

from workbench._errors import BadInput
from workbench.operators.mask import Mask
from workbench.samplers._spectral import gaussian_spectral


def clean_spectral(problem, who):
    """The Spectral view without the coordinates whose noise 1 / s_i is above a tenth of the prior's noisiest level, about
    the largest scale of its signals: those count as not measured. BadInput for noise that is not Gaussian."""
    view = gaussian_spectral(problem, who)
    keep = view.deviation <= 0.1 * problem.prior.noise_range[1]
    if keep.all():
        return view
    if not keep.any():
        raise BadInput(
            f"{who}: every measurement has more noise than the signal has size; use DDRM, DDNMPlus or a guidance"
        )
    return replace(view, seen=view.seen[keep], s=view.s[keep], V=view.V @ Mask(keep, view.seen.dtype).H)
