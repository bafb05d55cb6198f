"""A potential network u(x, t) for the Ornstein-Uhlenbeck process: training with its Fokker-Planck residual, and its samples."""

from types import SimpleNamespace

import torch
from torch import nn

from theory.claims._networks import built, mlp, train
from theory.claims._reverse import euler_maruyama, heun, quadratic, velocity
from theory.claims.probability_flow import stratified
from theory.diagnostics.transport import sliced_wasserstein
from theory.distributions.toys import blob_9
from workbench._rng import Rng
from workbench.diffusion.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck()  # dx = -x dt + dw
T, T_MIN = 3.0, 1e-3  # alpha_T = 0.05


class Potential(nn.Module):
    """u(x, t) = F(x, log t), three hidden layers of 80 softplus(100 .) units, as in Deveney et al. 2023."""

    def __init__(self, width=80):
        super().__init__()
        self.net = mlp([3, width, width, width, 1], lambda: nn.Softplus(beta=100))

    def forward(self, x, t):
        return self.net(torch.cat([x, torch.log(t) / 4], 1))

    def score(self, x, t):
        """grad u for a time t of the process."""
        rows = torch.full((len(x), 1), float(t), dtype=x.dtype)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(self(leaf, rows).sum(), leaf)[0]


def slopes(net, x, t, second):
    """(grad u, and du/dt, Laplacian u where `second`), all with their graphs; x, t are leaves."""
    s, dt = torch.autograd.grad(net(x, t).sum(), (x, t), create_graph=True)
    if not second:
        return s, None, None
    laplacian = sum(torch.autograd.grad(s[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(2))
    return s, dt[:, 0], laplacian


def residual(net, x, t):
    """R = du/dt - 2 - x . grad u - (Lap u + |grad u|^2) / 2, (n,)."""
    s, dt, laplacian = slopes(net, x, t, True)
    return dt - 2 - (x * s).sum(1) - 0.5 * (laplacian + (s**2).sum(1))


def draws(rng, n, dtype=torch.float32):
    """(x_t, t, eps, sigma) with t dense near 0, as leaves."""
    x0 = blob_9(OU).draw(rng.normal(torch.empty(n, 2, dtype=torch.float64)), rng.uniform(n))
    t = T_MIN + (T - T_MIN) * rng.uniform(n, 1) ** 2
    eps, sigma = rng.normal(x0), OU.sigma(t)
    x = OU.alpha(t) * x0 + sigma * eps
    return x.to(dtype).requires_grad_(), t.to(dtype).requires_grad_(), eps.to(dtype), sigma.to(dtype)


def loss_of(net, rng, n, weight=0.0, shuffled=False):
    """(denoising loss E |sigma grad u + eps|^2, mean R^2 weighted by min(1, sigma^4) to keep t -> 0 finite)."""
    x, t, eps, sigma = draws(rng, n)
    s, _, _ = slopes(net, x, t, False)
    fit = ((sigma * s + eps) ** 2).sum(1).mean()
    if weight == 0:
        return fit, torch.zeros(())
    when = t.detach()[torch.argsort(rng.uniform(n))].requires_grad_() if shuffled else t
    return fit, (sigma[:, 0] ** 4 * residual(net, x, when) ** 2).mean()


def trained(weight, steps, batch, seed, shuffled=False):
    """The network trained on blob-9 with `weight` on the residual."""

    def loss(net, rng):
        fit, R2 = loss_of(net, rng, batch, weight, shuffled)
        return fit + weight * R2

    return train(built(Potential, seed), loss, steps, Rng(seed, "training"))


def evaluated(net, n, seed):
    """Gap between ODE and SDE samples (sliced W2, its floor taken off), their sliced distances to data, mean R^2 and denoising loss on fresh draws."""
    law, rng = blob_9(OU), Rng(seed, "evaluation")
    start = OU.sigma(T) * rng.normal(torch.empty(n, 2, dtype=torch.float64))
    other = OU.sigma(T) * rng.normal(start)
    score = lambda x, t: net.score(x.float(), t).double()
    ode = heun(velocity(score, OU), start, quadratic(T, T_MIN, 200))
    sde = euler_maruyama(score, OU, other, quadratic(T, T_MIN, 400), Rng(seed, "steps"))
    data = stratified(law, n, rng, T_MIN)
    fit, R2 = loss_of(net, rng.fork("loss"), 20_000, 1.0)
    apart = lambda a, b: sliced_wasserstein(a, b, slices=32, repeats=4, seed=seed)
    gap = apart(ode, sde)
    return SimpleNamespace(
        gap=max(gap.value**2 - gap.floor**2, 0.0) ** 0.5,
        ode=apart(ode, data).value,
        sde=apart(sde, data).value,
        residual=R2.item(),
        loss=fit.item(),
    )
