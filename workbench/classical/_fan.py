"""Filtering and back-projecting fans of rays, on flat and curved detectors, over whole and partial turns."""

from math import pi

import torch

from workbench._errors import BadInput
from workbench.classical._ramp import ramp_filtered
from workbench.operators.fan_beam import arc_detector, flat_detector

TAPER = pi / 18  # rad, over which the ends of a short scan fade


def fan_back_projection(A, y, window):
    """The image (*, H, W) in 1/mm of y: (*, n_angles, detectors), A a FanBeam on a whole turn or a part of it.

    Kak and Slaney 1988, sections 3.4.1 (arc) and 3.4.2 (flat).
    """
    s = (torch.arange(A.detectors, dtype=torch.float64) - A.axis) * A.spacing
    q = filtered_fan(A, y[..., None, :], s, torch.zeros(1, dtype=torch.float64), window)[..., 0, :]
    x = y.new_zeros(*y.shape[:-2], *A.shape)
    for view, t in enumerate(A.angles.double().tolist()):
        column, _, gain = seen_from(A, t, A.shape, y.device)
        x += gain.to(x.dtype) * interpolated(q[..., view, :], column / A.spacing + A.axis)
    return x


def filtered_fan(A, y, s, v, window):
    """The views (*, n_angles, rows, columns), weighted for the slant of the rays and for how often each was seen,
    and filtered along the columns, at s mm along the detector and v mm above its middle row; in 1/mm."""
    if A.detector not in (flat_detector, arc_detector):
        raise BadInput(
            f"FDK: A.detector is {A.detector.__name__}, it should be flat_detector or arc_detector"
        )
    flat = A.detector is flat_detector
    gamma = torch.atan(s / A.dsd) if flat else s / A.dsd
    reach = torch.hypot(s, torch.tensor(float(A.dsd))) if flat else torch.full_like(s, A.dsd)
    slant = gamma.cos() * reach / torch.hypot(reach, v[:, None])
    weights = redundancy(A.angles.double().cpu(), gamma)[:, None, :] * slant
    weighted = y * weights.to(y.device, y.dtype.to_real())
    step = abs(s[1] - s[0]).item() if len(s) > 1 else 1.0
    if flat:
        return ramp_filtered(weighted, step * A.dso / A.dsd, window)
    curve = lambda n: (n * step / A.dsd / torch.sin(n * step / A.dsd)) ** 2
    return ramp_filtered(weighted, step / A.dsd, window, curve) / A.dso


def redundancy(angles, gamma):
    """(n_angles, columns): the angle each view stands for, times its share in the two measurements of a ray; rad.

    The ray at fan angle gamma of view t is that at -gamma of view t + pi - 2 gamma. Each is weighted by c / (c + c'),
    with c and c' the trust in the two views: 1 within the scan, fading over 10 degrees at its ends, 0 outside. A whole
    turn gives 1/2, a short scan smooth weights, and a limited angle 1 where there is no second measurement.
    Noo, Defrise, Clackdoyle and Kudo 2002 (Phys. Med. Biol. 47, 2525).
    """
    t, order = (angles % (2 * pi)).sort()
    gaps = torch.cat([t[1:], t[:1] + 2 * pi]) - t
    first = (gaps.argmax().item() + 1) % len(t)
    arc = 2 * pi - gaps.max()
    whole = gaps.max() <= 4 * arc / max(len(t) - 1, 1)  # of a turn: the widest gap is no missing wedge
    if not whole:
        gaps[first - 1] = arc / max(len(t) - 1, 1)
    shares = torch.empty_like(gaps).scatter_(0, order, (gaps + gaps.roll(1)) / 2)[:, None]
    if whole:
        return (shares / 2).expand(-1, len(gamma))
    since = lambda view: (view - t[first] + gaps[first - 1] / 2) % (2 * pi)
    trust = lambda view: fading(since(view), arc + gaps[first - 1])
    mine, other = trust(angles[:, None]), trust(angles[:, None] + pi - 2 * gamma)
    return shares * mine / (mine + other)


def fading(since, arc):
    """1 within 0..arc, falling to 0 at both ends as cos^2, and 0 outside."""
    edge = torch.minimum(since, arc - since).clamp_min(0)
    return torch.sin(pi / 2 * (edge / min(TAPER, arc / 2)).clamp_max(1)) ** 2


def seen_from(A, t, shape, device):
    """For each pixel of a slice (H, W), seen by the view at angle t: mm along the detector, the magnification there,
    and the gain of back-projection, (dso / depth)^2 on a flat detector and (dso / distance)^2 on an arc."""
    (H, W), t = shape, torch.tensor(t, dtype=torch.float64)
    x1 = (torch.arange(W, dtype=torch.float64, device=device) - (W - 1) / 2) * A.pixel
    x2 = ((H - 1) / 2 - torch.arange(H, dtype=torch.float64, device=device)[:, None]) * A.pixel
    depth = A.dso - x1 * t.sin().item() + x2 * t.cos().item()
    lateral = x1 * t.cos().item() + x2 * t.sin().item()
    if A.detector is flat_detector:
        return A.dsd * lateral / depth, A.dsd / depth, (A.dso / depth) ** 2
    distance = torch.hypot(depth, lateral)
    return A.dsd * torch.atan2(lateral, depth), A.dsd / distance, (A.dso / distance) ** 2


def interpolated(q, at):
    """q: (*, n) at the positions at: (H, W) of its last axis, linearly, 0 beyond its ends: (*, H, W)."""
    n, padded = q.shape[-1], torch.nn.functional.pad(q, (1, 1))
    at = (at + 1).clamp(0, n + 1)
    low = at.floor().clamp_max(n).long()
    f = (at - low).to(q.dtype.to_real())
    return (1 - f) * padded[..., low] + f * padded[..., low + 1]
