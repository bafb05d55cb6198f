"""What a convolutional denoiser knows of images beside their law: the pixels in another order."""

from types import SimpleNamespace

import torch
from torch import nn

from theory.claims._claim import Claim, at_least, equal
from theory.claims._networks import Field, Learned, built, denoising_loss, train
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench._rng import Rng

SIZE = 16


class Convolutional(nn.Module):
    """A network of two levels on a 16 x 16 picture, with the interface of `Field`."""

    def __init__(self, width=16):
        super().__init__()
        conv = lambda a, b: nn.Sequential(
            nn.Conv2d(a, b, 3, padding=1), nn.SiLU(), nn.Conv2d(b, b, 3, padding=1), nn.SiLU()
        )
        self.first, self.deep, self.last = conv(2, width), conv(width, 2 * width), conv(3 * width, width)
        self.out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x, level):
        x = x.reshape(-1, 1, SIZE, SIZE)
        a = self.first(torch.cat([x, level.reshape(-1, 1, 1, 1).expand_as(x)], 1))
        b = nn.functional.interpolate(self.deep(nn.functional.avg_pool2d(a, 2)), scale_factor=2)
        return self.out(self.last(torch.cat([a, b], 1))).flatten(1)


class PixelShuffleControl(Claim):
    """A permutation of pixels leaves the best denoiser as good, makes a trained convolutional one worse, and not an MLP.

    D_permuted = P D P', with the same mmse: what is lost is the network's own assumption that neighbours belong together. Left:
    denoising gaps MSE(f) - mmse of networks trained on 16 x 16 power-law fields (gamma = 3), pixels shuffled over pixels as
    they are, mmse from the library's exact field. Right: at least 2 for the convolution, 1 for the MLP. White fields have no
    neighbours to lose.
    """

    card = dict(code="H7", tier=3, topic="denoiser-geometry", paper="2310.02557", source="Kadkhodaie et al. 2024, Fig. 7 (qualitative)",
                found="")  # fmt: skip
    steps, levels = 1500, (0.1, 0.2, 0.4, 0.8)

    def measure(self, seed):
        order = torch.argsort(Rng(seed, "order").uniform(SIZE * SIZE))
        nets = {"convolution": Convolutional, "MLP": lambda: Field(SIZE * SIZE, 256)}
        m = SimpleNamespace(gaps={}, mmse=None)
        for field, gamma in (("gamma = 3", 3.0), ("white", 0.0)):
            spectrum = power_law((SIZE, SIZE), gamma, dtype=torch.float64)
            law = GaussianField(spectrum / spectrum.mean())  # unit variance a pixel
            for net, make in nets.items():
                if field == "white" and net == "MLP":
                    continue
                for shuffled in (False, True):
                    m.gaps[field, net, shuffled] = self._gaps(law, make, order if shuffled else None, seed)
        return m

    def _gaps(self, law, make, order, seed):
        """MSE(f) - mmse a pixel at each level, over common draws."""
        place = (lambda x: x) if order is None else (lambda x: x.flatten(1)[:, order].reshape(x.shape))
        data = place(law.sample(20_000, seed, stream="training").float())
        draw = lambda rng, n: data[(rng.uniform(n) * len(data)).long()]
        loss = denoising_loss(draw, law, low=0.05, high=2.0, batch=64)
        model = Learned(train(built(make, seed), loss, self.steps, Rng(seed, "training")), law)
        gaps = []
        for s in self.levels:
            x0 = law.sample(1000, seed, stream="test")
            x = x0 + s * Rng(seed, "noise").normal(x0)
            best = ((law.denoise(x, s) - x0) ** 2).mean().item()
            found = ((model.denoise(place(x).float(), s) - place(x0)) ** 2).mean().item()
            gaps.append(found - best)
        return gaps

    @staticmethod
    def _ratio(m, field, net):
        """The mean gap with shuffled pixels over that without."""
        return sum(m.gaps[field, net, True]) / sum(m.gaps[field, net, False])

    def rows(self, m):
        yield at_least(
            "gamma = 3, convolution: gap shuffled over plain", self._ratio(m, "gamma = 3", "convolution"), 2.0
        )
        yield equal("gamma = 3, MLP: gap shuffled over plain", self._ratio(m, "gamma = 3", "MLP"), 1.0, 0.1)

    def controls(self, m):
        yield at_least(
            "white field, convolution: gap shuffled over plain", self._ratio(m, "white", "convolution"), 2.0
        )

    def plot(self, m, figure):
        ax = figure.subplots()
        styles = {
            ("gamma = 3", "convolution"): "C0",
            ("gamma = 3", "MLP"): "C1",
            ("white", "convolution"): "tab:red",
        }
        for (field, net, shuffled), gaps in m.gaps.items():
            label = f"{field}, {net}{', shuffled' if shuffled else ''}"
            label = f"control: {label}" if field == "white" else label
            ax.loglog(self.levels, [max(g, 1e-7) for g in gaps], "o--" if shuffled else "o-", color=styles[field, net],
                      label=label)  # fmt: skip
        ax.set(xlabel="noise level", ylabel="MSE above the best denoiser, a pixel")
        ax.legend(fontsize=7)
