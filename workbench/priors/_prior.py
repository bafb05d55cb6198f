"""The base of every prior: a denoiser E[x0 | x_t] at every noise level. Score, noise and velocity are views of it."""

from math import prod

import torch

from workbench._errors import BadInput
from workbench.diffusion import grids


class Prior:
    """What the signal looks like.

    A kind of prior has `shape`, `dtype`, `process` (its native noise schedule), `noise_range` (kappa_min, kappa_max:
    the sigma / alpha it is good for) and `denoise(x, t)`: E[x0 | x_t = x] for x: (n, *shape) at one time t.
    """

    def denoise(self, x, t):
        """E[x0 | x_t = x], x: (n, *shape) -> (n, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} should define denoise(x, t)")

    def score(self, x, t):
        """grad log p_t(x) = (alpha E[x0 | x_t] - x) / sigma^2 (Tweedie), per real component."""
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        return (alpha * self.denoise(x, t) - x) / sigma**2

    def tweedie(self, x, t):
        """E[x0 | x_t = x], and the map v -> Cov[x0 | x_t = x] v = (sigma^2 / alpha) J^T v (second-order Tweedie).

        The default takes the vector-Jacobian product of `denoise`, which equals J v where the denoiser is the
        gradient of a potential, as the exact one is. BadInput where the noise is not Gaussian.
        """
        needs_gaussian(self.process)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = self.denoise(x, t)
        scale = self.process.sigma(t) ** 2 / self.process.alpha(t)

        def covariance(v):
            return scale * torch.autograd.grad(x0, x, v, retain_graph=True)[0]

        return x0.detach(), covariance

    def grid(self, steps):
        """The default time grid: `steps` times of Karras et al. 2022 over noise_range, then 0; float64 (steps + 1,)."""
        return grids.karras(self.process, *self.noise_range, steps)

    def under(self, process):
        """The same prior seen through another process."""
        if process == self.process:
            return self
        if not (process.gaussian and self.process.gaussian):
            raise BadInput(
                f"{type(self).__name__} under {type(process).__name__}: noise that is not Gaussian is no rescaling of "
                f"another process; use a prior that is made for it, such as theory.distributions.Points"
            )
        return _Under(self, process)

    def initial(self, n, t, rng):
        """n draws of x_t at the noisy end: the noise of the process alone, right where alpha(t) x0 is small beside it."""
        like = torch.empty(n, *self.shape, dtype=self.dtype, device=getattr(self, "device", None))
        return self.process.draw(like, t, rng)


class _NoSuch(BadInput, AttributeError):
    """A BadInput to a person, no attribute to `hasattr`."""


class _Under(Prior):
    """D_t(x) = D(x alpha'(t') / alpha(t), t') at the native time t' of equal sigma / alpha: an exact rescaling."""

    def __init__(self, prior, process):
        self.prior, self.process = prior, process
        self.shape, self.dtype, self.noise_range = prior.shape, prior.dtype, prior.noise_range
        self.device = getattr(prior, "device", None)

    def _native(self, x, t):
        there = self.prior.process
        s = there.time(self.process.kappa(t))
        return x * (there.alpha(s) / self.process.alpha(t)), s

    def denoise(self, x, t):
        return self.prior.denoise(*self._native(x, t))

    def tweedie(self, x, t):
        return self.prior.tweedie(*self._native(x, t))

    def denoiser_jvp(self, x, t, v):
        """J v by the chain rule, where the prior has it: (alpha' / alpha) times its own at the native point."""
        native, s = self._native(x, t)
        scale = self.prior.process.alpha(s) / self.process.alpha(t)
        return scale * self.prior.denoiser_jvp(native, s, v)

    def log_prob(self, x, t=None):
        """log p_t(x), where the prior has it: its own at the native time, and the Jacobian of the rescaling."""
        if not hasattr(self.prior, "log_prob"):
            raise BadInput(f"{type(self.prior).__name__} has no log-density; compare samples instead")
        if t is None:
            return self.prior.log_prob(x)
        native, s = self._native(x, t)
        scale = self.prior.process.alpha(s) / self.process.alpha(t)
        reals = prod(self.shape) * (2 if self.dtype.is_complex else 1)
        return self.prior.log_prob(native, s) + reals * torch.log(scale)

    def condition(self, A, y, noise):
        """The exact posterior, where the prior has one, seen through this process too."""
        if not hasattr(self.prior, "condition"):
            raise BadInput(f"{type(self.prior).__name__} has no exact posterior; use a sampler")
        return self.prior.condition(A, y, noise).under(self.process)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("sample", "mean", "log_evidence"):  # these know nothing of time
            return getattr(self.prior, name)
        raise _NoSuch(
            f"{type(self.prior).__name__}.under(...) has no {name!r}; use the prior itself: `prior.{name}`"
        )


def needs_gaussian(process):
    """Raise BadInput unless the noise of the process is Gaussian, which Tweedie's formulas stand on."""
    if not process.gaussian:
        raise BadInput(
            f"{type(process).__name__}: its noise is not Gaussian, so guidance and stochastic steps do not hold; use a "
            f"deterministic stepper such as Heun() or DDIM()"
        )
