"""The twisted diffusion sampler."""

from dataclasses import dataclass, field

from torch import Tensor

from workbench.samplers import _sampler
from workbench.samplers._ancestral import moments
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._reals import squares
from workbench.samplers._sampler import Sampler
from workbench.samplers.resampling import Resample, Systematic
from workbench.samplers.twists import Matched, Twist


@dataclass(frozen=True)
class TDS(Sampler):
    """Sequential Monte Carlo whose proposal and targets follow a twist psi_t(x) ~ log p(y | x_t): exact as n grows.

    x_s ~ N(m_psi, tau^2), the DDPM step through xhat + (sigma^2 / alpha) grad psi; the log-weight gains
    log N(x_s; m, tau^2) - log N(x_s; m_psi, tau^2) + psi_s(x_s) - psi_t(x_t). The last step is unguided and
    psi_0 = log p(y | x_0). n is the number of particles.  twist: Matched() (moment matching, at most 512 real
    measurements), Isotropic() (PiGDM's, of any size) or PlugIn() (DPS', any likelihood). Wu et al. 2023, Alg. 1.
    """

    card = dict(kind="sampler", exactness="E1", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + m VJP", source="Wu et al. 2023")  # fmt: skip

    couples = apart = True
    twist: Twist = field(default_factory=Matched)
    resample: Resample = field(default_factory=Systematic)

    @dataclass
    class State(_sampler.State):
        """x0: E[x0 | x_t], guided: xhat + (sigma^2 / alpha) grad psi, psi: the twist, (n,) float64."""

        x0: Tensor | None = None
        guided: Tensor | None = None
        psi: Tensor | None = None

    def init(self, problem, n, t, rng):
        x = problem.prior.initial(n, t, rng)
        x0, guided, psi = self.twist(problem, x, t)
        return self.State(x, psi.clone(), x0, guided, psi)

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x
        if s == 0:
            return self.State(state.x0, state.log_w + log_likelihood(problem, state.x0) - state.psi)
        mean, tau = moments(process, x, state.x0, t, s)
        proposed, _ = moments(process, x, state.guided, t, s)
        z = rng.normal(x)
        x = proposed + tau * z
        ratio = 0.5 * squares(z) - 0.5 * squares((x - mean) / tau)
        x0, guided, psi = self.twist(problem, x, s)
        return self.State(x, state.log_w + ratio + psi - state.psi, x0, guided, psi)
