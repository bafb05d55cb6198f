"""What gauge fields do to the geometry that a score tells of: the flow's Jacobian, and the space normal to the data."""

from math import log10
from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal
from theory.claims._reverse import rk4, velocity
from theory.diagnostics.dimension import flow_jacobian, normal_bundle_dimension
from theory.diagnostics.subspaces import principal_angles
from theory.distributions.covariance import LowRank
from theory.distributions.mixture import Gaussian
from theory.distributions.perturbed import gauged, gauged_by, quarter_turn, tilted
from workbench._rng import Rng

D, R = 20, 4


def plane(seed):
    """N(0, I) on a random subspace of 4 dimensions in 20, and its basis with the normal one behind: (20, 20)."""
    Q = torch.linalg.qr(Rng(seed, "plane").normal(torch.empty(D, D, dtype=torch.float64))).Q
    U = Q[:, :R].contiguous()
    lam = torch.ones(1, R, dtype=torch.float64)
    return Gaussian(torch.zeros(D, dtype=torch.float64), LowRank(U[None], lam), noise_range=(0.01, 20.0)), Q


def even(first, last, steps):
    """steps + 1 decreasing times, equal in their logarithm."""
    return torch.logspace(log10(first), log10(last), steps + 1, dtype=torch.float64)


class FlowJacobianDimension(Claim):
    """The singular values of sigma_T dX_t / dX_T of the ODE are sigma_T sqrt((lam_i + sigma_t^2) / (lam_i + sigma_T^2)): they stay along the data
    and fall like sigma_t across it, also under a constant gauge.

    For a Gaussian the ODE is linear, d log x_i = (sigma d sigma) / (lam_i + sigma^2). A constant gauge has the same marginals: V Cov_T V' = Cov_t, V = Cov_t^{1/2} O
    Cov_T^{-1/2} with O orthogonal, so that its singular values are these up to a factor between 1 and (1 + 1 / sigma_T^2)^{1/2}, 1.00125 at sigma_T = 20. Left: a unit Gaussian
    of rank 4 in 20 dimensions, sigma from 20 to 0.01, by the library's `flow_jacobian`; with a gauge by RK4 of twenty unit vectors, as it turns too fast for the other's
    second order. Right: the formula.
    """

    card = dict(code="C7", tier=0, topic="gauge", paper="2402.03845", source="Horvat and Pfister 2024, sect. 5 (unverified); derived",
                found="")  # fmt: skip
    kappas, last = (1.0, 3.0), 0.01

    def measure(self, seed):
        law, _ = plane(seed)
        x = 20 * Rng(seed, "start").normal(torch.empty(1, D, dtype=torch.float64))
        flow = lambda last, steps: flow_jacobian(law.score, x, law.process, even(20.0, last, steps))[0]
        m = SimpleNamespace(plain=flow(self.last, 110), early=flow(1.0, 10))
        m.gauge = {kappa: self._linear(law, kappa, 20.0, 150) for kappa in self.kappas}
        m.far = self._linear(law, 3.0, 40.0, 180)
        return m

    def _linear(self, law, kappa, first, steps):
        """Singular values for a score that is linear: the flow takes the unit vectors to the columns of its Jacobian."""
        v = velocity(gauged(law, quarter_turn(D), kappa).score, law.process)
        ends = rk4(v, torch.eye(D, dtype=torch.float64), even(first, self.last, steps))
        return first * torch.linalg.svdvals(ends)

    @staticmethod
    def formula(lam, sigma, first=20.0):
        return first * ((lam + sigma**2) / (lam + first**2)) ** 0.5

    def rows(self, m):
        cases = [("no gauge", m.plain, 20.0, 1e-3)]
        cases += [(f"kappa = {k:g}", s, 20.0, 1e-3 if k == 1 else 1.3e-3) for k, s in m.gauge.items()]
        for name, s, first, margin in (*cases, ("kappa = 3, from sigma = 40", m.far, 40.0, 1e-3)):
            along, across = self.formula(1.0, self.last, first), self.formula(0.0, self.last, first)
            yield equal(f"{name}: largest", s[0], along, margin)
            yield equal(f"{name}: fourth", s[3], along, margin)
            yield close(f"{name}: fifth", s[4], across, 0.005)
            yield close(f"{name}: last", s[-1], across, 0.005)
            yield at_least(f"{name}: fourth over fifth", s[3] / s[4], 50.0)

    def controls(self, m):
        yield at_least("stopped at sigma = 1: fourth over fifth", m.early[3] / m.early[4], 50.0)

    def plot(self, m, figure):
        ax, index = figure.subplots(), range(1, D + 1)
        ax.semilogy(index, m.plain, "o", label="sigma 20 to 0.01")
        for (kappa, s), mark in zip(m.gauge.items(), "+s", strict=True):
            ax.semilogy(index, s, mark, ms=9, mfc="none", label=f"the same with a gauge, kappa = {kappa:g}")
        ax.semilogy(index, m.early, "x", color="tab:red", label="control: stopped at sigma = 1")
        ax.set(xlabel="number", ylabel="singular value of sigma_T dX_t / dX_T")
        ax.legend(fontsize=8)


class GaugeBreaksNormalSpace(Claim):
    """Scores near the data span the normal space of it, those with a gauge field s + kappa A s span (I + kappa A) times that space, though
    their samples are the same.

    At distance sigma the score is -(normal part) / sigma^2 + O(1); A turns the large part along the data. Left: largest principal angle between the true normal space and
    the first 16 singular directions of 80 scores at sigma = 0.03, a plane of 4 in 20 dimensions, and the library's count. Right: zero. A gradient along the data
    of size 1 to 3 leaves the large part alone.
    """

    card = dict(code="C8", tier=1, topic="gauge", paper="2402.03845", source="Horvat and Pfister 2024, sect. 5 (unverified); derived",
                found="")  # fmt: skip
    kappas, points = (0.0, 0.3, 1.0, 3.0), 16

    def measure(self, seed):
        law, Q = plane(seed)
        A, x = quarter_turn(D), law.sample(self.points, seed)
        direction = Q[:, :R].sum(1) / 2
        m = SimpleNamespace(constant=[], field=[], potential=[], count=[], predicted=[])
        found = lambda model: self._angle(model, law, x, Q, seed)
        wave = lambda u: torch.cos(u @ direction)
        for kappa in self.kappas:
            model = gauged(law, A, kappa)
            m.constant.append(found(model))
            m.count.append(normal_bundle_dimension(model.score, x, 0.03, law.process, seed).value)
            turned = torch.linalg.qr(Q[:, R:] + kappa * A @ Q[:, R:]).Q
            m.predicted.append(torch.rad2deg(principal_angles(turned, Q[:, R:]).max()).item())
            m.field.append(found(gauged_by(law, A, lambda u, k=kappa: k * wave(u))))
            m.potential.append(found(tilted(law, lambda u, t: torch.sin(u @ direction), kappa)))
        return m

    @staticmethod
    def _angle(model, law, x, Q, seed):
        """Mean over the points of the largest angle, degrees."""
        z = Rng(seed, "copies").normal(torch.empty(len(x), 80, D, dtype=torch.float64))
        t = torch.tensor(0.03, dtype=torch.float64)
        s = model.score((x[:, None] + t * z).flatten(0, 1), t).detach().reshape(z.shape)
        V = torch.linalg.svd(s - s.mean(1, keepdim=True), full_matrices=False).Vh[:, : D - R]
        angles = [principal_angles(v.mT, Q[:, R:]).max() for v in V]
        return torch.rad2deg(torch.stack(angles).mean()).item()

    def rows(self, m):
        yield at_most("no gauge: angle, degrees", m.constant[0], 3.0)
        for i in (1, 2, 3):
            case = f"constant A, kappa = {self.kappas[i]:g}"
            yield close(f"{case}: angle and that of (I + kappa A) N", m.constant[i], m.predicted[i], 0.1)
            yield at_least(f"{case}: angle, degrees", m.constant[i], 5.0)
            yield at_least(f"field, kappa = {self.kappas[i]:g}: angle, degrees", m.field[i], 3.0)
        for kappa, count in zip(self.kappas[:3], m.count, strict=False):
            yield equal(f"constant A, kappa = {kappa:g}: dimension by the largest drop", count, R, 0.01)

    def controls(self, m):
        yield at_least("gradient of size 1 along the data: angle, degrees", m.potential[2], 5.0)
        yield at_least("gradient of size 3 along the data: angle, degrees", m.potential[3], 5.0)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.plot(self.kappas, m.constant, "o-", label="constant A")
        ax.plot(self.kappas, m.predicted, ":", color="black", label="(I + kappa A) N")
        ax.plot(self.kappas, m.field, "s-", label="A(x) = cos(w x) A")
        ax.plot(self.kappas, m.potential, "x--", color="tab:red", label="control: gradient along the data")
        ax.set(xlabel="kappa, the size of the added field", ylabel="angle to the normal space, degrees")
        ax.legend(fontsize=8)
