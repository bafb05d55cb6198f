"""The reverse family: every member has the marginals of the forward process, and the ODE knows its own density."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_most, close, equal, slope, within_errors
from theory.claims._densities import external, own
from theory.claims._linear import moments
from theory.claims._reverse import euler_maruyama, quadratic
from theory.diagnostics.likelihood import ode_log_likelihood
from theory.diagnostics.transport import sliced_wasserstein
from theory.distributions.mixture import Gaussian
from theory.distributions.perturbed import gauged_by, quarter_turn
from theory.distributions.toys import gmm_3, gmm_3s
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)


def stratified(law, n, rng, t=None):
    """n draws of x_t with as many from each component as its weight says."""
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    x0 = law.draw(rng.normal(torch.empty(n, *law.shape, dtype=torch.float64)), u)
    if t is None:
        return x0
    return law.process.alpha(t) * x0 + law.process.sigma(t) * rng.normal(x0)


class PfOdeMarginals(Claim):
    """dX = [f X - (1 + eta^2) g^2 s / 2] dt + eta g dw, started from p_T, has marginals p_t for every eta >= 0.

    In the Fokker-Planck equation of the family the extra drift -(eta^2 g^2 / 2) s and the extra diffusion (eta^2 g^2 / 2)
    Laplacian cancel, since Laplacian p = div(p s). Left: samples of four members on gmm-3 after 400 steps, by the library's
    score. Right: 1.5 times the floor of two exact samples; and weights of the modes.
    """

    card = dict(code="A6", tier=1, topic="identities", paper="Song et al. 2021",
                source="Song et al. 2021, eq. 13; Karras et al. 2022, eq. 6", found="")  # fmt: skip
    etas, steps, n, T, t_min = (0.0, 0.5, 1.0, 1.5), 400, 4000, 4.0, 1e-3
    counts = (25, 50, 100, 200, 400)

    def measure(self, seed):
        law = gmm_3(VP2)
        rng = Rng(seed, "start")
        x = stratified(law, self.n, rng, self.T)
        exact = stratified(law, self.n, rng.fork("exact"), self.t_min)
        m = SimpleNamespace(gaps={}, weights={}, curves={}, gaussian={})
        for eta in self.etas:
            end = self._end(law.score, x, self.steps, eta, seed)
            m.gaps[eta] = sliced_wasserstein(
                end, exact, law=law.at(self.t_min), slices=32, repeats=10, seed=seed
            )
            share = law.responsibilities(end, self.t_min)
            m.weights[eta] = share.mean(0).tolist(), (share.std(0) / self.n**0.5).tolist()
            m.gaussian[eta] = self._gaussian(eta)
            few = lambda steps, eta=eta: self._end(law.score, x[::4], steps, eta, seed)
            m.curves[eta] = [self._gap(few(steps), exact, seed) for steps in self.counts[:-1]] + [
                m.gaps[eta].value
            ]
        wrong = self._wrong(law, x, seed)
        m.wrong = sliced_wasserstein(wrong, exact, law=law.at(self.t_min), slices=32, repeats=10, seed=seed)
        m.law_weights = law.weights.tolist()
        return m

    def _end(self, score, x, steps, eta, seed):
        times = quadratic(self.T, self.t_min, steps)
        return euler_maruyama(score, VP2, x, times, Rng(seed, "steps"), eta)

    @staticmethod
    def _gap(x, exact, seed):
        return sliced_wasserstein(x, exact[::4], slices=32, repeats=2, seed=seed).value

    def _wrong(self, law, x, seed):
        """eta^2 in front of the score where (1 + eta^2) / 2 belongs, at eta = 0.5."""
        eta = 0.5
        share = eta**2 / (0.5 * (1 + eta**2))
        return self._end(lambda x, t: share * law.score(x, t), x, self.steps, eta, seed)

    def _gaussian(self, eta):
        """The largest error of the covariance that the family's moments give for a Gaussian."""
        C = torch.tensor([[0.3, 0.1], [0.1, 0.2]], dtype=torch.float64)
        law, eye = Gaussian(torch.zeros(2, dtype=torch.float64), C, VP2), torch.eye(2, dtype=torch.float64)
        times = quadratic(self.T, 0.0, 400)
        found = moments(lambda t: law.score(eye, t).mT, VP2, 0 * eye[0], law.at(self.T).cov(), times, eta)[1]
        return (found - C).abs().max().item()

    def rows(self, m):
        for eta, gap in m.gaps.items():
            yield at_most(f"eta = {eta:g}: sliced W2 and 1.5 floors", gap.value, 1.5 * gap.floor)
            for k, (w, error) in enumerate(zip(*m.weights[eta], strict=True)):
                yield within_errors(f"eta = {eta:g}: weight of mode {k + 1}", w, m.law_weights[k], error)
            yield equal(f"eta = {eta:g}: covariance of a Gaussian", m.gaussian[eta], 0.0, 1e-9)

    def controls(self, m):
        yield at_most(
            "eta^2 s where (1 + eta^2) s / 2 belongs, and 5 floors", m.wrong.value, 5 * m.wrong.floor
        )

    def plot(self, m, figure):
        ax = figure.subplots()
        for eta, values in m.curves.items():
            ax.loglog(self.counts, values, "o-", ms=4, label=f"eta = {eta:g}")
        gap = m.gaps[0.0]
        ax.axhspan(0.5 * gap.floor, gap.floor95, color="0.85", label="floor of exact samples")
        ax.loglog(
            self.counts[-1], m.wrong.value, "x", color="tab:red", ms=9, label="control: wrong factor of s"
        )
        ax.set(xlabel="steps", ylabel="sliced W2 to gmm-3")
        ax.legend(fontsize=8)


class OdeLikelihood(Claim):
    """log p_0(x) = log p_T(x_T) + int div v dt along the probability-flow ODE: exact in continuous time, order 2 by Heun.

    d log p_t(x_t) / dt = -div v along dx = v dt (the continuity equation along its own path). Left: root mean square error,
    in nats at 200 points, of the library's `ode_log_likelihood` on three modes, and its slope. Right: slope -1.9 +- 0.15
    and numbers seen before; with Rademacher probes (the
    same along a path) the estimate is unbiased, its spread falling as probes^-1/2.
    """

    card = dict(code="A7", tier=1, topic="identities", paper="Song et al. 2021",
                source="Chen et al. 2018; Song et al. 2021, eq. 39", found="")  # fmt: skip
    counts, reference = (25, 50, 100, 200, 400), (0.0503, 0.0144, 0.00423, 0.00112, 0.00030)
    T, t_min, n = 5.0, 1e-3, 200

    def measure(self, seed):
        law = gmm_3s(VP2)
        x = law.at(self.t_min).sample(self.n, seed)
        exact, end = law.log_prob(x, self.t_min), lambda u: law.log_prob(u, self.T)
        log_p = lambda steps, **how: (
            ode_log_likelihood(law.score, x, VP2, quadratic(self.T, self.t_min, steps), end, **how).log_prob
        )
        rms = lambda v: (v - exact).square().mean().sqrt().item()
        m = SimpleNamespace(exact=exact.tolist(), found=log_p(100).tolist())
        m.errors = [rms(log_p(n)) for n in self.counts]
        m.no_divergence = rms(log_p(100) - self._spread(law, x))
        full, probed = (
            log_p(100),
            {k: [log_p(100, probes=k, seed=seed * 100 + i) for i in range(6)] for k in (1, 4)},
        )
        spread = {k: torch.stack(v) - full for k, v in probed.items()}
        m.sd = {k: v.square().mean().sqrt().item() for k, v in spread.items()}
        rows = spread[1].flatten()
        m.bias = rows.mean().item(), (rows.std() / len(rows) ** 0.5).item()
        m.far = self._elsewhere(law, x, exact)
        return m

    def _times(self, steps):
        return quadratic(self.T, self.t_min, steps).flip(0)

    def _spread(self, law, x):
        """The part of the integral that the score's divergence makes: what is left out with f alone."""
        f_part = 2 * -1.0 * (self.T - self.t_min)  # d f = -2 for vp2 in the plane
        whole = own(law, x, VP2, self._times(100), lambda u: 0.0 * u[:, 0])
        return whole - f_part

    def _elsewhere(self, law, x, exact):
        """A gauge model's divergence along the exact path and not its own: div r is not zero."""
        wave = lambda u: torch.cos(u[:, 0] + 0.7 * u[:, 1])
        model = gauged_by(law, quarter_turn(2), wave)
        found = external(model, law, x, VP2, self._times(200), lambda u: law.log_prob(u, self.T))
        return (found - exact).square().mean().sqrt().item()

    def rows(self, m):
        yield equal("slope of the error over steps", slope(self.counts, m.errors), -1.9, 0.15)
        for n, value, expected in zip(self.counts, m.errors, self.reference, strict=True):
            yield close(f"rms error at {n} steps", value, expected, 0.35)
        yield within_errors("Rademacher probes: bias, 100 steps", m.bias[0], 0.0, m.bias[1])
        yield close("deviation of one probe and of four", m.sd[1] / m.sd[4], 2.0, 0.2)

    def controls(self, m):
        yield at_most("divergence of f alone: rms error", m.no_divergence, 1.0)
        yield at_most("gauge model off its own path: rms error", m.far, 1.0)

    def plot(self, m, figure):
        left, right = figure.subplots(1, 2)
        left.loglog(self.counts, m.errors, "o-", label="rms error")
        left.loglog(self.counts, [m.errors[-1] * (400 / n) ** 2 for n in self.counts], "k:", label="n^-2")
        left.axhline(m.no_divergence, color="tab:red", ls="--", label="control: no div s")
        left.set(xlabel="Heun steps", ylabel="nats")
        right.plot(m.exact, m.found, ".", ms=4)
        right.plot([min(m.exact), max(m.exact)], [min(m.exact), max(m.exact)], "k:", label="equal")
        right.set(xlabel="log p", ylabel="log p along the ODE, 100 steps")
        left.legend(fontsize=7)
        right.legend(fontsize=8)
