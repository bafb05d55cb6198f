"""UniPC: a predictor and a corrector of any order for the probability-flow ODE, at one denoiser call a step."""

from dataclasses import dataclass, field
from math import factorial

import torch
from torch import Tensor

from workbench.samplers import _sampler
from workbench.samplers._checks import whole
from workbench.samplers._sampler import Stepper


@dataclass(frozen=True)
class BH1:
    """B(h) = h, the first of UniPC's scales of the differences."""

    def __call__(self, hh):
        return hh


@dataclass(frozen=True)
class BH2:
    """B(h) = exp(h) - 1, the second of UniPC's scales of the differences."""

    def __call__(self, hh):
        return torch.expm1(hh)


@dataclass(frozen=True)
class UniPC(Stepper):
    """x_s = (sigma_s / sigma_t) x - alpha_s (e^-h - 1) m_0 - alpha_s B sum_k rho_k (m_k - m_0) / r_k, then corrected.

    m_k: the last denoised signals, at r_k = (lam_k - lam_t) / h in half log-SNR. The predictor takes order - 1 of
    them; the corrector repeats the step with the denoised prediction as the node r = 1, which then serves as the next
    m_0, so that a step costs one denoiser call (the first two, the last none). Order `order` + 1; the first steps
    have the order that the outputs so far allow; the last step denoises. B: BH2() or BH1(). Zhao et al. 2023, Alg. 5
    to 8.
    """

    card = dict(name="unipc", kind="stepper", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="1 NFE", source="Zhao et al. 2023")  # fmt: skip

    order: int = 2
    B: BH1 | BH2 = field(default_factory=BH2)

    def __post_init__(self):
        whole(type(self).__name__, order=self.order)
        object.__setattr__(self, "order", int(self.order))

    @dataclass
    class State(_sampler.State):
        """m: the last denoised signals, (n, k, *shape), the newest first; lam: their half log-SNR, (n, k); steps: (n,)."""

        m: Tensor | None = None
        lam: Tensor | None = None
        steps: Tensor | None = None

    keeps = property(lambda self: self.order)

    def step(self, problem, state, t, s, rng):
        prior, x = self.prior(problem, rng), state.x
        process = prior.process
        m, lam, steps = state.m, state.lam, state.steps
        if m is None:
            lam = process.lam(t).expand(len(x), 1)
            m, steps = prior.denoise(x, t)[:, None], torch.zeros(len(x), dtype=torch.int64)
        m = self.stored(m, lam[0], int(steps[0]))
        if s == 0:
            return self.State(m[:, 0])
        h = process.lam(s) - process.lam(t)
        r = (lam[0, 1 : self.order] - lam[0, 0]) / h
        D = [(m[:, k + 1] - m[:, 0]) / r[k] for k in range(len(r))]
        scale = process.alpha(s) * self.B(-h)
        base = process.sigma(s) / process.sigma(t) * x - process.alpha(s) * torch.expm1(-h) * m[:, 0]
        new = prior.denoise(base - scale * _sum(_predictor(r, h, self.B), D, base), s)
        x = base - scale * _sum(_corrector(r, h, self.B), [*D, new - m[:, 0]], base)
        return self.State(
            x,
            m=torch.cat([new[:, None], m[:, : self.keeps - 1]], 1),
            lam=torch.cat([process.lam(s).expand(len(x), 1), lam[:, : self.keeps - 1]], 1),
            steps=steps + 1,
        )

    def stored(self, m, lam, step):
        """The denoised signals that step number `step` works with: as they are. DC-Solver changes the newest."""
        return m


def _predictor(r, h, B):
    """rho of the past nodes r: (p - 1,): 1/2 for one of them, else of the first p - 1 conditions."""
    return torch.full_like(r, 0.5) if len(r) < 2 else _weights(r, h, B)


def _corrector(r, h, B):
    """rho of the past nodes r: (p - 1,) and of the new one: 1/2 where it is alone, else of all p conditions."""
    r = torch.cat([r, r.new_ones(1)])
    return torch.full_like(r, 0.5) if len(r) < 2 else _weights(r, h, B)


def _weights(r, h, B):
    """rho of sum_j r_j^(k-1) rho_j = k! phi_k / B(hh), phi_1 = (e^hh - 1) / hh - 1, phi_{k+1} = phi_k / hh - 1 / (k+1)!,
    where hh = -h."""
    hh, k = -h, len(r)
    phi, b = torch.expm1(hh) / hh - 1, []
    for i in range(1, k + 1):
        b.append(phi * factorial(i) / B(hh))
        phi = phi / hh - 1 / factorial(i + 1)
    return torch.linalg.solve(torch.stack([r**i for i in range(k)]), torch.stack(b))


def _sum(rho, D, like):
    return sum((w * d for w, d in zip(rho, D, strict=True)), torch.zeros_like(like))
