"""Images of independent patches against the mixture over all choices of their components."""

from itertools import product

import pytest
import torch
from laws import close
from test_theory_laws import noised, vectors, z
from test_theory_product import F64, VP, hold_the_posterior, residual_of_the_log_density_equation

from theory.distributions.mixture import GaussianMixture
from theory.distributions.patch_mixture import PatchMixture
from workbench import BadInput, Rng
from workbench.noise import Gaussian as Noise
from workbench.operators import Dense
from workbench.operators.mask import Mask


def image(process=None, shape=(4, 2)):
    law = PatchMixture.example(Rng(3, "example"), F64).laws[0]
    return PatchMixture(law.weights, law.means, law.covariances.dense(), shape, process)


def whole(law):
    """The same law of a (4, 2) image, whose two patches are its halves, as a mixture of K^2 Gaussians of 8 entries."""
    patch = law.laws[0]
    C = patch.covariances.dense()
    pairs = list(product(range(len(patch.weights)), repeat=2))
    return GaussianMixture(
        torch.stack([patch.weights[i] * patch.weights[j] for i, j in pairs]),
        torch.stack([torch.cat([patch.means[i], patch.means[j]]) for i, j in pairs]),
        torch.stack([torch.block_diag(C[i], C[j]) for i, j in pairs]),
        law.process,
    )


def test_two_patches_are_a_mixture_of_pairs():
    law = image(VP())
    twin = whole(law)
    _, x, t = noised(law, 6, 0.5)
    v = vectors(law, 6, 1)
    assert close(law.log_prob(x, t), twin.log_prob(x, t), 1e4) and close(
        law.log_prob(x), twin.log_prob(x), 1e4
    )
    assert close(law.denoise(x, t), twin.denoise(x, t), 1e4) and close(law.score(x), twin.score(x), 1e4)
    assert close(law.denoiser_jvp(x, t, v), twin.denoiser_jvp(x, t, v), 1e5)
    assert close(law.mean(), twin.mean(), 1e3) and close(law.cov(), twin.cov(), 1e3)


@pytest.mark.parametrize("sigma", [1e-2, 0.5])
def test_posteriors_are_those_of_the_mixture(sigma):
    law = image()
    inside = torch.zeros(
        3, 8, dtype=F64
    )  # two numbers of the first patch, one of the second, mixed within each
    inside[:2, :4], inside[2, 4:] = vectors(law, 2, 5).flatten(1)[:, :4], vectors(law, 1, 6).flatten()[:4]
    for A in (Mask(torch.tensor([[1, 0], [1, 1], [0, 0], [0, 1]]) > 0, F64), Dense(inside, (4, 2))):
        y = Noise(sigma).sample(A(law.sample(1, 0)), 0)[0]
        q, want = law.condition(A, y, Noise(sigma)), whole(law).condition(A, y, Noise(sigma))
        assert q.log_evidence == pytest.approx(want.log_evidence, rel=1e-8)
        assert close(q.mean(), want.mean(), 1e7) and close(q.cov(), want.cov(), 1e7)
        _, x, t = noised(q, 4, 0.4)
        assert close(q.denoise(x, t), want.denoise(x, t), 1e7) and close(
            q.log_prob(x, t), want.log_prob(x, t), 1e7
        )


def test_posterior_laws():
    hold_the_posterior(image(VP()), Mask(torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]]) > 0, F64))


def test_patches_side_by_side():
    law = image(None, (4, 6))
    x = law.sample(2, 0)
    assert close(law._paste(law._cut(x)), x, 1) and close(law._cut(x)[:, 4], x[:, 2:4, 2:4], 1)
    t = law.process.time(0.5)
    assert close(law.denoise(x, t)[:, 2:4, 2:4], law.laws[0].denoise(x[:, 2:4, 2:4].contiguous(), t), 1e3)
    off = (law.sample(8000, 1) - law.mean()).flatten(1)
    assert z(off[:, :, None] * off[:, None] - law.cov()) < 5
    C = law.cov().reshape(4, 6, 4, 6)
    assert C[0, 0, 1, 1] != 0 and C[0, 1, 0, 2] == 0 and C[1, 0, 2, 0] == 0


@pytest.mark.parametrize("t", [0.1, 0.5])
def test_the_log_density_obeys_its_equation(t):
    assert residual_of_the_log_density_equation(image(VP()), torch.tensor(t, dtype=F64)) < 1e-6


def test_what_is_refused():
    law = image()
    with pytest.raises(BadInput, match="couple patches"):
        law.condition(Dense(vectors(law, 3, 0).flatten(1), (4, 2)), torch.zeros(3, dtype=F64), Noise(1.0))
    with pytest.raises(BadInput, match="multiples"):
        image(None, (5, 2))
