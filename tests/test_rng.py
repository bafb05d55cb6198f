"""Draws are keyed by (seed, stream, step, sample index): by nothing else, and they are normal."""

import re

import numpy as np
import pytest
import torch
from conftest import ROOT
from scipy import stats

from workbench import BadInput, Rng

DOUBLE = torch.float64


def draw(rng, *shape, dtype=DOUBLE):
    return rng.normal(torch.empty(*shape, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE, torch.complex64, torch.complex128])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (7, 2, 3)])
def test_rows_do_not_depend_on_the_batch(shape, dtype):
    whole = draw(Rng(1, "a", step=4), 10, *shape, dtype=dtype)
    parts = [draw(Rng(1, "a", step=4).rows(first), 3, *shape, dtype=dtype) for first in (0, 3, 6)]
    assert torch.equal(whole[:9], torch.cat(parts))


def test_second_draw_of_a_batch_too():
    def twice(rng, n):
        return [draw(rng, n, 5), draw(rng, n, 5)]

    whole, part = twice(Rng(1).at(2), 6), twice(Rng(1).at(2).rows(4), 2)
    assert torch.equal(whole[0][4:], part[0]) and torch.equal(whole[1][4:], part[1])
    assert not torch.equal(whole[0], whole[1])


def test_a_step_starts_over():
    rng = Rng(5)
    first = draw(rng, 3, 4)
    assert torch.equal(draw(rng.at(0), 3, 4), first) and torch.equal(draw(Rng(5), 3, 4), first)


def test_each_part_of_the_key_matters():
    size = (200, 500)
    draws = [
        draw(rng, *size).flatten()
        for rng in (
            Rng(0, "prior"),
            Rng(0, "noise"),
            Rng(0, "prior").fork("noise"),
            Rng(1, "prior"),
            Rng(0, "prior", step=1),
            Rng(0, "prior").rows(200),
            Rng(0, "prior", drawn=1),
        )
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws), dtype=DOUBLE)
    assert correlation.abs().max() < 5 / size[0] ** 0.5 / size[1] ** 0.5  # 21 pairs, 5 standard errors


def streams():
    """Every stream that the library names: the second argument of Rng, or `stream=`."""
    named = re.compile(r'(?:Rng\([^()"]*|stream ?= ?|fork\()"([a-z_/]+)"')
    files = [f for room in ("workbench", "theory", "problems") for f in sorted((ROOT / room).rglob("*.py"))]
    return sorted({name for f in files for name in named.findall(f.read_text(encoding="utf-8"))})


def test_streams_of_one_seed_are_uncorrelated():
    """Normal numbers, uniform ones, and the two against each other: a truth, its mask, its noise and the run on it."""
    names, size = streams(), 60_000
    assert {"run", "prior", "noise", "mask", "operator", "posterior", "resample"} <= set(names)
    draws = [draw(Rng(3, name), 1, size)[0] for name in names]
    draws += [Rng(3, name).uniform(1, size)[0] for name in names]
    draws += [draw(Rng(3).fork(name), 1, size)[0] for name in names]
    correlation = torch.corrcoef(torch.stack(draws))
    n = len(names)
    for i in range(n):  # a stream's own uniform numbers are what its normal ones are made of
        correlation[i, n + i] = correlation[n + i, i] = 0
    assert (correlation - torch.eye(len(draws), dtype=DOUBLE)).abs().max() < 5.5 / size**0.5


@pytest.mark.parametrize("stream", ["run", "prior", "noise", "mask", "operator", "signals"])
def test_neighbouring_large_seeds_differ(stream):
    draws = [draw(Rng(seed, stream), 2, 3) for seed in (2**60, 2**60 + 1, 2**64 - 2, 2**64 - 1)]
    assert len({tuple(x.flatten().tolist()) for x in draws}) == 4


def test_rows_and_columns_are_uncorrelated():
    x = draw(Rng(0), 4000, 12)
    assert (torch.corrcoef(x.mT) - torch.eye(12, dtype=DOUBLE)).abs().max() < 5 / 4000**0.5
    assert abs(torch.corrcoef(torch.stack([x[:-1].flatten(), x[1:].flatten()]))[0, 1]) < 5 / 48000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_normal(dtype):
    x = draw(Rng(0), 1000, 200, dtype=dtype).flatten().double()
    assert stats.kstest(x.numpy(), "norm").pvalue > 1e-3
    moments = [x.mean(), (x**2).mean() - 1, (x**3).mean(), (x**4).mean() - 3]
    for value, variance in zip(moments, (1, 2, 15, 96), strict=True):
        assert abs(value) < 5 * (variance / len(x)) ** 0.5
    assert torch.isfinite(x).all()


def test_complex_has_unit_variance_in_each_part():
    z = draw(Rng(0), 1000, 100, dtype=torch.complex128).flatten()
    error = 5 * (2 / len(z)) ** 0.5
    assert abs(z.real.var() - 1) < error and abs(z.imag.var() - 1) < error
    assert abs((z.real * z.imag).mean()) < error and abs((z * z).mean()) < 2 * error


@pytest.mark.parametrize("double, single", [(DOUBLE, torch.float32), (torch.complex128, torch.complex64)])
def test_same_numbers_in_both_precisions(double, single):
    x, y = draw(Rng(0), 50, 33, dtype=double), draw(Rng(0), 50, 33, dtype=single)
    assert y.dtype == single and (x - y).abs().max() < 1e-5


def test_uniform():
    u = Rng(0, "mask").uniform(400, 7, 11)
    assert u.shape == (400, 7, 11) and u.dtype == DOUBLE and u.min() >= 0 and u.max() < 1
    assert stats.kstest(u.numpy().ravel(), "uniform").pvalue > 1e-3
    assert torch.equal(Rng(0, "mask").rows(100).uniform(300, 7, 11), u[100:])


def test_no_global_seed_is_touched():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    x = draw(Rng(0), 4, 4)
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    torch.manual_seed(9)
    assert torch.equal(draw(Rng(0), 4, 4), x)


@pytest.mark.parametrize("seed", [-1, 1.0, 2**64, "0", None])
def test_bad_seed(seed):
    with pytest.raises(BadInput, match="seed = .* should be an integer"):
        Rng(seed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_draws_the_same():
    x = Rng(0).normal(torch.empty(5, 7, dtype=DOUBLE, device="cuda"))
    assert x.is_cuda and torch.equal(x.cpu(), draw(Rng(0), 5, 7))
