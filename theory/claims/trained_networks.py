"""Score networks trained here: how far from a gradient they are, beside exact scores through the same estimator."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most
from theory.claims._networks import Field, GradientField, Learned, built, denoising_loss, train
from theory.diagnostics.conservative import conservativity
from theory.distributions.mixture import GaussianMixture
from theory.distributions.patch_mixture import PatchMixture
from theory.distributions.perturbed import gauged, quarter_turn
from workbench._rng import Rng
from workbench.diffusion.variance_exploding import EDM

LEVELS = tuple(torch.logspace(-1.5, 0.7, 8).tolist())


def unit_gmm_3():
    """gmm-3 at unit size, which the networks are made for."""
    from theory.distributions.toys import gmm_3

    law = gmm_3(EDM())
    return GaussianMixture(law.weights, law.means / 1.5, law.covariances.dense() / 1.5**2)


def unit_patches(seed):
    """8 x 8 images of independent 4 x 4 patches of three Gaussians."""
    rng = Rng(seed, "patches")
    root = rng.normal(torch.empty(3, 16, 16, dtype=torch.float64))
    covariances = root @ root.mT / 40 + 0.01 * torch.eye(16, dtype=torch.float64)
    means = 0.8 * rng.normal(torch.empty(3, 4, 4, dtype=torch.float64))
    return PatchMixture([0.5, 0.3, 0.2], means, covariances, (8, 8))


class TrainedNetNonconservative(Claim):
    """An unconstrained network trained by denoising is no gradient field; the gradient of a scalar network is one exactly.

    The loss has its minimum at a gradient, but nothing keeps a finite network at the minimum: its error has a curl. Left: the
    library's asymmetry index of the Jacobian at eight noise levels, the largest, of networks trained on gmm-3 and on patches, in
    float64. Right: above 1e-4, falling with more training, and below 1e-12 for the scalar network. The exact score and a
    planted gauge of 0.01 pass through the same estimator.
    """

    card = dict(code="D4", tier=3, topic="gradient-fields", paper="2509.00336", source="qualitative statement of the paper",
                found="")  # fmt: skip
    steps, few, seeds = 4000, 500, 3

    def measure(self, seed):
        laws = {"gmm-3": unit_gmm_3(), "patches": unit_patches(seed)}
        m = SimpleNamespace(curves={}, exact={}, planted={})
        for name, law in laws.items():
            d = torch.Size(law.shape).numel()
            x = {s: self._noised(law, s, seed) for s in LEVELS}
            index = lambda prior, x=x: [
                conservativity(prior.score, x[s], s, probes=16, seed=seed).value for s in LEVELS
            ]
            for label, make, steps, runs in (
                ("free", lambda d=d: Field(d), self.steps, self.seeds),
                ("free, short", lambda d=d: Field(d), self.few, self.seeds),
                ("potential", lambda d=d: GradientField(d), self.steps // 2, 1),
            ):
                m.curves[name, label] = [
                    index(self._trained(law, make, steps, seed + k)) for k in range(runs)
                ]
            m.exact[name] = index(law)
        law = laws["gmm-3"]
        m.planted = [conservativity(gauged(law, quarter_turn(2), 0.01).score, self._noised(law, s, seed), s, probes=16,
                                    seed=seed).value for s in LEVELS]  # fmt: skip
        return m

    @staticmethod
    def _noised(law, s, seed, n=128):
        x0 = law.sample(n, seed)
        return x0 + s * Rng(seed, "noise").normal(x0)

    @staticmethod
    def _trained(law, make, steps, seed):
        data = law.sample(20_000, seed, stream="training")
        draw = lambda rng, n: data[(rng.uniform(n) * len(data)).long()]
        net = train(built(make, seed), denoising_loss(draw, law), steps, Rng(seed, "training"))
        return Learned(net.double(), law)

    def rows(self, m):
        mean = lambda runs: sum(max(run) for run in runs) / len(runs)
        for name in ("gmm-3", "patches"):
            free, short = m.curves[name, "free"], m.curves[name, "free, short"]
            yield at_least(f"{name}: network, least of three runs", min(max(run) for run in free), 1e-4)
            yield at_most(f"{name}: potential network", max(m.curves[name, "potential"][0]), 1e-12)
            yield at_most(f"{name}: {self.steps} steps, and {self.few}", mean(free), mean(short))
        yield at_least("planted gauge 0.01 on the exact score: detected", max(m.planted), 1e-7)

    def controls(self, m):
        for name, values in m.exact.items():
            yield at_least(f"{name}: exact score", max(values), 1e-12)

    def plot(self, m, figure):
        for ax, name in zip(figure.subplots(1, 2, sharey=True), ("gmm-3", "patches"), strict=True):
            for k, label in enumerate(("free", "free, short", "potential")):
                for i, run in enumerate(m.curves[name, label]):
                    ax.loglog(
                        LEVELS, [v + 1e-34 for v in run], color=f"C{k}", label=label if i == 0 else None
                    )
            ax.loglog(
                LEVELS, [v + 1e-34 for v in m.exact[name]], "x--", color="tab:red", label="control: exact"
            )
            ax.set(xlabel="noise level", title=name)
            ax.legend(fontsize=7)
        figure.axes[0].set_ylabel("asymmetry index")
