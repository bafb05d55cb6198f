"""Laws on a sphere: uniform, and von Mises-Fisher, with or without a Gaussian thickness."""

from math import lgamma, log, pi

import torch

from theory.distributions._analytic import Analytic
from theory.distributions._bessel import log_mean_exp, mean_over, variance
from theory.distributions._condition import matrix, whitened
from theory.distributions._wood import reflected, wood
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM

PROPORTIONAL = 1e-9  # how far M^T M may be from c I, relative to c


class VonMisesFisher(Analytic):
    """x = c + radius u + thickness n, p(u) ~ exp(concentration <mean, u>) on S^{d-1}, n ~ N(0, I).

    mean: (d,), normalised here, d >= 2.  concentration, thickness >= 0, radius > 0.  centre: c, (d,), default 0.
    At x_t = alpha x0 + sigma eps, with s^2 = sigma^2 + alpha^2 thickness^2 and r = x - alpha c, u has the natural
    parameter k = concentration mean + (alpha radius / s^2) r, and p_t is a ratio of two Bessel functions. So is the
    posterior where A^T A is a multiple of the identity: von Mises-Fisher again. Mardia and Jupp 2000, ch. 9.
    """

    card = dict(engine="radial", exact=False, source="Mardia and Jupp 2000")  # not under every linear A

    def __init__(
        self,
        mean,
        concentration=0.0,
        radius=1.0,
        thickness=0.0,
        centre=None,
        process=None,
        noise_range=None,
    ):
        if not (
            isinstance(mean, torch.Tensor) and mean.ndim == 1 and len(mean) >= 2 and not mean.is_complex()
        ):
            raise BadInput("VonMisesFisher: mean should be a real vector of d >= 2 entries")
        if not (concentration >= 0 and radius > 0 and thickness >= 0 and mean.norm() > 0):
            raise BadInput(
                f"VonMisesFisher: concentration = {concentration} and thickness = {thickness} should be >= 0, "
                f"radius = {radius} and the length of mean {mean.norm().item():g} > 0"
            )
        self.direction = mean.double() / mean.double().norm()
        self.concentration, self.radius, self.thickness = (
            float(concentration),
            float(radius),
            float(thickness),
        )
        self.centre = torch.zeros_like(self.direction) if centre is None else centre.double()
        self.process, self.dtype, self.device = process or EDM(), mean.dtype, mean.device
        self.shape, self.dimension = tuple(mean.shape), len(mean)
        self.noise_range = noise_range or (0.01 * self.radius, 10 * self._size())

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        if dtype.is_complex:
            raise BadInput("VonMisesFisher is a law of real signals")
        return cls(rng.normal(torch.empty(3, dtype=dtype)), 2.0, 1.3)

    def _size(self):
        return self.radius + self.thickness * self.dimension**0.5 + self.centre.norm().item()

    def _level(self, t):
        """alpha, sigma and s; BadInput where there is no density."""
        alpha, sigma = (
            (1.0, 0.0) if t is None else (self.process.alpha(t).item(), self.process.sigma(t).item())
        )
        s2 = sigma**2 + (alpha * self.thickness) ** 2
        if s2 == 0:
            raise BadInput(
                f"{type(self).__name__}: a surface has no density; give a time t > 0 or a thickness"
            )
        return alpha, sigma, s2

    def _tilt(self, x, t):
        """r = x - alpha c, and the natural parameter k of u given x_t = x: (n, d) float64."""
        alpha, _, s2 = self._level(t)
        r = x.double() - alpha * self.centre.to(x.device)
        return r, self._start().to(x.device) + (alpha * self.radius / s2) * r

    def _direction_mean(self, k):
        """E[u] under exp(<k, u>), finite at k = 0."""
        return mean_over(self.dimension, norm(k)) * k

    def log_prob(self, x, t=None):
        """-(|r|^2 + alpha^2 radius^2) / (2 s^2) - (d / 2) log(2 pi s^2) + L(|k|) - L(concentration): (n,).

        L(k) = log E exp(k u_1) over the uniform sphere. BadInput at t = None without thickness.
        """
        alpha, _, s2 = self._level(t)
        r, k = self._tilt(x, t)
        energy = 0.5 * (r.square().sum(1) + (alpha * self.radius) ** 2) / s2
        return log_mean_exp(self.dimension, norm(k)[:, 0]) - energy - self._log_front(s2)

    def _log_front(self, s2):
        start = torch.tensor(self.concentration, dtype=torch.float64)
        return 0.5 * self.dimension * log(2 * pi * s2) + log_mean_exp(self.dimension, start).item()

    def score(self, x, t=None):
        """(alpha radius E[u | x] - r) / s^2."""
        alpha, _, s2 = self._level(t)
        r, k = self._tilt(x, t)
        return ((alpha * self.radius * self._direction_mean(k) - r) / s2).to(x.dtype)

    def denoise(self, x, t):
        """c + radius E[u | x] + (alpha thickness^2 / s^2)(r - alpha radius E[u | x])."""
        alpha, sigma, s2 = self._level(t)
        r, k = self._tilt(x, t)
        on = self.radius * self._direction_mean(k)
        return (self.centre.to(x.device) + (sigma**2 * on + alpha * self.thickness**2 * r) / s2).to(x.dtype)

    def denoiser_jvp(self, x, t, v):
        """(sigma^2 / s^2)(alpha radius^2 / s^2) Cov[u | x] v + (alpha thickness^2 / s^2) v; Cov[u | x] has the
        variance of u along k, and |E[u]| / |k| across."""
        alpha, sigma, s2 = self._level(t)
        k, v64 = self._tilt(x, t)[1], v.double()
        size = norm(k)
        along, across = variance(self.dimension, size), mean_over(self.dimension, size)
        axis = k / size.clamp_min(1e-300)
        cov = across * v64 + (along - across) * axis * (axis * v64).sum(1, keepdim=True)
        out = (alpha * self.radius**2 * sigma**2 / s2**2) * cov + (alpha * self.thickness**2 / s2) * v64
        return out.to(v.dtype)

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, by rejection (Wood 1994): the proposals of a row depend on its index alone."""
        rng = Rng(seed, stream or self.stream, first=first)
        like = torch.empty(n, self.dimension, dtype=torch.float64)
        u = reflected(wood(self.concentration, rng, like), self.direction.cpu())
        x = self.radius * u + (self.thickness * rng.normal(like) if self.thickness else 0.0)
        return (self.centre + x.to(self.device)).to(self.dtype)

    def mean(self):
        """c + radius A(concentration) mean."""
        return (self.centre + self.radius * self._direction_mean(self._start()[None])[0]).to(self.dtype)

    def _start(self):
        return self.concentration * self.direction

    def cov(self):
        """Cov[x] as (d, d)."""
        start = torch.tensor(self.concentration, dtype=torch.float64)
        along, across = (f(self.dimension, start).item() for f in (variance, mean_over))
        eye = torch.eye(self.dimension, dtype=torch.float64, device=self.device)
        turned = across * eye + (along - across) * torch.outer(self.direction, self.direction)
        return (self.radius**2 * turned + self.thickness**2 * eye).to(self.dtype)

    def entropy(self):
        """-E log p with respect to area, in nats: log area + L(concentration) - concentration A; thickness 0 only."""
        if self.thickness:
            raise BadInput(f"entropy: thickness = {self.thickness}; it is known in closed form without")
        start = torch.tensor(self.concentration, dtype=torch.float64)
        tilt = log_mean_exp(self.dimension, start) - start**2 * mean_over(self.dimension, start)
        return log_area(self.dimension, self.radius) + tilt.item()

    def intrinsic_dim(self, x):
        """d - 1 everywhere: (n,).  With thickness, the dimension at scales above it."""
        return torch.full((len(x),), self.dimension - 1)

    def at(self, t):
        """The law of x_t: the sphere of radius alpha radius, thicker."""
        alpha, _, s2 = self._level(t)
        return VonMisesFisher(
            self.direction.to(self.dtype),
            self.concentration,
            alpha * self.radius,
            s2**0.5,
            alpha * self.centre,
            self.process,
        )

    def condition(self, A, y, noise):
        """The exact posterior of x given y = A x + Gaussian noise, von Mises-Fisher again, with `log_evidence`.

        For whitened data M the product M^T M has to be c I (y = a x + isotropic noise, or a rotation of it); BadInput
        for any other A, whose posterior is Fisher-Bingham.
        """
        A, y, log_jacobian = whitened(self, A, y, noise)
        M, y = (a.double() for a in matrix(A, y))
        c = proportional(M.mT @ M, type(self).__name__)
        r = y - M @ self.centre
        q = self.tilted(c, M.mT @ r)
        fit = 0.5 * (r.square().sum().item() + len(y) * log(2 * pi))
        q.log_evidence = self.gain(c, M.mT @ r) - fit + log_jacobian
        return q

    def gain(self, c, h):
        """log E exp(-c |x - centre|^2 / 2 + h^T (x - centre))."""
        one, tau2 = 1 + c * self.thickness**2, self.thickness**2
        turned = (self._start() + self.radius / one * h).norm().item()
        sizes = torch.tensor([self.concentration, turned], dtype=torch.float64)
        before, after = log_mean_exp(self.dimension, sizes).tolist()
        wide = tau2 / one * h.square().sum().item() - self.radius**2 * c / one
        return after - before + 0.5 * (wide - self.dimension * log(one))

    def tilted(self, c, h):
        """The law ~ p(x) exp(-c |x - centre|^2 / 2 + h^T (x - centre))."""
        one = 1 + c * self.thickness**2
        k = self._start() + self.radius / one * h
        size = k.norm().item()
        q = VonMisesFisher(
            (k if size else self.direction).to(self.dtype),
            size,
            self.radius / one,
            self.thickness / one**0.5,
            self.centre + self.thickness**2 / one * h,
            self.process,
            self.noise_range,
        )
        q.stream = "posterior"
        if size:
            q.direction = k / size
        return q

    def __repr__(self):
        return (
            f"{type(self).__name__}(d={self.dimension}, concentration={self.concentration:g}, "
            f"radius={self.radius:g}, thickness={self.thickness:g})"
        )


class Sphere(VonMisesFisher):
    """x uniform on the sphere of S^{d-1} of a radius, plus N(0, thickness^2 I): p_t is one Bessel function.

    d >= 2.  E[x0 | x_t = x] = radius A(kappa) x / |x|, kappa = alpha radius |x| / sigma^2, A = I_{d/2} / I_{d/2-1}.
    """

    card = dict(engine="radial", exact=False, source="Mardia and Jupp 2000")  # not under every linear A

    def __init__(self, d, radius=1.0, thickness=0.0, dtype=torch.float64, process=None, noise_range=None):
        if d < 2:
            raise BadInput(f"Sphere: d = {d} should be 2 or more")
        pole = torch.eye(1, d, dtype=dtype)[0]
        super().__init__(pole, 0.0, radius, thickness, process=process, noise_range=noise_range)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        if dtype.is_complex:
            raise BadInput("Sphere is a law of real signals")
        return cls(4, 1.5, dtype=dtype)


def norm(k):
    """|k| over the last axis, kept, with gradient 0 at 0."""
    square = k.square().sum(-1, keepdim=True)
    return torch.where(square > 0, square, torch.ones_like(square)).sqrt() * (square > 0)


def log_area(d, radius):
    """log of the area of the sphere S^{d-1} of a radius."""
    return log(2) + 0.5 * d * log(pi) - lgamma(0.5 * d) + (d - 1) * log(radius)


def proportional(square, who):
    """c, if M^T M = c I; BadInput otherwise."""
    c = square.diagonal().mean().item()
    gap = (square - c * torch.eye(len(square), dtype=square.dtype, device=square.device)).abs().max().item()
    if gap > PROPORTIONAL * c:
        raise BadInput(
            f"condition: {who} has a closed posterior where A^T R^-1 A is a multiple of the identity; it misses by "
            f"{gap:.1e}: use A = a I (a Mask of ones, a rotation) with isotropic noise, or a sampler"
        )
    return c
