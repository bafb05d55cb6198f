"""Masked diffusion: tokens unmasked together are drawn as if independent, and what that costs."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import torch

from theory.claims._claim import Claim, at_least, equal
from theory.distributions.ising import Ising

ORDERS = {
    "one by one": ([0], [1], [2], [3], [4], [5]),
    "pairs {0,3} {1,4} {2,5}": ([0, 3], [1, 4], [2, 5]),
    "even, then odd": ([0, 2, 4], [1, 3, 5]),
    "two halves": ([0, 1, 2], [3, 4, 5]),
    "all at once": ([0, 1, 2, 3, 4, 5],),
}


class MaskedParallelCorrelation(Claim):
    """Unmasking groups G_1, G_2, ... in parallel with exact conditionals costs KL(p || q) = sum_j TC(x_{G_j} | x_{G_1}, ..., x_{G_{j-1}}).

    q = prod_j prod_{i in G_j} p(x_i | earlier groups): log p / q splits by the chain rule into log p(x_G | earlier) / prod p(x_i | earlier), whose mean is the
    total correlation, sum_i H(x_i | .) - H(x_G | .). Left: the library's `total_correlation` of an Ising chain of six, from joint entropies. Right:
    sum p log p / q over the 64 configurations, p from the energies and q from the library's masked conditionals. Without a coupling nothing is lost.
    """

    card = dict(code="O18", tier=0, topic="guidance-and-statistics", paper="masked diffusion",
                source="Austin et al. 2021, Sahoo et al. 2024 (the sampler); derived", found="")  # fmt: skip
    J, reference = 0.7, (0.0, 0.0246, 0.1366, 0.6903, 0.9789)

    def measure(self, seed):
        coupled, free = (self._costs(J) for J in (self.J, 0.0))
        strengths = (0.1, 0.3, 0.5, 0.7, 1.0, 1.4)
        curves = {J: self._totals(Ising((6,), J)) for J in strengths}
        return SimpleNamespace(coupled=coupled, free=free, strengths=strengths, curves=curves)

    def _costs(self, J):
        """(total correlation, KL) of every order."""
        chain = Ising((6,), J)
        return list(zip(self._totals(chain), self._divergences(chain), strict=True))

    @staticmethod
    def _totals(chain):
        before = lambda groups, j: [i for group in groups[:j] for i in group]
        return [
            sum(chain.total_correlation(g, before(groups, j)) for j, g in enumerate(groups))
            for groups in ORDERS.values()
        ]

    @staticmethod
    def _divergences(chain):
        """KL(p || q) by summing over all configurations."""
        x = torch.tensor(list(product((-1.0, 1.0), repeat=6)), dtype=torch.float64)
        energy = chain.J * (x[:, 1:] * x[:, :-1]).sum(1)
        log_p = energy - torch.logsumexp(energy, 0)
        out = []
        for groups in ORDERS.values():
            given, log_q = torch.zeros_like(x), 0.0
            for group in groups:
                up = chain.conditionals(given)[:, group]
                log_q = log_q + torch.where(x[:, group] > 0, up, 1 - up).log().sum(1)
                given = given.clone()
                given[:, group] = x[:, group]
            out.append((log_p.exp() * (log_p - log_q)).sum().item())
        return out

    def rows(self, m):
        for name, (total, kl), quoted in zip(ORDERS, m.coupled, self.reference, strict=True):
            yield equal(f"J = 0.7, {name}: total correlation and KL", total, kl, 1e-12)
            yield equal(f"J = 0.7, {name}: KL as quoted", kl, quoted, 6e-5)
        for a, b in zip(m.coupled[1:], m.coupled[2:], strict=False):
            yield at_least("J = 0.7: groups that share more bonds cost more", b[1], a[1])

    def controls(self, m):
        for name, (_, kl) in list(zip(ORDERS, m.free, strict=True))[1:]:
            yield at_least(f"J = 0, {name}: KL is at least 0.01", kl, 0.01)

    def plot(self, m, figure):
        ax, places = figure.subplots(), np.arange(len(ORDERS))
        ax.bar(places - 0.2, [kl for _, kl in m.coupled], 0.4, label="KL(p || q), J = 0.7")
        ax.plot(
            places - 0.2, [total for total, _ in m.coupled], "ko", ms=4, label="total correlations, J = 0.7"
        )
        ax.plot(places - 0.2, m.curves[0.3], "^", color="tab:green", label="J = 0.3")
        ax.plot(places + 0.2, [kl for _, kl in m.free], "x", color="tab:red", label="control: J = 0")
        ax.set_xticks(places, [name.replace(" {", "\n{", 1) for name in ORDERS], fontsize=6)
        ax.set(xlabel="order of unmasking", ylabel="nats, chain of six spins")
        ax.legend(fontsize=8)
