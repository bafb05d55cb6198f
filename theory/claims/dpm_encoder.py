"""Inversion of a sampler: the noise that a stochastic one must have drawn, and what a deterministic one retraces."""

from itertools import pairwise
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_most, equal, slope
from theory.claims._reverse import quadratic
from theory.claims._stepping import Fixed
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving
from workbench.priors._prior import Prior
from workbench.samplers._ancestral import moments
from workbench.samplers.ddpm import DDIM

VP2 = VariancePreserving(2.0, 2.0)


class _Untrained(Prior):
    """A network with random weights, tanh(W2 tanh(W1 [x, t])): wrong as a denoiser."""

    shape, dtype, process = (8,), torch.float64, VP2

    def __init__(self, seed):
        rng = Rng(seed, "weights")
        self.W1 = rng.normal(torch.empty(9, 32, dtype=torch.float64)) / 3
        self.W2 = rng.normal(torch.empty(32, 8, dtype=torch.float64)) / 6

    def denoise(self, x, t):
        time = torch.full_like(x[:, :1], float(t))
        return 2 * torch.tanh(torch.tanh(torch.cat([x, time], 1) @ self.W1) @ self.W2)


class DPMEncoder(Claim):
    """Storing z = (x_s - mu(x_t)) / tau for a drawn chain and running the sampler with these z gives the first signal back exactly, for any
    network; DDIM's inversion only to O(h).

    A DDPM step is x_s = mu(x_t) + tau z, affine in z: the z of a given pair x_t, x_s is unique while tau > 0, whatever mu is. DDIM backwards takes the
    slope at the other end of each step, an error of h^2 a step. Left: error of the library's DDIM(eta = 1) with the stored z, noised signals and an
    untrained network. Right: zero. z in half precision, and tau = 0, lose the signal.
    """

    card = dict(code="O17", name="dpm-encoder", tier=0, topic="guidance-and-statistics", paper="2210.05559",
                source="Wu and De la Torre 2022, eq. 4 to 6; derived", found="")  # fmt: skip
    counts, n, t_min, t_max = (10, 20, 40, 80, 160), 64, 0.02, 3.0

    def measure(self, seed):
        network, rng = _Untrained(seed), Rng(seed, "signals")
        x = rng.normal(torch.empty(self.n, 8, dtype=torch.float64))
        m = SimpleNamespace(encoded=[], half=[], inverted=[])
        for n in self.counts:
            times = quadratic(self.t_max, self.t_min, n)
            chain = self._chain(x, times, Rng(seed, "chain"))
            codes = self._codes(network, chain, times, 1.0)
            m.encoded.append(self._error(network, chain, codes, times, 1.0))
            halved = [z.to(torch.float16).double() for z in codes]
            m.half.append(self._error(network, chain, halved, times, 1.0))
            m.inverted.append(self._retraced(network, x, times))
        m.still = self._error(network, chain, self._codes(network, chain, times, 0.0), times, 0.0)
        return m

    @staticmethod
    def _chain(x, times, rng):
        """x at the last time, and a forward path from it: x_t = (alpha_t / alpha_s) x_s + noise, at the decreasing `times`."""
        out = [x]
        for t, s in reversed(list(pairwise(times))):
            a = VP2.alpha(t) / VP2.alpha(s)
            out.append(a * out[-1] + torch.sqrt(VP2.sigma(t) ** 2 - a**2 * VP2.sigma(s) ** 2) * rng.normal(x))
        return out[::-1]

    @staticmethod
    def _codes(network, chain, times, eta):
        """z of every step; zeros where the step has no noise."""
        codes = []
        for x, later, (t, s) in zip(chain[:-1], chain[1:], pairwise(times), strict=True):
            mean, tau = moments(VP2, x, network.denoise(x, t), t, s, eta)
            codes.append((later - mean) / tau if tau > 0 else torch.zeros_like(x))
        return codes

    @staticmethod
    def _error(network, chain, codes, times, eta):
        sampler, problem = DDIM(eta=eta), SimpleNamespace(prior=network)
        state = sampler.State(chain[0])
        for (t, s), z in zip(pairwise(times), codes, strict=True):
            state = sampler.step(problem, state, t, s, Fixed(z))
        return (state.x - chain[-1]).abs().max().item()

    @staticmethod
    def _retraced(network, x, times):
        """DDIM up the times and down again: largest error."""
        sampler, problem, state = DDIM(), SimpleNamespace(prior=network), DDIM.State(x)
        for t, s in pairwise(times.flip(0)):
            state = sampler.step(problem, state, t, s, None)
        for t, s in pairwise(times):
            state = sampler.step(problem, state, t, s, None)
        return (state.x - x).abs().max().item()

    def rows(self, m):
        for n, error in zip(self.counts, m.encoded, strict=True):
            yield at_most(f"stored z, {n} steps: largest error", error, 1e-12)
        yield equal(
            "DDIM up and down: slope of the error over steps",
            slope(self.counts[1:], m.inverted[1:]),
            -1.0,
            0.25,
        )

    def controls(self, m):
        yield at_most("z in half precision: largest error", m.half[-1], 1e-6)
        yield at_most("tau = 0: largest error", m.still, 1e-6)
        yield at_most("DDIM up and down, 160 steps: largest error", m.inverted[-1], 1e-6)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(self.counts, [e + 1e-17 for e in m.encoded], "o-", label="stored z")
        ax.loglog(self.counts, m.inverted, "s-", label="DDIM up and down")
        ax.loglog(self.counts, m.half, "x--", color="tab:red", label="control: z in half precision")
        ax.plot(self.counts[-1], m.still, "+", color="tab:red", ms=10, label="control: tau = 0")
        ax.set(xlabel="steps", ylabel="largest error of the signal, untrained network")
        ax.legend(fontsize=8)
