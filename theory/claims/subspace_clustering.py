"""Learning a mixture of low-rank Gaussians: its denoising loss is PCA, and clustering by subspaces."""

from types import SimpleNamespace

import torch

from theory.claims._claim import Claim, at_least, at_most, close, equal
from theory.claims._subspaces import FLOAT64, VP2, frame, one_subspace, orthogonal_frames, subspaces
from theory.diagnostics.subspaces import chordal_distance, clustering_accuracy, k_subspaces, subspace_error
from workbench._rng import Rng

NOISE = 0.02  # standard deviation off the subspaces of E3 and E4


def denoising_loss(denoise, x0, process, t):
    """mean_i E_eps ||denoise(alpha x_i + sigma eps) - x_i||^2 for a denoiser that is linear in x_t: exact, a number.

    The 2 d points +- sqrt(d) e_j have the mean and covariance of eps, which is all that a square of a linear function
    sees.
    """
    n, d = x0.shape
    eps = d**0.5 * torch.cat([torch.eye(d, dtype=x0.dtype), -torch.eye(d, dtype=x0.dtype)])
    x = process.alpha(t) * x0[:, None] + process.sigma(t) * eps
    return (denoise(x.reshape(-1, d), t).reshape(n, 2 * d, d) - x0[:, None]).square().sum(2).mean()


def projected(c, U):
    """x -> c U U' x."""
    return lambda x, t=None: c * (x @ U) @ U.mT


def principal(x, r):
    """The r leading right singular vectors of x: (n, d), as (d, r), completed at will where n < r."""
    return torch.linalg.svd(x, full_matrices=True).Vh[..., :r, :].mT


class DsmEqualsPca(Claim):
    """sum_t w_t E ||c_t U U' x_t - x_0||^2 = const - sum_t w_t (2 c_t alpha_t - c_t^2 alpha_t^2) (1 / N) sum_i ||U'
    x_i||^2: the denoising loss of one subspace is PCA.

    With c_t = alpha / (alpha^2 + sigma^2) the net is the exact denoiser of N(0, U U'). Expand: ||x_0||^2 - 2 c alpha
    ||U' x_0||^2 + c^2 (alpha^2 ||U' x_0||^2 + sigma^2 r). As c alpha < 2 the minimisers span the r leading singular
    vectors, whatever the weights; a frame of r' > r finds the r' leading. Left: the loss of the library's denoiser,
    exact in eps, and gradient descent on frames. Right: the identity, and the singular vectors. c = 3 / alpha turns
    the order round.
    """

    card = dict(code="E2", tier=0, topic="low-dimensional-structure", paper="2409.02426",
                source="Wang et al. 2024", found="")  # fmt: skip
    d, r, n, times, weights = 12, 3, 40, (0.05, 0.3, 1.0, 2.0), (1.0, 0.3, 4.0, 2.0)

    def measure(self, seed):
        rng = Rng(seed, "data")
        energies = self.n * torch.linspace(1.0, 0.1, self.d, dtype=FLOAT64)  # gaps between all of them
        x = (frame(self.n, self.d, rng) * energies.sqrt()) @ frame(self.d, self.d, rng)
        m = SimpleNamespace(gaps=[], losses=[], objectives=[])
        for i in range(12):
            U = frame(self.d, self.r, rng.at(i + 1))
            loss, formula, seen = self._sides(x, U)
            m.gaps.append(abs(loss - formula) / formula)
            m.losses.append(loss)
            m.objectives.append(seen)
        best = principal(x, self.r)
        m.best = self._sides(x, best)
        usual = VP2.alpha(0.3).item() ** 2  # c = alpha, as alpha^2 + sigma^2 = 1
        start = frame(self.d, self.r, rng.at(100))
        m.pca = chordal_distance(self._descend(x, start, usual), best)
        wide = self._descend(x, frame(self.d, self.r + 2, rng.at(101)), usual)
        m.wide = chordal_distance(wide, principal(x, self.r + 2))
        m.nested = chordal_distance(wide @ principal(x @ wide, self.r), best)
        turned = self._descend(x, start, 3.0)
        m.turned = chordal_distance(turned, best)
        m.bottom = chordal_distance(turned, torch.linalg.svd(x).Vh[-self.r :].mT)
        return m

    def _sides(self, x, U):
        """The loss by the library's denoiser of N(0, U U'), the formula, and the PCA objective."""
        law, seen = one_subspace(U, VP2), (x @ U).square().sum(1).mean()
        loss = formula = 0.0
        for t, w in zip(self.times, self.weights, strict=True):
            a, s = VP2.alpha(t), VP2.sigma(t)
            c = a / (a**2 + s**2)
            loss = loss + w * denoising_loss(law.denoise, x, VP2, t)
            fixed = x.square().sum(1).mean() + c**2 * s**2 * self.r
            formula = formula + w * (fixed - (2 * c * a - c**2 * a**2) * seen)
        return loss.item(), formula.item(), seen.item()

    @staticmethod
    def _descend(x, U, reach, t=0.3, steps=250):
        """The frame after gradient descent of the loss with c = reach / alpha on the Stiefel manifold, QR as the way
        back.

        The gradient is -2 (2 reach - reach^2) C U with C = X' X / N of norm 1, which sets the length of a step.
        """
        c = reach / VP2.alpha(t)
        length = 0.5 / abs(2 * reach - reach**2)
        for _ in range(steps):
            U = U.detach().requires_grad_()
            G = torch.autograd.grad(denoising_loss(projected(c, U), x, VP2, t), U)[0]
            with torch.no_grad():
                G = G - U @ (U.mT @ G + G.mT @ U) / 2
                U = torch.linalg.qr(U - length * G).Q
        return U.detach()

    def rows(self, m):
        yield at_most("12 frames, four times: loss and identity", max(m.gaps), 1e-12)
        yield at_most("gradient descent: chordal distance to the principal space", m.pca, 1e-3)
        yield at_most("rank r + 2: distance to the r + 2 leading vectors", m.wide, 1e-3)
        yield at_most("rank r + 2: distance of its r leading directions", m.nested, 1e-3)
        yield at_most("c = 3 / alpha: distance to the bottom space", m.bottom, 1e-3)

    def controls(self, m):
        yield at_most("c = 3 / alpha: distance to the principal space", m.turned, 1e-3)

    def plot(self, m, figure):
        ax = figure.subplots()
        ax.plot(m.objectives, m.losses, "o", label="random frames")
        ax.plot(m.best[2], m.best[0], "*", ms=12, label="principal space")
        ends = [min(m.objectives), m.best[2]]
        slope = (m.best[1] - m.losses[0]) / (m.best[2] - m.objectives[0])
        ax.plot(ends, [m.best[1] + slope * (v - m.best[2]) for v in ends], "k:", label="identity")
        ax.set(xlabel="mean ||U' x||^2, the PCA objective", ylabel="denoising loss")
        ax.set_title(f"control: with c = 3 / alpha, {m.turned:.2f} from PCA", fontsize=8, color="tab:red")
        ax.legend(fontsize=8)


class PcaPhaseTransition(Claim):
    """N >= r samples recover a subspace of dimension r and N < r cannot, whatever the dimension d of the space.

    N < r samples span N directions, so r - N of any answer are free: ||P - P_U||_F >= sqrt(2 (r - N)) less what a free
    direction sees by chance and the noise. N >= r samples err by the noise over the least singular value of the N x r
    coordinates, about noise / (sqrt(N) - sqrt(r - 1)) (Rudelson and Vershynin 2009). Left: mean chordal distance, d =
    48, 60 repeats, noise 0.02. Right: sqrt(2), numbers seen before, and that curves over N / r are one. Over N / d
    they are not.
    """

    card = dict(name="pca-phase-transition", code="E3", tier=1, topic="low-dimensional-structure", paper="2409.02426",
                source="Wang et al. 2024",
                found="The constants below the fraction differ between versions of the paper and are not tested.")  # fmt: skip
    d, ranks, ratios, repeats = 48, (3, 6, 12), (1.0, 1.5, 2.0, 3.0, 4.0), 60
    seen = dict(below=(1.43, 1.49, 1.59), at=(0.76, 0.85, 0.87), twice=(0.24, 0.21, 0.17))
    counts = tuple(range(2, 33, 3))

    def measure(self, seed):
        m = SimpleNamespace(below=[], curves={}, same=[], success=[])
        for r in self.ranks:
            m.below.append(self._errors(r, r - 1, seed).mean().item())
            errors = [self._errors(r, self._count(ratio, r), seed) for ratio in self.ratios]
            m.curves[r] = [e.mean().item() for e in errors]
            m.same.append(self._errors(r, self.d // 4, seed).mean().item())
            m.success.append([(self._errors(r, n, seed) < 0.5).double().mean().item() for n in self.counts])
        m.spread = [max(c) - min(c) for c in list(zip(*m.curves.values(), strict=True))[1:]]
        return m

    @staticmethod
    def _count(ratio, r):
        return -int(-ratio * r // 1)  # 1.5 x 3 = 4.5 is 5

    def _errors(self, r, n, seed):
        """Chordal distances (repeats,) from n draws of N(0, U U' + noise^2 I) each."""
        U = frame(self.d, r, Rng(seed, "frame").at(r))
        law = one_subspace(U, VP2, NOISE**2)
        x = law.sample(n * self.repeats, seed, stream=f"draws of {n}").reshape(self.repeats, n, self.d)
        return torch.tensor([chordal_distance(V, U) for V in principal(x, r)], dtype=FLOAT64)

    def rows(self, m):
        for i, r in enumerate(self.ranks):
            yield at_least(f"r = {r}, N = r - 1: distance and sqrt(2)", m.below[i], 2**0.5, 0.02)
            yield close(f"r = {r}, N = r - 1: distance", m.below[i], self.seen["below"][i], 0.06)
            yield equal(f"r = {r}, N = r: distance", m.curves[r][0], self.seen["at"][i], 0.2)
            yield equal(f"r = {r}, N = 2 r: distance", m.curves[r][2], self.seen["twice"][i], 0.06)
        for ratio, spread in zip(self.ratios[1:], m.spread, strict=True):
            yield at_most(f"N = {ratio:g} r: spread over r", spread, 0.15)

    def controls(self, m):
        yield at_most("N = d / 4 for r = 3, 6, 12: spread", max(m.same) - min(m.same), 0.15)
        yield at_most("N = r - 1, r = 3: recovered as with 2 r", m.below[0], 0.5)

    def plot(self, m, figure):
        left, right = figure.subplots(1, 2)
        for r, values in m.curves.items():
            left.plot(self.ratios, values, "o-", ms=4, label=f"r = {r}")
        left.plot(
            [(r - 1) / r for r in self.ranks], m.below, "x", color="tab:red", label="control: N = r - 1"
        )
        left.set(xlabel="N / r", ylabel="chordal distance")
        left.legend(fontsize=7)
        image = right.imshow(m.success, aspect="auto", origin="lower", vmin=0, vmax=1)
        right.set_xticks(range(len(self.counts)), [str(n) for n in self.counts], fontsize=7)
        right.set_yticks(range(len(self.ranks)), [str(r) for r in self.ranks])
        right.set(xlabel="N", ylabel="r")
        bar = figure.colorbar(image, ax=right, label="share of data sets")
        bar.ax.set_title("distance < 0.5", fontsize=7)


class DsmEqualsKsubspaces(Claim):
    """With hard weights on ||U_k' x_0|| the denoising loss of K subspaces is const + (2 c alpha - c^2 alpha^2) times
    the K-subspace objective (1 / N) sum_i min_k ||x_i - U_k U_k' x_i||^2.

    As in E2 for the subspace of each point, ||x||^2 - ||U_k' x||^2 being the distance to it. So the loss clusters:
    with a spectral start the library's K-subspaces finds orthogonal subspaces from N_k = r points each, and then errs
    as PCA does (E3); random starts end in local minima. Left: losses of the library's denoisers, its clustering.
    Right: the identity, accuracy 1 and E3's numbers. Subspaces that are the same cannot be told apart.
    """

    card = dict(code="E4", tier=1, topic="low-dimensional-structure", paper="2409.02426",
                source="Wang et al. 2024", found="")  # fmt: skip
    d, K, r, counts, few = 48, 3, 6, (6, 9, 12, 24, 60), (4, 12, 40)
    t = 0.3

    def measure(self, seed):
        U = orthogonal_frames(self.d, self.K, self.r, Rng(seed, "frames"))
        m = SimpleNamespace(identity=[], accuracy=[], error=[], random=[])
        for n in self.counts:
            x, labels = points(U, n, seed)
            found = k_subspaces(x, self.K, self.r, restarts=0)
            m.accuracy.append(clustering_accuracy(found.labels, labels))
            m.error.append(subspace_error(found.bases, U) / self.K**0.5)
            if n <= 12:
                m.identity.append(self._identity(x, found))
        m.random = [sum(self._random(U, n, seed, i) for i in range(4)) / 4 for n in self.few]
        same = U[:1].expand(self.K, -1, -1).contiguous()
        x, labels = points(same, 60, seed)
        m.same = clustering_accuracy(k_subspaces(x, self.K, self.r, restarts=2, seed=seed).labels, labels)
        return m

    def _identity(self, x, found):
        """The relative difference of the loss of hard weights from the library's K-subspace residual."""
        a, s = VP2.alpha(self.t), VP2.sigma(self.t)
        c = a / (a**2 + s**2)
        hard = (x @ found.bases).square().sum(2).argmax(0)
        loss = 0.0
        for k, U in enumerate(found.bases):
            near = x[hard == k]
            loss += len(near) / len(x) * denoising_loss(one_subspace(U, VP2).denoise, near, VP2, self.t)
        size = x.square().sum(1).mean()
        gain = 2 * c * a - c**2 * a**2
        formula = c**2 * s**2 * self.r + (1 - gain) * size + gain * size * found.residual
        return ((loss - formula).abs() / formula).item()

    def _random(self, U, n, seed, part, restarts=20, steps=25):
        """Accuracy of the best of 20 random starts, without the spectral one: Lloyd's algorithm on all at once."""
        x, labels = points(U, n, seed, part)
        shape = torch.empty(restarts, self.K, self.d, self.r, dtype=FLOAT64)
        bases = torch.linalg.qr(Rng(seed, "starts").at(part).normal(shape)).Q
        outer = x[:, :, None] * x[:, None]
        for _ in range(steps):
            seen = torch.einsum("nd,bkdr->bnkr", x, bases).square().sum(3)
            mine = torch.nn.functional.one_hot(seen.argmax(2), self.K).to(x)
            scatter = torch.einsum("bnk,nde->bkde", mine, outer)
            bases = torch.linalg.qr(scatter @ (scatter @ (scatter @ bases))).Q
        best = seen.amax(2).sum(1).argmax()
        return clustering_accuracy(seen[best].argmax(1), labels)

    def rows(self, m):
        yield at_most("loss and K-subspace residual, N_k = 6, 9, 12", max(m.identity), 1e-12)
        for n, accuracy in zip(self.counts, m.accuracy, strict=True):
            yield at_least(f"N_k = {n}, spectral start: accuracy", accuracy, 1.0, 0.02)
        yield equal("N_k = 12: error of a subspace, as E3 at N = 2 r", m.error[2], 0.21, 0.1)
        yield at_most("N_k = 60: error of a subspace", m.error[4], 0.1)
        yield at_most("N_k = 4, 20 random starts: accuracy", m.random[0], 0.8)
        yield at_least("rise of that to N_k = 40", m.random[2] - m.random[0], 0.1)

    def controls(self, m):
        yield at_least("three times the same subspace, N_k = 60: accuracy", m.same, 1.0, 0.02)

    def plot(self, m, figure):
        ax = figure.subplots()
        ratio = lambda counts: [n / self.r for n in counts]
        ax.semilogx(ratio(self.counts), m.accuracy, "o-", label="spectral start")
        ax.semilogx(ratio(self.few), m.random, "s--", color="tab:grey", label="20 random starts")
        ax.semilogx(10, m.same, "x", color="tab:red", label="control: the same subspaces")
        ax.axhline(1 / self.K, color="black", ls=":", lw=0.8, label="chance, 1 / K")
        ax.set(xlabel="N_k / r, samples a dimension", ylabel="clustering accuracy", ylim=(0, 1.05))
        ax.legend(fontsize=8)


def points(U, n, seed, part=0):
    """n draws from each of the subspaces U: (K, d, r) with NOISE off them, (K n, d), and their labels."""
    K, d, _ = U.shape
    law = subspaces(U, VP2, NOISE**2)
    u = (torch.arange(K * n, dtype=FLOAT64) + 0.5) / (K * n)
    z = Rng(seed, f"points {n}").at(part).normal(torch.empty(K * n, d, dtype=FLOAT64))
    return law.draw(z, u), torch.arange(K).repeat_interleave(n)
