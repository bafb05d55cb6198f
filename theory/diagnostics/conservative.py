"""Whether a field is a gradient: the asymmetry of its Jacobian, circulation, and the energy that it defines."""

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import numpy as np
import torch

from theory.diagnostics._estimate import Estimate, pooled_ratio, root_ratio
from theory.diagnostics._field import coordinates, field, jacobian_of, products, signals, signs
from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True, eq=False)
class Asymmetry(Estimate):
    """value in [0, 1]: 0 a gradient field, 1 an antisymmetric Jacobian, (d - 1) / (2 d) a random matrix."""

    name: ClassVar[str] = "asymmetry index"


def conservativity(score, x, t, probes=16, seed=0):
    """E ||J - J^T||_F^2 / (4 E ||J||_F^2), J the Jacobian of score(., t) at the points x: an Asymmetry.

    x: (n, *shape), real or complex.  probes: Rademacher directions v a point, ||A||_F^2 = E ||A v||^2, at one J v and
    one J^T v each; None for the exact Jacobian (d products).  The ratio is of the pooled means, not a mean of ratios.
    """
    u = coordinates(x)
    f = field(score, x, t)
    if probes is None:
        J = jacobian_of(f, u)
        curl, size = (J - J.mT).double().square().sum((1, 2)), J.double().square().sum((1, 2))
    else:
        curl, size = _probed(f, u, _counted(probes), seed)
    ratio, error = pooled_ratio(curl, size)
    return Asymmetry(ratio / 4, error / 4, len(u), probes)


def jacobian(score, x, t):
    """d score_i / d x_j at the points x: (n, d, d), d real coordinates (a complex signal has twice its size)."""
    return jacobian_of(field(score, x, t), coordinates(x))


@dataclass(frozen=True, eq=False)
class Circulation(Estimate):
    """value: root mean square over loops of `normalised`.  gamma: (m,) the line integrals; normalised: (m,) the same
    over the integral of the length of the field, in [-1, 1]."""

    name: ClassVar[str] = "circulation"

    gamma: torch.Tensor
    normalised: torch.Tensor


def circulation(score, loop, t):
    """Gamma = the integral of score(., t) . dl around closed smooth loops, and Gamma / integral ||score|| dl.

    loop: (m, nodes, *shape), m loops at equal steps of a periodic parameter, the first node not repeated. The tangent is
    the Fourier derivative and the rule the trapezoid: spectrally accurate. A gradient field has none.
    """
    m, nodes = loop.shape[:2]
    if nodes < 4:
        raise BadInput(f"circulation: loop has {nodes} nodes, it should have 4 or more: (m, nodes, *shape)")
    flat = loop.flatten(0, 1)
    points = coordinates(flat).reshape(m, nodes, -1)
    tangent = _periodic_derivative(points)
    s = coordinates(score(flat, t)).detach().reshape(points.shape)
    gamma = 2 * pi * (s * tangent).sum(2).mean(1)
    length = 2 * pi * (s.norm(dim=2) * tangent.norm(dim=2)).mean(1)
    normalised = gamma / length
    value, error = root_ratio(normalised**2, torch.ones_like(normalised))
    return Circulation(value, error, m, None, gamma, normalised)


def circles(x, radius, nodes=64, seed=0):
    """x + radius (u cos + v sin), u, v orthonormal and random: loops (n, nodes, *shape) around the points x: (n, *shape).

    radius: in units of x; one half, one and two times sigma(t) are what a sampler sees.
    """
    centre = coordinates(x)
    if centre.shape[1] < 2:
        raise BadInput("circles: x has one real coordinate; every field on a line is a gradient")
    frame = Rng(seed, "circles").normal(centre.new_empty(*centre.shape, 2))
    frame = torch.linalg.qr(frame).Q
    angle = torch.arange(nodes, dtype=centre.dtype, device=centre.device) * (2 * pi / nodes)
    ring = radius * torch.stack([angle.cos(), angle.sin()])
    loop = centre[:, None] + (frame @ ring).mT
    return signals(loop.flatten(0, 1), x).reshape(len(x), nodes, *x.shape[1:])


@dataclass(frozen=True, eq=False)
class PathGap(Estimate):
    """value: root mean square of gaps / lengths.  gaps: (n,) differences of the two line integrals."""

    name: ClassVar[str] = "path gap"

    gaps: torch.Tensor
    lengths: torch.Tensor


def path_gap(score, a, b, corner, t, nodes=32):
    """The integral of score . dl from a to b, straight, minus that by way of `corner`; over that of ||score|| dl on all three.

    a, b, corner: (n, *shape).  nodes: of Gauss and Legendre on each leg; more where sigma(t) is small beside the legs.
    """
    legs = [_leg(score, *ends, t, nodes) for ends in ((a, b), (a, corner), (corner, b))]
    gaps = legs[0][0] - legs[1][0] - legs[2][0]
    lengths = sum(length for _, length in legs)
    value, error = root_ratio((gaps / lengths) ** 2, torch.ones_like(gaps))
    return PathGap(value, error, len(gaps), None, gaps, lengths)


@dataclass(frozen=True, eq=False)
class EnergyGap(Estimate):
    """value: sqrt(E ||grad U - s||^2 / E ||s||^2), 0 where the field is a gradient."""

    name: ClassVar[str] = "energy gap"


def energy_gap(score, x, t, origin, nodes=32):
    """||grad U - s|| / ||s|| with U(x) = int_0^1 s(o + r (x - o), t) . (x - o) dr, the energy from the point `origin`.

    grad U = int_0^1 (s + r J^T (x - o)) dr along the ray.  x: (n, *shape), origin: (*shape).  nodes: of Gauss and Legendre on each ray; the rule must resolve the field.
    """
    f, u = field(score, x, t), coordinates(x)
    o = coordinates(origin[None].to(x))
    slope = torch.zeros_like(u)
    for r, w in _rule(nodes):
        there, _, back = products(f, o + r * (u - o))
        slope = slope + w * (there.detach() + r * back(u - o))
    s = f(u).detach()
    gap = slope - s
    value, error = root_ratio(gap.square().sum(1), s.square().sum(1))
    return EnergyGap(value, error, len(u), None)


def _probed(f, u, probes, seed):
    """||J - J^T||^2 and ||J||^2 at each point, (n,) each, the second from J v and J^T v alike."""
    _, jvp, vjp = products(f, u)
    curl = size = torch.zeros(len(u), dtype=torch.float64, device=u.device)
    for k in range(probes):
        v = signs(u, seed, k)
        forward, back = jvp(v).double(), vjp(v).double()
        curl = curl + (forward - back).square().sum(1) / probes
        size = size + (forward.square() + back.square()).sum(1) / (2 * probes)
    return curl, size


def _counted(probes):
    if not isinstance(probes, int) or probes < 1:
        raise BadInput(f"probes = {probes!r} should be a positive integer, or None for exact products")
    return probes


def _periodic_derivative(points):
    """d / d theta of points: (m, nodes, d) at nodes theta_k = 2 pi k / nodes, by FFT; the odd mode of Nyquist has none."""
    nodes = points.shape[1]
    k = torch.fft.fftfreq(nodes, 1 / nodes, dtype=points.dtype, device=points.device)
    if nodes % 2 == 0:
        k[nodes // 2] = 0
    return torch.fft.ifft(1j * k[:, None] * torch.fft.fft(points, dim=1), dim=1).real


def _rule(nodes):
    """Points in (0, 1) and weights of Gauss and Legendre, as pairs of floats."""
    r, w = np.polynomial.legendre.leggauss(nodes)
    return list(zip((0.5 * (r + 1)).tolist(), (0.5 * w).tolist(), strict=True))


def _leg(score, a, b, t, nodes):
    """int s . dl and int ||s|| dl along the straight lines from a to b: (n,) each."""
    along = coordinates(b - a)
    work = length = 0.0
    for r, w in _rule(nodes):
        s = coordinates(score(a + r * (b - a), t)).detach()
        work = work + w * (s * along).sum(1)
        length = length + w * s.norm(dim=1) * along.norm(dim=1)
    return work, length
