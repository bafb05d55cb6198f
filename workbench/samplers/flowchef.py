"""FlowChef: a flow steered by the gradient at its denoised signal, without the network's Jacobian."""

from dataclasses import dataclass

from workbench._errors import BadInput
from workbench.samplers._checks import positive, whole
from workbench.samplers._length import uphill
from workbench.samplers._sampler import Sampler, State
from workbench.samplers.lgd import squared_misfit
from workbench.samplers.ot_ode import flow_times, to_flow


@dataclass(frozen=True)
class FlowChef(Sampler):
    """x <- x + push(xhat), xhat = x - t u with u held still, `inner` times; then x <- x + (s - t) u.

    Euler steps of the flow x_t = (1 - t) x_0 + t eps, u = E[eps - x_0 | x_t]; the prior's own process may be any. The
    push is a step along grad log p(y | xhat) of size (1 - t) `gain` / (L + 1 / r^2), L = ||A^H Sigma_y^{-1} A|| and
    r^2 = t^2 / ((1 - t)^2 + t^2), gain < 2: it raises the likelihood whatever the problem's units, and 1 - t keeps what
    it does to the next xhat, whose slope in x is at most 1 / (1 - t), from overshooting. Where A is nonlinear
    or the noise not Gaussian, L is that of the Jacobian and of the noise's Gaussian stand-in, and each sample's step is
    halved until log p(y | xhat) does not fall.
    A whole push each step, where exact guidance would move x by (t - s) / t of it: the data are over-fitted.
    Patel et al. 2024, Alg. 1, in likelihood units; `PublishedFlowChef` has their step.
    """

    card = dict(name="flowchef", kind="sampler", exactness="P", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE", source="Patel et al. 2024")  # fmt: skip

    gain: float = 1.0
    inner: int = 1

    def __post_init__(self):
        if not 0 < self.gain < 2:
            raise BadInput(
                f"FlowChef: gain = {self.gain} should be between 0 and 2, where its steps are stable"
            )
        whole("FlowChef", inner=self.inner)

    def grid(self, prior, steps):
        """Uniform in the flow's time."""
        return flow_times(prior, steps)

    def step(self, problem, state, t, s, rng):
        process = problem.prior.process
        (t_flow, scale), (s_flow, back) = to_flow(process, t), to_flow(process, s)
        x = scale * state.x
        u = (x - problem.prior.denoise(state.x, t)) / t_flow
        for _ in range(self.inner):
            x = x + self.push(problem, x - t_flow * u, t_flow)
        return State((x + (s_flow - t_flow) * u) / back)

    def push(self, problem, x0, t):
        """The move of x at the flow time t."""
        r2 = t**2 / ((1 - t) ** 2 + t**2)
        return (1 - t) * uphill(problem, x0, self.gain, 1 / r2)


@dataclass(frozen=True)
class PublishedFlowChef(FlowChef):
    """FlowChef with push = -gain grad mean |A(xhat) - y|^2, the authors' step: depends on the units of y and x.

    mean over the real numbers of y. Their s (gain here): 100 for pixels with 20 steps; 0.02 (super-resolution,
    deblurring) and 0.5 (inpainting) in their latent space. Patel et al. 2024, Alg. 1.
    """

    card = dict(name="published-flowchef", kind="sampler", exactness="P", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE", source="Patel et al. 2024")  # fmt: skip
    published = dict(
        pixel=dict(gain=100.0), latent_deblurring=dict(gain=0.02), latent_super_resolution=dict(gain=0.02),
        latent_inpainting=dict(gain=0.5),
    )  # fmt: skip

    gain: float = 0.1

    def __post_init__(self):
        positive("PublishedFlowChef", gain=self.gain)
        whole("PublishedFlowChef", inner=self.inner)

    def push(self, problem, x0, t):
        reals = problem.y.numel() * (2 if problem.y.is_complex() else 1)
        return -self.gain / reals * squared_misfit(problem, x0)[1]
