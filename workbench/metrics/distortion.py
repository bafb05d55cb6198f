"""Peak signal-to-noise ratio and relative error: the size of the error of an image, against the truth."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput


def psnr(x, truth, peak=None, mask=None):
    """10 log10(peak^2 / mean |x - truth|^2) in dB: (*batch,) float64.

    x: (*batch, *shape), truth: (*shape), real or complex (the complex error counts).  peak: default max |truth|
    inside the mask.  mask: (*shape) bool, the entries that count.
    """
    error, truth = _inside(x, truth, mask)
    peak = truth.abs().max() if peak is None else torch.tensor(peak, dtype=torch.float64, device=error.device)
    return 10 * torch.log10(peak**2 / (error.abs() ** 2).mean(-1))


def nrmse(x, truth, mask=None):
    """||x - truth|| / ||truth||: (*batch,) float64, for x: (*batch, *shape), truth and mask as in `psnr`."""
    error, truth = _inside(x, truth, mask)
    return torch.linalg.vector_norm(error, dim=-1) / torch.linalg.vector_norm(truth)


@dataclass(frozen=True)
class PSNR:
    """Peak signal-to-noise ratio of the posterior mean, in dB: 10 log10(max |truth|^2 / mean |error|^2).

    Called with a Posterior (its mean counts: one posterior sample has up to 3 dB less) or with an image.
    """

    card = dict(better="higher", unit="dB", complex=True, source="")

    peak: float | None = None

    def __call__(self, estimate, truth):
        return psnr(best(estimate), truth, self.peak).item()


@dataclass(frozen=True)
class NRMSE:
    """Relative error of the posterior mean: ||mean - truth|| / ||truth||, of a Posterior or an image."""

    card = dict(better="lower", unit="", complex=True, source="")

    def __call__(self, estimate, truth):
        return nrmse(best(estimate), truth).item()


def best(estimate):
    """The one image that stands for an estimate: the mean of a Posterior, an image itself."""
    return estimate.mean() if hasattr(estimate, "samples") else estimate


def matching(x, truth, mask=None):
    """`x`, if its last axes are those of `truth` and the mask fits; otherwise a BadInput that says how to mend it."""
    if tuple(x.shape[x.ndim - truth.ndim :]) != tuple(truth.shape) or x.ndim < truth.ndim:
        raise BadInput(
            f"x has shape {tuple(x.shape)}, its last axes should be those of truth, {tuple(truth.shape)}"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != truth.shape or not mask.any()):
        raise BadInput(
            f"mask is {mask.dtype} {tuple(mask.shape)} with {int(mask.sum())} entries; it should be a bool tensor of "
            f"truth's shape {tuple(truth.shape)} that is True somewhere"
        )
    return x


def _inside(x, truth, mask):
    """The error (*batch, entries) and the truth (entries,) where the mask is True, in double precision."""
    double = torch.complex128 if x.is_complex() or truth.is_complex() else torch.float64
    x, truth = matching(x, truth, mask).to(double), truth.to(x.device, double)
    mask = torch.ones(truth.shape, dtype=torch.bool) if mask is None else mask
    return (x - truth)[..., mask.to(x.device)], truth[mask.to(x.device)]
