"""RED-diff: variational inference whose prior term is denoising at every noise level."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators._linear import Linear
from workbench.samplers import _sampler
from workbench.samplers._checks import not_negative, positive
from workbench.samplers._likelihood import gradient, steepness
from workbench.samplers._reals import rows
from workbench.samplers._sampler import Sampler

BETAS, TINY = (0.9, 0.99), 1e-8  # of Adam


@dataclass(frozen=True)
class REDDiff(Sampler):
    """min over mu of -log p(y | mu) + sum over t of w_t <sg(eps_hat - eps), mu>, w_t = lam (sigma / alpha)^power, by Adam.

    x_t = alpha mu + sigma eps goes through the denoiser without gradients; at power 1 the prior's part of the gradient
    is lam (mu - E[x0 | x_t]), the classical RED. One noise level a step, from the highest to the lowest. A point
    estimate: the spread over seeds is that of the optimiser, not of the posterior. For a Gaussian prior N(m, C) it
    settles at (A^H A / sigma_y^2 + G)^{-1} (A^H y / sigma_y^2 + G m), G the mean over t of w_t sigma alpha
    (alpha^2 C + sigma^2)^{-1}: the mode only where G is C^{-1}.

    lam: in likelihood units, per squared signal unit. None is 0.3 ||A'||^2, three tenths of the likelihood's largest
    curvature: at noise levels above the signal's deviations the prior has the weight lam itself, so that directions
    which the data see with less than that curvature follow the prior, and noise is not fitted; the sharper the data,
    the less they give way.  data_weight: v of the paper, whose data term is v ||y - A mu||^2 / 2 without sigma_y;
    None takes the likelihood.  spread: sigma_q of the paper, x_t = alpha (mu + sigma_q eps') + sigma eps.  lr: of
    Adam, in signal units.  The start is A^+ y, or the prior's mean where A is not linear. The paper averages over
    entries: with m numbers of data and d of signal its v = 1 is v = d / m here, for Adam does not see a common
    factor. Mardani et al. 2024, Alg. 1.
    """

    card = dict(kind="sampler", exactness="P", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE", source="Mardani et al. 2024")  # fmt: skip
    published = dict(
        config=dict(lam=0.25, lr=0.1, data_weight=1.0), readme=dict(lam=0.25, lr=0.5, data_weight=1.0)
    )

    lam: float | None = None
    lr: float = 0.1
    power: float = 1.0
    spread: float = 0.0
    data_weight: float | None = None

    @dataclass
    class State(_sampler.State):
        """x: mu, first, second: Adam's moments (the second of real and imaginary parts apart), k: steps, lam: (n,)."""

        first: Tensor | None = None
        second: Tensor | None = None
        k: Tensor | None = None
        lam: Tensor | None = None

    def __post_init__(self):
        positive("REDDiff", lr=self.lr)
        not_negative("REDDiff", lam=self.lam, spread=self.spread, data_weight=self.data_weight)
        if self.lam is None and self.data_weight is not None:
            raise BadInput(
                f"REDDiff: lam = None is in units of the likelihood, which data_weight = {self.data_weight} leaves; give lam"
            )

    def init(self, problem, n, t, rng):
        mu = start(problem, n, t, rng)
        zeros = torch.zeros_like(mu)
        lam = self.weight(problem, mu)
        return self.State(mu, first=zeros, second=zeros, k=torch.zeros_like(lam), lam=lam)

    def weight(self, problem, mu):
        """lam of each row, float64 (n,)."""
        if self.lam is not None:
            lam = torch.as_tensor(self.lam, dtype=torch.float64, device=mu.device)
        else:
            lam = 0.3 * torch.as_tensor(steepness(problem, mu), dtype=torch.float64, device=mu.device)
        return lam.flatten().expand(len(mu)).clone()

    def gradient(self, problem, mu, t, eps, near=0.0, lam=None):
        """That of the loss at one noise level and one draw of eps, x_t = alpha (mu + near) + sigma eps: (n, *shape)."""
        lam = rows(self.weight(problem, mu) if lam is None else lam, mu)
        process = problem.prior.process
        alpha, kappa = process.alpha(t), process.kappa(t)
        x0 = problem.prior.denoise(alpha * (mu + near + kappa * eps), t)
        prior = lam * kappa ** (self.power - 1) * (mu + near - x0)  # w_t (eps_hat - eps)
        return prior - self._data(problem, mu)

    def _data(self, problem, mu):
        """The gradient of the log-likelihood, or of -v ||y - A mu||^2 / 2."""
        if self.data_weight is None:
            return gradient(problem, mu)
        return self.data_weight * problem.A.linearize(mu).H(problem.noise.residual(problem.y, problem.A(mu)))

    def step(self, problem, state, t, s, rng):
        mu = state.x
        eps = rng.normal(mu)
        near = self.spread * rng.normal(mu) if self.spread > 0 else 0.0
        g, k = self.gradient(problem, mu, t, eps, near, state.lam), state.k + 1
        first = BETAS[0] * state.first + (1 - BETAS[0]) * g
        second = BETAS[1] * state.second + (1 - BETAS[1]) * squared(g)
        step = k[0]  # rows start together
        mean, square = first / (1 - BETAS[0] ** step), second / (1 - BETAS[1] ** step)
        return self.State(
            mu - self.lr * over_root(mean, square), first=first, second=second, k=k, lam=state.lam
        )


def squared(g):
    """g^2, of the real and of the imaginary part."""
    return torch.complex(g.real**2, g.imag**2) if g.is_complex() else g**2


def over_root(g, square):
    """g / (sqrt(square) + tiny), for real and imaginary parts apart."""
    if g.is_complex():
        return torch.complex(over_root(g.real, square.real), over_root(g.imag, square.imag))
    return g / (square.sqrt() + TINY)


def start(problem, n, t, rng):
    """A^+ y for a linear operator, the prior's mean E[x0 | x_T = noise] for others: (n, *shape)."""
    if not isinstance(problem.A, Linear):
        return problem.prior.denoise(problem.prior.initial(n, t, rng), t)
    W, w = problem.white
    x = W.solve(W.H(w[None]), 1e-4 * problem.steepness, tol=1e-3)
    return x.expand(n, *x.shape[1:]).clone()
