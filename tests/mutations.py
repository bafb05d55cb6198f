"""Mutations of the library, and the claims that must turn red on each: one wrong line, many claims that see it.

`claims` are codes. `python tests/mutate.py NAME` runs them; `--all` shows which others turn red too.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """`old`, which stands exactly once in `file`, becomes `new`."""

    file: str
    old: str
    new: str
    claims: tuple


MUTATIONS = {
    "mixture-score-sign": Mutation(
        "theory/distributions/mixture.py",
        "return -self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets)",
        "return self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets)",
        ("A2", "A6", "A8", "B1", "C2", "C3", "C4", "C6", "C9"),
    ),
    "mixture-noise-level": Mutation(
        "theory/distributions/mixture.py",
        "return alpha, lambda c: alpha**2 * c + sigma**2",
        "return alpha, lambda c: alpha**2 * c + sigma",
        ("A1", "A4", "B4", "E5", "H6", "O7", "O10", "O12", "O14", "O19"),
    ),
    "mixture-denoiser-without-alpha": Mutation(
        "theory/distributions/mixture.py",
        "shrunk = self.covariances.pulled(lambda c: alpha * c / level(c), rho, offsets)",
        "shrunk = self.covariances.pulled(lambda c: c / level(c), rho, offsets)",
        ("A1", "A3", "A12", "E1", "E2", "E4", "G1"),
    ),
    "mixture-score-half": Mutation(
        "theory/distributions/mixture.py",
        "return -self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets)",
        "return -0.5 * self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets)",
        ("A9", "A13", "B2", "D3", "F1", "G1", "G2", "G3", "G4", "G5"),
    ),
    "variance-preserving-rate-halved": Mutation(
        "workbench/diffusion/variance_preserving.py",
        "        return self.beta(t)\n",
        "        return 0.5 * self.beta(t)\n",
        ("A5", "A6", "A11", "C5", "D3"),
    ),
    "variance-preserving-alpha-squared": Mutation(
        "workbench/diffusion/variance_preserving.py",
        "return torch.exp(-0.5 * self.integral(t))",
        "return torch.exp(-self.integral(t))",
        ("A7", "A8", "A13", "B2"),
    ),
    "transport-squared": Mutation(
        "theory/diagnostics/transport.py",
        "return sqrt(cost[linear_sum_assignment(cost)].mean())",
        "return cost[linear_sum_assignment(cost)].mean()",
        ("A15", "A17"),
    ),
    "quantile-gap-of-order-one": Mutation(
        "theory/diagnostics/transport.py",
        "return (_sorted(x) - _sorted(y)).abs().pow(p).mean(1)",
        "return (_sorted(x) - _sorted(y)).abs().mean(1)",
        ("A15", "A16"),
    ),
    "bures-without-cross-term": Mutation(
        "theory/diagnostics/transport.py",
        "spread = cov1.diagonal().real.sum() + cov2.diagonal().real.sum() - 2 * cross",
        "spread = cov1.diagonal().real.sum() + cov2.diagonal().real.sum() - cross",
        ("A14",),
    ),
    "divergence-sign": Mutation(
        "theory/diagnostics/fokker_planck.py",
        "return sum((row * v).sum(1) for row, v in zip(rows, directions, strict=True)) / count",
        "return -sum((row * v).sum(1) for row, v in zip(rows, directions, strict=True)) / count",
        ("A7", "B2", "C2", "C4"),
    ),
    "linear-split-transposed": Mutation(
        "theory/diagnostics/hodge.py",
        "N = Q.mT @ (M @ C + C @ M.mT) @ Q",
        "N = Q.mT @ (M @ C + C @ M) @ Q",
        ("A9", "C1"),
    ),
    "euler-half-step": Mutation(
        "workbench/samplers/euler.py",
        "x = x + (s - t) * drift",
        "x = x + 0.9 * (s - t) * drift",
        ("A10", "A11"),
    ),
    "ancestral-spread": Mutation(
        "workbench/samplers/_ancestral.py",
        "tau = eta * sigma * torch.sqrt((1 - (a * sigma / (alpha * b)) ** 2).clamp_min(0))",
        "tau = eta * sigma * torch.sqrt((1 - a * sigma / (alpha * b)).clamp_min(0))",
        ("A12",),
    ),
    "points-drawn-in": Mutation(
        "theory/distributions/points.py",
        "log_p = -0.5 * squares / sigma**2 - 0.5 * self.reals * torch.log(2 * pi * sigma**2)",
        "log_p = -0.5 * squares / (sigma + 0.5) ** 2 - 0.5 * self.reals * torch.log(2 * pi * sigma**2)",
        ("A18", "H4"),
    ),
    "circulation-without-tangent": Mutation(
        "theory/diagnostics/conservative.py",
        "gamma = 2 * pi * (s * tangent).sum(2).mean(1)",
        "gamma = 2 * pi * (s * points).sum(2).mean(1)",
        ("D1",),
    ),
    "asymmetry-against-one-side": Mutation(
        "theory/diagnostics/conservative.py",
        "curl = curl + (forward - back).square().sum(1) / probes",
        "curl = curl + (forward + back).square().sum(1) / probes",
        ("D2", "D4"),
    ),
    "gauge-symmetric": Mutation(
        "theory/distributions/perturbed.py",
        "return Perturbed(law, lambda x, t: kappa * _turned(law.score(x, t), A))",
        "return Perturbed(law, lambda x, t: kappa * _turned(law.score(x, t), A.abs()))",
        ("A9", "C2", "C4", "C5", "C9"),
    ),
    "entropy-doubled": Mutation(
        "theory/distributions/mixture.py",
        "return 0.5 * self._components_per_entry * (self.dimension * (1 + log(2 * pi)) + log_det).item()",
        "return self._components_per_entry * (self.dimension * (1 + log(2 * pi)) + log_det).item()",
        ("A4", "F2"),
    ),
    "mixture-jacobian-without-mean-score": Mutation(
        "theory/distributions/mixture.py",
        "turned = (g - (rho * g).sum(1, keepdim=True)).conj()",
        "turned = g.conj()",
        ("E6", "H1", "H2"),
    ),
    "mixture-jacobian-sigma": Mutation(
        "theory/distributions/mixture.py",
        "straight = self.covariances.mixed(lambda c: alpha * c / (alpha**2 * c + sigma**2), share, u)",
        "straight = self.covariances.mixed(lambda c: alpha * c / (alpha**2 * c + sigma), share, u)",
        ("E6", "H1", "H2", "H3"),
    ),
    "bures-cross-term-halved": Mutation(
        "theory/diagnostics/transport.py",
        "cross = torch.linalg.eigvalsh(_hermitian(root @ cov2 @ root)).clamp_min(0).sqrt().sum()",
        "cross = 0.5 * torch.linalg.eigvalsh(_hermitian(root @ cov2 @ root)).clamp_min(0).sqrt().sum()",
        ("F3",),
    ),
    "edm-rate-halved": Mutation(
        "workbench/diffusion/variance_exploding.py",
        "return 2 * as_time(t)",
        "return as_time(t)",
        ("G1", "G3", "G4", "G5", "H6"),
    ),
    "effective-rank-of-energy": Mutation(
        "theory/diagnostics/dimension.py",
        "(energy.sqrt() < share * energy[..., -1:].sqrt())",
        "(energy < share * energy[..., -1:])",
        ("E5",),
    ),
    "chordal-distance-factor": Mutation(
        "theory/diagnostics/subspaces.py",
        "return sqrt(2 * theta.sin().square().sum().item()",
        "return sqrt(theta.sin().square().sum().item()",
        ("E3",),
    ),
    "k-subspaces-farthest": Mutation(
        "theory/diagnostics/subspaces.py",
        "new = seen.argmax(1)",
        "new = seen.argmin(1)",
        ("E4",),
    ),
    "low-rank-floor-dropped": Mutation(
        "theory/distributions/covariance.py",
        "return (d - r) * f(self._floor) + f(self.lam + self._floor[:, None]).sum(-1)",
        "return (d - r) * f(self._floor)",
        ("E1",),
    ),
    "sphere-tilt": Mutation(
        "theory/distributions/sphere.py",
        "return r, self._start().to(x.device) + (alpha * self.radius / s2) * r",
        "return r, self._start().to(x.device) + (alpha * self.radius / s2**0.5) * r",
        ("H5",),
    ),
    "denoiser-shrinks-less": Mutation(
        "theory/distributions/mixture.py",
        "shrunk = self.covariances.pulled(lambda c: alpha * c / level(c), rho, offsets)",
        "shrunk = 0.9 * self.covariances.pulled(lambda c: alpha * c / level(c), rho, offsets)",
        ("K2", "K3", "M1"),
    ),
    "tweedie-power-of-sigma": Mutation(
        "theory/distributions/mixture.py",
        "scale = self.process.sigma(t) ** 2 / self.process.alpha(t)",
        "scale = self.process.sigma(t) / self.process.alpha(t)",
        ("M2",),
    ),
    "component-score-half": Mutation(
        "theory/distributions/mixture.py",
        "return -self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets).reshape(",
        "return -0.5 * self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets).reshape(",
        ("J1", "J2", "K1", "L1", "L2", "L3", "M3", "N1"),
    ),
    "denoiser-means-shrunk": Mutation(
        "theory/distributions/mixture.py",
        "return (rho.to(self._flat.dtype) @ self._flat + shrunk).reshape(x.shape)",
        "return (0.8 * rho.to(self._flat.dtype) @ self._flat + shrunk).reshape(x.shape)",
        ("I1", "M1"),
    ),
    "residual-same-probes": Mutation(
        "theory/diagnostics/fokker_planck.py",
        "first=k * probes) for k in (0, 1))",
        "first=0) for k in (0, 1))",
        ("J3",),
    ),
    "score-residual-no-half": Mutation(
        "theory/diagnostics/fokker_planck.py",
        "r = (r - 0.5 * g2 * slope - g2 * back(s)",
        "r = (r - g2 * slope - g2 * back(s)",
        ("J1",),
    ),
    "ito-no-half": Mutation(
        "theory/diagnostics/likelihood.py",
        "((f * u - 0.5 * g2 * s) * s).sum(1))",
        "((f * u - g2 * s) * s).sum(1))",
        ("K1",),
    ),
    "superdiff-no-half": Mutation(
        "workbench/samplers/super_diff.py",
        "return inner(s, step[:, None].expand_as(s)) - 0.5 * gain * inner(s, s)",
        "return inner(s, step[:, None].expand_as(s)) - gain * inner(s, s)",
        ("K2",),
    ),
    "superdiff-and-balance": Mutation(
        "workbench/samplers/super_diff.py",
        "right = 0.5 * G.diagonal(dim1=1, dim2=2) - G.mean(2) - noise",
        "right = G.diagonal(dim1=1, dim2=2) - G.mean(2) - noise",
        ("K3",),
    ),
    "divergence-double": Mutation(
        "theory/diagnostics/fokker_planck.py",
        "return sum((row * v).sum(1) for row, v in zip(rows, directions, strict=True)) / count",
        "return 2 * sum((row * v).sum(1) for row, v in zip(rows, directions, strict=True)) / count",
        ("L1", "N1", "N2", "N3"),
    ),
    "interpolant-no-half": Mutation(
        "workbench/diffusion/interpolant.py",
        "return mean + self.f(t) * x - 0.5 * self.g2(t) * prior.under(self).score(x, t)",
        "return mean + self.f(t) * x - self.g2(t) * prior.under(self).score(x, t)",
        ("N1",),
    ),
    "identity-trace-no-half": Mutation(
        "workbench/samplers/stsl.py",
        "return 0.5 * sharp * sigma**2 / alpha * bend(problem.prior, x, x0, t, v, delta)",
        "return sharp * sigma**2 / alpha * bend(problem.prior, x, x0, t, v, delta)",
        ("M2",),
    ),
    "poisson-radius": Mutation(
        "workbench/diffusion/pfgm.py",
        "N, D, r2 = self.N, self.D, self.D * self.sigma(t) ** 2",
        "N, D, r2 = self.N, self.D, self.D * self.sigma(t)",
        ("N4",),
    ),
    "dps-drops-covariance": Mutation(
        "workbench/samplers/dps.py",
        "shift = covariance(g)",
        "shift = g",
        ("O1", "O2"),
    ),
    "pigdm-isotropic-variance": Mutation(
        "workbench/samplers/_gaussian.py",
        "return variance * kappa**2 / (variance + kappa**2)",
        "return variance * kappa / (variance + kappa)",
        ("O3",),
    ),
    "product-exponents": Mutation(
        "workbench/samplers/product.py",
        "return (1 - sum(weights), *weights)",
        "return (1.0, *weights)",
        ("O4", "O5", "O8"),
    ),
    "red-diff-weight": Mutation(
        "workbench/samplers/red_diff.py",
        "prior = lam * kappa ** (self.power - 1) * (mu + near - x0)",
        "prior = lam * kappa**self.power * (mu + near - x0)",
        ("O15",),
    ),
    "minority-noise": Mutation(
        "workbench/samplers/minority.py",
        "draws = [process.alpha(t) * (x + kappa * rng.normal(x)) for _ in range(repeats)]",
        "draws = [process.alpha(t) * (x + kappa**2 * rng.normal(x)) for _ in range(repeats)]",
        ("O9",),
    ),
    "spectral-entropy-normalisation": Mutation(
        "theory/diagnostics/spectral_entropy.py",
        "p = torch.linalg.eigvalsh(root[:, None] * G * root).abs() ** t",
        "p = torch.linalg.eigvalsh(G).abs() ** t",
        ("O11",),
    ),
    "points-without-alpha-weight": Mutation(
        "theory/distributions/points.py",
        "pull = torch.softmax(log_p, 1) * rate",
        "pull = torch.softmax(0.5 * log_p, 1) * rate",
        ("O13", "O19"),
    ),
    "fk-telescope": Mutation(
        "workbench/samplers/fk_steering.py",
        "log_w = state.log_w + reward - state.paid",
        "log_w = state.log_w + reward",
        ("O16",),
    ),
    "resampling-keeps-evidence": Mutation(
        "workbench/run.py",
        "log_z[e] += log_mean_exp(w).cpu()",
        "log_z[e] += w.mean().cpu()",
        ("O16",),
    ),
    "ancestral-noise": Mutation(
        "workbench/samplers/_ancestral.py",
        "return mean + tau * rng.normal(x) if tau > 0 else mean",
        "return mean + tau**2 * rng.normal(x) if tau > 0 else mean",
        ("O17",),
    ),
    "ising-total-correlation": Mutation(
        "theory/distributions/ising.py",
        "return alone - (self.entropy([*given, *group]) - known)",
        "return alone - self.entropy([*given, *group])",
        ("O18",),
    ),
    "flow-jacobian-order": Mutation(
        "theory/diagnostics/dimension.py",
        "V + 0.5 * h * (A @ V + A1 @ (V + h * A @ V))",
        "V + 0.5 * h * (A @ V)",
        ("C7",),
    ),
    "normal-bundle-count": Mutation(
        "theory/diagnostics/dimension.py",
        "dimensions = d - 1 - k[:, 0]",
        "dimensions = d - k[:, 0]",
        ("C8",),
    ),
    "mixture-score-twice": Mutation(
        "theory/distributions/mixture.py",
        "return -self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets)",
        "return -2 * self.covariances.pulled(lambda c: 1 / level(c), torch.softmax(log_w, 1), offsets)",
        ("O7", "O13", "O14", "O19"),
    ),
    "mixture-log-det-whole": Mutation(
        "theory/distributions/mixture.py",
        "return torch.log(self.weights) - 0.5 * (square + self._log_det(level)), offsets",
        "return torch.log(self.weights) - 0.5 * square - self._log_det(level), offsets",
        ("O10",),
    ),
    "mixture-denoiser-soft-weights": Mutation(
        "theory/distributions/mixture.py",
        "rho = torch.softmax(log_w, 1)\n",
        "rho = torch.softmax(0.5 * log_w, 1)\n",
        ("O6",),
    ),
    "tabulated-kappa": Mutation(
        "workbench/diffusion/tabulated.py",
        'object.__setattr__(self, "log_kappa", 0.5 * torch.log((1 - table) / table))',
        'object.__setattr__(self, "log_kappa", torch.log((1 - table) / table))',
        ("O10",),
    ),
    "flipd-sigma": Mutation(
        "theory/diagnostics/dimension.py",
        "found = u.shape[1] + float(process.sigma(t)) ** 2 * spread",
        "found = u.shape[1] + float(process.sigma(t)) * spread",
        ("O19",),
    ),
}
