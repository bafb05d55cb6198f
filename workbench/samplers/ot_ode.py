"""OT-ODE: pseudoinverse guidance of a flow's velocity, from a warm start."""

from dataclasses import dataclass

import torch

from workbench._errors import BadInput
from workbench.diffusion.flow import Flow
from workbench.samplers._checks import not_negative
from workbench.samplers._gaussian import check_variance, isotropic, linearised, pseudoinverse_pull
from workbench.samplers._sampler import Sampler, State

FLOW = Flow()


def flow_times(prior, steps, first=None):
    """Times of the prior's own process, uniform in that of the flow: from `first` (the prior's noisiest, if that is
    later) to the prior's least noise, then 0."""
    low, high = (FLOW.time(kappa).item() for kappa in prior.noise_range)
    high = high if first is None else min(high, first)
    if steps < 1 or not low < high:
        raise BadInput(
            f"steps = {steps} should be at least 1, and the first flow time {high:g} above the last, {low:g}"
        )
    times = torch.linspace(high, low, steps, dtype=torch.float64)
    return torch.cat([prior.process.time(FLOW.kappa(times)), times.new_zeros(1)])


def to_flow(process, t):
    """The flow time of equal sigma / alpha, and the factor from x_t of the process to that of the flow."""
    there = FLOW.time(process.kappa(t))
    return there, FLOW.alpha(there) / process.alpha(t)


@dataclass(frozen=True)
class OTODE(Sampler):
    """u_y = u - gamma t / (1 - t) (dxhat / dx)^H A^H (r^2 A A^H + Sigma_y)^{-1} (y - A xhat), x_s = x_t + (s - t) u_y.

    Euler steps of the flow x_t = (1 - t) x_0 + t eps, t from `start` down to 0, with u = E[eps - x_0 | x_t], xhat = x
    - t u and r^2 = c t^2 / (c (1 - t)^2 + t^2), the guidance of PiGDM: with gamma = 1 it is
    DDIM(guidance=PiGDM(reach=inf)) on these times, step by step. It starts from (1 - t) x_w + t eps, x_w the linear
    estimate (A^H Sigma_y^{-1} A + I / c)^{-1} A^H Sigma_y^{-1} y (close to the paper's A^H y where A A^H = I), which
    biases it the more the earlier the start; start = 1 is none. Pokle et al. 2023, Alg. 1, whose time is 1 - t. The
    prior's own process may be any.
    """

    card = dict(name="ot-ode", kind="sampler", exactness="B", needs="prox", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Pokle et al. 2023")  # fmt: skip
    published = dict(paper=dict(start=0.8, gamma=1.0))

    start: float = 0.8
    gamma: float = 1.0
    variance: float = 1.0

    def __post_init__(self):
        check_variance("OTODE", self.variance)
        not_negative("OTODE", gamma=self.gamma)
        if not 0 < self.start <= 1:
            raise BadInput(f"OTODE: start = {self.start} should be a flow time in (0, 1], 1 the noise")

    def grid(self, prior, steps):
        """Uniform in the flow's time, from `start`."""
        return flow_times(prior, steps, self.start)

    def init(self, problem, n, t, rng):
        """alpha x_w + sigma eps; plain noise at start = 1."""
        x = problem.prior.initial(n, t, rng)
        if self.start == 1:
            return State(x)
        W, e = linearised(problem, torch.zeros_like(x))
        return State(x + problem.prior.process.alpha(t) * W.solve(W.H(e), 1 / self.variance))

    def step(self, problem, state, t, s, rng):
        process = problem.prior.process
        (t_flow, scale), (s_flow, back) = to_flow(process, t), to_flow(process, s)
        x0, covariance = problem.prior.tweedie(state.x, t)
        x = scale * state.x
        u = (x - x0) / t_flow
        r2 = isotropic(self.variance, FLOW.kappa(t_flow))
        h = covariance(pseudoinverse_pull(*linearised(problem, x0), r2)) * (
            (1 - t_flow) / t_flow**2
        )  # J^H = alpha / sigma^2 Cov
        u = u - self.weight(t_flow) * t_flow / (1 - t_flow) * h
        return State((x + (s_flow - t_flow) * u) / back)

    def weight(self, t):
        """gamma at the flow time t."""
        return self.gamma


@dataclass(frozen=True)
class RisingOTODE(OTODE):
    """OTODE with gamma_t = sqrt((1 - t) / ((1 - t)^2 + t^2)), times gamma: less guidance at the noisy end.

    The second schedule of Pokle et al. 2023.
    """

    card = dict(name="rising-ot-ode", kind="sampler", exactness="B", needs="prox", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 1 VJP", source="Pokle et al. 2023")  # fmt: skip

    def weight(self, t):
        return self.gamma * torch.sqrt((1 - t) / ((1 - t) ** 2 + t**2))
