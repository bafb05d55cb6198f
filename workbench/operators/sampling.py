"""Which points of k-space a scan measures."""

import torch

from workbench._errors import BadInput
from workbench._rng import Rng


def cartesian_mask(shape, acceleration, calibration=24, seed=0):
    """A random variable-density mask of phase encodes: (W,) bool for W = shape[-1], round(W / acceleration) True.

    The `calibration` columns of the middle are all sampled; the others are drawn without replacement with weights
    1 - |k|, k the distance to the middle as a share of the half width (Efraimidis and Spirakis 2006). The acceleration
    that came out is 1 / mask.float().mean(). Raises BadInput where the middle alone is more than the columns allowed.
    """
    W = shape[-1]
    keep = round(W / acceleration) if acceleration >= 1 else 0
    if not calibration <= keep or calibration < 0 or keep < 1:
        raise BadInput(
            f"cartesian_mask: acceleration = {acceleration:g} leaves {keep} of {W} columns, calibration = {calibration} "
            f"of them in the middle; use an acceleration from 1 to {W / max(calibration, 1):.3g}, or fewer in the middle"
        )
    k = torch.arange(W, dtype=torch.float64) - W // 2
    weight = 1 - k.abs() / (W // 2 + 1)
    order = Rng(seed, "mask").uniform(1, W)[0].clamp_min(2.0**-60).log() / weight
    order[W // 2 - calibration // 2 : W // 2 - calibration // 2 + calibration] = 1.0
    mask = torch.zeros(W, dtype=torch.bool)
    mask[order.topk(keep).indices] = True
    return mask
