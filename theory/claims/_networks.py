"""Small networks that claims train: an unconstrained score, a potential, a convolutional denoiser; and the one loop."""

import copy
from math import pi

import torch
from torch import nn

from workbench.priors._prior import Prior


def built(make, seed):
    """make() with its weights drawn from `seed`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def train(net, loss, steps, rng, rate=2e-3, last=1e-4, ema=0.999):
    """The exponential average of `net` over `steps` of AdamW on loss(net, rng.at(step)), the rate falling as a cosine."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, last)
    average = copy.deepcopy(net)
    for step in range(steps):
        optimiser.zero_grad()
        loss(net, rng.at(step)).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        keep = min(ema, step / (step + 10))
        with torch.no_grad():
            for a, b in zip(average.parameters(), net.parameters(), strict=True):
                a.lerp_(b, 1 - keep)
    return average.requires_grad_(False)


def mlp(widths, activation):
    """Linear layers of these widths with the activation between."""
    layers = [nn.Linear(widths[0], widths[1])]
    for a, b in zip(widths[1:-1], widths[2:], strict=True):
        layers += [activation(), nn.Linear(a, b)]
    return nn.Sequential(*layers)


class Field(nn.Module):
    """(x: (n, d), level: (n, 1)) -> (n, d), with nothing that makes it a gradient; level is log of the noise."""

    def __init__(self, d, width=128, out=None):
        super().__init__()
        self.register_buffer("waves", 2 ** torch.arange(4) * pi / 8)
        self.net = mlp([d + 8, width, width, width, d if out is None else out], nn.SiLU)

    def forward(self, x, level):
        angle = level * self.waves
        return self.net(torch.cat([x, angle.sin(), angle.cos()], 1))


class GradientField(nn.Module):
    """The gradient in x of a scalar network of the same shape: conservative by construction."""

    def __init__(self, d, width=128):
        super().__init__()
        self.scalar = Field(d, width, out=1)

    def forward(self, x, level):
        with torch.enable_grad():
            leaf = x if x.requires_grad else x.requires_grad_()
            return torch.autograd.grad(self.scalar(leaf, level).sum(), leaf, create_graph=True)[0]


class Learned(Prior):
    """A network F as a prior of the EDM process: D(x, s) = x / (1 + s^2) + s / sqrt(1 + s^2) F(x / sqrt(1 + s^2), log s), in the
    precision of the network's weights; data of unit size."""

    def __init__(self, net, like):
        self.net, self.shape, self.process, self.noise_range = net, like.shape, like.process, like.noise_range
        self.dtype = next(net.parameters()).dtype

    def denoise(self, x, t):
        s = (
            torch.as_tensor(t, dtype=x.dtype)
            .reshape(-1, *[1] * (x.ndim - 1))
            .expand(len(x), *[1] * (x.ndim - 1))
        )
        size = torch.sqrt(1 + s**2)
        level = s.reshape(-1, 1).log()
        return x / size**2 + s / size * self.net((x / size).flatten(1), level).reshape(x.shape)


def denoising_loss(draw, like, low=0.02, high=10.0, batch=512, dtype=torch.float32):
    """loss(net, rng): the weighted mean square of D(x0 + s eps) - x0 over log-uniform s, weight (1 + s^2) / s^2.

    draw: rng, n -> n training signals."""

    def loss(net, rng):
        x0 = draw(rng, batch).to(dtype)
        u = rng.uniform(batch, 1).to(dtype)
        s = low * (high / low) ** u.reshape(-1, *[1] * (x0.ndim - 1))
        D = Learned(net, like).denoise(x0 + s * rng.normal(x0), s.flatten())
        return ((1 + s**2) / s**2 * (D - x0) ** 2).mean()

    return loss
