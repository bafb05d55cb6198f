"""The noise that an ODE turns into a signal that fits: by an optimiser, or drawn by Markov chains."""

from dataclasses import dataclass, field
from math import pi

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from workbench._errors import BadInput
from workbench.priors._prior import needs_gaussian
from workbench.samplers import _sampler
from workbench.samplers._checks import not_negative, whole
from workbench.samplers._likelihood import log_likelihood
from workbench.samplers._reals import as_reals, from_reals, rows, squares
from workbench.samplers._sampler import Sampler, Stepper
from workbench.samplers.ddpm import DDPM
from workbench.samplers.dpm_solver import DPMSolver2M, DPMSolverSDE
from workbench.samplers.predictor_corrector import PredictorCorrector

MEMORY = 10  # pairs of moves that L-BFGS keeps
HALVINGS = 10  # of a step that does not lower the cost
SHRINKS = 50  # of a slice, after which a chain stays where it is


@dataclass(frozen=True)
class _NoiseSpace(Sampler):
    """Samplers whose state is the noise z ~ N(0, I), in real numbers (n, d): the signal is ODE(z)."""

    ode_steps: int = 20
    stepper: Stepper = field(default_factory=DPMSolver2M)

    def __post_init__(self):
        whole(type(self).__name__, ode_steps=self.ode_steps)
        if not deterministic(self.stepper):
            raise BadInput(
                f"{type(self).__name__}: stepper = {self.stepper} should be a deterministic stepper without guidance, such "
                f"as DPMSolver2M() or Heun()"
            )

    def grid(self, prior, steps):
        """The numbers of iterations still to do."""
        return torch.arange(steps, -1, -1, dtype=torch.float64)

    def finish(self, problem, state):
        return self.signal(problem, state.x)

    def signal(self, problem, z):
        """ODE(z): the stepper from noise z to the signal, one denoiser's graph at a time where gradients are on."""
        prior = problem.prior
        needs_gaussian(prior.process)  # of the start
        times = prior.grid(self.ode_steps)
        like = torch.empty(*prior.shape, dtype=prior.dtype)
        state = self.stepper.State(prior.process.sigma(times[0]) * from_reals(z, like))
        for t, s in zip(times[:-1], times[1:], strict=True):
            args = (problem, state, t, s, None)
            if torch.is_grad_enabled():
                state = checkpoint(self.stepper.step, *args, use_reentrant=False)
            else:
                state = self.stepper.step(*args)
        return self.stepper.finish(problem, state)

    def potential(self, problem, z, lam=1.0):
        """U = lam ||z||^2 / 2 - log p(y | ODE(z)) of each row, (n,) float64, and its gradient (n, d)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            U = 0.5 * lam * squares(z) - log_likelihood(problem, self.signal(problem, z))
            (g,) = torch.autograd.grad(U.sum(), z)
        return U.detach(), g


def deterministic(stepper):
    """Whether a stepper draws nothing: no guidance, and neither eta nor churn."""
    return (
        isinstance(stepper, Stepper)
        and not isinstance(stepper, (DDPM, DPMSolverSDE, PredictorCorrector))
        and stepper.guidance is None
        and getattr(stepper, "eta", 0) == getattr(stepper, "churn", 0) == 0
    )


@dataclass(frozen=True)
class DFlow(_NoiseSpace):
    """argmin_z -log p(y | ODE(z)) + lam / 2 ||z||^2 by L-BFGS through the ODE, from z ~ N(0, I): a point, and no posterior.

    A step is one iteration, each row with its own memory of 10 moves and its own step, halved until the cost falls
    (Nocedal and Wright 2006, Alg. 7.4). lam = 1 is the mode of z given y, the posterior mean for a Gaussian prior;
    lam = 0 is the data alone, regularised by the flow and the start. A few numbers take 20 iterations, a field 60 and
    more. A row whose cost no step lowers forgets its memory. Gradients are recomputed step by step, so memory holds one
    denoiser's graph. Ben-Hamu et al. 2024, D-Flow, Alg. 1.
    """

    card = dict(kind="sampler", exactness="P", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="40 NFE + 20 VJP", source="Ben-Hamu et al. 2024")  # fmt: skip
    published = dict(data_alone=dict(lam=0.0))

    lam: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        not_negative("DFlow", lam=self.lam)

    @dataclass
    class State(_sampler.State):
        """x: z (n, d), U: the cost (n,), g: its gradient, moves and turns: the last changes of z and of g (n, 10, d)."""

        U: Tensor | None = None
        g: Tensor | None = None
        moves: Tensor | None = None
        turns: Tensor | None = None

    def init(self, problem, n, t, rng):
        z = as_reals(rng.normal(problem.prior.initial(n, t, rng)))
        U, g = self.potential(problem, z, self.lam)
        none = z.new_zeros(n, MEMORY, z.shape[1])
        return self.State(z, U=U, g=g, moves=none, turns=none.clone())

    def step(self, problem, state, t, s, rng):
        z, U, g = state.x, state.U, state.g
        direction = -inverse_hessian(g, state.moves, state.turns)
        slope = (g * direction).double().sum(1)
        first = (state.moves == 0).all((1, 2))  # nothing known of the curvature: a step of at most 1
        length = torch.linalg.vector_norm(direction, dim=1).double()
        size = torch.where(first, (1 / length.clamp_min(1e-12)).clamp_max(1), 1.0)
        new_z, new_U, new_g = z.clone(), U.clone(), g.clone()
        open_ = slope < 0
        for _ in range(HALVINGS):
            if not open_.any():
                break
            ahead = z + rows(size, z) * direction
            U_ahead, g_ahead = self.potential(problem, ahead, self.lam)
            good = open_ & (U_ahead <= U + 1e-4 * size * slope)
            new_z[good], new_U[good], new_g[good] = ahead[good], U_ahead[good], g_ahead[good]
            open_ = open_ & ~good
            size = size / 2
        move, turn = new_z - z, new_g - g
        curved = (move * turn).sum(1, keepdim=True) > 1e-12 * (turn * turn).sum(1, keepdim=True)
        moves = torch.where(curved[..., None], torch.cat([state.moves[:, 1:], move[:, None]], 1), state.moves)
        turns = torch.where(curved[..., None], torch.cat([state.turns[:, 1:], turn[:, None]], 1), state.turns)
        stuck = open_[:, None, None]
        moves, turns = torch.where(stuck, 0.0, moves), torch.where(stuck, 0.0, turns)
        return self.State(new_z, U=new_U, g=new_g, moves=moves, turns=turns)


def inverse_hessian(g, moves, turns):
    """H g of each row with H the L-BFGS estimate of the inverse Hessian from the moves of z and turns of its gradient.

    The two loops of Nocedal and Wright 2006, Alg. 7.4; rows of zeros in the memory do nothing.
    """
    dots = (moves * turns).sum(2)
    rho = torch.where(dots > 0, 1 / dots.clamp_min(torch.finfo(g.dtype).tiny), 0.0)
    q, shares = g, []
    for i in reversed(range(MEMORY)):
        share = rho[:, i] * (moves[:, i] * q).sum(1)
        shares.append(share)
        q = q - share[:, None] * turns[:, i]
    last = (turns[:, -1] ** 2).sum(1)
    scale = torch.where(last > 0, dots[:, -1] / last.clamp_min(torch.finfo(g.dtype).tiny), 1.0)
    q = scale[:, None] * q
    for i in range(MEMORY):
        back = rho[:, i] * (turns[:, i] * q).sum(1)
        q = q + (shares[MEMORY - 1 - i] - back)[:, None] * moves[:, i]
    return q


@dataclass(frozen=True)
class NoiseSpaceMCMC(_NoiseSpace):
    """z' = z cos a + nu sin a, nu ~ N(0, I), with the angle a drawn on the slice log p(y | ODE(z')) > log p(y | ODE(z)) + log u.

    The ODE carries N(0, I) to the prior, so ODE(z) under N(z; 0, I) p(y | ODE(z)) is exactly p(x | y) as the chain
    grows, up to the discretisation of the ODE: a reference for any likelihood, even a black box, in few dimensions.
    One chain a sample, from the prior; a step moves each once, after as many shrinks of its bracket as it needs. No
    gradient and no step size: in noise space the posterior lies in bent valleys, whose walls where modes meet hold
    Langevin steps to 1e-3. Elliptical slice sampling, Murray, Adams, MacKay 2010, Fig. 2, in the space of D-Flow.
    """

    card = dict(kind="sampler", exactness="E1", needs="black box", complex=True, nonlinear=True, poisson=True,
                cost="120 NFE", source="Murray et al. 2010")  # fmt: skip

    @dataclass
    class State(_sampler.State):
        """x: z (n, d), log_lik: log p(y | ODE(z)), (n,) float64."""

        log_lik: Tensor | None = None

    def init(self, problem, n, t, rng):
        z = as_reals(rng.normal(problem.prior.initial(n, t, rng)))
        return self.State(z, log_lik=log_likelihood(problem, self.signal(problem, z)))

    def step(self, problem, state, t, s, rng):
        z, log_lik, nu = state.x.clone(), state.log_lik.clone(), rng.normal(state.x)
        draw = lambda: rng.uniform(len(z)).to(log_lik.device)
        level = log_lik + draw().clamp_min(torch.finfo(torch.float64).tiny).log()
        angle = 2 * pi * draw()
        low, high = angle - 2 * pi, angle.clone()
        moving = torch.arange(len(z), device=z.device)
        for _ in range(SHRINKS):
            u = draw()[moving]
            ahead = rows(angle.cos(), z)[moving] * state.x[moving] + rows(angle.sin(), z)[moving] * nu[moving]
            found = log_likelihood(problem, self.signal(problem, ahead))
            good = found > level[moving]
            z[moving[good]], log_lik[moving[good]] = ahead[good], found[good]
            moving, u = moving[~good], u[~good]
            if not len(moving):
                break
            back = angle[moving] < 0
            low[moving] = torch.where(back, angle[moving], low[moving])
            high[moving] = torch.where(back, high[moving], angle[moving])
            angle[moving] = low[moving] + (high[moving] - low[moving]) * u
        return self.State(z, log_lik=log_lik)
