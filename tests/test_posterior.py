"""A posterior's numbers against brute force on replicated samples; its folder gives back what was put in."""

import json

import numpy as np
import pytest
import torch

import workbench as wb
from workbench._cost import Cost

DOUBLE = torch.float64


def normal(*shape, seed=0, dtype=DOUBLE):
    return wb.Rng(seed, "tests").normal(torch.empty(*shape, dtype=dtype))


COUNTS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 0, 5])  # how often each weighted sample would be repeated


def weighted(dtype=DOUBLE, **more):
    """Ten samples (2, 3) weighted by COUNTS; log-weights are not normalised."""
    log_w = torch.log(torch.from_numpy(COUNTS).double()) + 3.7
    return wb.Posterior(normal(10, 2, 3, dtype=dtype), log_w, **more)


def replicated(post):
    return np.repeat(post.samples.numpy(), COUNTS, axis=0)


# --- moments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_weighted_mean_is_that_of_replicates(dtype):
    post = weighted(dtype)
    assert np.abs(post.mean().numpy() - replicated(post).mean(0)).max() < 1e-14
    assert post.mean().shape == (2, 3) and post.mean().dtype == dtype


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_weighted_std(dtype):
    """The biased spread of the replicates, divided by 1 - sum w^2, which makes the even case the unbiased one."""
    post = weighted(dtype)
    w = COUNTS / COUNTS.sum()
    wanted = replicated(post).std(0) / np.sqrt(
        1 - (w**2).sum()
    )  # numpy too sums both parts of a complex deviation
    assert np.abs(post.std().numpy() - wanted).max() < 1e-13 and post.std().dtype == DOUBLE


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_even_std_is_numpys(dtype):
    post = wb.Posterior(normal(7, 2, 3, dtype=dtype))
    assert np.abs(post.std().numpy() - post.samples.numpy().std(0, ddof=1)).max() < 1e-14


def test_complex_std_is_the_total_of_both_parts():
    """Standard normal real and imaginary parts: variance 2."""
    post = wb.Posterior(normal(20_000, 3, dtype=torch.complex128))
    assert (post.std() - 2**0.5).abs().max() < 0.03


@pytest.mark.parametrize("q", [0.0, 0.05, 0.25, 0.5, 0.9, 1.0])
def test_even_quantile_is_numpys(q):
    post = wb.Posterior(normal(11, 2, 3))
    assert np.abs(post.quantile(q).numpy() - np.quantile(post.samples.numpy(), q, axis=0)).max() < 1e-14


@pytest.mark.parametrize("q", [0.01, 0.05, 0.25, 0.5, 0.72, 0.9, 1.0])
def test_weighted_quantile_is_that_of_replicates(q):
    post = weighted()
    wanted = np.quantile(replicated(post), q, axis=0, method="inverted_cdf")
    assert np.array_equal(post.quantile(q).numpy(), wanted)


def test_quantile_of_what_has_no_order():
    post = weighted(torch.complex128)
    with pytest.raises(wb.BadInput, match=r"map\(torch.abs\)"):
        post.quantile(0.5)
    with pytest.raises(wb.BadInput, match="q = 1.5"):
        post.map(torch.abs).quantile(1.5)
    assert (post.map(torch.abs).quantile(0.5) >= 0).all()


def test_map_keeps_weights_cost_and_provenance():
    post = weighted(torch.complex128, cost=Cost(denoiser=5), provenance=dict(seed=1), log_evidence=-2.0)
    angles = post.map(torch.angle)
    w = torch.from_numpy(COUNTS / COUNTS.sum())[:, None, None]
    assert torch.equal(angles.samples, post.samples.angle()) and torch.equal(
        angles.log_weights, post.log_weights
    )
    assert (angles.mean() - (w * post.samples.angle()).sum(0)).abs().max() < 1e-14
    assert angles.cost == post.cost and angles.provenance == post.provenance and angles.log_evidence == -2.0


def test_show_is_the_view():
    post = wb.Posterior(normal(4, 3, dtype=torch.complex128), view=torch.abs)
    assert torch.equal(post.show().samples, post.samples.abs())
    assert wb.Posterior(post.samples).show().samples is post.samples


# --- weights --------------------------------------------------------------------------------------------------------


def test_weights_and_effective_sample_size():
    post = weighted()
    w = COUNTS / COUNTS.sum()
    assert np.abs(post.weights.numpy() - w).max() < 1e-15 and abs(post.ess - 1 / (w**2).sum()) < 1e-12
    assert abs(wb.Posterior(normal(7, 2)).ess - 7) < 1e-12 and len(post) == 10


def test_extreme_log_weights():
    """Far below the smallest float: one sample holds all."""
    post = wb.Posterior(normal(3, 2), torch.tensor([-5e4, -4e4, -4.5e4], dtype=DOUBLE))
    assert torch.equal(post.mean(), post.samples[1]) and post.ess == 1 and (post.std() < 1e-6).all()


def test_resampled():
    post = weighted()
    even = post.resampled(int(COUNTS.sum()), seed=1)
    assert even.log_weights is None and even.samples.shape == (36, 2, 3)
    found = [(even.samples == x).all(-1).all(-1).sum().item() for x in post.samples]
    assert np.abs(np.array(found) - COUNTS).max() <= 1 and found[8] == 0  # systematic: within one of n w
    assert torch.equal(post.resampled(36, seed=1).samples, even.samples)
    assert not torch.equal(post.resampled(36, seed=2).samples, even.samples)


def test_resampled_is_shuffled_and_right_on_average():
    """Halves of the draws have the same law, which sorted systematic draws do not."""
    post = weighted()
    first = torch.stack([post.resampled(12, seed).samples[:6].mean(0) for seed in range(1500)])
    error = first.std(0) / 1500**0.5
    assert ((first.mean(0) - post.mean()).abs() < 4.5 * error).all()


# --- the folder -----------------------------------------------------------------------------------------------------

KINDS = {
    "real": lambda: wb.Posterior(normal(4, 3, 2)),
    "single": lambda: wb.Posterior(normal(4, 5, dtype=torch.float32)),
    "complex": lambda: wb.Posterior(normal(4, 3, 2, dtype=torch.complex64)),
    "weighted": lambda: weighted(log_evidence=-3.25),
    "trajectory": lambda: wb.Posterior(
        normal(4, 3, dtype=torch.complex128), trajectory=normal(5, 4, 3, dtype=torch.complex128)
    ),
    "with data": lambda: wb.Posterior(normal(4, 3), y=normal(2, 5, dtype=torch.complex64)),
    "number": lambda: wb.Posterior(normal(4)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind, tmp_path):
    post = KINDS[kind]()
    post.provenance.update(seed=3, times=[1.0, 0.1, 0.0], sampler="DPS(zeta=1.0)")
    post.cost.denoiser, post.cost.seconds = 12, 0.1
    back = wb.Posterior.load(post.save(tmp_path / "run"))
    for name in ("samples", "log_weights", "trajectory", "y"):
        mine, theirs = getattr(post, name), getattr(back, name)
        assert (mine is None) == (theirs is None)
        assert mine is None or (torch.equal(mine, theirs) and mine.dtype == theirs.dtype)
    assert (
        back.log_evidence == post.log_evidence
        and back.cost == post.cost
        and back.provenance == post.provenance
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]  # nothing left beside it


def test_a_run_round_trips(tmp_path):
    problem = wb.Problem(*g2_parts())
    post = wb.sample(problem, wb.samplers.TDS(), n=6, ensembles=2, steps=5, record=3, progress=False)
    back = wb.Posterior.load(post.save(tmp_path / "run"))
    assert torch.equal(back.trajectory, post.trajectory) and back.trajectory.shape == (3, 12, 2)
    assert torch.equal(back.y, problem.y)
    assert torch.equal(back.mean(), post.mean()) and back.provenance == json.loads(
        json.dumps(post.provenance)
    )


def g2_parts():
    import problems

    g2 = problems.load("toy/g2")
    return g2.prior, g2.A, g2.noise, g2.y


def test_overwriting_is_asked_for(tmp_path):
    KINDS["real"]().save(tmp_path / "run")
    with pytest.raises(wb.BadInput, match="--overwrite"):
        KINDS["complex"]().save(tmp_path / "run")
    assert not wb.Posterior.load(tmp_path / "run").samples.is_complex()
    KINDS["complex"]().save(tmp_path / "run", overwrite=True)
    assert wb.Posterior.load(tmp_path / "run").samples.is_complex()


def test_load_says_what_is_wrong(tmp_path):
    with pytest.raises(wb.BadInput, match="not a run folder"):
        wb.Posterior.load(tmp_path)
    path = KINDS["real"]().save(tmp_path / "run")
    (path / "run.json").write_text('{"cost": ')
    with pytest.raises(wb.BadInput, match="damaged"):
        wb.Posterior.load(path)


def test_missing_entries_are_damage(tmp_path):
    path = KINDS["real"]().save(tmp_path / "run")
    (path / "run.json").write_text("{}")
    with pytest.raises(wb.BadInput, match="damaged"):
        wb.Posterior.load(path)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_arviz_opens_it(tmp_path):
    import arviz
    import xarray

    post = weighted()
    tree = xarray.open_datatree(post.save(tmp_path / "run") / "samples.zarr", engine="zarr")
    assert tree["posterior"]["x"].dims == ("chain", "draw", "axis_0", "axis_1")
    assert tree["sample_stats"]["log_weight"].dims == ("chain", "draw")
    data = (
        arviz.from_datatree(tree) if hasattr(arviz, "from_datatree") else tree
    )  # ArviZ 1 takes the tree itself
    assert data["posterior"]["x"].shape == (1, 10, 2, 3)
    summary = arviz.summary(data, kind="stats", round_to="none")
    assert list(summary.index)[:2] == ["x[0, 0]", "x[0, 1]"] and len(summary) == 6
    found = summary["mean"].to_numpy().astype(float)
    assert np.abs(found - post.samples.mean(0).flatten().numpy()).max() < 1e-12


# --- in a notebook --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32, torch.complex64])
def test_pictures_of_images(dtype):
    html = wb.Posterior(normal(5, 16, 12, dtype=dtype), view=torch.abs)._repr_html_()
    assert "data:image/png;base64," in html or "<svg" in html


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 40), (5, 1), (5, 3, 8, 8)])
def test_other_signals_show_something(shape):
    html = wb.Posterior(normal(*shape), torch.linspace(-3, 0, 5, dtype=DOUBLE))._repr_html_()
    assert f"5 samples of shape {shape[1:]}" in html and (
        "<table" in html or "data:image/png;base64," in html
    )


def test_repr_says_shape_and_weight():
    assert "(10, 2, 3)" in repr(weighted()) and "ess=" in repr(weighted())
