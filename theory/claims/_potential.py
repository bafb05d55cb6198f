"""A potential network u(x, t) for the Ornstein-Uhlenbeck process: training with its Fokker-Planck residual, and its samples."""

from types import SimpleNamespace

import torch
from torch import nn

from theory.claims._networks import built, mlp, train
from theory.claims._reverse import euler_maruyama, heun, quadratic, velocity
from theory.claims.probability_flow import stratified
from theory.diagnostics.transport import _transport
from theory.distributions.toys import blob_9
from workbench._rng import Rng
from workbench.diffusion.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck()  # dx = -x dt + dw
T, T_MIN = 10.0, 1e-3


class Potential(nn.Module):
    """u(x, t) = -|x|^2 / 2 V(t) + F(x, log t), V = alpha^2 2 + sigma^2: the Gaussian part that every smooth law nears."""

    def __init__(self, width=80):
        super().__init__()
        self.net = mlp([3, width, width, width, 1], lambda: nn.Softplus(beta=100))

    def forward(self, x, t):
        e = torch.exp(-2 * t)
        level = torch.log(t) / 4
        return -0.5 * (x**2).sum(1, keepdim=True) / (2 * e + 0.5 * (1 - e)) + self.net(
            torch.cat([x, level], 1)
        )

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
    t = T_MIN + (T - T_MIN) * rng.uniform(n, 1) ** 3
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
    """Gap between ODE and SDE samples, their distances to data, mean R^2 and denoising loss on fresh draws."""
    law, rng = blob_9(OU), Rng(seed, "evaluation")
    start = OU.sigma(T) * rng.normal(torch.empty(n, 2, dtype=torch.float64))
    other = OU.sigma(T) * rng.normal(start)
    score = lambda x, t: net.score(x.float(), t).double()
    ode = heun(velocity(score, OU), start, quadratic(T, T_MIN, 200))
    sde = euler_maruyama(score, OU, other, quadratic(T, T_MIN, 400), Rng(seed, "steps"))
    data = stratified(law, n, rng, T_MIN)
    fit, R2 = loss_of(net, rng.fork("loss"), 20_000, 1.0)
    return SimpleNamespace(
        gap=_transport(ode, sde, None),
        ode=_transport(ode, data, None),
        sde=_transport(sde, data, None),
        residual=R2.item(),
        loss=fit.item(),
    )
