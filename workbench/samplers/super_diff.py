"""SuperDiff: several priors superposed by their densities, which are tracked along the trajectory at no extra cost."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.priors._prior import Prior, _Under
from workbench.samplers import _sampler
from workbench.samplers._checks import positive
from workbench.samplers._reals import as_reals, rows
from workbench.samplers._sampler import Sampler


def as_priors(problem, others, rng, who):
    """The problem's prior and the others, priors or guidances of the problem, all under its process; a guidance has
    draws of its own."""
    first = problem.prior
    priors = [
        other
        if isinstance(other, Prior)
        else other.bind(problem, None if rng is None else rng.fork(f"model {i}"))
        for i, other in enumerate(others, start=1)
    ]
    for prior in priors:
        if tuple(prior.shape) != tuple(first.shape) or prior.dtype != first.dtype:
            raise BadInput(
                f"{who}: others has a prior on {tuple(prior.shape)} {prior.dtype}, the problem's is on "
                f"{tuple(first.shape)} {first.dtype}; they should agree"
            )
    return [first, *(_Known(prior.under(first.process), i, who) for i, prior in enumerate(priors, start=1))]


def check_others(who, others):
    """Raise BadInput unless `others` are priors or guidances in a tuple."""
    if not isinstance(others, tuple):
        raise BadInput(
            f"{who}: others = {others!r} should be a tuple; write others=({type(others).__name__}(...),)"
        )
    for other in others:
        if not (isinstance(other, Prior) or (hasattr(other, "bind") and not isinstance(other, type))):
            raise BadInput(f"{who}: others holds {other!r}, which is neither a prior nor a guidance")


def has_density(prior):
    """Whether it is a law with a density, under whatever process."""
    return has_density(prior.prior) if isinstance(prior, _Under) else hasattr(prior, "log_prob")


@dataclass(frozen=True, eq=False)
class _Known(Prior):
    """Number i of others, a prior that is asked at levels it knows only: a law with a density knows them all."""

    prior: Any
    i: int
    who: str

    shape = property(lambda self: self.prior.shape)
    dtype = property(lambda self: self.prior.dtype)
    process = property(lambda self: self.prior.process)
    noise_range = property(lambda self: self.prior.noise_range)

    def denoise(self, x, t):
        (low, high), kappa = self.noise_range, self.process.kappa(torch.as_tensor(t)).max().item()
        if not (has_density(self.prior) or low / 1.5 <= kappa <= 1.5 * high):
            raise BadInput(
                f"{self.who}: prior {self.i} of others knows noise from {low:g} to {high:g}, this step has {kappa:g}; "
                f"give a grid within the range of all"
            )
        return self.prior.denoise(x, t)


def scores(priors, x, t):
    """The scores (D_i - x) / kappa^2 of the priors in the signal's units: (n, M, *shape), x: (n, *shape)."""
    process = priors[0].process
    x0 = torch.stack([prior.denoise(process.alpha(t) * x, t) for prior in priors], 1)
    return (x0 - x[:, None]) / process.kappa(t) ** 2


def far_log_densities(priors, x, t):
    """log q_i(x) at the noisy end, to first order in 1 / kappa and up to a constant: -||x - D_i(x)||^2 / 2 kappa^2."""
    return -0.5 * inner(s := scores(priors, x, t), s) * priors[0].process.kappa(t) ** 2


def inner(u, v):
    """Re <u, v> over all but the first two axes, float64: (n, M)."""
    return (
        (as_reals(u.flatten(0, 1)).double() * as_reals(v.flatten(0, 1)).double()).sum(1).reshape(u.shape[:2])
    )


def log_density_change(s, step, gain):
    """d log q_i = <s_i, dx> - gain ||s_i||^2 / 2 along dx whose noise has variance gain = kappa_t^2 - kappa_s^2: (n, M).

    The Ito estimator: the Laplacian of log q cancels because the noise is that of the diffusion, whatever the drift.
    """
    return inner(s, step[:, None].expand_as(s)) - 0.5 * gain * inner(s, s)


def mixed(weights, s):
    """sum_i weights_i s_i: (n, M) with (n, M, *shape)."""
    return (rows(weights.flatten(), s.flatten(0, 1)) * s.flatten(0, 1)).reshape(s.shape).sum(1)


@dataclass(frozen=True)
class SuperDiffOr(Sampler):
    """dx = dv sum_i kappa_i s_i(x) + sqrt(dv) z, kappa = softmax_i(T log q_i(x) + bias_i), v = (sigma / alpha)^2.

    Draws of the mixture of the problem's prior and `others`, with weights exp(bias_i) (T = 1); data enter as one more
    model, a guidance among `others`. The log-densities follow d log q_i = <s_i, dx> - dv ||s_i||^2 / 2 along the
    realised path, whose error falls as the square root of the step.  biases: one a model, the problem's own first
    (default: 0).  temperature: T.  A network of `others` outside its own noise_range by more than 1.5 is BadInput;
    laws with a density know all levels. The last step denoises. Skreta et al. 2025, Alg. 1.
    """

    card = dict(name="superdiff-or", kind="combination", exactness="E0", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="M NFE, M priors (1)", source="Skreta et al. 2025")  # fmt: skip

    others: tuple = ()
    biases: tuple = ()
    temperature: float = 1.0

    uses_data = property(lambda self: not all(isinstance(other, Prior) for other in self.others))

    @dataclass
    class State(_sampler.State):
        """log_q: of every model at x, up to one constant a row, (n, M) float64."""

        log_q: Tensor | None = None

    def __post_init__(self):
        check_others(type(self).__name__, self.others)
        positive(type(self).__name__, temperature=self.temperature)
        if self.biases and len(self.biases) != 1 + len(self.others):
            raise BadInput(
                f"{type(self).__name__}: biases = {self.biases} should be {1 + len(self.others)} numbers, the problem's "
                f"prior first"
            )

    def init(self, problem, n, t, rng):
        x = problem.prior.initial(n, t, rng)
        priors = as_priors(problem, self.others, rng, type(self).__name__)
        return self.State(x, log_q=far_log_densities(priors, x / priors[0].process.alpha(t), t))

    def step(self, problem, state, t, s, rng):
        priors = as_priors(problem, self.others, rng, type(self).__name__)
        process = priors[0].process
        x, gain = state.x / process.alpha(t), process.kappa(t) ** 2 - process.kappa(s) ** 2
        score, z = scores(priors, x, t), rng.normal(x)
        share = self.shares(state.log_q, score, z, gain)
        change = gain * mixed(share, score)
        if s > 0:
            change = change + torch.sqrt(gain) * z
        log_q = state.log_q + log_density_change(score, change, gain)
        return self.State(process.alpha(s) * (x + change), log_q=log_q)

    def shares(self, log_q, score, z, gain):
        """kappa: (n, M), each row summing to 1."""
        bias = torch.as_tensor(self.biases or [0.0] * log_q.shape[1], dtype=log_q.dtype, device=log_q.device)
        return torch.softmax(self.temperature * log_q + bias, 1)


@dataclass(frozen=True)
class SuperDiffAnd(SuperDiffOr):
    """dx = dv sum_i kappa_i s_i(x) + sqrt(dv) z, kappa such that all d log q_i along the step are equal, sum kappa = 1.

    z is drawn first: sum_j <s_i, s_j> kappa_j + <s_i, z> / sqrt(dv) - ||s_i||^2 / 2 is the same for every i. It keeps
    the models' densities equal; this is not the density of their product, which FKCProduct has. Where scores agree
    the system is ill-conditioned: what is under `tol` of the largest squared score is left out, and kappa is kept
    inside [-limit, 1 + limit] about its mean. biases and temperature are not used. Skreta et al. 2025, Prop. 6.
    """

    card = dict(name="superdiff-and", kind="combination", exactness="P", needs="denoiser", complex=True, nonlinear=False, poisson=False,
                cost="M NFE, M priors (1)", source="Skreta et al. 2025")  # fmt: skip

    limit: float = 10.0
    tol: float = 1e-9

    def shares(self, log_q, score, z, gain):
        M = log_q.shape[1]
        if M == 1:
            return torch.ones_like(log_q)
        kappa = equal_growth(score, z, gain, self.tol)
        # towards 1 / M along the line that keeps the sum, until no share leaves its bounds
        off = kappa - 1 / M
        return 1 / M + off * (self.limit / off.abs().amax(1, keepdim=True).clamp_min(self.limit))


def equal_growth(score, z, gain, tol=1e-9):
    """The kappa: (n, M) that sums to 1 and makes every d log q_i equal, of least norm where there are many.

    With kappa = 1 / M + E c, E a basis of the vectors that sum to 0, the differences of the equations give
    E^T G E c = E^T (diag G / 2 - G 1 / M - <s, z> / sqrt(gain)), G_ij = <s_i, s_j>.
    """
    n, M = score.shape[:2]
    v = as_reals(score.flatten(0, 1)).double().reshape(n, M, -1)
    G = v @ v.mT
    noise = inner(score, z[:, None].expand_as(score)) / torch.sqrt(gain)
    E = torch.linalg.qr(torch.eye(M, dtype=v.dtype, device=v.device)[:, 1:] - 1 / M)[0]
    right = 0.5 * G.diagonal(dim1=1, dim2=2) - G.mean(2) - noise
    size = G.diagonal(dim1=1, dim2=2).amax(1)
    c = (
        torch.linalg.pinv(E.mT @ G @ E, atol=tol * size, rtol=torch.zeros_like(size), hermitian=True)
        @ (right @ E)[..., None]
    )
    return 1 / M + (c[..., 0] @ E.mT)
