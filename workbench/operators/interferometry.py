"""Very long baseline interferometry: what pairs of telescopes measure of a small source, and what no station can spoil.

The order of the stations matters in one way only: a baseline is a pair (i, j) with i < j, and its visibility is that of
r_i - r_j.
"""

from dataclasses import dataclass, replace
from itertools import combinations
from math import cos, pi, radians, sin

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._checks import check_real, check_shape
from workbench.operators._linear import Linear, ridge
from workbench.operators._once import once
from workbench.operators._operator import Operator, checked, convert
from workbench.operators._sizes import integer, signal_shape, sizes

EHT_2017 = {  # geocentric x, y, z in m: the stations of the Event Horizon Telescope that saw M87
    "ALMA": (2225061.164, -5440057.37, -2481681.15),
    "APEX": (2225039.53, -5441197.63, -2479303.36),
    "JCMT": (-5464584.68, -2493001.17, 2150653.98),
    "LMT": (-768713.9637, -5988541.7982, 2063275.9472),
    "PV": (5088967.9, -301681.6, 3825015.8),
    "SMA": (-5464523.4, -2493147.08, 2150611.75),
    "SMT": (-1828796.2, -5054406.8, 3427865.2),
}
MICROARCSECOND = pi / 180 / 3600e6  # in rad


@dataclass(frozen=True, eq=False)
class Interferometry(Linear):
    """V(u, v) = sum of x exp(-2 pi i (u l + v m)): complex visibilities of a small image, by the exact Fourier sum.

    uv: (M, 2) float64 spatial frequencies in wavelengths (1 / rad), u to the east, v to the north; `earth_rotation`
    makes them.  shape: (H, W).  field_of_view: (height, width) of the image in rad.  x: (*, H, W) real, Jy per pixel,
    north up and east to the left as on the sky: the middle of column j is at l = -(j - (W - 1) / 2) width / W, that of
    row i at m = ((H - 1) / 2 - i) height / H.  y: (*, M) complex, Jy; at u = v = 0 it is the total flux.
    Thompson, Moran, Swenson 2017, chapter 3; Event Horizon Telescope Collaboration 2019, paper IV.
    """

    card = dict(family="physics", linear=True, svd=False, source="Thompson, Moran and Swenson 2017")

    uv: Tensor
    shape: tuple
    field_of_view: tuple
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_real(self.dtype, "Interferometry")
        if not isinstance(self.uv, Tensor) or self.uv.ndim != 2 or self.uv.shape[-1] != 2 or not len(self.uv):
            raise BadInput(
                "Interferometry: uv should be a tensor (M, 2) of frequencies in wavelengths, M > 0"
            )
        if self.uv.dtype != torch.float64:
            raise BadInput(
                f"Interferometry: uv is {self.uv.dtype}, phases of many turns need float64; use uv.double()"
            )
        if len(self.field_of_view) != 2 or not min(self.field_of_view) > 0:
            raise BadInput(
                f"Interferometry: field_of_view = {self.field_of_view} should be (height, width) in rad, positive"
            )

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = property(lambda self: (len(self.uv),))
    in_dtype = property(lambda self: self.dtype)
    out_dtype = property(lambda self: self.dtype.to_complex())

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        uv, view = 3e9 * (rng.uniform(integer(rng, 1, 12), 2) - 0.5), 1e-9 * (0.5 + rng.uniform(2))
        return cls(uv, sizes(rng, 2, 1, 7), tuple(view.tolist()), dtype.to_real())

    def to(self, device=None, dtype=None):
        """The same operator on `device` and in the precision of `dtype`; the frequencies keep theirs."""
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        return replace(self, uv=self.uv.to(device), dtype=convert(self.dtype, device, dtype))

    @once("uv")
    def waves(self):
        """exp(-2 pi i v m) for the rows, (M, H), and exp(-2 pi i u l) for the columns, (M, W)."""
        (H, W), (height, width) = self.shape, self.field_of_view
        rows, columns = (torch.arange(n, dtype=torch.float64, device=self.uv.device) for n in self.shape)
        m, l = ((H - 1) / 2 - rows) * height / H, ((W - 1) / 2 - columns) * width / W
        turns = self.uv[:, 1:] * m, self.uv[:, :1] * l
        return tuple(torch.polar(torch.ones_like(t), -2 * pi * t).to(self.out_dtype) for t in turns)

    def forward(self, x):
        rows, columns = self.waves
        return ((x.to(self.out_dtype) @ columns.mT) * rows.mT).sum(-2)

    def adjoint(self, y):
        rows, columns = self.waves
        return ((rows.mH * y.unsqueeze(-2)) @ columns.conj()).real


@dataclass(frozen=True, eq=False)
class TotalFlux(Linear):
    """y = sum of x, (1,): the flux of the whole image, which closures do not see (a single dish, or short baselines).

    shape: of the image, real or complex.
    """

    card = dict(family="physics", linear=True, svd=False, source="")

    shape: tuple
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_shape(self.shape, "TotalFlux")

    in_shape = property(lambda self: tuple(self.shape))
    out_shape = (1,)
    in_dtype = out_dtype = property(lambda self: self.dtype)
    size = property(lambda self: torch.Size(self.shape).numel())

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        return cls(signal_shape(rng), dtype)

    def forward(self, x):
        return x.flatten(x.ndim - len(self.shape)).sum(-1, keepdim=True)

    def adjoint(self, y):
        return y.reshape(*y.shape[:-1], *[1] * len(self.shape)).expand(*y.shape[:-1], *self.shape)

    def norm(self):
        return self.size**0.5

    def solve(self, b, rho, x0=None, tol=None):
        """(A^H A + rho I)^{-1} b = (b - sum(b) / (size + rho)) / rho."""
        checked(b, self.in_shape, self.in_dtype, "TotalFlux.solve")
        rho = ridge(rho, b, len(self.shape))
        if (rho == 0).any():
            raise BadInput("solve: rho = 0 and A has a null space, so there is no inverse; use rho > 0")
        axes = tuple(range(-len(self.shape), 0))
        return (b - b.sum(axes, keepdim=True) / (self.size + rho)) / rho


@dataclass(frozen=True, eq=False)
class ClosurePhase(Operator):
    """y = exp(i psi), psi = arg(V_ij V_jk conj(V_ik)): closure phases of triangles, as complex numbers of modulus 1.

    count: number of visibilities, V: (*, count) complex.  triangles: (T, 3) int64, the indices of V_ij, V_jk and V_ik
    for stations i < j < k; `closure_triangles` lists an independent set.  y: (*, T) complex.
    Phases that stations add cancel. A phasor instead of an angle has no jump at pi, and makes Gaussian noise on y say
    |y - exp(i psi)|^2 = 2 - 2 cos(difference), the usual misfit of closure phases (Chael et al. 2018).
    Where the product is 0 the phasor and its derivative are taken as 0. Jennison 1958.
    """

    card = dict(family="physics", linear=False, svd=False, source="Jennison 1958")

    triangles: Tensor
    count: int
    dtype: torch.dtype = torch.complex64

    def __post_init__(self):
        _check_closures(self, "ClosurePhase", "triangles", 3)

    in_shape = property(lambda self: (self.count,))
    out_shape = property(lambda self: (len(self.triangles),))
    in_dtype = out_dtype = property(lambda self: self.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        stations, scans = integer(rng, 3, 6), integer(rng, 1, 2)
        baselines = torch.tensor([*combinations(range(stations), 2)] * scans)
        when = torch.arange(scans).repeat_interleave(len(baselines) // scans)
        return cls(closure_triangles(baselines, when), len(when), dtype)

    def forward(self, x):
        ij, jk, ik = _phasors(x)[..., self.triangles].unbind(-1)
        return ij * jk * ik.conj()


@dataclass(frozen=True, eq=False)
class LogClosureAmplitude(Operator):
    """y = log |V_ij| + log |V_kl| - log |V_ik| - log |V_jl|: log closure amplitudes of quadrangles.

    count: number of visibilities, V: (*, count) complex.  quadrangles: (Q, 4) int64, the indices of the four above in
    this order; `closure_quadrangles` lists an independent set.  y: (*, Q) real. Amplitudes that stations multiply by
    cancel. Where an amplitude is 0 its logarithm is floored at that of the smallest positive number, without derivative.
    Twiss, Carter, Little 1960; Chael et al. 2018.
    """

    card = dict(family="physics", linear=False, svd=False, source="Twiss, Carter and Little 1960")

    quadrangles: Tensor
    count: int
    dtype: torch.dtype = torch.complex64

    def __post_init__(self):
        _check_closures(self, "LogClosureAmplitude", "quadrangles", 4)

    in_shape = property(lambda self: (self.count,))
    out_shape = property(lambda self: (len(self.quadrangles),))
    in_dtype = property(lambda self: self.dtype)
    out_dtype = property(lambda self: self.dtype.to_real())

    @classmethod
    def example(cls, rng, dtype=torch.complex128):
        stations, scans = integer(rng, 4, 6), integer(rng, 1, 2)
        baselines = torch.tensor([*combinations(range(stations), 2)] * scans)
        when = torch.arange(scans).repeat_interleave(len(baselines) // scans)
        return cls(closure_quadrangles(baselines, when), len(when), dtype)

    def forward(self, x):
        power = (x.real**2 + x.imag**2).clamp_min(torch.finfo(self.out_dtype).tiny)
        ij, kl, ik, jl = (0.5 * power.log())[..., self.quadrangles].unbind(-1)
        return ij + kl - ik - jl


def _phasors(V):
    """V / |V|, and 0 without derivative where V = 0; the larger part is taken out so that no square leaves the range."""
    size = torch.maximum(V.real.abs(), V.imag.abs()).detach()  # a constant factor changes no derivative
    V = V / torch.where(size > 0, size, 1)
    power = V.real**2 + V.imag**2
    return V * torch.where(power > 0, power, torch.inf).rsqrt()


def _check_closures(A, who, name, corners):
    index = getattr(A, name)
    if (
        not isinstance(index, Tensor)
        or index.dtype != torch.int64
        or index.ndim != 2
        or index.shape[1] != corners
    ):
        raise BadInput(
            f"{who}: {name} should be an int64 tensor (count, {corners}) of indices of visibilities"
        )
    if not A.dtype.is_complex:
        raise BadInput(f"{who}: dtype = {A.dtype} should be complex, torch.complex64 or torch.complex128")
    if not len(index) or index.min() < 0 or index.max() >= A.count:
        raise BadInput(f"{who}: {name} should hold at least one row, and indices from 0 to {A.count - 1}")


def earth_rotation(stations, hours, right_ascension, declination, wavelength, elevation=10.0):
    """(uv, baselines, scans): what the stations sweep while the Earth turns.

    stations: (S, 3) geocentric x (to Greenwich), y (to 90 deg east), z (north), in m.  hours: (T,) Greenwich mean
    sidereal times of the scans, in h.  right_ascension (h), declination (deg) of the source.  wavelength: in m.
    elevation: in deg above the horizon of a spherical Earth, below which a station does not see the source.
    uv: (M, 2) float64 in wavelengths.  baselines: (M, 2) int64, stations i < j, of the vector r_i - r_j.
    scans: (M,) int64, which of the hours. Raises BadInput where no two stations see the source together.
    Thompson, Moran, Swenson 2017, eq. (4.1).
    """
    stations = torch.as_tensor(stations, dtype=torch.float64)
    delta, limit, rows = radians(declination), sin(radians(elevation)), []
    for scan, hour in enumerate(torch.as_tensor(hours, dtype=torch.float64).tolist()):
        H = (hour - right_ascension) * pi / 12
        toward = torch.tensor([cos(delta) * cos(H), -cos(delta) * sin(H), sin(delta)], dtype=torch.float64)
        east = torch.tensor([sin(H), cos(H), 0.0], dtype=torch.float64)
        north = torch.tensor([-sin(delta) * cos(H), sin(delta) * sin(H), cos(delta)], dtype=torch.float64)
        up = (stations @ toward) / torch.linalg.vector_norm(stations, dim=1) >= limit
        for i, j in combinations(up.nonzero()[:, 0].tolist(), 2):
            b = (stations[i] - stations[j]) / wavelength
            rows.append(((b @ east).item(), (b @ north).item(), i, j, scan))
    if not rows:
        raise BadInput(
            f"earth_rotation: no two stations see the source above elevation = {elevation} deg at these hours; "
            f"choose others"
        )
    uv = torch.tensor([row[:2] for row in rows], dtype=torch.float64)
    whole = torch.tensor([row[2:] for row in rows])
    return uv, whole[:, :2], whole[:, 2]


def closure_triangles(baselines, scans):
    """(T, 3) indices of V_ij, V_jk, V_ik: the triangles at the first station of each scan, (n - 1)(n - 2) / 2 of them
    where no baseline is missing, which determine all others.  baselines: (M, 2), pairs i < j.  scans: (M,)."""
    found = []
    for index, stations in _scans(baselines, scans):
        i = stations[0]
        for j, k in combinations(stations[1:], 2):
            triangle = [index.get(pair) for pair in ((i, j), (j, k), (i, k))]
            found += [triangle] if None not in triangle else []
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 3)


def closure_quadrangles(baselines, scans):
    """(Q, 4) indices of V_ij, V_kl, V_ik, V_jl: an independent set in each scan, n (n - 3) / 2 for n stations where no
    baseline is missing, which determines all others.  baselines: (M, 2), pairs i < j.  scans: (M,)."""
    found = []
    for index, stations in _scans(baselines, scans):
        every = []
        for a, b, c, d in combinations(stations, 4):  # and any two of the three ways to pair them
            one, two, three = ((a, b), (c, d)), ((a, c), (b, d)), ((a, d), (b, c))
            for pairs in (one + two, one + three, two + three):
                every += [[index[p] for p in pairs]] if all(p in index for p in pairs) else []
        found += _independent(every, list(index.values()))
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 4)


def _scans(baselines, scans):
    """For each scan the index of each of its baselines, and its stations in increasing order."""
    for scan in scans.unique().tolist():
        where = (scans == scan).nonzero()[:, 0].tolist()
        index = {tuple(baselines[m].tolist()): m for m in where}
        yield index, sorted({station for pair in index for station in pair})


def _independent(quadrangles, visibilities):
    """A largest independent subset of log closure amplitudes, by Gram and Schmidt."""
    column = {m: n for n, m in enumerate(visibilities)}
    kept, basis = [], []
    for quadrangle in quadrangles:
        row = torch.zeros(len(column), dtype=torch.float64)
        row[[column[m] for m in quadrangle]] = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
        for b in basis:
            row = row - (row @ b) * b
        for b in basis:  # again, for orthogonality to rounding
            row = row - (row @ b) * b
        size = torch.linalg.vector_norm(row)
        if size > 1e-6:
            kept.append(quadrangle)
            basis.append(row / size)
    return kept
