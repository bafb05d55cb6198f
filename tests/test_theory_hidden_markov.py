"""Hidden Markov signals against the mixture of all their state sequences, and long chains by their own means."""

import pytest
import torch
from laws import close
from test_theory_laws import noised, vectors, z
from test_theory_product import F64, VP, hold_the_posterior, residual_of_the_log_density_equation

from theory.distributions.hidden_markov import HiddenMarkov, stationary
from workbench import BadInput
from workbench.noise import Gaussian as Noise
from workbench.operators import Dense
from workbench.operators.mask import Mask


def chain(process=None, length=4):
    law = HiddenMarkov.example(None)
    T, p = law.log_transition.exp(), law.log_initial.exp()
    return HiddenMarkov(T, p, law.m[0], law.v[0], length, process)


@pytest.mark.parametrize("kappa", [0.01, 0.5, 5.0])
def test_a_short_chain_is_the_mixture_of_its_sequences(kappa):
    law = chain(VP())
    twin = law.enumerated()
    _, x, t = noised(law, 6, kappa)
    v = vectors(law, 6, 1)
    assert close(law.log_prob(x, t), twin.log_prob(x, t), 1e4) and close(
        law.log_prob(x), twin.log_prob(x), 1e4
    )
    assert close(law.denoise(x, t), twin.denoise(x, t), 1e4) and close(law.score(x, t), twin.score(x, t), 1e4)
    assert close(law.score(x), twin.score(x), 1e4)
    assert close(law.denoiser_jvp(x, t, v), twin.denoiser_jvp(x, t, v), 1e6)
    assert close(law.mean(), twin.mean(), 1e3) and close(law.cov(), twin.cov(), 1e3)


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 30.0])
def test_posteriors_are_those_of_the_mixture(sigma):
    law, A = chain(), Mask(torch.tensor([True, False, True, True]), F64)
    y = torch.tensor([0.3, -1.0, 2.5], dtype=F64)
    q, want = law.condition(A, y, Noise(sigma)), law.enumerated().condition(A, y, Noise(sigma))
    assert q.log_evidence == pytest.approx(want.log_evidence, rel=1e-9)
    assert close(q.mean(), want.mean(), 1e5) and (q.cov() - want.cov()).abs().max() < 1e-8
    _, x, t = noised(q, 5, 0.4)
    assert close(q.denoise(x, t), want.denoise(x, t), 1e7)
    assert close(q.log_prob(x, t), want.log_prob(x, t), 1e7) and close(q.log_prob(x), want.log_prob(x), 1e7)


def test_posterior_laws():
    hold_the_posterior(chain(VP()), Mask(torch.tensor([False, True, True, False]), F64))


@pytest.mark.parametrize("t", [0.1, 0.5])
def test_the_log_density_obeys_its_equation(t):
    assert residual_of_the_log_density_equation(chain(VP(), 12), torch.tensor(t, dtype=F64)) < 1e-6


def test_a_long_chain_is_what_its_transitions_say():
    law = HiddenMarkov([[0.9, 0.1], [0.3, 0.7]], None, torch.tensor([0.0, 1.0], dtype=F64), 0.04, 60)
    assert stationary(law.log_transition.exp()).tolist() == pytest.approx([0.75, 0.25])
    assert law.mean().tolist() == pytest.approx([0.25] * 60)
    lag = torch.arange(60)
    want = 0.25 * 0.75 * 0.6 ** (lag[:, None] - lag).abs().double()  # the second eigenvalue is 0.6
    assert close(law.cov(), want + 0.04 * torch.eye(60, dtype=F64), 1e4)
    x = law.sample(3000, 0)
    assert z(x - law.mean()) < 4.8
    off = x - law.mean()
    assert z(off[:, 1:] * off[:, :-1] - want[0, 1]) < 4.8 and z(off[:, 3:] * off[:, :-3] - want[0, 3]) < 4.8
    A = Mask(lag % 2 == 0, F64)
    gap = []
    for row, y in zip(x[:40], Noise(0.3).sample(A(x[:40]), 0), strict=True):
        q = law.condition(A, y, Noise(0.3))
        gap.append((row - q.mean()).square().sum() - q.cov().trace())
        assert q.cov().trace() < law.cov().trace()
    assert z(torch.stack(gap)[:, None]) < 4.5


def test_a_state_that_is_never_left():
    law = HiddenMarkov(torch.eye(2), [0.5, 0.5], torch.tensor([-1.0, 1.0], dtype=F64), 0.01, 6)
    x = law.sample(50, 0)
    assert ((x > 0).all(1) | (x < 0).all(1)).all()
    t = law.process.time(2.0)
    x, v = vectors(law, 3, 0), vectors(law, 3, 1)
    assert torch.isfinite(law.denoiser_jvp(x, t, v)).all()
    assert close(law.denoiser_jvp(x, t, v), law.enumerated().denoiser_jvp(x, t, v), 1e6)


def test_what_is_refused():
    law = chain(None, 20)
    A = Dense(vectors(law, 3, 0), (20,))
    with pytest.raises(BadInput, match="mixes the 20 coordinates"):
        law.condition(A, torch.zeros(3, dtype=F64), Noise(1.0))
    with pytest.raises(BadInput, match="transition"):
        HiddenMarkov([[0.5, 0.6], [0.5, 0.5]], None, torch.zeros(2, dtype=F64), 1.0, 3)
    with pytest.raises(BadInput, match="more than 1024"):
        law.enumerated()
