"""Is a score a gradient? Circulation and asymmetry, whose velocity is a Wasserstein gradient flow, and when it matters."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, within_errors
from theory.claims._reverse import heun, quadratic, velocity
from theory.claims.probability_flow import stratified
from theory.diagnostics.conservative import circles, circulation, conservativity, jacobian
from theory.diagnostics.hodge import fourier_features, gradient_error
from theory.diagnostics.transport import sliced_wasserstein
from theory.distributions.mixture import Gaussian
from theory.distributions.patch_mixture import PatchMixture
from theory.distributions.perturbed import (
    Perturbed,
    gauged,
    gauged_by,
    quarter_turn,
    random_turn,
    rotated,
    tilted,
)
from theory.distributions.sphere import Sphere
from theory.distributions.toys import gmm_1d, gmm_3
from workbench._rng import Rng
from workbench.diffusion.flow import Flow
from workbench.diffusion.variance_exploding import EDM
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)


class CirculationTest(Claim):
    """Gamma = loop integral of s . dl vanishes on every loop for a true score; for -x + omega A x it is 2 omega pi rho^2.

    A gradient integrates to the difference of a potential at the ends; a linear rotation by Stokes' theorem to twice omega
    times the area. Left: the library's normalised circulation over random circles on three laws at five noise levels, with
    the nodes doubled until they do not matter. Right: zero; a gauge of kappa = 0.1 must stand far above.
    """

    card = dict(code="D1", tier=0, topic="gradient-fields", paper="2509.00336",
                source="derived (Stokes); loop protocol of the paper not compared", found="")  # fmt: skip
    levels, loops = (0.1, 0.2, 0.5, 1.0, 2.0), 40

    def measure(self, seed):
        m = SimpleNamespace(found={}, planted={})
        rng = Rng(seed, "patches")
        root = rng.normal(torch.empty(3, 4, 4, dtype=torch.float64))
        patches = PatchMixture([0.5, 0.3, 0.2], rng.normal(torch.empty(3, 2, 2, dtype=torch.float64)),
                               root @ root.mT / 4 + 0.1 * torch.eye(4, dtype=torch.float64), (8, 8))  # fmt: skip
        for name, law in {
            "gmm-3": gmm_3(EDM()),
            "sphere, d = 8": Sphere(8),
            "patches, d = 64": patches,
        }.items():
            m.found[name] = [self._largest(law, law, s, seed) for s in self.levels]
            d = torch.Size(law.shape).numel()
            A = random_turn(d, Rng(seed, "turn"))
            turned = Perturbed(
                law, lambda x, t, law=law, A=A: 0.1 * (law.score(x, t).flatten(1) @ A.mT).reshape(x.shape)
            )
            m.planted[name] = [self._largest(law, turned, s, seed) for s in self.levels]
        m.linear = self._linear(seed)
        return m

    def _largest(self, law, model, s, seed):
        """max |Gamma| / int |s| dl over loops, on as many nodes as it takes."""
        x = law.sample(self.loops, seed)
        x = x + s * Rng(seed, "loops").normal(x)
        last = None
        for nodes in (64, 128, 256, 512):
            found = circulation(model.score, circles(x, s, nodes, seed), s).normalised.abs().max().item()
            if found < 1e-11 or (last is not None and abs(found - last) < 1e-12):
                break
            last = found
        return found

    @staticmethod
    def _linear(seed, omega=0.6, rho=1.5):
        law = Gaussian(torch.zeros(2, dtype=torch.float64), 1.0)
        model = rotated(law, quarter_turn(2), omega)
        loop = circles(torch.zeros(1, 2, dtype=torch.float64), rho, 64, seed)
        return circulation(
            model.score, loop, torch.tensor(1e-8)
        ).gamma.abs().item(), 2 * omega * torch.pi * rho**2

    def rows(self, m):
        for name, values in m.found.items():
            yield at_most(f"{name}: largest normalised circulation", max(values), 1e-10)
        yield close("linear rotation: Gamma and 2 omega pi rho^2", *m.linear, 1e-10)

    def controls(self, m):
        for name, values in m.planted.items():
            yield at_most(f"{name}: gauge kappa = 0.1, twenty times the floor", min(values), 20 * 1e-10)

    def plot(self, m, figure):
        ax = figure.subplots()
        for i, (name, values) in enumerate(m.found.items()):
            ax.loglog(self.levels, [v + 1e-18 for v in values], "o-", color=f"C{i}", label=name)
            ax.loglog(
                self.levels,
                m.planted[name],
                "x--",
                color="tab:red",
                label="control: gauge 0.1" if i == 0 else None,
            )
        ax.set(xlabel="noise level (and radius of the loops)", ylabel="largest |circulation|, normalised")
        ax.legend(fontsize=8)


class JacobianAsymmetryEstimator(Claim):
    """|J - J'|_F^2 = E |J v - J' v|^2 for probes with E v v' = I: unbiased, of variance 2 |A'A|_F^2 (Gaussian) or 2 (|A'A|_F^2 -
    sum (A'A)_ii^2) (Rademacher), A = J - J'.

    E v' B v = tr B with B = A'A; the variances of quadratic forms follow from fourth moments of v. Left: the library's index
    with one probe a point, over many seeds, beside its exact value; empirical variances. Right: the formulas. A mean of
    ratios |J v - J' v| / |J v| is biased.
    """

    card = dict(code="D2", tier=0, topic="gradient-fields", paper="2509.00336", source="Hutchinson 1989; Avron and Toledo 2011, Lemma 9",
                found="")  # fmt: skip
    d, probes = 20, 40_000

    def measure(self, seed):
        rng = Rng(seed, "matrix")
        J = rng.normal(torch.empty(self.d, self.d, dtype=torch.float64))
        field = lambda x, t: x @ J.mT
        A = J - J.mT
        B = A.mT @ A
        exact, size = (A**2).sum(), (J**2).sum()
        x = torch.zeros(self.probes // 20, self.d, dtype=torch.float64)
        found = [conservativity(field, x, 1.0, probes=1, seed=20 * seed + k).value for k in range(20)]
        m = SimpleNamespace(
            index=torch.tensor(found), exact=(exact / (4 * size)).item(), prediction={}, variance={}, sd={}
        )
        draws = {"Gaussian": rng.normal(torch.empty(self.probes, self.d, dtype=torch.float64))}
        draws["Rademacher"] = draws["Gaussian"].sign()
        for name, v in draws.items():
            values = (v @ A.mT).square().sum(1)
            m.variance[name], m.sd[name] = values.var().item(), (values.std() / exact).item()
        v = draws["Rademacher"]
        m.prediction = {"Gaussian": 2 * (B**2).sum().item(),
                        "Rademacher": 2 * ((B**2).sum() - (B.diagonal() ** 2).sum()).item()}  # fmt: skip
        few = J[:4, :4]
        ratios = (v[:, :4] @ (few - few.mT).mT).norm(dim=1) / (v[:, :4] @ few.mT).norm(dim=1)
        m.biased, m.ratio = (
            ratios.mean().item() ** 2 / 4,
            ((few - few.mT) ** 2).sum().item() / (4 * (few**2).sum().item()),
        )
        m.curve = [(n, [(v[i * n : (i + 1) * n] @ A.mT).square().sum(1).mean().item() / exact.item() for i in range(30)])
                   for n in (1, 4, 16, 64, 256)]  # fmt: skip
        return m

    def rows(self, m):
        error = m.index.std() / len(m.index) ** 0.5
        yield within_errors("library's index with one probe a point", m.index.mean(), m.exact, error)
        for name, predicted in m.prediction.items():
            yield close(f"{name} probes: variance", m.variance[name], predicted, 0.05)
        yield at_most("Rademacher deviation, and the Gaussian one", m.sd["Rademacher"], m.sd["Gaussian"])

    def controls(self, m):
        yield close("mean of one-probe ratios of norms, d = 4", m.biased, m.ratio, 0.03)

    def plot(self, m, figure):
        ax = figure.subplots()
        for n, values in m.curve:
            ax.semilogx([n] * len(values), values, "o", color="C0", ms=3, alpha=0.5)
        n = torch.tensor([c[0] for c in m.curve], dtype=torch.float64)
        sd = m.sd["Rademacher"] / n.sqrt()
        ax.fill_between(n, 1 - 2 * sd, 1 + 2 * sd, color="0.85", label="two predicted deviations")
        ax.axhline(m.biased / m.ratio, color="tab:red", ls="--", label="control: mean of ratios, d = 4")
        ax.set(xlabel="Rademacher probes", ylabel="estimate / |J - J'|^2, d = 20")
        ax.legend(fontsize=8)


class PfOdeIsWgf(Claim):
    """For the Ornstein-Uhlenbeck process the probability-flow velocity is -(beta / 2) grad log(p_t / pi), pi = N(0, I): the Wasserstein
    gradient flow of KL(. || pi), with d KL / dt = -(beta / 2) E |grad log(p / pi)|^2.

    v = -(beta / 2)(x + s), and grad log pi = -x (Jordan, Kinderlehrer, Otto 1998). Among velocities with the same marginals it has
    the least kinetic energy; a gauge r in the score adds (g^4 / 4) |r|_p^2. Left: differences of KL in time, energies. Right:
    moments of the library's score. The straight path of flow matching is no gradient flow of this KL, though v is a gradient.
    """

    card = dict(code="D3", tier=0, topic="gradient-fields", paper="2509.00336", source="Jordan, Kinderlehrer, Otto 1998, Thm. 5.1",
                found="")  # fmt: skip
    times = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)

    def measure(self, seed):
        law, m = gmm_1d(VP2), SimpleNamespace(kl=[], slope=[], dissipation=[], mismatch=[])
        x = torch.linspace(-9, 9, 4001, dtype=torch.float64)[:, None]
        for t in self.times:
            p = law.log_prob(x, t).exp()
            relative = law.score(x, t) + x
            m.kl.append(self._kl(law, x, t))
            m.slope.append(self._slope(lambda t: self._kl(law, x, t), t))
            m.dissipation.append(-torch.trapezoid(p * relative[:, 0] ** 2, x[:, 0]).item())
            v = self._quantile_velocity(law, x, t)
            inside = p > 1e-6
            m.mismatch.append((v + 0.5 * VP2.g2(t) * relative)[inside].abs().max().item())
        m.gaussian = self._gaussian()
        m.excess = self._excess(seed)
        straight = gmm_1d(Flow())
        m.fits = {"flow": self._fit(straight, x, 0.3)}
        return m

    @staticmethod
    def _kl(law, x, t):
        log_p = law.log_prob(x, t)
        log_pi = -0.5 * x[:, 0] ** 2 - 0.5 * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
        return torch.trapezoid(log_p.exp() * (log_p - log_pi), x[:, 0]).item()

    @staticmethod
    def _quantile_velocity(law, x, t, h=1e-4):
        """-(dF/dt) / p, the one velocity on a line that carries p_t, from distribution functions alone."""

        def F(t):
            sd = (VP2.alpha(t) ** 2 * law.covariances.c + VP2.sigma(t) ** 2).sqrt()
            return torch.special.ndtr((x - VP2.alpha(t) * law.means[:, 0]) / sd) @ law.weights

        rate = (F(t - 2 * h) - 8 * F(t - h) + 8 * F(t + h) - F(t + 2 * h)) / (12 * h)
        return (-rate / law.log_prob(x, t).exp())[:, None]

    @staticmethod
    def _slope(f, t, h=1e-3):
        return (f(t - 2 * h) - 8 * f(t - h) + 8 * f(t + h) - f(t + 2 * h)) / (12 * h)

    def _gaussian(self):
        """(slope of KL, dissipation) of N(0, diag(0.2, 2)) at t = 0.3, in closed form."""
        law = Gaussian(torch.zeros(2, dtype=torch.float64), torch.tensor([0.2, 2.0]).double(), VP2)
        V = lambda t: law.at(t).cov().diagonal()
        kl = lambda t: (0.5 * (V(t) - 1 - V(t).log())).sum().item()
        eye = torch.eye(2, dtype=torch.float64)
        relative = law.score(eye, 0.3) + eye
        return self._slope(kl, 0.3), -(relative.diagonal() ** 2 * V(0.3)).sum().item()

    @staticmethod
    def _excess(seed):
        """(energy added by a gauge, (g^4 / 4) |r|^2) of gmm-3 at t = 0.3, over common draws."""
        law, t = gmm_3(VP2), 0.3
        model = gauged(law, quarter_turn(2), 0.7)
        x = law.at(t).sample(200_000, seed)
        v, w = velocity(law.score, VP2)(x, t), velocity(model.score, VP2)(x, t)
        r = model.error(x, t)
        rows = (w**2).sum(1) - (v**2).sum(1) - 0.25 * VP2.g2(t) ** 2 * (r**2).sum(1)
        return rows.mean().item(), (rows.std() / len(rows) ** 0.5).item()

    @staticmethod
    def _fit(law, x, t):
        """min over c of |v + c grad log(p / pi)| / |v| in L2(p)."""
        p = law.log_prob(x, t).exp()[:, None]
        v, g = velocity(law.score, law.process)(x, t), law.score(x, t) + x
        inner = lambda a, b: (p * a * b).sum()
        return (1 - inner(v, g) ** 2 / (inner(g, g) * inner(v, v))).clamp_min(0).sqrt().item()

    def rows(self, m):
        yield at_most(
            "gmm-1d: velocity of the quantiles and -(beta / 2) grad log(p / pi)", max(m.mismatch), 1e-5
        )
        for t, a, b in zip(self.times, m.slope, m.dissipation, strict=True):
            yield equal(f"gmm-1d, t = {t:g}: dKL/dt and dissipation", a, b, 1e-7)
        yield equal("Gaussian, t = 0.3: dKL/dt and dissipation", *m.gaussian, 1e-7)
        yield within_errors("gauge: added energy minus (g^4 / 4) |r|^2", m.excess[0], 0.0, m.excess[1])

    def controls(self, m):
        yield at_most("straight path: v is along grad log(p / pi)", m.fits["flow"], 1e-2)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.semilogy(self.times, m.kl, "o-", label="KL(p_t || pi), nats")
        ax.semilogy(self.times, [-v for v in m.slope], "s", label="-dKL/dt by differences")
        ax.semilogy(self.times, [-v for v in m.dissipation], "k:", label="(beta / 2) E |grad log(p / pi)|^2")
        ax.plot([], [], "x", color="tab:red", label=f"control: straight path, misfit {m.fits['flow']:.2f}")
        ax.set(xlabel="t", ylabel="gmm-1d under vp2")
        ax.legend(fontsize=8)


class BenignVsHarmful(Claim):
    """W2 of the samples depends on the gradient part of the score error, and not on its gauge part.

    To first order: a gauge of p_t is none of the q_t that a gradient error makes, and turns that error's effect by some tenths.
    By `gauge-exact-sampling` the gauge part leaves the marginals; by `girsanov-gauge-tightened` the gradient part bounds KL. Left:
    partial R^2 of the two norms in a regression of W2 over 40 random mixes of field gauges and potentials on gmm-3, the parts
    from the library's dual form, which needs no true score. Right: 0.8 and 0.1. Split by the symmetry of the Jacobian instead, the
    curl part seems to matter, for a field gauge has a symmetric part too.
    """

    card = dict(code="D5", tier=2, topic="gradient-fields", paper="2402.03845", source="derived", found="")
    mixes, n, levels = 40, 3000, (0.1, 0.3, 0.6, 1.0)

    def measure(self, seed):
        law, rng = gmm_3(VP2), Rng(seed, "mixes")
        u = rng.uniform(self.mixes, 3)
        start, exact = stratified(law, self.n, rng, 4.0), stratified(law, self.n, rng.at(1), 1e-3)
        at = [(t, law.at(t).sample(4000, seed)) for t in self.levels]
        m = SimpleNamespace(gradient=[], gauge=[], symmetric=[], curl=[], w2=[])
        for row in u.tolist():
            error = self._error(law, *row)
            model = Perturbed(law, error)
            end = heun(velocity(model.score, VP2), start, quadratic(4.0, 1e-3, 150))
            m.w2.append(sliced_wasserstein(end, exact, slices=32, repeats=2, seed=seed).value)
            for name, value in self._energies(model, at, seed).items():
                getattr(m, name).append(value)
        m.partial = partial_r2(m.w2, m.gradient, m.gauge)
        m.naive = partial_r2(m.w2, m.symmetric, m.curl)
        return m

    @staticmethod
    def _error(law, a, b, phase):
        """A field gauge of weight up to 0.2, its wave at a random phase, and a potential of weight up to 0.5."""
        wave = lambda x: torch.cos(x[:, 0] + 0.7 * x[:, 1] + 6.3 * phase)
        hill = lambda x, t: torch.cos(0.8 * x[:, 0] - 0.9 * x[:, 1] + 0.6)
        gauge, slope_ = gauged_by(law, quarter_turn(2), wave), tilted(law, hill)
        return lambda x, t: 0.2 * a * gauge.error(x, t) + 0.5 * b * slope_.error(x, t)

    @staticmethod
    def _energies(model, at, seed):
        """Root mean squares over four times: gradient and gauge parts in L2(p_t), symmetric and curl parts of the Jacobian.

        The gradient part comes from the model and draws alone, by the dual form; the gauge part is what is left."""
        total = dict(gradient=0.0, gauge=0.0, symmetric=0.0, curl=0.0)
        for t, x in at:
            size = model.error(x, t).square().sum(1).mean().item()
            gradient = gradient_error(model.score, x, t, fourier_features(x, 40, 1.5, seed)).value
            J = jacobian(model.error, x[:200], t)
            total["gradient"] += gradient  # unbiased, so one of them may be negative
            total["gauge"] += size - gradient
            total["symmetric"] += (0.25 * (J + J.mT).square().sum((1, 2))).mean().item()
            total["curl"] += (0.25 * (J - J.mT).square().sum((1, 2))).mean().item()
        return {name: max(value, 0.0) ** 0.5 for name, value in total.items()}

    def rows(self, m):
        yield at_least("partial R^2 of the gradient part", m.partial[0], 0.8)
        yield at_most("partial R^2 of the gauge part", m.partial[1], 0.1)

    def controls(self, m):
        yield at_most("split by symmetry: partial R^2 of the curl", m.naive[1], 0.1)

    def plot(self, m, figure):
        left, right = figure.subplots(1, 2, sharey=True)
        for ax, x, other, name in (
            (left, m.gradient, m.gauge, "gradient"),
            (right, m.symmetric, m.curl, "symmetric"),
        ):
            share = [b**2 / (a**2 + b**2) for a, b in zip(x, other, strict=True)]
            points = ax.scatter(x, m.w2, c=share, s=18, cmap="viridis")
            figure.colorbar(points, ax=ax, label="share of the " + ("gauge" if ax is left else "curl"))
            ax.set_xlabel(f"norm of the {name} part")
        left.set(ylabel="W2 of the samples", title="split in L2(p_t)")
        right.set_title("control: split by symmetry", color="tab:red")


def partial_r2(y, *columns):
    """For each column, the share of what the others leave unexplained of y that it explains, in a linear regression."""
    y = torch.tensor(y, dtype=torch.float64)[:, None]
    X = torch.tensor(columns, dtype=torch.float64).mT

    def left(keep):
        design = torch.cat([torch.ones_like(y), X[:, keep]], 1)
        return ((y - design @ torch.linalg.lstsq(design, y).solution) ** 2).sum().item()

    everything = left(list(range(X.shape[1])))
    return [1 - everything / left([j for j in range(X.shape[1]) if j != i]) for i in range(X.shape[1])]
