"""Which points of k-space a scan measures.

Masks are bool tensors, True where k-space is measured; index n // 2 is the middle of every axis, as in `CartesianMRI`.
Masks of lines are (W,) for W = shape[-1]: they choose columns, phase encodes, of the last axis. Masks of points have
the given shape: (H, W), the two phase encodes of a 3-D scan (D, H, W) whose readouts D are always measured. Each is a
pure function of its arguments, so of its seed. `acceleration(mask)` is what came out.
"""

from math import prod

import numpy as np
import torch

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.operators._kspace import middle

SPACING = 0.85  # of Poisson discs where they are densest, in grid steps


def acceleration(mask):
    """R = points / measured points of a mask, a float: the true acceleration, calibration included."""
    if not mask.any():
        raise BadInput("acceleration: mask has no True entry, so nothing is measured; keep at least one")
    return mask.numel() / int(mask.sum())


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


def random_lines(shape, acceleration, center_fraction=0.08, seed=0):
    """fastMRI's "random" mask: each column outside the middle with probability p = (W / R - low) / (W - low).

    low = round(W center_fraction) columns of the middle, the first at (W - low + 1) // 2, are always measured, so the
    expected number of columns is W / R. Usual: 0.08 at R = 4, 0.04 at R = 8. The rules of round are Python's (half to
    even); the draws are ours, so seeds do not reproduce fastMRI's masks. Raises BadInput where none was drawn at all,
    which happens without a middle. Zbontar et al. 2018.
    """
    W, low = shape[-1], _low("random_lines", shape[-1], acceleration, center_fraction)
    p = (W / acceleration - low) / (W - low)
    mask = (Rng(seed, "mask").uniform(1, W)[0] < p) | _fastmri_middle(W, low)
    return _measuring("random_lines", mask, acceleration, seed)


def equispaced_lines(shape, acceleration, center_fraction=0.08, seed=0):
    """fastMRI's "equispaced" mask: columns round(o), round(o + a), ... below W - 1, and those of the middle.

    a = R (low - W) / (low R - W) is the spacing that, with low = round(W center_fraction) columns of the middle (the
    first at (W - low + 1) // 2), gives W / R columns up to rounding; it is not a whole number, so the spacings of the
    columns are floor(a) or ceil(a).  o: drawn evenly from 0, 1, ..., round(a) - 1. The positions o + a j stay below
    W - 1 before they are rounded (half to even), as in the public data. Raises BadInput where that leaves none, which
    happens without a middle. Zbontar et al. 2018.
    """
    W, low = shape[-1], _low("equispaced_lines", shape[-1], acceleration, center_fraction)
    spacing = acceleration * (low - W) / (low * acceleration - W)
    offset = int(Rng(seed, "mask").uniform(1, 1).item() * round(spacing))
    mask = _fastmri_middle(W, low)
    mask[np.around(np.arange(offset, W - 1, spacing)).astype(int)] = (
        True  # numpy's rounding, where they are ties
    )
    return _measuring("equispaced_lines", mask, acceleration, seed)


def gaussian_lines(shape, acceleration, sigma=0.25, calibration=24, seed=0):
    """Columns with probability min(1, a exp(-k^2 / (2 sigma^2))), round(W / acceleration) of them: (W,) bool.

    k: distance to the middle as a share of the half width W / 2.  sigma: in the same unit.  a: such that the sum of the
    probabilities is the number of columns. The `calibration` columns of the middle are always measured.
    """
    if not sigma > 0:
        raise BadInput(f"gaussian_lines: sigma = {sigma} should be above 0, in half widths of k-space")
    k = _distance(shape[-1:]) / (shape[-1] / 2)
    fixed = _box(shape[-1:], calibration)
    keep = _kept("gaussian_lines", shape[-1:], acceleration, fixed)
    chance = lambda log_a: (log_a - k**2 / (2 * sigma**2)).exp().clamp_max(1).masked_fill(fixed, 1)
    return _drawn(_reaching(chance, keep, -50.0, 50 + 0.5 / sigma**2), Rng(seed, "mask"))


def variable_density(shape, acceleration, power=3, calibration=24, seed=0):
    """Points with probability clip((1 - r)^power + c, 0, 1), round(size / acceleration) of them: bool of `shape`.

    shape: (W,) for lines, (H, W) for the two phase encodes of a 3-D scan.  r: distance to the middle, each axis as a
    share of its half width, scaled to 1 in the corner.  c: such that the probabilities add up to the number of points.
    The box of `calibration` points an axis in the middle is always measured. The polynomial density of Lustig, Donoho,
    Pauly 2007; the points are drawn with exactly these probabilities and exactly in this number (systematic sampling
    of a shuffled list).
    """
    fixed = _box(shape, calibration)
    keep = _kept("variable_density", shape, acceleration, fixed)
    density = (1 - _distance(shape, half_width=True) / len(shape) ** 0.5).clamp_min(0) ** power
    chance = lambda c: (density + c).clamp(0, 1).masked_fill(fixed, 1)
    return _drawn(_reaching(chance, keep, -1.0, 1.0), Rng(seed, "mask"))


def poisson_disc(shape, acceleration, calibration=24, seed=0, region=None):
    """Variable-density Poisson disc: round(H W / acceleration) points of (H, W), spaced by d(k) = 0.85 + s r(k).

    r: distance to the calibration box, as a share of the way from it to the edge along each axis: 0 in the box, 1 in
    the middle of an edge. Distances between points are in grid steps of the longer axis, sqrt(sum_j (n / n_j)^2 dk_j^2)
    with n = max(H, W), so discs are round in k-space for square voxels. Every two points outside the box are at least
    min(d(p), d(q)) apart; where d <= 1 all points are measured.  s: such that the discs fill k-space with that number.
    calibration: side of the fully measured box in the middle, or one for each axis.  region: bool (H, W), where points
    may lie at all: `ellipse(shape)` leaves out the corners. Raises BadInput where the numbers do not allow it.

    Points are tried in random order and kept where no kept one covers them, until there are enough; s is such that at
    most about 1 % more would fit in. Dippe and Wold 1985; Lustig, Alley, Vasanawala, Donoho, Pauly 2009. (sigpy
    spaces points off the grid by 1 + s r; a grid rounds distances up, hence the 0.85, which has the same density.)
    """
    if len(shape) != 2:
        raise BadInput(f"poisson_disc: shape = {tuple(shape)} should be (H, W), the two phase encodes")
    if region is not None and (region.dtype != torch.bool or region.shape != tuple(shape)):
        raise BadInput(
            f"poisson_disc: region is {region.dtype} {tuple(region.shape)}, it should be bool {tuple(shape)}"
        )
    box = _box(shape, calibration)
    allowed = box | (torch.ones(shape, dtype=torch.bool) if region is None else region)
    keep = _kept("poisson_disc", shape, acceleration, box, allowed)
    order = Rng(seed, "mask").uniform(1, prod(shape))[0].argsort()
    order = order[(allowed & ~box).flatten()[order]]
    mask = box.flatten()
    mask[_filling(shape, order, _outside(shape, calibration).flatten(), keep - int(box.sum()))] = True
    return mask.reshape(shape)


def partial_fourier(shape, fraction):
    """The last round(fraction W) columns: a partial Fourier scan that leaves out one side of k-space: (W,) bool.

    fraction: above 1/2, at most 1; usual are 5/8, 6/8, 7/8. The core |k| <= n - (W + 1) // 2 of the n columns is
    measured on both sides. `mask.flip(-1)` are the first columns instead.
    """
    W = shape[-1]
    n = round(fraction * W) if 0.5 < fraction <= 1 else 0
    if n <= (W + 1) // 2 and n < W:
        raise BadInput(
            f"partial_fourier: fraction = {fraction} of {W} columns leaves no core on both sides of the middle; "
            f"use a fraction above 1/2 and at most 1, as 5/8 or 6/8"
        )
    return torch.arange(W) >= W - n


def epi_lines(shape, acceleration, fraction=1.0, shots=1):
    """Every R-th column, the middle one among them, of a partial Fourier scan, dealt to the shots in turn: (shots, W).

    acceleration: R, a whole number.  fraction: of `partial_fourier`.  Row j is what shot j measures: columns j,
    j + shots, ... of those there are (interleaved EPI), so `epi_lines(...).any(0)` is the mask of the whole scan and
    the rows are the masks of a `DynamicMRI` in which each shot is a frame. Raises BadInput where a shot has no line.
    """
    W = shape[-1]
    if acceleration != int(acceleration) or acceleration < 1:
        raise BadInput(f"epi_lines: acceleration = {acceleration} should be a whole number, at least 1")
    lines = (partial_fourier(shape, fraction) & ((torch.arange(W) - W // 2) % acceleration == 0)).nonzero()
    if not 1 <= shots <= len(lines):
        raise BadInput(f"epi_lines: shots = {shots} should be from 1 to {len(lines)}, the number of lines")
    masks = torch.zeros(shots, W, dtype=torch.bool)
    masks[torch.arange(len(lines)) % shots, lines[:, 0]] = True
    return masks


def caipirinha(shape, steps, shift=1, calibration=0):
    """Points with k_1 = R_1 a and k_2 = R_2 b + shift a for whole a, b: 2D-CAIPIRINHA, bool of shape (H, W).

    k: counted from the middle.  steps: (R_1, R_2); the acceleration is R_1 R_2.  shift: of every further row along the
    second axis, from 0 (the rectangular lattice) to R_2 - 1. The box of `calibration` points an axis is added.
    Breuer et al. 2006.
    """
    R1, R2 = steps
    if len(shape) != 2 or min(steps) < 1 or not 0 <= shift < R2:
        raise BadInput(
            f"caipirinha: steps = {tuple(steps)}, shift = {shift}, shape = {tuple(shape)}; there should be two axes, "
            f"steps of at least 1 and a shift from 0 to {R2 - 1}"
        )
    k1, k2 = (torch.arange(n) - n // 2 for n in shape)
    k1 = k1[:, None]
    return (k1 % R1 == 0) & ((k2 - shift * (k1 // R1)) % R2 == 0) | _box(shape, calibration)


def ellipse(shape):
    """sum_j (k_j / (n_j / 2))^2 <= 1: the points of k-space without its corners, bool of `shape`."""
    return _distance(shape, half_width=True) <= 1


def _low(who, W, acceleration, center_fraction):
    """fastMRI's number of columns in the middle."""
    low = round(W * center_fraction)
    if not (acceleration >= 1 and 0 <= low < W and low * acceleration < W):
        raise BadInput(
            f"{who}: acceleration = {acceleration:g} and center_fraction = {center_fraction:g} leave no columns of {W} "
            f"outside the middle; use center_fraction below 1 / acceleration"
        )
    return low


def _measuring(who, mask, acceleration, seed):
    """The mask; BadInput where it measures nothing."""
    if not mask.any():
        raise BadInput(
            f"{who}: seed = {seed} draws none of {len(mask)} columns at acceleration = {acceleration:g}; use another "
            f"seed, a smaller acceleration, or a center_fraction that keeps the middle"
        )
    return mask


def _fastmri_middle(W, low):
    """`low` columns from (W - low + 1) // 2: for odd W and even low one further on than from W // 2 - low // 2."""
    mask = torch.zeros(W, dtype=torch.bool)
    mask[(W - low + 1) // 2 :][:low] = True
    return mask


def _sides(shape, calibration):
    """The sides of the calibration box, one an axis, at most those of the grid."""
    sides = [calibration] * len(shape) if isinstance(calibration, int) else list(calibration)
    if len(sides) != len(shape) or min(sides) < 0:
        raise BadInput(
            f"calibration = {calibration} should be one number, at least 0, or one for each of {len(shape)} axes"
        )
    return [min(side, n) for side, n in zip(sides, shape, strict=True)]


def _box(shape, calibration):
    """The centred box of the calibration sides."""
    mask = torch.zeros(tuple(shape), dtype=torch.bool)
    mask[middle(shape, _sides(shape, calibration))] = True
    return mask


def _kept(who, shape, acceleration, fixed, allowed=None):
    """How many points the acceleration leaves; BadInput unless that is more than are fixed, at most those allowed."""
    size, least = prod(shape), max(int(fixed.sum()), 1)
    most = size if allowed is None else int(allowed.sum())
    keep = round(size / acceleration) if acceleration >= 1 else size + 1
    if not least <= keep <= most:
        raise BadInput(
            f"{who}: acceleration = {acceleration:g} should be from {size / most:.4g} to {size / least:.4g} for "
            f"{size} points, {least} of them in the middle; change it or calibration"
        )
    return keep


def _distance(shape, half_width=False):
    """Distance to the middle, in grid steps or with each axis in half widths n / 2."""
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / (n / 2 if half_width else 1) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)


def _outside(shape, calibration):
    """Distance to the calibration box, each axis as a share of the way from it to its farther edge."""
    axes = []
    for n, side in zip(shape, _sides(shape, calibration), strict=True):
        beyond = ((torch.arange(n, dtype=torch.float64) - n // 2).abs() - side / 2).clamp_min(0)
        axes.append(beyond / beyond.max().clamp_min(1e-9))
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)


def _reaching(chance, total, low, high):
    """chance(c), probabilities that grow with c, for the c between low and high at which they add up to `total`."""
    for _ in range(60):
        c = (low + high) / 2
        low, high = (c, high) if chance(c).sum() < total else (low, c)
    return chance(high)


def _drawn(chance, rng):
    """A bool tensor whose entries are True with these probabilities, round(their sum) of them: systematic sampling.

    The list is shuffled and its probabilities are put end to end from a random start; an entry is drawn where a whole
    number lies in its stretch (Madow 1949; Hartley and Rao 1962).
    """
    mask, rest = (chance >= 1).flatten(), (chance < 1).flatten().nonzero()[:, 0]
    if len(rest):
        rest = rest[rng.uniform(1, len(rest))[0].argsort()]
        ends = chance.flatten()[rest].cumsum(0)
        ends[-1] = ends[-1].round()
        whole = (ends + rng.uniform(1, 1).item()).floor()
        mask[rest[whole.diff(prepend=whole.new_zeros(1)) > 0]] = True
    return mask.reshape(chance.shape)


def _filling(shape, order, r, need):
    """The first `need` points of a Poisson disc into which at most about 1 % more would fit.

    Their number falls with the slope and is near sum_k min(1, g / d(k)^2), random discs in the plane jamming at about
    g = 0.6 a step squared. Each result corrects g and narrows the slopes left, so few are tried.
    """
    g = 0.6 * max(shape) ** 2 / prod(shape)
    sample = r[order].sort().values[:: max(1, len(order) // 1024)]
    best, low, high, aim = order, 0.0, 4.0 * max(shape), need + max(1.0, 0.004 * need)
    for _ in range(16):
        room = lambda slope, g=g: (g / (SPACING + slope * sample) ** 2).clamp_max(1).mean() * len(order)
        slope = _crossing(room, aim, 4.0 * max(shape))
        slope = slope if low < slope < high else (low + high) / 2
        points = _darts(shape, order, SPACING + slope * r)
        if need <= len(points) <= len(best):
            best = points
        if need <= len(points) <= 1.01 * need + 1 or need == len(order):
            break
        low, high = (slope, high) if len(points) > need else (low, slope)
        g *= max(len(points), 1) / aim
    return best[:need]


def _crossing(falling, value, high):
    """Where a function that falls on 0..high takes a value, by bisection."""
    low = 0.0
    for _ in range(40):
        tried = (low + high) / 2
        low, high = (tried, high) if falling(tried) > value else (low, tried)
    return low


def _darts(shape, order, d):
    """The entries of `order`, flat indices into a grid (H, W), that no entry p before them covers with its disc d[p].

    The discs are rows of bytes on a grid with a margin, one set for each size that occurs.
    """
    H, W = shape
    scale = [max(shape) / n for n in shape]
    Y, X = (int(d[order].max() / step) for step in scale) if len(order) else (0, 0)
    y, x = torch.arange(-Y, Y + 1) * scale[0], torch.arange(-X, X + 1) * scale[1]
    distance = (y.double()[:, None] ** 2 + x.double() ** 2).sqrt()
    sizes = distance.unique()
    size = torch.searchsorted(sizes, d[order])  # distances below d: sizes[:size]
    width, discs, kept = W + 2 * X, {}, []
    free, covered = bytearray(b"\x01") * ((H + 2 * Y) * width), bytes(width)
    places = (order // W + Y) * width + order % W + X
    for i, (place, n) in enumerate(zip(places.tolist(), size.tolist(), strict=True)):
        if free[place]:
            kept.append(i)
            if n not in discs:
                runs = enumerate((distance <= sizes[n - 1]).sum(1).tolist())
                discs[n] = [((y - Y) * width - run // 2, covered[:run]) for y, run in runs if run]
            for start, row in discs[n]:
                free[place + start : place + start + len(row)] = row
    return order[kept]
