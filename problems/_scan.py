"""From one slice of a scan to a problem: whitened operator and data, part of them held out, a noise guess, a support."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._linear import Linear
from workbench.operators.cartesian_mri import CartesianMRI
from workbench.operators.coils import calibration_region, corner_noise, espirit, noise_covariance
from workbench.operators.diagonal import Diagonal
from workbench.operators.mask import Mask


@dataclass(frozen=True, eq=False)
class Measured:
    """y = A x + sigma n with n standard normal and one unknown sigma near `sigma`, and a split of the same data.

    A, y: everything.  fitted, held: (A, y) of what priors are fitted to, and of what is held out to test them.
    support: True where the measurement sees the image at all.  unit: of the image.  notes: sentences for the report.
    """

    A: Linear
    y: Tensor
    fitted: tuple
    held: tuple
    sigma: float
    support: Tensor
    kind: str
    unit: str
    notes: tuple = ()
    extras: dict = field(default_factory=dict)


def hold_out(n, share, seed):
    """True for round(share * n) of n entries (at least one), drawn with `seed`."""
    if not 0 < share < 1:
        raise BadInput(f"hold_out = {share} should lie between 0 and 1, for example 0.05")
    held = torch.zeros(n, dtype=torch.bool)
    held[Rng(seed, "hold-out").uniform(1, n)[0].argsort()[: max(1, round(share * n))]] = True
    return held


def from_kspace(scan, index, share=0.05, seed=0):
    """Slice `index` of a `KSpace`: coils whitened by their noise covariance, sensitivities by ESPIRiT.

    With maps from ESPIRiT the image is in units of the noise's standard deviation (per real component of k-space), the
    SNR scale of Kellman and McVeigh 2005; with maps that were given it is in the units of the scan. Held out: `share` of the sampled points, in every coil.
    """
    k, mask, notes = scan.data[index], scan.mask, []
    W = torch.linalg.inv(torch.linalg.cholesky(_covariance(scan, k, mask, notes))).contiguous()
    k = torch.tensordot(W, k, dims=1)
    shape = tuple(k.shape[1:])
    maps = _maps(scan, index, k, mask, W, notes)
    full = CartesianMRI(maps, mask)
    y = full.sample(k)
    sampled = mask.broadcast_to(shape)
    out = torch.zeros(shape, dtype=torch.bool)
    out[sampled] = hold_out(y.shape[1], share, seed)
    parts = [CartesianMRI(maps, sampled & ~out), CartesianMRI(maps, sampled & out)]
    notes.append(
        f"{y.shape[1]} of {sampled.numel()} k-space points were sampled (acceleration {full.acceleration:.2f})."
    )
    support = maps.abs().square().sum(0) > 0
    if not support.all():
        notes.append(
            f"The coil maps are zero in {100 * (~support).float().mean().item():.0f} % of the image (air), where nothing is "
            f"measured: blank in the pictures; in the files the mean is near 0 there and the spread is the prior's own."
        )
    return Measured(
        full,
        y,
        *[(A, A.sample(k)) for A in parts],
        sigma=1.0,
        support=support,
        kind="k-space",
        unit="noise standard deviations" if scan.maps is None and len(k) > 1 else "units of the scan",
        notes=(*scan.notes, *notes),
        extras=dict(maps=maps, mask=mask),
    )


def _covariance(scan, k, mask, notes):
    """The coil noise covariance: from noise samples, from the edge of k-space, or, at worst, a common variance."""
    if scan.noise is not None:
        notes.append("The noise covariance of the coils comes from the noise samples given.")
        return noise_covariance(scan.noise)
    try:
        samples = corner_noise(k, mask)
    except BadInput:
        notes.append(
            "Warning: too few points were sampled to estimate the noise covariance of the coils; equal, independent noise "
            "was assumed and its level fitted."
        )
        power = k[:, mask.broadcast_to(k.shape[1:])].abs().square().mean(1)
        return torch.diag(power.median() * 1e-4 * torch.ones_like(power)).to(k.dtype)
    notes.append(
        "The noise covariance of the coils comes from the outermost sampled points of k-space, which hold a little "
        "signal too; a common factor was then fitted."
    )
    return noise_covariance(samples)


def _maps(scan, index, k, mask, W, notes):
    """Sensitivities of the whitened coils: those given, one for a single coil, or ESPIRiT."""
    if scan.maps is not None:
        notes.append("The coil sensitivities are the ones given.")
        maps = scan.maps if scan.maps.ndim == k.ndim else scan.maps[index]
        return torch.tensordot(W, maps, dims=1)
    if len(k) == 1:
        notes.append("One coil: its sensitivity was taken as 1.")
        return W.reshape(1, 1, 1).expand(k.shape).contiguous()
    block = calibration_region(k, mask)
    notes.append(
        f"The coil sensitivities come from the middle {tuple(block.shape[1:])} points of k-space by ESPIRiT."
    )
    return espirit(block, tuple(k.shape[1:]))


def from_sinogram(scan, index, share=0.05, seed=0, shape=None):
    """Slice `index` of a `Sinogram`, on a grid of its own detector spacing; held out: `share` of the views."""
    A, y = scan.operator(shape), scan.data[index]
    notes = [f"{len(y)} views of {y.shape[1]} detector columns, image {A.in_shape[0]} x {A.in_shape[1]}."]
    if scan.sigma is not None:
        weights = 1 / scan.sigma[index]
        A, y, sigma = Diagonal(weights) @ A, weights * y, 1.0
    else:
        sigma = _roughness(y)
        notes.append("The noise of the line integrals was taken as equal everywhere, its level fitted.")
    views = hold_out(len(y), share, seed)[:, None].expand(y.shape)
    parts = [Mask(~views, A.out_dtype), Mask(views.contiguous(), A.out_dtype)]
    unit = "1/mm" if scan.known_spacing else "1/detector column"
    return Measured(
        A,
        y,
        *[(M @ A, M(y)) for M in parts],
        sigma=sigma,
        support=_disc(A.in_shape),
        kind="sinogram",
        unit=unit,
        notes=(*scan.notes, *notes),
        extras=dict(projector=scan.operator(shape), sinogram=scan.data[index]),
    )


def _roughness(y):
    """A first guess of white noise: the median step between neighbouring columns, over that of two normal numbers."""
    return max((y.diff(dim=-1).abs().median() / (0.6745 * 2**0.5)).item(), 1e-6 * y.abs().max().item())


def _disc(shape):
    """True inside the disc that every view sees."""
    axes = [torch.arange(n) - (n - 1) / 2 for n in shape]
    r = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
    return r <= min(shape) / 2
