"""Linear inverse scattering: waves scattered once by a weak object, seen from around it."""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.operators._operator import Operator
from workbench.operators._sizes import number, sizes


@dataclass(frozen=True, eq=False)
class InverseScattering(Linear):
    """y[t, r] = sum over pixels of green[r] incident[t] x: the first Born approximation (optical diffraction tomography).

    incident: (T, H, W) complex, the field of each of T illuminations in the object.  green: (R, H, W) complex, what a
    pixel of unit contrast lit by a unit field sends to each of R receivers (`green_function`: with the factor k^2 and
    the area of a pixel).  x: (*, H, W) of `dtype`, real (no absorption, the default) or complex, the contrast
    (n / n0)^2 - 1 of the squared refractive index against the medium's, without unit.
    y: (*, T, R) complex scattered field, in the unit of the incident one.

    From (laplacian + k^2) u = -k^2 x u with u replaced by the incident field on the right, time factor
    exp(-i w t), so that the outgoing Green's function of the plane is (i / 4) H0^(1)(k r). Valid while the phase that
    the object adds is well below pi. `InverseScattering.ring` builds the usual circular geometry.
    Wolf 1969; Zheng et al. 2025 (InverseBench).
    """

    card = dict(family="physics", linear=True, svd=False, source="Wolf 1969")

    incident: Tensor
    green: Tensor
    dtype: torch.dtype | None = None

    def __post_init__(self):
        for name in ("incident", "green"):
            field = getattr(self, name)
            if not isinstance(field, Tensor) or not field.is_complex() or field.ndim != 3:
                raise BadInput(f"InverseScattering: {name} should be a complex tensor (count, H, W)")
        if self.incident.shape[1:] != self.green.shape[1:] or self.incident.dtype != self.green.dtype:
            raise BadInput(
                f"InverseScattering: incident is {tuple(self.incident.shape)} {self.incident.dtype}, green is "
                f"{tuple(self.green.shape)} {self.green.dtype}; their grids and dtypes should be the same"
            )
        if self.in_dtype.to_complex() != self.green.dtype:
            raise BadInput(
                f"InverseScattering: dtype = {self.dtype} and fields of {self.green.dtype} should have one precision"
            )

    in_shape = property(lambda self: tuple(self.green.shape[1:]))
    out_shape = property(lambda self: (len(self.incident), len(self.green)))
    in_dtype = property(lambda self: self.dtype or self.green.dtype.to_real())
    out_dtype = property(lambda self: self.green.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        shape, (transmitters, receivers) = sizes(rng, 2, 1, 7), sizes(rng, 2, 1, 5)
        return cls.ring(shape, 0.2, 1.0, transmitters, receivers, number(rng, 1.3, 2.0), dtype)

    @classmethod
    def ring(cls, shape, pixel, wavelength, transmitters, receivers, radius, dtype=torch.float32):
        """Line sources and receivers equally spaced on a circle about the middle of the object.

        pixel, wavelength (in the medium) and radius in one unit of length.  dtype: of the contrast.
        """
        points = pixel_positions(shape, pixel)
        incident = green_field(points, circle(transmitters, radius), wavelength, pixel)
        green = green_function(points, circle(receivers, radius), wavelength, pixel)
        complex_dtype = dtype.to_complex()
        return cls(incident.to(complex_dtype), green.to(complex_dtype), dtype)

    def forward(self, x):
        lit = (self.incident * x.unsqueeze(-3)).flatten(-2)
        return lit @ self.green.flatten(1).mT

    def adjoint(self, y):
        back = (y @ self.green.conj().flatten(1)).unflatten(-1, self.in_shape)
        x = (self.incident.conj() * back).sum(-3)
        return x if self.in_dtype.is_complex else x.real


def pixel_positions(shape, pixel):
    """(H, W, 2) float64 coordinates (x, y) of the pixels' middles about the object's: x to the right, y up."""
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in shape)
    return torch.stack(torch.broadcast_tensors(pixel * columns, -pixel * rows[:, None]), dim=-1)


def circle(count, radius, start=0.0):
    """(count, 2) points (x, y) equally spaced on a circle, the first at the angle `start` (rad), then anticlockwise."""
    angle = start + 2 * pi * torch.arange(count, dtype=torch.float64) / count
    return radius * torch.stack([angle.cos(), angle.sin()], dim=-1)


def green_field(points, sources, wavelength, pixel):
    """(i / 4) H0^(1)(k r), the field of unit line sources: (S, H, W) complex128 at points (H, W, 2) from (S, 2).

    Raises BadInput for a source within a pixel of a point, where the field has no bound.
    """
    from scipy.special import hankel1

    r = torch.linalg.vector_norm(points - sources[:, None, None], dim=-1)
    if r.min() < pixel:
        raise BadInput(
            f"green_field: a source or receiver is {r.min():.3g} from a pixel's middle, less than pixel = {pixel}; "
            f"move it out of the object"
        )
    return 0.25j * torch.from_numpy(hankel1(0, 2 * pi / wavelength * r.numpy()))


def green_function(points, receivers, wavelength, pixel):
    """What a pixel of unit contrast sends to each receiver, k^2 times the integral of the Green's function over it.

    (R, H, W) complex128. A pixel is taken as the disc of its area, of radius a = pixel / sqrt(pi), over which the
    integral is exact: (i pi a / (2 k)) J1(k a) H0^(1)(k r) for r > a (Richmond 1965).
    """
    from scipy.special import j1

    k, a = 2 * pi / wavelength, pixel / pi**0.5
    return k**2 * (2 * pi * a / k * j1(k * a)) * green_field(points, receivers, wavelength, pixel)


def plane_waves(points, angles, wavelength):
    """exp(i k (x cos(angle) + y sin(angle))): (T, H, W) complex128 waves of unit amplitude, travelling along `angles`
    (T,) in rad."""
    phase = points[..., 0] * angles.cos()[:, None, None] + points[..., 1] * angles.sin()[:, None, None]
    return torch.polar(torch.ones_like(phase), 2 * pi / wavelength * phase)


@dataclass(frozen=True, eq=False)
class MultipleScattering(Operator):
    """y[t, r] = sum over pixels of green[r] u_t x, where u_t = incident[t] + interaction (x u_t): no Born approximation.

    The Lippmann-Schwinger equation of `InverseScattering`, whose fields and units it shares.  interaction: (H W, H W)
    complex, `pixel_interaction`.  The total fields are solved for directly, a dense system of H W unknowns: for
    objects of up to about 32 x 32 pixels. Gradients go through the solution. Richmond 1965; Chew and Wang 1990.
    """

    card = dict(family="physics", linear=False, svd=False, source="Richmond 1965")

    incident: Tensor
    green: Tensor
    interaction: Tensor
    dtype: torch.dtype | None = None

    def __post_init__(self):
        InverseScattering(self.incident, self.green, self.dtype)
        size = self.incident[0].numel()
        if tuple(self.interaction.shape) != (size, size) or self.interaction.dtype != self.green.dtype:
            raise BadInput(
                f"MultipleScattering: interaction is {tuple(self.interaction.shape)} {self.interaction.dtype}, it "
                f"should be {(size, size)} {self.green.dtype}"
            )

    in_shape = property(lambda self: tuple(self.green.shape[1:]))
    out_shape = property(lambda self: (len(self.incident), len(self.green)))
    in_dtype = property(lambda self: self.dtype or self.green.dtype.to_real())
    out_dtype = property(lambda self: self.green.dtype)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        once = InverseScattering.example(rng, dtype)
        interaction = pixel_interaction(once.in_shape, 1.0, 0.2).to(once.out_dtype)
        return cls(once.incident, once.green, interaction, dtype)

    def forward(self, x):
        x = x.flatten(-2).to(self.out_dtype)
        system = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) - self.interaction * x.unsqueeze(-2)
        incident = self.incident.flatten(1).mT
        fields = torch.linalg.solve(system, incident.expand(*x.shape[:-1], *incident.shape))
        return (x.unsqueeze(-1) * fields).mT @ self.green.flatten(1).mT


def pixel_interaction(shape, wavelength, pixel):
    """What a pixel of unit contrast sends to each other and to itself, as `green_function`: (H W, H W) complex128.

    On itself, k^2 times the integral over its disc is (i pi k a / 2) H1^(1)(k a) - 1.
    """
    from scipy.special import hankel1, j1

    k, a = 2 * pi / wavelength, pixel / pi**0.5
    points = pixel_positions(shape, pixel).flatten(0, 1)
    r = torch.cdist(points, points).fill_diagonal_(1.0)
    G = 0.5j * pi * k * a * j1(k * a) * torch.from_numpy(hankel1(0, k * r.numpy()))
    return G.fill_diagonal_(complex(0.5j * pi * k * a * hankel1(1, k * a) - 1))
