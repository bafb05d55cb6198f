"""Tweedie's formulas: what a score says of the clean signal, to the first and the second order."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, within_errors
from theory.distributions.boxes import Checkerboard
from theory.distributions.hidden_markov import HiddenMarkov
from theory.distributions.independent_laplace import IndependentLaplace
from theory.distributions.perturbed import gauged, quarter_turn
from theory.distributions.sphere import Sphere
from theory.distributions.toys import gmm_3
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)  # alpha = e^-t
TIMES = (0.02, 0.05, 0.15, 0.4, 1.0, 2.0)


def noised(law, n, t, seed):
    """n draws of x_t."""
    x0 = law.sample(n, seed)
    a, s = law.process.alpha(t), law.process.sigma(t)
    return a * x0 + s * Rng(seed, "claim").normal(x0)


def score_by_autograd(law, x, t):
    """grad log p_t from the density alone, no formula for the score."""
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(law.log_prob(leaf, t).sum(), leaf)[0]


def gap(a, b):
    """The largest difference over the largest entry."""
    return ((a - b).abs().max() / b.abs().max()).item()


def chain():
    """A chain of six sites with three states."""
    stay = torch.full((3, 3), 0.15, dtype=torch.float64) + 0.55 * torch.eye(3, dtype=torch.float64)
    start, means = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([-1.5, 0.2, 1.4]).double()
    return HiddenMarkov(stay, start, means, 0.1, 6, process=VP2)


class TweedieFirstOrder(Claim):
    """E[x0 | x_t] = (x_t + sigma^2 grad log p_t(x_t)) / alpha, for every law with a mean.

    p_t(x) = E N(x; alpha x0, sigma^2 I), so grad p_t = E[(alpha x0 - x) / sigma^2 N(x; alpha x0, sigma^2 I)]; divide by
    p_t: grad log p_t = (alpha E[x0 | x] - x) / sigma^2. Left: the posterior mean as each law computes it from its own
    parameters. Right: the formula with the gradient of its log-density by autograd.
    """

    card = dict(code="A1", tier=0, topic="identities", paper="Efron 2011", source="Robbins 1956; Efron 2011, eq. 1.4",
                found="")  # fmt: skip
    margin = 1e-8

    def measure(self, seed):
        cases = {
            "gmm-3": gmm_3(VP2),
            "laplace": IndependentLaplace(0.7, (3,), process=VP2),
            "checkerboard": Checkerboard(process=VP2),
            "sphere": Sphere(8, process=VP2),
            "hidden Markov": chain(),
        }
        m = SimpleNamespace(times=TIMES, errors={}, without_alpha={}, plain_sigma={})
        for name, law in cases.items():
            found = [self._errors(law, t, seed) for t in TIMES]
            m.errors[name], m.without_alpha[name], m.plain_sigma[name] = zip(*found, strict=True)
        m.slope = self._slope(cases["gmm-3"], 0.4, seed)
        return m

    @staticmethod
    def _slope(law, t, seed, n=40_000):
        """The slope of x0 on D(x_t) through the origin, and its error, over n draws."""
        x0 = law.sample(n, seed)
        x = law.process.alpha(t) * x0 + law.process.sigma(t) * Rng(seed, "regression").normal(x0)
        D = law.denoise(x, t)
        rows = ((x0 - D) * D).sum(1) / D.square().sum(1).mean()
        return 1 + rows.mean().item(), (rows.std() / n**0.5).item()

    @staticmethod
    def _errors(law, t, seed):
        x = noised(law, 64, t, seed)
        a, s = law.process.alpha(t), law.process.sigma(t)
        score, exact = score_by_autograd(law, x, t), law.denoise(x, t)
        return (
            gap((x + s**2 * score) / a, exact),
            gap(x + s**2 * score, exact),
            gap((x + s * score) / a, exact),
        )

    def rows(self, m):
        for name, errors in m.errors.items():
            yield at_most(f"{name}: largest relative error over six times", max(errors), self.margin)
        yield within_errors("gmm-3: slope of x0 on its denoised signal", m.slope[0], 1.0, m.slope[1])

    def controls(self, m):
        for name in m.errors:
            yield at_most(f"{name}: 1 / alpha left out, at t = 0.4", m.without_alpha[name][3], 0.05)
            yield at_most(f"{name}: sigma where sigma^2 belongs, at t = 0.15", m.plain_sigma[name][2], 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        for name, errors in m.errors.items():
            ax.loglog(m.times, errors, "o-", label=name)
        ax.loglog(m.times, m.plain_sigma["gmm-3"], "x--", color="tab:red", label="control: sigma for sigma^2")
        ax.axhline(self.margin, color="black", lw=0.8, ls=":", label="margin")
        ax.set(xlabel="t (alpha = exp(-t))", ylabel="relative error of the denoiser")
        ax.legend(fontsize=8)


class TweedieSecondOrder(Claim):
    """Cov[x0 | x_t] = (sigma^2 / alpha^2)(I + sigma^2 Hess log p_t) = (sigma^2 / alpha) J: J is symmetric and not negative.

    Differentiate alpha E[x0 | x] = x + sigma^2 s: alpha J = I + sigma^2 Hess log p_t; and the derivative of a posterior
    mean in x is the covariance with (alpha / sigma^2) x0. Left: the mixture's covariance from its components. Right: the
    Jacobian of the score by autograd. The covariance of a gauge-perturbed score is no covariance.
    """

    card = dict(code="A2", tier=0, topic="identities", paper="Rozet et al. 2024",
                source="Efron 2011; Rozet et al. 2024, eq. 12", found="")  # fmt: skip
    margin = 1e-8

    def measure(self, seed):
        law = gmm_3(VP2)
        m = SimpleNamespace(times=TIMES, errors=[], lowest=[], asymmetry=[], crooked=[], spectra=[])
        for t in TIMES:
            x = noised(law, 48, t, seed)
            cov, mine = self._from_components(law, x, t), self._from_hessian(law.score, law.process, x, t)
            m.errors.append(gap(mine, cov))
            m.spectra.append(torch.linalg.eigvalsh(cov).mean(0).tolist())
            m.lowest.append(torch.linalg.eigvalsh(0.5 * (mine + mine.mT)).min().item())
            m.asymmetry.append(asymmetry(mine))
            wrong = gauged(law, quarter_turn(2))
            m.crooked.append(asymmetry(self._from_hessian(wrong.score, law.process, x, t)))
        return m

    @staticmethod
    def _from_components(law, x, t):
        """sum_k rho_k (V_k + m_k m_k') - D D'."""
        a, s = law.process.alpha(t), law.process.sigma(t)
        C = law.covariances.dense()
        S = a**2 * C + s**2 * torch.eye(2, dtype=x.dtype)
        shrink = a * C @ torch.linalg.inv(S)
        rho = law.responsibilities(x, t)
        m = law.means + torch.einsum("kde,nke->nkd", shrink, x[:, None] - a * law.means)
        second = s**2 / a * shrink + m[..., :, None] * m[..., None, :]
        D = torch.einsum("nk,nkd->nd", rho, m)
        return torch.einsum("nk,nkde->nde", rho, second) - D[:, :, None] * D[:, None, :]

    @staticmethod
    def _from_hessian(score, process, x, t):
        a, s = process.alpha(t), process.sigma(t)
        H = torch.func.vmap(torch.func.jacrev(lambda u: score(u[None], t)[0]))(x)
        return s**2 / a**2 * (torch.eye(2, dtype=x.dtype) + s**2 * H)

    def rows(self, m):
        yield at_most("gmm-3: largest relative error over six times", max(m.errors), self.margin)
        yield at_least("gmm-3: least eigenvalue", min(m.lowest), 0.0, 1e-10)
        yield at_most("gmm-3: asymmetry index", max(m.asymmetry), 1e-16)

    def controls(self, m):
        yield at_most("gauge kappa = 1: asymmetry index at t = 0.4", m.crooked[3], 0.05)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, label in enumerate(("least", "largest")):
            ax.loglog(m.times, [s[i] for s in m.spectra], "o-", label=f"{label} eigenvalue of Cov[x0 | x_t]")
        ax.loglog(m.times, m.crooked, "x--", color="tab:red", label="control: asymmetry with a gauge field")
        ax.set(xlabel="t (alpha = exp(-t))", ylabel="mean over x_t of gmm-3")
        ax.legend(fontsize=8)


def asymmetry(J):
    """||J - J'||^2 / (4 ||J||^2), pooled."""
    return (((J - J.mT) ** 2).sum() / (4 * (J**2).sum())).item()
