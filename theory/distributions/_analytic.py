"""The base of every analytic law: a prior whose score, draws and exact posterior are known."""

import torch

from workbench._errors import BadInput
from workbench.priors._prior import Prior


def real_inner(u, v):
    """Re<u, v> over the last axis, kept."""
    return (u.conj() * v).real.sum(-1, keepdim=True) if u.is_complex() else (u * v).sum(-1, keepdim=True)


class Analytic(Prior):
    """A law known in closed form: a prior that also has `sample`, `mean`, `denoiser_jvp`, and, where a closed form
    exists, `log_prob`, `at`, `condition`."""

    stream = "prior"  # of `sample`; a posterior has its own, so that its draws do not repeat a truth of the same seed
    tolerance = 0.0  # the quadrature error of a law that is not closed form

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, (n, *shape): the rows first, first + 1, ... of the seed, whatever is drawn beside them."""
        raise NotImplementedError(f"{type(self).__name__} should define sample(n, seed)")

    def denoiser_jvp(self, x, t, v):
        """J v, the derivative of the denoiser at x along v: (n, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} should define denoiser_jvp(x, t, v)")

    def tweedie(self, x, t):
        """E[x0 | x_t = x], and v -> Cov[x0 | x_t = x] v = (sigma^2 / alpha) J v, in closed form."""
        scale = self.process.sigma(t) ** 2 / self.process.alpha(t)
        return self.denoise(x, t), lambda v: scale * self.denoiser_jvp(x, t, v)

    def denoiser_jacobian(self, x, t):
        """J as (n, d, d), d = prod(shape) <= 4096; for complex laws (n, 2d, 2d) on (real part, imaginary part)."""
        d = torch.Size(self.shape).numel()
        if d > 4096:
            raise BadInput(f"denoiser_jacobian: the signal has {d} entries, more than 4096; use denoiser_jvp")
        eye = torch.eye(d, dtype=self.dtype, device=x.device).reshape(d, *self.shape)
        directions = torch.cat([eye, 1j * eye]) if self.dtype.is_complex else eye
        columns = [self.denoiser_jvp(x, t, v.expand_as(x)).flatten(1) for v in directions]
        J = torch.stack(columns, dim=-1)
        return torch.cat([J.real, J.imag], dim=1) if J.is_complex() else J

    def log_prob(self, x, t=None):
        """log p_t(x) (the signal's own law for t=None), (n,)."""
        raise BadInput(f"{type(self).__name__} has no closed-form density; compare samples instead")
