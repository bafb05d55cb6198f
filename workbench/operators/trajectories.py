"""Trajectories: where a non-Cartesian scan samples k-space, in rad per pixel.

Every function gives points (shots, samples, d), double precision, in [-pi, pi), for `NUFFT` and `NonCartesianMRI`. The
last axis is in the order of the image's axes, (rows, columns) or (slices, rows, columns), and angles turn from the
columns towards the rows, as in sigpy. A spoke is a full diameter: its sample j stands at k_j = 2 pi (j - samples // 2)
/ samples, so samples // 2 is the middle of k-space, and twice as many samples as pixels are the usual oversampling.
The samples of a shot are in the order of time.
"""

from math import pi, sqrt

import torch

from workbench._errors import BadInput

GOLDEN = (1 + sqrt(5)) / 2


def radial(spokes, samples):
    """k_j (sin t, cos t) at the angles t_i = pi i / spokes: (spokes, samples, 2) rad per pixel.

    An image of n pixels across is sampled at Nyquist's rate everywhere by pi/2 n spokes.
    """
    _positive("radial", spokes=spokes, samples=samples)
    return _spokes(pi / spokes * torch.arange(spokes, dtype=torch.float64), samples)


def golden_angle(spokes, samples, tiny=1):
    """k_j (sin t, cos t) at the angles t_i = i pi / (G + tiny - 1): (spokes, samples, 2) rad per pixel.

    G = (1 + sqrt 5) / 2. tiny = 1 is the golden angle, 111.246 degrees, for which any successive spokes cover k-space
    evenly (Winkelmann et al. 2007); tiny = 7 is 23.628 degrees, a smaller step that makes smaller eddy currents
    (Wundrak et al. 2015).
    """
    _positive("golden_angle", spokes=spokes, samples=samples, tiny=tiny)
    step = pi / (GOLDEN + tiny - 1)
    return _spokes(step * torch.arange(spokes, dtype=torch.float64), samples)


def spiral(interleaves, samples, turns, power=1.0):
    """pi tau^power (sin t, cos t) with t = 2 pi (turns tau + i / interleaves): (interleaves, samples, 2) rad per pixel.

    tau goes from 0 to 1 as s^(1 / (1 + power)), s = j / samples, at which the speed along a wide arm is constant (the
    limit of the gradient's amplitude; the slew rate near the middle is not looked at). power = 1 is Archimedean: for n
    pixels, n / (2 interleaves) turns put the arms one cycle per field of view apart. A larger power samples the middle
    more densely. Kim, Adalsteinsson, Spielman 2003.
    """
    _positive("spiral", interleaves=interleaves, samples=samples, turns=turns, power=power)
    tau = (torch.arange(samples, dtype=torch.float64) / samples) ** (1 / (1 + power))
    start = torch.arange(interleaves, dtype=torch.float64)[:, None] / interleaves
    return _polar(pi * tau**power, 2 * pi * (turns * tau + start))


def rosette(petals, samples, turns):
    """pi sin(2 pi petals s) (sin t, cos t) with t = 2 pi turns s for s from 0 to 1: (1, samples, 2) rad per pixel.

    One shot that crosses the middle 2 petals times while it turns. Noll 1997.
    """
    _positive("rosette", petals=petals, samples=samples, turns=turns)
    s = torch.arange(samples, dtype=torch.float64) / samples
    radius = (pi * (2 * pi * petals * s).sin()).clamp(-pi, pi * (1 - 1e-12))
    return _polar(radius, 2 * pi * turns * s)[None]


def kooshball(spokes, samples):
    """k_j times the directions of the golden means on the half sphere: (spokes, samples, 3) rad per pixel.

    Direction i has its component along the first axis at {i phi_1} and its azimuth at 2 pi {i phi_2}, {} the fractional
    part, phi_1 = 0.4656 and phi_2 = 0.6823; any successive spokes cover k-space evenly. Chan et al. 2009.
    """
    _positive("kooshball", spokes=spokes, samples=samples)
    i = torch.arange(spokes, dtype=torch.float64)
    height, turn = i * 0.465571231876768 % 1, 2 * pi * (i * 0.682327803828019 % 1)
    across = (1 - height**2).sqrt()
    direction = torch.stack([height, across * turn.sin(), across * turn.cos()], dim=-1)
    return _radii(samples)[:, None] * direction[:, None]


def stack_of(plane, partitions):
    """`plane` at each height 2 pi (p - partitions // 2) / partitions: (partitions * shots, samples, 3) rad per pixel.

    plane: (shots, samples, 2), so radial(...) gives the stack of stars, spiral(...) the stack of spirals. The new axis,
    Cartesian, is the first of the volume; the shots of one partition follow each other.
    """
    _positive("stack_of", partitions=partitions)
    if plane.ndim != 3 or plane.shape[-1] != 2:
        raise BadInput(f"stack_of: plane has shape {tuple(plane.shape)}, it should be (shots, samples, 2)")
    height = _radii(partitions)[:, None, None, None].expand(partitions, *plane.shape[:2], 1)
    return torch.cat([height, plane.double().expand(partitions, *plane.shape)], dim=-1).flatten(0, 1)


def from_cycles(k, shape):
    """k in cycles per field of view (sigpy, BART: -n/2 to n/2) as rad per pixel, 2 pi k / n: (*, d) for d axes."""
    k = torch.as_tensor(k)
    if k.shape[-1] != len(shape):
        raise BadInput(
            f"from_cycles: k has {k.shape[-1]} components, shape = {tuple(shape)} has {len(shape)} axes"
        )
    return from_normalised(k.double() / torch.tensor(shape, dtype=torch.float64, device=k.device))


def from_normalised(k):
    """k in cycles per pixel (mri-nufft: -0.5 to 0.5) as rad per pixel, 2 pi k, where pi becomes -pi: (*, d)."""
    k = torch.as_tensor(k).double()
    if k.abs().max() > 0.5 * (1 + 1e-6):
        raise BadInput(
            f"from_normalised: k reaches {k.abs().max().item():.4g} cycles per pixel, it should be within 0.5; "
            f"k-space of cycles per field of view goes through from_cycles(k, shape)"
        )
    return 2 * pi * ((k + 0.5) % 1 - 0.5)


def _radii(samples):
    return 2 * pi / samples * (torch.arange(samples, dtype=torch.float64) - samples // 2)


def _spokes(angles, samples):
    return _polar(_radii(samples), angles[:, None])


def _polar(radius, angle):
    """(*, 2): rows, columns."""
    return torch.stack([radius * angle.sin(), radius * angle.cos()], dim=-1)


def _positive(who, **numbers):
    for name, value in numbers.items():
        if not value > 0:
            raise BadInput(f"{who}: {name} = {value} should be above 0")
