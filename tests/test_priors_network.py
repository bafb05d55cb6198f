"""Networks as priors: predictions, schedules, intensities, channels and sizes, on tiny random weights."""

import json
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from workbench import BadInput, Rng
from workbench.diffusion import Tabulated, VariancePreserving
from workbench.priors import Network, beats_identity, denoising_errors, from_diffusers
from workbench.priors import network as room

diffusers = pytest.importorskip("diffusers")

DOUBLE = torch.float64


def draw(*shape, dtype=torch.float32, seed=0):
    return Rng(seed, "test").normal(torch.empty(*shape, dtype=dtype))


def unet(channels=1, out=None, seed=0, **more):
    """A random UNet of two levels, whose last layer is not small."""
    torch.manual_seed(seed)
    settings = dict(
        sample_size=16,
        in_channels=channels,
        out_channels=out or channels,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
    )
    return diffusers.UNet2DModel(**{**settings, **more}).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function that saves a pipeline folder once for each kind, and gives its path, network and scheduler."""
    made = {}

    def make(channels=1, out=None, **scheduler):
        key = (channels, out, *sorted(scheduler.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("pipeline")
            model, steps = unet(channels, out), diffusers.DDPMScheduler(clip_sample=False, **scheduler)
            model.save_pretrained(folder / "unet")
            steps.save_pretrained(folder / "scheduler")
            made[key] = folder, model, steps
        return made[key]

    return make


# Predictions


class Known(nn.Module):
    """A network that gives one prediction of the same denoiser x0 = tanh(u)."""

    def __init__(self, process, predict):
        super().__init__()
        self.process, self.predict = process, predict

    def forward(self, u, t):
        return self.predict(torch.tanh(u), u, self.process.alpha(t[0]), self.process.sigma(t[0]))


@pytest.mark.parametrize(
    "parameterisation, predict",
    [
        (room.epsilon, lambda x0, u, a, s: (u - a * x0) / s),
        (room.data, lambda x0, u, a, s: x0),
        (room.velocity, lambda x0, u, a, s: a * (u - a * x0) / s - s * x0),
        (room.flow_velocity, lambda x0, u, a, s: (u - a * x0) / s - x0),
        (room.score, lambda x0, u, a, s: (a * x0 - u) / s**2),
    ],
)
@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_predictions_of_one_denoiser_agree(parameterisation, predict, t):
    process = VariancePreserving()
    prior = Network(Known(process, predict), parameterisation, process, (3, 4), (1e-3, 100.0), DOUBLE)
    x = draw(2, 3, 4, dtype=DOUBLE)
    assert (prior.denoise(x, t) - torch.tanh(x)).abs().max() < 1e-11


@pytest.mark.parametrize("word", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("step", [0, 17, 420, 999])
def test_denoiser_is_the_schedulers_own(saved, word, step):
    folder, model, scheduler = saved(prediction_type=word)
    prior = from_diffusers(folder)
    x = draw(2, 16, 16)
    with torch.no_grad():
        want = scheduler.step(model(x[:, None], step).sample, step, x[:, None]).pred_original_sample[:, 0]
    gap = (prior.denoise(x, step + 1) - want).abs().max()
    assert gap < 1e-3 * want.abs().max()  # the table itself is single precision in the scheduler


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
def test_table_is_the_schedulers(saved, schedule):
    folder, _, scheduler = saved(beta_schedule=schedule, num_train_timesteps=200)
    prior = from_diffusers(folder)
    abar = scheduler.alphas_cumprod.double()
    i = torch.arange(1, 201)
    assert isinstance(prior.process, Tabulated) and prior.process.t_max == 200
    assert ((prior.process.alpha(i) ** 2 / abar).log().abs() < 1e-3).all()
    assert prior.noise_range[0] == pytest.approx(((1 - abar[0]) / abar[0]).sqrt().item(), rel=1e-3)
    assert prior.noise_range[1] == pytest.approx(((1 - abar[-1]) / abar[-1]).sqrt().item(), rel=1e-3)


def test_schedule_without_final_signal(saved):
    prior = from_diffusers(saved(rescale_betas_zero_snr=True, prediction_type="v_prediction")[0])
    assert prior.process.t_max == 999 and torch.isfinite(prior.denoise(draw(1, 16, 16), 999)).all()


def test_network_is_told_the_step_between_two():
    heard = []

    class Listen(nn.Module):
        def forward(self, u, t):
            heard.append(t)
            return u

    prior = Network(
        Listen(), room.data, Tabulated.linear(), (4,), (0.01, 100.0), axes=1, clock=room.table_step
    )
    for t in (1, 7, 7.25, 0.5):
        prior.denoise(draw(3, 4), t)
    assert [h[0].item() for h in heard] == pytest.approx([0, 6, 6.25, 0], abs=1e-4)
    assert heard[0].shape == (3,) and heard[0].dtype == torch.float32


# Intensities


@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_intensities(t):
    white = Network.example(Rng(0))
    m, s = 0.4, 0.25
    prior = Network(
        white.module, room.epsilon, white.process, (5, 6), (1e-3, 25.0), DOUBLE, scale=s, offset=m
    )
    alpha, sigma = white.process.alpha(t), white.process.sigma(t)
    x = draw(2, 5, 6, dtype=DOUBLE)
    want = m + s**2 * alpha / (alpha**2 * s**2 + sigma**2) * (x - alpha * m)
    assert (prior.denoise(x, t) - want).abs().max() < 1e-12
    assert (prior.score(x, t) + (x - alpha * m) / (alpha**2 * s**2 + sigma**2)).abs().max() < 1e-9


def test_scale_of_a_folder(saved):
    folder = saved()[0]
    unit, half = from_diffusers(folder), from_diffusers(folder, scale=0.5, offset=0.5)
    assert half.noise_range == pytest.approx([0.5 * k for k in unit.noise_range])
    s = torch.tensor(300.0, dtype=DOUBLE)
    t = unit.process.time(0.5 * unit.process.kappa(s))
    u = draw(2, 16, 16)
    x = unit.process.alpha(t) * (0.5 + 0.5 * u / unit.process.alpha(s))
    assert (half.denoise(x, t) - (0.5 + 0.5 * unit.denoise(u, s))).abs().max() < 1e-4


# Sizes and channels


@pytest.mark.parametrize("shape", [(16, 16), (11, 13), (16, 9), (3, 2)])
def test_sizes_are_reflected_and_cropped(saved, shape):
    folder, model, _ = saved()
    prior = from_diffusers(folder, shape=shape)
    u = draw(2, *shape)
    extra = [-n % 2 for n in shape]
    with torch.no_grad():
        eps = model(pad(u[:, None], (0, extra[1], 0, extra[0]), mode="reflect"), 499.0).sample[:, 0]
    alpha, sigma = prior.process.alpha(500), prior.process.sigma(500)
    want = (u - sigma * eps[:, : shape[0], : shape[1]]) / alpha
    assert (prior.denoise(u, 500) - want).abs().max() < 1e-4 * want.abs().max()


def test_reflection_further_than_the_signal():
    u = torch.arange(3.0).reshape(1, 1, 3)
    assert room._reflect(u, 8).flatten().tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert room._reflect(u[..., :1], 4).flatten().tolist() == [0, 0, 0, 0]


def test_complex_signal_as_two_channels(saved):
    folder, model, _ = saved(channels=2)
    prior = from_diffusers(folder, dtype=torch.complex64)
    assert prior.shape == (16, 16) and prior.dtype == torch.complex64
    x = draw(3, 16, 16, dtype=torch.complex64)
    with torch.no_grad():
        eps = model(torch.stack([x.real, x.imag], dim=1), 199.0).sample
    want = (x - prior.process.sigma(200) * torch.complex(eps[:, 0], eps[:, 1])) / prior.process.alpha(200)
    assert (prior.denoise(x, 200) - want).abs().max() < 1e-4


def test_one_channel_network_takes_the_parts_of_a_complex_signal_separately(saved):
    folder = saved()[0]
    real, prior = from_diffusers(folder), from_diffusers(folder, dtype=torch.complex64)
    x = draw(3, 16, 16, dtype=torch.complex64)
    want = torch.complex(real.denoise(x.real, 200), real.denoise(x.imag, 200))
    assert (prior.denoise(x, 200) - want).abs().max() < 1e-4
    coils = from_diffusers(folder, shape=(4, 16, 16), dtype=torch.complex64)
    assert (coils.denoise(x[:, None].expand(-1, 4, -1, -1), 200)[:, 2] - want).abs().max() < 1e-4


def test_colours(saved):
    folder, model, _ = saved(channels=3)
    prior = from_diffusers(folder)
    assert prior.shape == (3, 16, 16)
    x = draw(2, 3, 16, 16)
    with torch.no_grad():
        want = (x - prior.process.sigma(200) * model(x, 199.0).sample) / prior.process.alpha(200)
    assert (prior.denoise(x, 200) - want).abs().max() < 1e-4


def test_learned_variance_is_left_out(saved):
    folder, model, _ = saved(channels=1, out=2)
    prior = from_diffusers(folder)
    x = draw(2, 16, 16)
    with torch.no_grad():
        eps = model(x[:, None], 199.0).sample[:, 0]
    want = (x - prior.process.sigma(200) * eps) / prior.process.alpha(200)
    assert (prior.denoise(x, 200) - want).abs().max() < 1e-4


# Gradients, precision, rows


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_gradient(saved, dtype):
    prior = from_diffusers(saved()[0], shape=(7, 10), dtype=dtype.to_complex() if dtype.is_complex else dtype)
    prior = prior.to(DOUBLE)
    x, v, w = (draw(2, 7, 10, dtype=dtype, seed=i) for i in range(3))
    y, back = torch.func.vjp(lambda x: prior.denoise(x, 300), x)
    h = 1e-6
    slope = (prior.denoise(x + h * v, 300) - prior.denoise(x - h * v, 300)) / (2 * h)
    inner = [(torch.view_as_real(a.to(torch.complex128)) * torch.view_as_real(b.to(torch.complex128))).sum()
             for a, b in ((w, slope), (back(w)[0], v))]  # fmt: skip
    assert inner[0] == pytest.approx(inner[1].item(), rel=1e-6)
    x0, covariance = prior.tweedie(x, 300)
    assert torch.equal(x0, y) and covariance(w).shape == x.shape


def test_parameters_are_frozen_and_dropout_is_off():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.drop = nn.Linear(4, 4), nn.Dropout(0.5)

        def forward(self, u, t):
            return self.drop(self.layer(u))

    module = Half().train()
    prior = Network(module, room.data, VariancePreserving(), (4,), (1e-3, 100.0), axes=1)
    x = draw(2, 4).requires_grad_()
    assert torch.equal(prior.denoise(x, 0.5), prior.denoise(x, 0.5))
    (g,) = torch.autograd.grad(prior.denoise(x, 0.5).sum(), x)
    assert g.abs().min() > 0 and not [p for p in module.parameters() if p.requires_grad]


def test_precision(saved):
    single = from_diffusers(saved()[0])
    double = single.to(DOUBLE)
    x = draw(2, 16, 16, dtype=DOUBLE)
    assert single.denoise(x, 100).dtype == DOUBLE and double.dtype == DOUBLE
    assert next(single.module.parameters()).dtype == torch.float32  # the copy left it alone
    assert (single.denoise(x.float(), 100) - double.denoise(x, 100)).abs().max() < 1e-3


def test_rows_are_independent(saved):
    prior = from_diffusers(saved()[0])
    x = draw(5, 16, 16)
    alone = torch.cat([prior.denoise(row[None], 300) for row in x])
    assert (prior.denoise(x, 300) - alone).abs().max() < 1e-4


def test_grid_and_another_process(saved):
    prior = from_diffusers(saved()[0])
    grid = prior.grid(20)
    assert grid[0] == pytest.approx(1000) and grid[-2] == pytest.approx(1, rel=1e-6) and grid[-1] == 0
    other = VariancePreserving()
    t = other.time(prior.process.kappa(300))
    x = draw(1, 16, 16)
    native = x * (prior.process.alpha(300) / other.alpha(t))
    assert (prior.under(other).denoise(x, t) - prior.denoise(native, 300)).abs().max() < 1e-4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda(saved):
    prior = from_diffusers(saved()[0], shape=(11, 13), dtype=torch.complex64)
    x = draw(2, 11, 13, dtype=torch.complex64)
    y = prior.to("cuda").denoise(x.cuda(), 300)
    assert y.is_cuda and (y.cpu() - prior.denoise(x, 300)).abs().max() < 1e-2


# Is it a denoiser?


def test_denoising_error_is_the_exact_one():
    prior = Network.example(Rng(0))
    images = draw(500, 5, 6, dtype=DOUBLE)
    ours, identity = denoising_errors(prior, images, kappa=0.5)
    assert identity == pytest.approx(0.25, rel=0.05) and ours == pytest.approx(0.25 / 1.25, rel=0.05)


def test_beats_identity():
    prior = Network.example(Rng(0))
    images = draw(20, 5, 6, dtype=DOUBLE)
    assert beats_identity(prior, images)
    wrong = Network(prior.module, room.data, prior.process, (5, 6), prior.noise_range, DOUBLE)
    assert not beats_identity(wrong, images)


def test_random_weights_do_not_beat_the_identity(saved):
    prior = from_diffusers(saved()[0])
    assert not beats_identity(prior, 0.5 * draw(4, 16, 16).tanh())


# What cannot be used


def test_bad_networks(saved):
    white = Network.example(Rng(0))
    build = [white.module, room.epsilon, white.process]
    with pytest.raises(BadInput, match="offset = 0.5 has no meaning for a complex"):
        Network(*build, (5, 6), (1e-3, 1.0), torch.complex64, offset=0.5)
    with pytest.raises(BadInput, match="scale = -1"):
        Network(*build, (5, 6), (1e-3, 1.0), scale=-1)
    with pytest.raises(BadInput, match=r"shape = \(5,\)"):
        Network(*build, (5,), (1e-3, 1.0))
    with pytest.raises(BadInput, match="has 1 channels, the network takes 3"):
        from_diffusers(saved(channels=3)[0], shape=(16, 16))


def test_bad_folders(tmp_path, saved):
    folder, model, _ = saved()
    with pytest.raises(BadInput, match="nowhere.*does not exist; give a folder"):
        from_diffusers(tmp_path / "nowhere")
    model.save_pretrained(tmp_path / "bare")
    with pytest.raises(BadInput, match="scheduler_config.json does not exist; .* pass process="):
        from_diffusers(tmp_path / "bare")
    alone = from_diffusers(tmp_path / "bare", process=Tabulated.linear(), parameterisation=room.epsilon)
    x = draw(1, 16, 16)
    assert (alone.denoise(x, 300) - from_diffusers(folder).denoise(x, 300)).abs().max() < 1e-3
    model.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    with pytest.raises(BadInput, match=r"no safetensors weights but diffusion_pytorch_model.bin, a pickle"):
        from_diffusers(tmp_path / "pickled", process=Tabulated.linear(), parameterisation=room.epsilon)
    (tmp_path / "bare" / "config.json").write_text("{")
    with pytest.raises(BadInput, match="holds no JSON settings"):
        from_diffusers(tmp_path / "bare")
    (tmp_path / "bare" / "config.json").write_text('{"_class_name": "UNet2DModel", "block_out_channels": 3}')
    with pytest.raises(BadInput, match="cannot be loaded"):
        from_diffusers(tmp_path / "bare")
    (tmp_path / "bare" / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    with pytest.raises(BadInput, match="UNet2DConditionModel; only UNet2DModel"):
        from_diffusers(tmp_path / "bare")


def load_bare(folder):
    return from_diffusers(folder, process=Tabulated.linear(), parameterisation=room.epsilon)


def test_weights_are_never_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    model = unet()
    model.save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    missing = weights.pop("conv_in.weight")
    save_file(weights, path)
    with pytest.raises(BadInput, match="conv_in.weight"):
        load_bare(tmp_path)
    save_file({**weights, "conv_in.weight": missing[:4].contiguous()}, path)
    with pytest.raises(BadInput, match="cannot be loaded"):
        load_bare(tmp_path)
    path.write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="cannot be loaded"):
        load_bare(tmp_path)


@pytest.mark.parametrize(
    "scheduler, match",
    [
        (dict(_class_name="FlowMatchEulerDiscreteScheduler"), "FlowMatchEulerDiscreteScheduler has no table"),
        (
            dict(beta_schedule="linear", prediction_type="flow_prediction"),
            "prediction_type = 'flow_prediction'",
        ),
        (dict(beta_schedule="other"), "pass process="),
        (dict(trained_betas="many"), "pass process="),
    ],
)
def test_bad_schedulers(tmp_path, scheduler, match):
    unet().save_pretrained(tmp_path / "unet")
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    with pytest.raises(BadInput, match=match):
        from_diffusers(tmp_path)


def test_without_the_library(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(BadInput, match=r"pip install 'inverse-workbench\[models\]'"):
        from_diffusers(saved()[0])


def test_a_class_conditional_network_is_refused(tmp_path):
    unet(num_class_embeds=3).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="conditioned on classes"):
        load_bare(tmp_path)
