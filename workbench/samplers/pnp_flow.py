"""PnP-Flow: gradient steps on the data, noised back to the flow's path and denoised."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.samplers._checks import not_negative, whole
from workbench.samplers._length import uphill
from workbench.samplers._sampler import Sampler, State
from workbench.samplers.ot_ode import FLOW, flow_times


@dataclass(frozen=True)
class PnPFlow(Sampler):
    """z = x + gain t^a / L grad log p(y | x); x = mean_j E[x0 | x_t = (1 - t) z + t eps_j], t from 1 (noise) to 0.

    L = ||A^H Sigma_y^{-1} A||: the paper's step sigma_y^2 t^a where ||A|| = 1, and one that raises the likelihood
    (gain < 2) where it is not. Where A is nonlinear or the noise not Gaussian, L is that of the Jacobian and of the
    noise's Gaussian stand-in, and each sample's step is halved until log p(y | x) does not fall. `averages` draws eps_j
    a step. The state is an estimate of the signal, from A^H y / ||A||^2 on. Averages leave nothing of the spread: a
    point method. The prior's own process may be any, x_t is made on its path. Martin et al. 2025, Alg. 3, whose time is
    1 - t; they take a from 0.01 to 1 by task.
    """

    card = dict(name="pnp-flow", kind="sampler", exactness="P", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="5 NFE", source="Martin et al. 2025")  # fmt: skip

    gain: float = 1.0
    a: float = 0.5
    averages: int = 5

    def __post_init__(self):
        if not 0 < self.gain < 2:
            raise BadInput(
                f"PnPFlow: gain = {self.gain} should be between 0 and 2, where its steps are stable"
            )
        not_negative("PnPFlow", a=self.a)
        whole("PnPFlow", averages=self.averages)

    def grid(self, prior, steps):
        """Uniform in the flow's time."""
        return flow_times(prior, steps)

    def init(self, problem, n, t, rng):
        """One whole gradient step from 0."""
        x = torch.zeros_like(problem.prior.initial(n, t, rng))
        return State(x + uphill(problem, x))

    def step(self, problem, state, t, s, rng):
        process, x = problem.prior.process, state.x
        z = x + uphill(problem, x, self.gain * FLOW.time(process.kappa(t)) ** self.a)
        z = z[:, None].expand(-1, self.averages, *x.shape[1:])
        noisy = process.alpha(t) * z + process.sigma(t) * rng.normal(z)
        x = problem.prior.denoise(noisy.flatten(0, 1), t)
        return State(x.unflatten(0, (len(z), self.averages)).mean(1))
