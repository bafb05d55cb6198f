"""EVODiff: a two-output solver whose weights come from the outputs themselves."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.samplers import _sampler
from workbench.samplers._checks import not_negative
from workbench.samplers._sampler import Stepper


@dataclass(frozen=True)
class Few:
    """zeta = sigmoid(|zeta*| - 1/2): the rule for up to 20 steps."""

    def __call__(self, size, m0, m1, h, ratio):
        return torch.sigmoid(size - 0.5)


@dataclass(frozen=True)
class Many:
    """zeta = sigmoid(-(|zeta*| - 1/2) sigmoid(proj(m0 on (m0 - m1) / h) (2 - (sigma_s / sigma_t)^2))): for more."""

    def __call__(self, size, m0, m1, h, ratio):
        return torch.sigmoid(-(size - 0.5) * torch.sigmoid(_share(m0, (m0 - m1) / h) * (2 - ratio**2)))


@dataclass(frozen=True)
class EVODiff(Stepper):
    """x_s = x_e + sigma_s h B / (2 zeta), x_e = (sigma_s / sigma_t) x + sigma_s h m_0: Euler's step and a weighted turn B.

    h = 1 / kappa_s - 1 / kappa_t; m_0, m_1: the last two outputs. B blends the balanced differences m_0 - rho_1 m_1 and
    m - rho_2 m_0, where m is the output at the probe x_p, the one denoiser call of the step (and the next m_0); the
    weights rho, eta, zeta are clipped projections of outputs on one another, per sample and over the last two axes (one
    channel). zeta: Few() or Many(). last: the noise level sigma / alpha at which the published solver ends; the step
    that reaches it is its own, 0: there is none. The step to 0 denoises.
    A heuristic for at most 15 denoiser calls. Beyond, with last = 0, its error against the exact ODE falls as 1 / steps,
    first order; with last > 0 the error of the last step stays, and grows with the steps. EVODiff 2025, Alg. 1.
    """

    card = dict(name="evodiff", kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Li et al. 2025")  # fmt: skip

    zeta: Few | Many = field(default_factory=Few)
    last: float = 0.0

    def __post_init__(self):
        if not isinstance(self.zeta, Few | Many):
            raise BadInput(f"EVODiff: zeta = {self.zeta} should be a rule, Few() or Many()")
        not_negative("EVODiff", last=self.last)

    @dataclass
    class State(_sampler.State):
        """m0, m1: outputs at the last two levels, (n, *shape); first, before: kappa of the start and of m1, (n,)."""

        m0: Tensor | None = None
        m1: Tensor | None = None
        first: Tensor | None = None
        before: Tensor | None = None

    def step(self, problem, state, t, s, rng):
        prior, x = self.prior(problem, rng), state.x
        process = prior.process
        m0, m1 = state.m0, state.m1
        if m0 is None:
            m0 = prior.denoise(x, t)
        if s == 0:
            return self.State(m0)
        kappa, low = process.kappa(t), process.kappa(s)
        first = kappa if state.first is None else state.first[0]
        h, ratio, sigma = 1 / low - 1 / kappa, process.sigma(s) / process.sigma(t), process.sigma(s)
        euler = ratio * x + sigma * h * m0
        kept = dict(m1=m0, first=first.expand(len(x)).clone(), before=kappa.expand(len(x)).clone())
        if m1 is None:
            return self.State(euler, m0=prior.denoise(euler, s), **kept)
        before = state.before[0]
        R = torch.log(before / kappa) / torch.log(kappa / low)
        end = prior.noise_range[0]
        w = 0.5 * (1 - ((low + end) / (first + end)) ** 2)
        b = torch.sqrt((low / kappa) / (kappa / before))

        rho = (1 - w) * b + w * _share(m0, m1)
        D1 = m0 - rho * m1
        r = (
            torch.sigmoid(0.25 * rho.abs()) * R
        )  # R / 2 to R: the published bounds R / 4 and 3 R / 2 never bind
        probe = euler + 0.5 * sigma * h / r * D1
        m = prior.denoise(probe, s)
        if low <= self.last:
            q = low / kappa
            r = 1 - 0.5 * torch.sqrt(q if q < 0.5 else q - 0.5)
            x = (1 - torch.sqrt(low * kappa)) * euler + 0.5 * sigma * h * (m0 - r * m1)
            return self.State(x, m0=m, **kept)

        rho = (1 - w) * b + w * _share(m, m0)
        D2 = m - rho * m0
        B1, B2 = D1 / (R * h), R / h * D2
        eta = 0.5 * torch.sigmoid(0.5 * _share(B2 + B1, B2 - B1).abs())
        B = -eta / R * D1 + R * (1 - eta) * D2
        size = (_share(probe - euler - 0.5 * sigma * h / r * B, D1) / (h * sigma)).abs()
        zeta = self.zeta(size, m0, m1, h, ratio)
        return self.State(euler + 0.5 * sigma * h / zeta * B, m0=m, **kept)


def _share(a, b):
    """clip(<a, b> / <b, b>, -2, 2) over the last two axes of each sample, kept."""
    axes = tuple(range(max(1, a.ndim - 2), a.ndim))
    dot = lambda u, v: (
        (u.conj() * v).real.sum(axes, keepdim=True) if u.is_complex() else (u * v).sum(axes, keepdim=True)
    )
    tiny = torch.finfo(a.dtype.to_real()).tiny
    return (dot(a, b) / dot(b, b).clamp_min(tiny)).clamp(-2, 2)
