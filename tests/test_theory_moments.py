"""Moments and intervals of draws: against formed covariances, closed forms and repeated draws."""

import pytest
import torch

from theory.diagnostics import (
    covariance_error,
    interval_coverage,
    mean_error,
    misfit,
    spread_ratios,
    trace_ratio,
)
from workbench import BadInput, Rng


def normal(*shape, seed=0, dtype=torch.float64):
    return Rng(seed, "moments").normal(torch.empty(*shape, dtype=dtype))


def test_against_formed_covariances():
    x, y = normal(40, 5) @ normal(5, 5, seed=1), 0.3 + normal(30, 5, seed=2)
    C, D = x.mT.cov(), y.mT.cov()
    assert covariance_error(x, y) == pytest.approx(((C - D).norm() / D.norm()).item(), rel=1e-10)
    assert trace_ratio(x, y) == pytest.approx((C.trace() / D.trace()).item(), rel=1e-12)
    want = (x.mean(0) - y.mean(0)).norm() / D.trace().sqrt()
    assert mean_error(x, y) == pytest.approx(want.item(), rel=1e-12)
    assert torch.allclose(spread_ratios(x, y), (C.diagonal() / D.diagonal()).sqrt())


def test_a_set_beside_itself_and_beside_its_multiple():
    x = normal(50, 3)
    assert mean_error(x, x) < 1e-14 and covariance_error(x, x) < 1e-7
    assert covariance_error(2 * x, x) == pytest.approx(3, rel=1e-10) and trace_ratio(
        2 * x, x
    ) == pytest.approx(4)


def test_weights_are_repetitions():
    x, y = normal(30, 2), normal(40, 2, seed=1)
    w = torch.ones(30)
    w[:10] = 2
    doubled = torch.cat([x, x[:10]])
    assert mean_error(x, y, w) == pytest.approx(mean_error(doubled, y), rel=1e-12)
    assert misfit(x, y[0], weights=w) == pytest.approx(misfit(doubled, y[0]), rel=1e-12)
    assert interval_coverage(x, y, 0.5, w) == pytest.approx(interval_coverage(doubled, y, 0.5), abs=0.06)


def test_complex_draws_are_reals_of_twice_the_size():
    x, y = normal(30, 3, dtype=torch.complex128), normal(20, 3, seed=1, dtype=torch.complex128)
    flat = lambda z: torch.view_as_real(z).flatten(1)  # noqa: E731
    for metric in (mean_error, covariance_error, trace_ratio, interval_coverage):
        assert metric(x, y) == pytest.approx(metric(flat(x), flat(y)), rel=1e-12)
    assert misfit(x, y[0], 2.0) == pytest.approx(misfit(flat(x), flat(y)[0], 2.0), rel=1e-12)


def test_misfit_of_noise_is_one():
    y = normal(2000, seed=3)
    clean = torch.zeros(4, 2000, dtype=torch.float64)
    assert misfit(clean, 0.3 * y, 0.3) == pytest.approx((y**2).mean().item(), rel=1e-12)
    assert misfit(clean, 0.3 * y, 0.3) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_coverage_of_exact_draws_is_its_level(level):
    found = [
        interval_coverage(normal(1000, 4, seed=2 * i), normal(1000, 4, seed=2 * i + 1), level)
        for i in range(10)
    ]
    found = torch.tensor(found)
    assert abs(found.mean() - level) < 4 * found.std() / 10**0.5 + 0.001


def test_coverage_of_narrow_draws_is_that_of_the_normal_law():
    half = torch.distributions.Normal(0.0, 1.0)
    want = 2 * half.cdf(0.5 * half.icdf(torch.tensor(0.95))).item() - 1
    got = interval_coverage(0.5 * normal(4000, 3), normal(4000, 3, seed=1), 0.9)
    assert got == pytest.approx(want, abs=0.02)


def test_quantiles_are_those_of_numpy_in_the_middle():
    import numpy as np

    x = normal(101, 1)
    y = torch.linspace(-3, 3, 6001, dtype=torch.float64)[:, None]
    low, high = np.quantile(x[:, 0].numpy(), [0.25, 0.75], method="hazen")
    assert interval_coverage(x, y, 0.5) == pytest.approx((high - low) / 6, abs=5e-4)


def test_bad_input_is_named():
    x = normal(10, 2)
    with pytest.raises(BadInput, match="level"):
        interval_coverage(x, x, 1.5)
    with pytest.raises(BadInput, match="alike"):
        mean_error(x, x[:, :1])
    with pytest.raises(BadInput, match="clean"):
        misfit(x, x)
    with pytest.raises(BadInput, match="NaN"):
        trace_ratio(x / 0, x)
