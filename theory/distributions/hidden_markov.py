"""Hidden Markov signals: a chain of states, one Gaussian number for each; exact by forward and backward messages."""

from itertools import product
from math import log, pi

import torch

from theory.distributions._analytic import Analytic
from theory.distributions._diagonal import sites
from theory.distributions._pieces import pick
from theory.distributions.independent_laplace import real
from theory.distributions.mixture import GaussianMixture
from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM

F64 = torch.float64
ENUMERATED = 1024  # sequences of states up to which the law is also a mixture of so many Gaussians
SMALLEST = 1e-300  # in place of a probability 0, so that its logarithm has a derivative


class _Chain(Analytic):
    """p(x) prop. to sum_z p(z) prod_i e_i(z_i) N(x_i; m_i(z_i), v_i(z_i)), z a Markov chain: prior and posterior.

    m, v, log_e: (L, K) float64.  Messages take L K^2 operations for a row, in logarithms. Rabiner 1989.
    """

    def __init__(self, log_initial, log_transition, m, v, log_e, dtype, process, noise_range):
        self.log_initial, self.log_transition = log_initial, log_transition
        self.m, self.v, self.log_e = m, v, log_e
        self.shape, self.dtype, self.device = (len(m),), dtype, m.device
        self.process, self.noise_range = process or EDM(), noise_range
        self._log_mass = torch.logsumexp(self._forward(log_e[None])[-1], 1).item()

    def _forward(self, log_e):
        """log p(z_i = k, what is seen up to i): L tensors (n, K), for emissions log_e: (n, L, K)."""
        messages = [self.log_initial + log_e[:, 0]]
        for e in log_e[:, 1:].unbind(1):
            messages.append(torch.logsumexp(messages[-1][:, :, None] + self.log_transition, 1) + e)
        return messages

    def _responsibilities(self, log_e):
        """p(z_i = k | all that is seen), (n, L, K): the derivative of log p(seen) along log_e."""
        back = [torch.zeros_like(log_e[:, 0])]
        for e in log_e[:, 1:].flip(1).unbind(1):
            back.append(torch.logsumexp(self.log_transition + (back[-1] + e)[:, None], 2))
        return torch.softmax(torch.stack(self._forward(log_e), 1) + torch.stack(back[::-1], 1), 2)

    def _level(self, t):
        return (1.0, 0.0) if t is None else (self.process.alpha(t), self.process.sigma(t))

    def _emissions(self, x, t):
        """log e_i(k) N(x_i; alpha m, alpha^2 v + sigma^2), (n, L, K)."""
        alpha, sigma = self._level(t)
        spread = alpha**2 * self.v + sigma**2
        off = x.double()[:, :, None] - alpha * self.m
        return self.log_e - 0.5 * (off**2 / spread + spread.log() + log(2 * pi))

    def _given_state(self, x, t):
        """Mean (n, L, K) and variance (L, K) of x0_i given x_t,i and z_i."""
        alpha, sigma = self._level(t)
        spread = alpha**2 * self.v + sigma**2
        return self.m + alpha * self.v / spread * (
            x.double()[:, :, None] - alpha * self.m
        ), self.v * sigma**2 / spread

    def log_prob(self, x, t=None):
        """log p_t(x), (n,): the evidence of the chain."""
        return torch.logsumexp(self._forward(self._emissions(x, t))[-1], 1) - self._log_mass

    def responsibilities(self, x, t=None):
        """p(z_i = k | x_t = x), (n, L, K)."""
        return self._responsibilities(self._emissions(x, t))

    def denoise(self, x, t):
        """E[x0_i | x_t = x] = sum_k p(z_i = k | x) (m_k + alpha v_k (x_i - alpha m_k) / (alpha^2 v_k + sigma^2))."""
        return (self.responsibilities(x, t) * self._given_state(x, t)[0]).sum(2).to(self.dtype)

    def score(self, x, t=None):
        """sum_k p(z_i = k | x) (alpha m_k - x_i) / (alpha^2 v_k + sigma^2); t=None for the law itself."""
        alpha, sigma = self._level(t)
        pull = (alpha * self.m - x.double()[:, :, None]) / (alpha**2 * self.v + sigma**2)
        return (self.responsibilities(x, t) * pull).sum(2).to(self.dtype)

    def tweedie(self, x, t):
        """E[x0 | x_t = x], and v -> Cov[x0 | x_t = x] v, in L K^2 operations for each v."""
        mean, inside = self._given_state(x.detach(), t)
        r, cov = self._covariance(self._emissions(x.detach(), t), mean, inside)
        return (r * mean).sum(2).to(self.dtype), cov

    def _covariance(self, log_e, mean, inside):
        """The responsibilities, and u -> Cov u for x_i given z_i of that mean and variance.

        Cov[mean_i(z_i), sum_j u_j mean_j(z_j)] is how the mean changes as log_e_j(k) does by u_j mean_j(k), that is,
        the second derivative of the evidence times a vector.
        """
        with torch.enable_grad():
            leaf = log_e.requires_grad_()
            r = self._responsibilities(leaf)

        def cov(u):
            u = u.double()
            (change,) = torch.autograd.grad(r, leaf, u[:, :, None] * mean, retain_graph=True)
            return ((r.detach() * inside).sum(2) * u + (change * mean).sum(2)).to(self.dtype)

        return r.detach(), cov

    def denoiser_jvp(self, x, t, v):
        """(alpha / sigma^2) Cov[x0 | x_t = x] v."""
        return self.process.alpha(t) / self.process.sigma(t) ** 2 * self.tweedie(x, t)[1](v)

    def states(self, n, rng):
        """n sequences of states, (n, L), drawn backward from the forward messages."""
        u, forward = rng.uniform(n, *self.shape).to(self.device), self._forward(self.log_e[None])
        z = [pick(u[:, -1], forward[-1].expand(n, -1))]
        for i in range(len(forward) - 2, -1, -1):
            z.append(pick(u[:, i], forward[i] + self.log_transition[:, z[-1]].mT))
        return torch.stack(z[::-1], 1)

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, (n, L)."""
        rng = Rng(seed, stream or self.stream, first=first)
        z = self.states(n, rng)[..., None]
        take = lambda a: a.expand(n, -1, -1).gather(2, z)[..., 0]  # noqa: E731
        return (take(self.m) + take(self.v).sqrt() * rng.normal(take(self.m))).to(self.dtype)

    def mean(self):
        """E[x], (L,)."""
        return (self._responsibilities(self.log_e[None])[0] * self.m).sum(1).to(self.dtype)

    def cov(self):
        """Cov[x], (L, L)."""
        L, K = self.m.shape
        log_e = self.log_e.expand(L, L, K).clone()
        return self._covariance(log_e, self.m, self.v)[1](torch.eye(L, dtype=F64, device=self.device))

    def enumerated(self):
        """The same law as a mixture of K^L <= 1024 Gaussians."""
        L, K = self.m.shape
        if K**L > ENUMERATED:
            raise BadInput(
                f"enumerated: {K} states at {L} sites are {K**L} sequences, more than {ENUMERATED}"
            )
        z = torch.tensor(list(product(range(K), repeat=L)), device=self.device)
        at, steps = torch.arange(L, device=self.device), self.log_transition[z[:, :-1], z[:, 1:]].sum(1)
        log_w = self.log_initial[z[:, 0]] + steps + self.log_e[at, z].sum(1)
        m, v = (a[at, z].to(self.dtype) for a in (self.m, self.v))
        return GaussianMixture((log_w - self._log_mass).exp(), m, v, self.process, self.noise_range)

    def condition(self, A, y, noise):
        """The exact posterior of x given y = A x + Gaussian noise, with `log_evidence` = log p(y).

        A chain again where A sees sites one by one, some perhaps not; for K^L <= 1024 a mixture under any linear A.
        """
        try:
            data = sites(self, A, y, noise, lambda x: x.double(), lambda z: z.to(self.dtype))
        except BadInput:
            if self.m.shape[1] ** len(self.m) > ENUMERATED:
                raise
            return self.enumerated().condition(A, y, noise)
        K, k = data.precision[:, None], data.shift[:, None]
        # N(x; m, v) exp(k x - K x^2 / 2), with the exponent at its mean free of cancelling squares
        v = self.v / (1 + K * self.v)
        log_e = (
            self.log_e
            + 0.5 * (v / self.v).log()
            + v * (k * self.m / self.v + 0.5 * k**2 - 0.5 * K * self.m**2 / self.v)
        )
        chain = (self.log_initial, self.log_transition, v * (self.m / self.v + k), v, log_e)
        q = _Chain(*chain, self.dtype, self.process, self.noise_range)
        q.stream, q.log_evidence = "posterior", q._log_mass - self._log_mass + data.constant
        return q


class HiddenMarkov(_Chain):
    """z_1 ~ initial, z_(i+1) ~ transition[z_i], x_i ~ N(means[z_i], variance[z_i]) independently: x in R^L.

    transition: (K, K), rows sum to 1.  initial: (K,), None for the stationary law.  means: (K,).  variance: a number or
    (K,), positive.  length: L.  Rabiner 1989.
    """

    card = dict(engine="chain", exact=True, source="Rabiner 1989")

    def __init__(self, transition, initial, means, variance, length, process=None, noise_range=None):
        real(means.dtype, "HiddenMarkov")
        T = torch.as_tensor(transition, dtype=F64).cpu()
        K = len(means)
        _stochastic(T, (K, K), "transition")
        start = stationary(T) if initial is None else torch.as_tensor(initial, dtype=F64).cpu()
        _stochastic(start, (K,), "initial")
        v = torch.as_tensor(variance, dtype=F64).to(means.device)
        if v.numel() not in (1, K):
            raise BadInput(f"HiddenMarkov: variance has {v.numel()} entries, it should be one number or {K}")
        if not (v > 0).all() or length < 1:
            raise BadInput(
                f"HiddenMarkov: variance = {v.tolist()} should be positive, length = {length} at least 1"
            )
        m, v = means.double().expand(length, K), v.expand(length, K)
        size = 10 * (length * (means.double().square() + v[0]).max()).sqrt().item()
        reach = noise_range or (0.01 * v.min().sqrt().item(), size)
        log_p = [p.to(means.device).clamp_min(SMALLEST).log() for p in (start, T)]
        super().__init__(*log_p, m, v.to(m.device), torch.zeros_like(m), means.dtype, process, reach)

    @classmethod
    def example(cls, rng, dtype=F64):
        T = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.05, 0.25, 0.7]]
        return cls(T, [0.5, 0.2, 0.3], torch.tensor([-1.5, 0.2, 2.0], dtype=dtype), [0.1, 0.3, 0.2], 4)

    def __repr__(self):
        return f"HiddenMarkov(K={self.m.shape[1]}, length={self.shape[0]}, {self.dtype})"


def _stochastic(p, shape, name):
    """Raise BadInput unless the rows of p are probabilities."""
    if (
        tuple(p.shape) != shape
        or not (p >= 0).all()
        or not torch.allclose(p.sum(-1), torch.ones_like(p.sum(-1)))
    ):
        raise BadInput(
            f"HiddenMarkov: {name} = {p.tolist()} should have shape {shape}, entries >= 0 and rows that sum to 1"
        )


def stationary(T):
    """pi with pi T = pi, by least squares with sum 1."""
    K = len(T)
    system = torch.cat([T.mT - torch.eye(K, dtype=F64), torch.ones(1, K, dtype=F64)])
    goal = torch.zeros(K + 1, 1, dtype=F64)
    goal[-1] = 1
    return torch.linalg.lstsq(system, goal).solution[:, 0].clamp_min(0)
