"""The certificate: clean on exact laws, and each planted error seen in its own column; networks, notes, JSON, figure."""

import json
from math import isnan

import pytest
import torch
from torch import nn

from theory.diagnostics import report
from theory.distributions import Gaussian, GaussianMixture
from workbench import BadInput, Rng
from workbench.diffusion import EDM, VariancePreserving
from workbench.priors._prior import Prior
from workbench.priors.network import Network, data

f64 = dict(dtype=torch.float64)


class Planted(Prior):
    """The score of a law plus a field of (score, x)."""

    def __init__(self, law, error):
        self.law, self.error = law, error
        self.shape, self.dtype, self.process, self.noise_range = (
            law.shape,
            law.dtype,
            law.process,
            law.noise_range,
        )

    def score(self, x, t):
        s = self.law.score(x, t)
        return s + self.error(s, x)

    def denoise(self, x, t):
        return (x + self.process.sigma(t) ** 2 * self.score(x, t)) / self.process.alpha(t)


def law(process=None):
    means = torch.tensor([[-1.5, 0.0, 0.0], [1.5, 1.0, 0.0]], **f64)
    C = torch.diag(torch.tensor([0.4, 0.3, 1e-8], **f64)).expand(2, 3, 3)
    return GaussianMixture([0.4, 0.6], means, C, process, noise_range=(0.02, 5.0))


@pytest.fixture(scope="module")
def clean():
    return report(law(), n=512, exact=law(VariancePreserving()), levels=6)


def test_an_exact_law_has_a_clean_certificate(clean):
    assert max(clean.values["asymmetry"]) < 1e-20 and max(clean.values["circulation"]) < 1e-12
    assert max(clean.values["residual"]) < 1e-8 and max(clean.values["score_error"]) < 1e-10
    for found, error in zip(clean.values["trace"], clean.errors["trace"], strict=True):
        assert abs(found - 1) < 5 * error < 0.4
    assert clean.levels[0] == 5.0 and clean.levels[-1] == pytest.approx(0.02) and clean.n == 512
    assert clean.values["flipd"][-1] == pytest.approx(2, abs=0.05)  # of three coordinates, one is empty
    assert clean.values["rank"][-1] == 2 and clean.values["normal_bundle"][-1] == 2
    assert clean.values["mse"] == sorted(clean.values["mse"], reverse=True)


def test_each_planted_error_is_seen_in_its_column(clean):
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], **f64)
    gauge = report(Planted(law(), lambda s, x: 0.3 * s @ turn.mT), law().sample(64, 1), exact=law(), levels=2)
    assert gauge.values["asymmetry"][0] > 0.05 and min(gauge.values["asymmetry"]) > 1e-8
    assert gauge.values["circulation"][0] > 0.01
    assert all(0 < v < 0.3 + 1e-6 for v in gauge.values["score_error"])
    scaled = report(Planted(law(), lambda s, x: 0.2 * s), law().sample(512, 1), exact=law(), levels=2)
    assert scaled.values["score_error"] == pytest.approx([0.2, 0.2])
    # 2 e sigma^2 / v in each direction of variance v, and the empty one, where v = sigma^2, holds nearly all of the score
    assert scaled.values["residual"][-1] == pytest.approx(0.4, rel=0.05)
    assert max(scaled.values["asymmetry"]) < 1e-20
    assert scaled.values["trace"][0] < 0  # D = -0.2 x across the data


class Shrink(nn.Module):
    """E[x0 | x_t] of N(0, I) under EDM, or what is left of it."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, x, t):
        return self.factor * x / (1 + t.reshape(-1, 1, 1, 1) ** 2).to(x)


def network(factor=1.0):
    return Network(Shrink(factor), data, EDM(), shape=(1, 6, 6), noise_range=(0.05, 20.0))


def test_a_network_in_single_precision():
    x = Gaussian(torch.zeros(1, 6, 6), 1.0).sample(64, 1)
    right, wrong = (
        report(network(f), x, exact=Gaussian(torch.zeros(1, 6, 6), 1.0), levels=3) for f in (1.0, 0.8)
    )
    assert max(right.values["score_error"]) < 1e-2 < 0.05 < max(wrong.values["score_error"])
    assert max(right.values["residual"]) < 0.02 < 0.1 < max(wrong.values["residual"])
    for found, error in zip(right.values["trace"], right.errors["trace"], strict=True):
        assert abs(found - 1) < 5 * error + 0.01
    assert wrong.values["trace"][-1] < 0.5  # at little noise, shrinking costs far more than J admits


def test_without_signals_it_makes_its_own():
    made = report(network(), n=400, levels=2)
    assert made.n == 400 and abs(made.values["trace"][0] - 1) < 0.1
    assert made.values["mse"][0] == pytest.approx(
        20**2 / (1 + 20**2), rel=0.05
    )  # its draws have unit variance


def test_memorisation_beside_fresh_signals():
    train, x = law().sample(40, 1), law().sample(200, 2)
    learned = GaussianMixture(
        torch.ones(40), train, torch.tensor(1e-6, **f64).expand(40), noise_range=(1e-3, 20.0)
    )
    copies, honest = report(learned, x, train=train, levels=2), report(law(), x, train=train, levels=2)
    assert copies.memorisation.found and copies.memorisation.value > 0.95
    assert not honest.memorisation.found and "memorised share" in honest.table


def test_complex_priors():
    prior = Gaussian(torch.zeros(2, dtype=torch.complex128), 0.7)
    found = report(prior, n=200, levels=3, exact=prior)
    assert max(found.values["residual"]) < 1e-8 and max(found.values["asymmetry"]) < 1e-20
    for value, error in zip(found.values["trace"], found.errors["trace"], strict=True):
        assert abs(value - 1) < 5 * error


def test_table_json_and_figure(clean):
    table = clean.table.splitlines()
    assert "sigma/alpha" in table[1] and len(table) >= 8 and str(clean) == clean.table
    assert "normal-bundle dimension: not at sigma/alpha = 5: no gap" in clean.table
    read = json.loads(clean.json())
    assert read["measures"]["flipd"]["values"] == clean.values["flipd"] and read["n"] == 512
    assert isnan(clean.values["normal_bundle"][0]) and read["measures"]["normal_bundle"]["values"][0] is None
    figure = clean.plot()
    titled = [ax for ax in figure.axes if ax.get_title()]
    assert len(titled) == 9 and all("sigma / alpha" in ax.get_xlabel() for ax in titled)
    assert all(ax.get_xscale() == "log" for ax in titled)


def test_equal_seeds_are_equal_and_what_it_refuses():
    assert report(law(), n=16, levels=2).values["trace"] == report(law(), n=16, levels=2).values["trace"]
    with pytest.raises(BadInput, match="levels = 1"):
        report(law(), levels=1)
    with pytest.raises(BadInput, match="x is"):
        report(law(), Rng(0, "x").uniform(20, 2))
    with pytest.raises(BadInput, match="train needs x"):
        report(law(), n=16, train=law().sample(9, 1))
