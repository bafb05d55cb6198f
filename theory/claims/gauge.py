"""Gauge freedom: score errors r with div(p r) = 0 leave the samples right, and what they do to all else."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal, slope
from theory.claims._densities import external, own
from theory.claims._linear import moments
from theory.claims._reverse import euler, heun, quadratic, uniform, velocity
from theory.claims.probability_flow import stratified
from theory.diagnostics.conservative import circles, circulation, conservativity
from theory.diagnostics.fokker_planck import divergence
from theory.diagnostics.hodge import linear_split
from theory.diagnostics.transport import exact_transport, sliced_wasserstein
from theory.distributions.mixture import Gaussian
from theory.distributions.perturbed import gauged, gauged_by, quarter_turn, random_turn, rotated, tilted
from theory.distributions.toys import gmm_3, gmm_3s
from workbench._rng import Rng
from workbench.diffusion.variance_preserving import VariancePreserving

VP2 = VariancePreserving(2.0, 2.0)
T, T_MIN = 4.0, 1e-3


class WeightedHelmholtz(Claim):
    """shat = grad phi + r with div(p r) = 0, in one way, and |shat - s|^2 = |grad phi - s|^2 + |r|^2 in L2(p).

    grad phi - s is a gradient, and <grad psi, r>_p = -int psi div(p r) = 0. For shat = M x under N(0, C) the gradient part is
    S x with S C + C S = M C + C M' (Lyapunov), and R C is antisymmetric, R = M - S. Left: Pythagoras' defect of the library's
    `linear_split`. Right: zero. The Euclidean symmetric part of M is not the gradient part unless C is a multiple of I.
    """

    card = dict(code="C1", tier=0, topic="gauge", paper="2402.03845", source="Horvat and Pfister 2024, eq. 9 (unverified); derived",
                found="")  # fmt: skip
    conditions, d = (1.0, 2.0, 5.0, 20.0, 100.0), 6

    def measure(self, seed):
        m = SimpleNamespace(defect=[], skew=[], euclidean=[], share=[])
        rng = Rng(seed, "field")
        M = rng.normal(torch.empty(self.d, self.d, dtype=torch.float64)) - 1.5 * torch.eye(self.d)
        Q = torch.linalg.qr(rng.normal(torch.empty(self.d, self.d, dtype=torch.float64))).Q
        for condition in self.conditions:
            c = torch.logspace(0, torch.tensor(condition).log10().item(), self.d, dtype=torch.float64)
            law = Gaussian(torch.zeros(self.d, dtype=torch.float64), Q * c @ Q.mT)
            C, H = law.cov(), law.score(torch.eye(self.d, dtype=torch.float64)).mT
            size = lambda E, C=C: (E @ C * E).sum().item()
            split = linear_split(M, C)
            parts = lambda S, size=size, H=H: size(S - H) + size(M - S)
            m.defect.append(abs(size(M - H) / parts(split.gradient) - 1))
            RC = split.gauge @ C
            m.skew.append(((RC + RC.mT).norm() / RC.norm()).item())
            m.euclidean.append(abs(size(M - H) / parts(0.5 * (M + M.mT)) - 1))
            m.share.append(size(split.gauge) / size(M - H))
        return m

    def rows(self, m):
        for condition, defect, skew in zip(self.conditions, m.defect, m.skew, strict=True):
            yield equal(f"condition {condition:g}: defect of Pythagoras", defect, 0.0, 1e-12)
            yield equal(f"condition {condition:g}: symmetric part of R C", skew, 0.0, 1e-12)

    def controls(self, m):
        for condition, defect in list(zip(self.conditions, m.euclidean, strict=True))[2:]:
            yield equal(f"Euclidean symmetric part, condition {condition:g}", defect, 0.0, 0.01)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.loglog(self.conditions, m.share, "o-", label="share of the gauge part in |shat - s|^2")
        ax.loglog(self.conditions, [v + 1e-17 for v in m.defect], "s-", label="defect of Pythagoras")
        ax.loglog(self.conditions, [v + 1e-17 for v in m.euclidean], "x--", color="tab:red",
                  label="control: Euclidean symmetric part")  # fmt: skip
        ax.set(xlabel="condition of C", ylabel="relative, 6 dimensions")
        ax.legend(fontsize=8)


def generated(model, x, steps=250):
    """Where the ODE of a model takes the points x of time T, by Heun on a quadratic grid."""
    return heun(velocity(model.score, VP2), x, quadratic(T, T_MIN, steps))


class GaugeExactSampling(Claim):
    """shat = s + kappa A s with A antisymmetric is not conservative, and its ODE and SDEs have the marginals of s exactly.

    div(p A s) = div(A grad p) = sum A_ij d_i d_j p = 0 for every p in every dimension, so the continuity equation of p_t is
    unchanged. Left: paired W2 of samples with and without the gauge to the same exact draws of gmm-3; covariances of a Gaussian
    in 20 dimensions by moments. Right: no difference. A rotation about the origin has zero divergence too, but not with p.
    """

    card = dict(code="C2", tier=1, topic="gauge", paper="2402.03845", source="Horvat and Pfister 2024, Prop. 1; derived",
                found="")  # fmt: skip
    kappas, omegas, n, sets = (0.0, 1.0, 3.0), (0.0, 0.5, 1.0), 500, 8

    def measure(self, seed):
        law, A = gmm_3(VP2), quarter_turn(2)
        m = SimpleNamespace(gauge={}, turn={}, sliced={})
        rng = Rng(seed, "gauge")
        starts = torch.stack([stratified(law, self.n, rng.at(i), T) for i in range(self.sets)])
        exact = [stratified(law, self.n, rng.at(100 + i), T_MIN) for i in range(self.sets)]
        floors = [stratified(law, self.n, rng.at(200 + i), T_MIN) for i in range(self.sets)]
        distances = lambda sets: torch.tensor([_w2(a, b) for a, b in zip(sets, exact, strict=True)])
        m.floor = distances(floors).mean().item()
        pooled = lambda ends: sliced_wasserstein(
            ends.flatten(0, 1), torch.cat(exact), law=law.at(T_MIN), slices=32, repeats=10, seed=seed
        )
        for kappa in self.kappas:
            ends = self._ends(gauged(law, A, kappa), starts)
            m.gauge[kappa], m.sliced[f"kappa = {kappa:g}"] = distances(ends), pooled(ends)
        for omega in self.omegas:
            ends = self._ends(rotated(law, A, omega), starts)
            m.turn[omega], m.sliced[f"omega = {omega:g}"] = distances(ends), pooled(ends)
        x = law.at(0.3).sample(256, seed)
        model = gauged(law, A, 1.0)
        m.index = conservativity(model.score, x, 0.3, probes=None).value
        m.circulation = circulation(model.score, circles(x[:64], 0.5, seed=seed), 0.3).value
        curl = _curl(model.score, x[:32], 0.3)
        m.curl = (curl - divergence(law.score, x[:32], 0.3)).abs().max().item()
        m.covariance = self._covariance(seed)
        m.picture = generated(gauged(law, A, 3.0), starts[0]), generated(rotated(law, A, 1.0), starts[0])
        return m

    @staticmethod
    def _ends(model, starts):
        return generated(model, starts.flatten(0, 1)).reshape(starts.shape)

    @staticmethod
    def _covariance(seed, d=20):
        """The largest error of the covariance of a Gaussian in 20 dimensions under a random gauge, by the ODE and the SDE."""
        c = torch.logspace(0, -1, d, dtype=torch.float64)
        law = Gaussian(torch.zeros(d, dtype=torch.float64), c, VP2)
        eye = torch.eye(d, dtype=torch.float64)
        model = gauged(law, random_turn(d, Rng(seed, "turn")), 1.0)
        times = quadratic(T, 0.0, 500)
        end = lambda eta: moments(lambda t: model.score(eye, t).mT, VP2, 0 * c, law.at(T).cov(), times, eta)[
            1
        ]
        return [(end(eta) - c.diag()).abs().max().item() for eta in (0.0, 1.0)]

    def rows(self, m):
        for kappa in self.kappas[1:]:
            paired = m.gauge[kappa] - m.gauge[0.0]
            error = (paired.std() / self.sets**0.5).item()
            case = f"kappa = {kappa:g}: W2 with the gauge minus without"
            yield equal(case, paired.mean(), 0.0, 5 * error)
            gap = m.sliced[f"kappa = {kappa:g}"]
            yield at_most(f"kappa = {kappa:g}: sliced W2 and 1.5 floors", gap.value, 1.5 * gap.floor)
        for name, error in zip(("ODE", "SDE"), m.covariance, strict=True):
            yield equal(
                f"Gaussian in 20 dimensions, kappa = 1, {name}: error of the covariance", error, 0.0, 1e-8
            )
        yield at_least("kappa = 1: asymmetry index", m.index, 0.1)
        yield at_least("kappa = 1: normalised circulation", m.circulation, 0.01)
        yield equal("kappa = 1: curl and Laplacian of log p, largest difference", m.curl, 0.0, 1e-8)

    def controls(self, m):
        for omega in self.omegas[1:]:
            case = f"rotation omega = {omega:g}: W2 and twice the floor"
            yield at_most(case, m.turn[omega].mean(), 2 * m.floor)
            gap = m.sliced[f"omega = {omega:g}"]
            yield at_most(f"rotation omega = {omega:g}: sliced W2 and 1.5 floors", gap.value, 1.5 * gap.floor)

    def plot(self, m, figure):
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
        left.plot(self.kappas, [v.mean() for v in m.gauge.values()], "o-", label="gauge kappa A s")
        left.plot(
            self.omegas,
            [v.mean() for v in m.turn.values()],
            "x--",
            color="tab:red",
            label="control: rotation",
        )
        left.axhline(m.floor, color="black", ls=":", label="floor")
        left.set(xlabel="kappa, omega", ylabel="W2 to exact draws", ylim=(0, None))
        left.legend(fontsize=6)
        for ax, x, title in (
            (middle, m.picture[0], "gauge, kappa = 3"),
            (right, m.picture[1], "rotation, omega = 1"),
        ):
            ax.plot(*x.mT, ".", ms=1.5, color="C0" if ax is middle else "tab:red")
            ax.set_title(title, fontsize=8)
            ax.set(xlabel="x1", xlim=(-4, 4), ylim=(-4, 4), aspect="equal")


def _w2(x, y):
    """Exact W2 between two sets of draws."""
    return exact_transport(x, y)


def _curl(score, x, t):
    """d_1 s_2 - d_2 s_1 by the library's Jacobian."""
    from theory.diagnostics.conservative import jacobian

    J = jacobian(score, x, t)
    return J[:, 1, 0] - J[:, 0, 1]


class ConservativeNotSufficient(Claim):
    """A score can be a gradient to rounding, asymmetry index 0, and its samples be wrong: shat = s + grad(cos(x_1) / 2).

    The index asks whether there is a density exp u_t at each time; it does not ask whether these densities belong to one
    diffusion (that is the Fokker-Planck residual) or are the data's. Left: the library's asymmetry index. Right: zero, while
    W2 of the samples is above four floors. The same field with weight 0 brings the floor back.
    """

    card = dict(code="C3", tier=1, topic="gauge", paper="2402.03845", source="Horvat and Pfister 2024, sect. 4; derived",
                found="")  # fmt: skip
    weights, n = (0.0, 0.1, 0.2, 0.5), 1000

    def measure(self, seed):
        law, A, rng = gmm_3(VP2), quarter_turn(2), Rng(seed, "tilt")
        start, exact = stratified(law, self.n, rng, T), stratified(law, self.n, rng.at(1), T_MIN)
        x = law.at(0.3).sample(200, seed)
        point = lambda model: (
            conservativity(model.score, x, 0.3, probes=None).value,
            _w2(generated(model, start), exact),
        )
        wave = lambda x, t: torch.cos(x[:, 0])
        draws = lambda k: law.at(T_MIN).sample(self.n, seed, stream=f"exact {k}")
        m = SimpleNamespace(floor=sum(_w2(draws(k), exact) for k in range(3)) / 3)
        m.tilted = [point(tilted(law, wave, e)) for e in self.weights]
        m.others = {
            "gauge, kappa = 1": point(gauged(law, A, 1.0)),
            "rotation, omega = 1": point(rotated(law, A, 1.0)),
        }
        return m

    def rows(self, m):
        index, distance = m.tilted[-1]
        yield at_most("cos(x1) / 2: asymmetry index", index, 1e-12)
        yield at_least("cos(x1) / 2: W2 and four floors", distance, 4 * m.floor)

    def controls(self, m):
        yield at_least("weight 0: W2 and two floors", m.tilted[0][1], 2 * m.floor)

    def plot(self, m, figure):
        ax = figure.subplots()
        index, distance = zip(*m.tilted, strict=True)
        ax.loglog([i + 1e-18 for i in index], distance, "s-", label="potential, weights 0 to 0.5")
        for (name, (i, w)), mark in zip(m.others.items(), "o^", strict=True):
            ax.loglog(i, w, mark, label=name)
        ax.loglog(index[0] + 1e-18, distance[0], "x", color="tab:red", ms=10, label="control: weight 0")
        ax.axhline(m.floor, color="black", ls=":", label="floor of exact draws")
        ax.set(xlabel="asymmetry index at t = 0.3 (+ 1e-18)", ylabel="W2 of the samples")
        ax.legend(fontsize=8)


class GaugeLikelihood(Claim):
    """With div(p r) = 0 the change of variables along the model's own path gives log p_0 exactly; along a given path only if
    div r = 0 as well.

    Own path: p_t solves the model's continuity equation. Given path dx = v dt: d log p / dt = -div v there, and int div (v + r)
    differs by int (g^2 / 2) div r. The constant gauge A s has div(A s) = tr(A H) = 0, the field gauge d_j A_ij + A_ij s_j has not.
    Left: rms errors in nats over 60 points of three modes, 1000 Heun steps. Right: rounding of the steps.
    """

    card = dict(code="C4", tier=1, topic="gauge", paper="2402.03845", source="Horvat and Pfister 2024, Cor. 2; derived",
                found="")  # fmt: skip
    steps, n = 1000, 60
    reference = dict(constant=(1.2e-4, 8e-5), field=(1.0e-4, 4.1), potential=(3.9, 1.8))

    def measure(self, seed):
        law, A = gmm_3s(VP2), quarter_turn(2)
        wave = lambda u: torch.cos(u[:, 0] + 0.7 * u[:, 1])
        models = dict(
            constant=gauged(law, A, 1.0),
            field=gauged_by(law, A, wave),
            potential=tilted(law, lambda u, t: torch.cos(u[:, 0]), 0.5),
        )
        x = law.at(T_MIN).sample(self.n, seed)
        exact, end = law.log_prob(x, T_MIN), lambda u: law.log_prob(u, T)
        rms = lambda found: (found - exact).square().mean().sqrt().item()
        times = quadratic(T, T_MIN, self.steps).flip(0)
        m = SimpleNamespace(errors={})
        for name, model in models.items():
            mine = own(model, x, VP2, times, end)
            m.errors[name] = rms(mine), rms(external(model, law, x, VP2, times, end))
        return m

    def rows(self, m):
        yield at_most("constant gauge, own path", m.errors["constant"][0], 1e-3)
        yield at_most("constant gauge, given path", m.errors["constant"][1], 1e-3)
        yield at_most("field gauge, own path", m.errors["field"][0], 1e-3)
        yield at_least("field gauge, given path: div r is not 0", m.errors["field"][1], 1.0)

    def controls(self, m):
        yield at_most("potential cos(x1) / 2, own path", m.errors["potential"][0], 1e-3)
        yield at_most("potential cos(x1) / 2, given path", m.errors["potential"][1], 1e-3)

    def plot(self, m, figure):
        ax = figure.subplots()
        for k, label in enumerate(("own path", "given path (of the law)")):
            ax.bar([i + 0.38 * k for i in range(3)], [e[k] for e in m.errors.values()], 0.36, label=label)
        ax.set(yscale="log", ylabel="rms error of log p, nats")
        ax.set_xticks([0.19, 1.19, 2.19], ["constant gauge A s", "field gauge", "control: potential"])
        ax.set_xlabel("field added to the score")
        ax.legend(fontsize=8)


class GaugeDiscretisationPenalty(Claim):
    """With n Euler steps a gauge rotation inflates radii, 1 + h^2 omega^2 a step: the error is of order kappa^2 / n.

    A step I + h kappa A has modulus sqrt(1 + h^2 kappa^2) where the flow has 1; over n steps of h = T / n the excess is T
    kappa^2 h / 2. Left: log-log slope over n of (D^2 - D(kappa = 0)^2)^1/2, D the sliced W2 to gmm-3, uniform steps. Right: -1. With the rotation
    integrated exactly, a Gaussian has no error left: conservativity buys step size, not correctness.
    """

    card = dict(code="C6", tier=1, topic="gauge", paper="2402.03845", source="derived", found="")
    counts, kappas, n, turns = (50, 100, 200, 400, 800), (0.0, 2.0, 4.0), 2500, (0.25, 0.5, 1.0)

    def measure(self, seed):
        law, A, rng = gmm_3(VP2), quarter_turn(2), Rng(seed, "steps")
        start, exact = stratified(law, self.n, rng, T), stratified(law, self.n, rng.at(1), 0.02)
        distance = lambda x: sliced_wasserstein(x, exact, slices=32, repeats=2, seed=seed).value
        m = SimpleNamespace(errors={}, floor=distance(law.at(0.02).sample(self.n, seed)))
        for kappa in self.kappas:
            v = velocity(gauged(law, A, kappa).score, VP2)
            m.errors[kappa] = [distance(euler(v, start, uniform(T, 0.02, n))) for n in self.counts]
        m.gaussian = {k: [self._gaussian(n, k, False) for n in self.counts] for k in (0.0, *self.turns)}
        m.exponential = [self._gaussian(n, self.turns[-1], True) for n in self.counts]
        return m

    @staticmethod
    def _gaussian(n, kappa, exponential):
        """The largest error of the covariance of N(0, I / 4) after n steps of the ODE: by Euler, or by the exponential of
        the field in the middle of each step."""
        law = Gaussian(torch.zeros(2, dtype=torch.float64), 0.25, VP2)
        model, eye = gauged(law, quarter_turn(2), kappa), torch.eye(2, dtype=torch.float64)
        B = lambda t: velocity(model.score, VP2)(eye, t).mT
        S, times = law.at(T).cov(), uniform(T, 0.02, n)
        for t, s in zip(times[:-1], times[1:], strict=True):
            step = torch.matrix_exp((s - t) * B(0.5 * (s + t))) if exponential else eye + (s - t) * B(t)
            S = step @ S @ step.mT
        return (S - law.at(0.02).cov()).abs().max().item()

    def rows(self, m):
        excess = {k: [a - b for a, b in zip(v, m.gaussian[0.0], strict=True)] for k, v in m.gaussian.items()}
        for kappa in self.turns:
            case = f"Gaussian, kappa = {kappa:g}: slope over n of what the gauge adds, n = 200 to 800"
            yield equal(case, slope(self.counts[2:], excess[kappa][2:]), -1.0, 0.15)
        power = slope(self.turns, [excess[k][-1] for k in self.turns])
        yield equal("Gaussian, n = 800: power of kappa of what the gauge adds", power, 2.0, 0.15)
        far = [(e**2 - f**2) ** 0.5 for e, f in zip(m.errors[4.0][2:], m.errors[0.0][2:], strict=True)]
        yield equal("gmm-3, kappa = 4: slope over n = 200 to 800", slope(self.counts[2:], far), -1.0, 0.25)
        for i, n in enumerate(self.counts[:4]):
            yield at_least(f"gmm-3, n = {n}: error rises with kappa", m.errors[4.0][i], m.errors[2.0][i])

    def controls(self, m):
        first = m.gaussian[self.turns[-1]][-1]
        yield at_least(
            "exponential steps at n = 800: error, and a tenth of Euler's", m.exponential[-1], 0.1 * first
        )

    def plot(self, m, figure):
        ax = figure.subplots()
        for kappa, errors in m.errors.items():
            ax.loglog(self.counts, errors, "o-", label=f"gmm-3, kappa = {kappa:g}")
        ax.axhline(m.floor, color="black", ls=":", label="floor")
        for kappa, errors in list(m.gaussian.items())[1:]:
            ax.loglog(
                self.counts,
                errors,
                "s-",
                ms=4,
                color="0.5",
                alpha=0.4 + 0.5 * kappa,
                label=f"Gaussian, kappa = {kappa:g}",
            )
        ax.loglog(self.counts, m.exponential, "x--", color="tab:red", label="control: exponential steps")
        ax.set(xlabel="steps", ylabel="sliced W2 (gmm-3), error of the covariance")
        ax.legend(fontsize=6)


class NonreversibleLangevin(Claim):
    """Langevin with drift (I + kappa A) s keeps p and mixes faster: for N(0, C) its gap is min Re eig((I + kappa A) C^-1).

    A s is a gauge field of p, so the stationary law stays; the gap does not fall with kappa and is at most tr(C^-1) / d (Hwang,
    Hwang-Ma, Sheu 1993). Left: decay rates of the mean, from the library's score of N(0, diag(1, 0.1)). Right: 1, 2.30, 5.5, 5.5.
    """

    card = dict(code="C9", tier=0, topic="gauge", paper="Hwang et al. 1993", source="Hwang, Hwang-Ma, Sheu 1993; Lelievre et al. 2013",
                found="")  # fmt: skip
    kappas, reference = (0.0, 1.0, 2.0, 5.0), (1.0, 2.30, 5.5, 5.5)

    def measure(self, seed):
        C = torch.tensor([1.0, 0.1], dtype=torch.float64)
        law, eye = Gaussian(torch.zeros(2, dtype=torch.float64), C), torch.eye(2, dtype=torch.float64)
        m = SimpleNamespace(gap=[], stationary=[], curve=[], limit=(1 / C).mean().item())
        drift = lambda A, kappa: gauged(law, A, kappa).score(eye, torch.tensor(0.0)).mT
        for kappa in self.kappas:
            B = drift(quarter_turn(2), kappa)
            m.gap.append(self._gap(B))
            m.stationary.append((B @ law.cov() + law.cov() @ B.mT + 2 * eye).abs().max().item())
        m.fine = torch.linspace(0, 5, 41).tolist()
        m.curve = [1 / self._gap(drift(quarter_turn(2), k)) for k in m.fine]
        B = drift(torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64), 0.5)
        m.symmetric = (B @ law.cov() + law.cov() @ B.mT + 2 * eye).abs().max().item()
        return m

    @staticmethod
    def _gap(B):
        return -torch.linalg.eigvals(B).real.max().item()

    def rows(self, m):
        for kappa, gap, expected, left in zip(self.kappas, m.gap, self.reference, m.stationary, strict=True):
            yield close(f"kappa = {kappa:g}: gap", gap, expected, 5e-3)
            yield at_most(f"kappa = {kappa:g}: gap and tr(C^-1) / d", gap, m.limit, 1e-9)
            yield equal(f"kappa = {kappa:g}: change of the stationary law", left, 0.0, 1e-12)
        yield at_least(
            "the gap does not fall: least step",
            min(b - a for a, b in zip(m.gap, m.gap[1:], strict=False)),
            0.0,
            1e-9,
        )

    def controls(self, m):
        yield equal("A symmetric: change of the stationary law", m.symmetric, 0.0, 0.1)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.plot(m.fine, m.curve, "-", label="1 / gap")
        ax.plot(self.kappas, [1 / g for g in m.gap], "o", label="checked")
        ax.axhline(1 / m.limit, color="black", ls=":", label="d / tr(C^-1), the limit")
        ax.set(xlabel="kappa", ylabel="autocorrelation time, N(0, diag(1, 0.1))", ylim=(0, None))
        ax.plot(
            [], [], "x", color="tab:red", label=f"control: A symmetric moves the law by {m.symmetric:.1f}"
        )
        ax.legend(fontsize=8)
