"""The Ising model's transfer matrix against the list of all configurations, and a chain's closed forms."""

from math import cosh, exp, log, tanh

import pytest
import torch
from laws import close
from test_theory_laws import z

from theory.distributions.ising import Ising
from workbench import BadInput, Rng
from workbench.noise import Gaussian as Noise
from workbench.operators import Dense

F64 = torch.float64
MODELS = {
    "chain": Ising((6,), 0.7, torch.tensor([0.3, 0.0, -0.5, 0.1, 0.0, 0.9])),
    "strip": Ising((3, 4), 0.4, 0.1 * torch.arange(12.0).reshape(3, 4) - 0.5),
    "against": Ising((2, 3), -0.8, 0.2),
}
models = pytest.mark.parametrize("law", MODELS.values(), ids=MODELS)


def brute(law):
    """All configurations and their probabilities from the energy, bond by bond."""
    x = law.configurations()
    grid = x.reshape(-1, *law.size)
    bonds = (grid[:, 1:] * grid[:, :-1]).sum((1, 2)) + (grid[:, :, 1:] * grid[:, :, :-1]).sum((1, 2))
    return x, torch.softmax(law.J * bonds + (law.field * x).flatten(1).sum(1), 0)


@models
def test_probabilities_are_those_of_the_energy(law):
    x, p = brute(law)
    assert close(law.log_prob(x).exp(), p, 1e3)
    assert close(law.mean(), torch.tensordot(p, x, 1), 1e3)
    assert law.entropy() == pytest.approx(-(p * p.log()).sum().item(), rel=1e-12)


@models
def test_masked_conditionals_by_counting(law):
    x, p = brute(law)
    for given in (law.sample(5, 0) * (Rng(1).uniform(5, *law.shape) < 0.4)).unbind():
        agrees = ((given == 0) | (x == given)).flatten(1).all(1)
        want = torch.tensordot(p[agrees], (x[agrees] > 0).double(), 1) / p[agrees].sum()
        assert close(law.conditionals(given[None])[0], want, 1e3)
        assert law.log_marginal(given[None]).item() == pytest.approx(p[agrees].sum().log().item(), abs=1e-12)


@models
def test_draws_have_the_probabilities(law):
    x, p = brute(law)
    draws, n = law.sample(20_000, 2).flatten(1), 20_000
    code = ((draws > 0).long() * 2 ** torch.arange(draws.shape[1] - 1, -1, -1)).sum(1)
    counts, want = torch.bincount(code, minlength=len(p)).double(), n * p
    rare = want < 5  # together
    pairs = [(counts[~rare], want[~rare]), (counts[rare].sum()[None], want[rare].sum()[None])]
    chi2, cells = sum(((c - w) ** 2 / w.clamp_min(1e-9)).sum().item() for c, w in pairs), (~rare).sum().item()
    assert abs(chi2 - cells) < 5 * (2 * cells) ** 0.5
    given = draws[0].reshape(law.shape) * (Rng(3).uniform(*law.shape) < 0.4)
    some = law.sample(4000, 4, given=given)
    assert (some[:, given != 0] == given[given != 0]).all()
    assert z(((some > 0).double() - law.conditionals(given[None])).flatten(1)[:, given.flatten() == 0]) < 4.5
    assert close(law.sample(5, 0)[:3], law.sample(3, 0))


@models
def test_flipped_spins_by_bayes(law):
    x, p = brute(law)
    y = law.sample(1, 5)[0] * (torch.arange(law.field.numel()).reshape(law.shape) % 3 != 1)
    like = torch.where(y == 0, 1.0, torch.where(x == y, 0.8, 0.2)).flatten(1).prod(1)
    want = p * like / (p * like).sum()
    assert close(law.flipped(y, 0.2).log_prob(x).exp(), want, 1e3)


def test_linear_data_by_bayes():
    law = MODELS["chain"]
    x, p = brute(law)
    A = Dense(Rng(0).normal(torch.empty(2, 6, dtype=F64)), (6,))
    y = torch.tensor([0.7, -1.1], dtype=F64)
    like = torch.exp(-0.5 * ((y - A(x)) / 0.5).square().sum(1))
    want = (p * like) @ x / (p * like).sum()
    assert close(law.condition(A, y, Noise(0.5)).mean(), want, 1e4)


def test_a_long_chain_and_a_wide_strip():
    law = Ising((100,), 0.7)
    ends = torch.zeros(1, 100, dtype=F64)
    ends[0, 10] = 1
    want = (1 + tanh(0.7) ** (torch.arange(100) - 10).abs().double()) / 2
    assert close(law.conditionals(ends)[0], want, 1e4)
    assert law._log_z == pytest.approx(100 * log(2) + 99 * log(cosh(0.7)), rel=1e-13)
    strip, turned = Ising((5, 8), 0.5, 0.1), Ising((8, 5), 0.5, 0.1)
    x = strip.sample(20, 0)
    assert close(strip.log_prob(x), turned.log_prob(x.mT), 1e3)
    assert close(strip.mean(), turned.mean().mT, 1e3)


def test_unmasking_in_groups_costs_the_total_correlation():
    """Claim O18: the Kullback-Leibler distance of p to what exact conditionals draw, group by group, a chain of 6."""
    law = Ising((6,), 0.7)
    x = law.configurations()
    groupings = [
        ([[i] for i in range(6)], 0.0),
        ([[0, 3], [1, 4], [2, 5]], 0.0246),
        ([[0, 2, 4], [1, 3, 5]], 0.1366),
        ([[0, 1, 2], [3, 4, 5]], 0.6903),
        ([list(range(6))], 0.9789),
    ]
    for groups, want in groupings:
        log_q, total, seen = torch.zeros(64, dtype=F64), 0.0, []
        for group in groups:
            given = torch.zeros_like(x)
            given[:, seen] = x[:, seen]
            p = law.conditionals(given)[:, group]
            log_q += torch.where(x[:, group] > 0, p, 1 - p).log().sum(1)
            total += law.total_correlation(group, seen)
            seen = seen + group
        log_p = law.log_prob(x)
        assert total == pytest.approx((log_p.exp() * (log_p - log_q)).sum().item(), abs=1e-12)
        assert total == pytest.approx(want, abs=6e-5)
    assert Ising((6,), 0.0).total_correlation(range(6)) == pytest.approx(
        0, abs=1e-12
    )  # the control: nothing to lose


def test_what_is_refused():
    with pytest.raises(BadInput, match="turn the strip"):
        Ising((11, 3), 0.5)
    with pytest.raises(BadInput, match="at most 16"):
        Ising((20,), 0.5).points()
    with pytest.raises(BadInput, match="-1 or 1"):
        Ising((3,), 0.5).log_prob(torch.zeros(1, 3, dtype=F64))
    with pytest.raises(BadInput, match="p = 0"):
        Ising((3,), 0.5).flipped(torch.ones(3, dtype=F64), 0)
    assert exp(Ising((2,), 0.5).log_prob(torch.ones(1, 2, dtype=F64)).item()) == pytest.approx(
        1 / (2 + 2 * exp(-1))
    )
