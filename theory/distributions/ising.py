"""The Ising model on chains and strips: spins +-1 whose every probability, masked or not, is a transfer matrix's."""

from itertools import product
from math import log, prod

import torch

from theory.distributions._pieces import pick
from theory.distributions.points import Points
from workbench._errors import BadInput
from workbench._rng import Rng

F64 = torch.float64
WIDEST = 10  # rows of a strip: a column has 2^10 states
ENUMERATED = 16  # spins whose 2^16 configurations may be listed


class Ising:
    """p(x) = exp(J sum_(i~j) x_i x_j + sum_i h_i x_i) / Z for neighbours on a chain (L,) or a strip (H, W), x_i = +-1

    J: coupling over temperature.  field h: a number or (*shape).  Free borders; H <= 10, for the columns are a Markov
    chain of 2^H states: 4^H W operations for a row. Spins are float64 of +-1. It is a law of tokens, without a score:
    `points()` is the same law as a diffusion prior, where it can be listed.  Kramers and Wannier 1941.
    """

    card = dict(engine="transfer matrix", exact=True, source="Kramers and Wannier 1941")
    stream = "prior"

    def __init__(self, shape, J, field=0.0):
        shape = tuple(shape)
        if len(shape) not in (1, 2) or min(shape) < 1 or (len(shape) == 2 and shape[0] > WIDEST):
            raise BadInput(
                f"Ising: shape = {shape} should be (L,), or (H, W) with H <= {WIDEST}; turn the strip"
            )
        self.shape, self.J, self.dtype, self.device = shape, float(J), F64, torch.device("cpu")
        self.field = torch.as_tensor(field, dtype=F64).expand(shape)
        self.size = (1, *shape)[-2:]
        self._spins = torch.tensor(list(product((-1.0, 1.0), repeat=self.size[0])), dtype=F64)  # (S, H)
        self._step = torch.exp(self.J * self._spins @ self._spins.mT - abs(self.J) * self.size[0])
        self._log_z = self._forward(torch.zeros(1, *shape, dtype=F64))[1].item()

    @classmethod
    def example(cls, rng, dtype=F64):
        if dtype != F64:
            raise BadInput("Ising is a law of spins in float64")
        return cls((6,), 0.7)

    def _columns(self, given):
        """log weight of each state of each column where it agrees with `given` (+-1, 0 unseen), (n, W, S)."""
        H, W = self.size
        s = self._spins
        along = self.J * (s[:, 1:] * s[:, :-1]).sum(1) + self.field.reshape(H, W).mT @ s.mT
        clash = given.reshape(-1, H, W).mT @ s.mT < given.reshape(-1, H, W).mT.abs().sum(2, keepdim=True)
        return torch.where(clash, -torch.inf, along)

    def _forward(self, given):
        """W messages (n, S) that sum to 1, and log of all weight that agrees with `given`, (n,)."""
        messages, log_z = [], (self.size[1] - 1) * abs(self.J) * self.size[0]
        for column in self._columns(given).unbind(1):
            top = column.amax(1, keepdim=True)
            m = torch.exp(column - top) * (messages[-1] @ self._step if messages else 1.0)
            total = m.sum(1, keepdim=True)
            messages.append(m / total)
            log_z = log_z + (top + total.log())[:, 0]
        return messages, log_z

    def log_prob(self, x):
        """log p(x), (n,), for spins x: (n, *shape), none of them 0."""
        if not (x.abs() == 1).all():
            raise BadInput(
                "Ising.log_prob: every spin should be -1 or 1; log_marginal(x) takes 0 where one is unseen"
            )
        return self.log_marginal(x)

    def log_marginal(self, given):
        """log p(x_seen), (n,): spins +-1 where seen and 0 elsewhere, (n, *shape)."""
        return self._forward(given)[1] - self._log_z

    def conditionals(self, given):
        """p(x_i = 1 | x_seen) for every i, (n, *shape): what a masked diffusion model learns. given: 0 where unseen."""
        columns, messages = self._columns(given), self._forward(given)[0]
        back, out = torch.ones_like(messages[0]), []
        for i in range(self.size[1] - 1, -1, -1):
            r = messages[i] * back
            out.append((r / r.sum(1, keepdim=True)) @ (self._spins > 0).double())
            column = columns[:, i]
            back = (torch.exp(column - column.amax(1, keepdim=True)) * back) @ self._step
            back = back / back.amax(1, keepdim=True)
        return torch.stack(out[::-1], 2).reshape(-1, *self.shape)

    def mean(self):
        """E[x], (*shape)."""
        return 2 * self.conditionals(torch.zeros(1, *self.shape, dtype=F64))[0] - 1

    def sample(self, n, seed, stream=None, first=0, given=None):
        """n independent draws, (n, *shape), of p(x | x_seen) where given (*shape) is +-1 at some sites, else 0."""
        given = torch.zeros(self.shape, dtype=F64) if given is None else given
        u = Rng(seed, stream or self.stream, first=first).uniform(n, self.size[1])
        messages, _ = self._forward(given[None])
        k = [pick(u[:, -1], messages[-1].log().expand(n, -1))]
        for i in range(self.size[1] - 2, -1, -1):
            k.append(pick(u[:, i], (messages[i] * self._step[k[-1]]).log()))
        return self._spins[torch.stack(k[::-1], 1)].mT.reshape(n, *self.shape)

    def flipped(self, y, p):
        """The posterior given spins y: (*shape), each turned over with probability p: an Ising model again.

        y is 0 where nothing was seen.
        """
        if not 0 < p < 1:
            raise BadInput(f"flipped: p = {p} should be in (0, 1)")
        q = Ising(self.shape, self.J, self.field + 0.5 * log((1 - p) / p) * y)
        q.stream = "posterior"
        return q

    def configurations(self):
        """All 2^d spins (2^d, *shape), d <= 16."""
        d = prod(self.shape)
        if d > ENUMERATED:
            raise BadInput(
                f"Ising: {d} spins have 2^{d} configurations; at most {ENUMERATED} spins are listed"
            )
        return torch.tensor(list(product((-1.0, 1.0), repeat=d)), dtype=F64).reshape(-1, *self.shape)

    def points(self, process=None):
        """The same law as a finite set of signals, which has a denoiser."""
        x = self.configurations()
        return Points(x, self.log_prob(x).exp(), process)

    def condition(self, A, y, noise):
        """The exact posterior given y = A x + noise, any operator and any noise, as `Points`; up to 16 spins."""
        return self.points().condition(A, y, noise)

    def entropy(self, sites=None):
        """The joint entropy in nats of the spins of `sites`, flat indices (all of them for None); up to 16."""
        d = prod(self.shape)
        sites = range(d) if sites is None else sites
        if len(sites) == 0:
            return 0.0
        seen = Ising((len(sites),), 0.0).configurations()
        given = torch.zeros(len(seen), d, dtype=F64)
        given[:, list(sites)] = seen
        log_p = self.log_marginal(given.reshape(-1, *self.shape))
        return -(log_p.exp() * log_p).sum().item()

    def total_correlation(self, group, given=()):
        """sum_(i in group) H(x_i | x_given) - H(x_group | x_given), in nats: what drawing them at once gets wrong.

        group, given: flat indices, together at most 16.
        """
        given, known = list(given), self.entropy(list(given))
        alone = sum(self.entropy([*given, i]) - known for i in group)
        return alone - (self.entropy([*given, *group]) - known)

    def __repr__(self):
        return f"Ising({self.shape}, J={self.J})"
