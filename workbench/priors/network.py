"""A trained network as a prior: what it predicts, the schedule it was trained on, and its range of intensities."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from torch import nn

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.diffusion._process import Process
from workbench.diffusion.tabulated import Tabulated
from workbench.diffusion.variance_preserving import VariancePreserving
from workbench.priors._prior import Prior

# What a network may predict from x = alpha x0 + sigma eps, and the x0 that follows.


def epsilon(out, x, alpha, sigma):
    """x0 = (x - sigma eps) / alpha, for a network that predicts the noise eps (Ho et al. 2020)."""
    return (x - sigma * out) / alpha


def data(out, x, alpha, sigma):
    """x0 itself is what the network predicts."""
    return out


def velocity(out, x, alpha, sigma):
    """x0 = (alpha x - sigma v) / (alpha^2 + sigma^2), for v = alpha eps - sigma x0 (Salimans and Ho 2022)."""
    return (alpha * x - sigma * out) / (alpha**2 + sigma**2)


def flow_velocity(out, x, alpha, sigma):
    """x0 = (x - sigma u) / (alpha + sigma), for u = eps - x0, dx/dt on a straight path (Liu et al. 2023)."""
    return (x - sigma * out) / (alpha + sigma)


def score(out, x, alpha, sigma):
    """x0 = (x + sigma^2 s) / alpha, for s = grad log p_t(x) (Song et al. 2021)."""
    return (x + sigma**2 * out) / alpha


def same_time(t):
    """The network is told the time of its process."""
    return t


def table_step(t):
    """The network is told the step of its table, which counts from 0 where Tabulated counts from 1; not rounded."""
    return (t - 1).clamp_min(0)


@dataclass(frozen=True, eq=False)
class Network(Prior):
    """E[x0 | x_t] from a trained network: x0 = offset + scale u0, with u0 in the network's own intensities.

    module: (rows, channels, *axes), (rows,) times -> the same shape, or more channels, of which the first count.
    parameterisation: (out, u_t, alpha, sigma) -> u0; `epsilon`, `data`, `velocity`, `flow_velocity` or `score`.
    process: the schedule it was trained on, for u.  noise_range: kappa = sigma / alpha it is good for, in units of the
    signal; `scale` times the range of the network.  shape: (*axes,) or (C, *axes), as many axes as the network takes.
    channels: what the network takes at once (default: all that the signal has). A complex signal has 2 C channels, real
    parts first; where it has more than `channels`, groups of `channels` go through the network on their own, so that a
    one-channel network is applied to real and imaginary parts separately.
    scale, offset: signal units; for a complex signal only scale.  clock: t -> the number that the network is told.
    multiple: of which the network's axes should be; others are reflected up to it and cropped after.

    The module is put in eval mode and its parameters are frozen; gradients flow to x. It runs in its own precision and
    on its own device; the answer comes in the dtype of x. Raises BadInput where the channels do not fit.
    """

    card = dict(family="network", exact=False, source="Ho et al. 2020")

    module: nn.Module
    parameterisation: Callable
    process: Process
    shape: tuple
    noise_range: tuple
    dtype: torch.dtype = torch.float32
    channels: int | None = None
    axes: int = 2
    scale: float = 1.0
    offset: float = 0.0
    clock: Callable = same_time
    multiple: int = 1

    def __post_init__(self):
        if len(self.shape) < self.axes:
            raise BadInput(
                f"Network: shape = {tuple(self.shape)} should have {self.axes} axes, or one more for channels"
            )
        if self.dtype.is_complex and self.offset != 0:
            raise BadInput(
                f"Network: offset = {self.offset} has no meaning for a complex signal; use scale alone"
            )
        if not self.scale > 0:
            raise BadInput(
                f"Network: scale = {self.scale} should be positive, signal units per unit of the network"
            )
        if self._channels % self._width:
            raise BadInput(
                f"Network: shape = {tuple(self.shape)} of {self.dtype} has {self._channels} channels, the network takes "
                f"{self._width}; give a signal with a multiple of {self._width}"
            )
        self.module.eval().requires_grad_(False)

    _channels = property(lambda self: prod(self.shape[: -self.axes]) * (1 + self.dtype.is_complex))
    _width = property(lambda self: self.channels or self._channels)

    @classmethod
    def example(cls, rng, dtype=torch.float64):
        """White noise of unit variance, for which the network is known: eps = sigma x."""
        process = VariancePreserving()
        return cls(_White(process), epsilon, process, (5, 6), (1e-3, 100.0), dtype)

    @property
    def device(self):
        """Where the network's parameters are (the CPU, if it has none)."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    def to(self, device=None, dtype=None):
        """A copy of the prior with its network on `device`, for signals and weights in the precision of `dtype`."""
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        real = dtype.to_real() if dtype is not None else None
        signal = self.dtype if real is None else real.to_complex() if self.dtype.is_complex else real
        return replace(self, module=deepcopy(self.module).to(device=device, dtype=real), dtype=signal)

    def denoise(self, x, t):
        """E[x0 | x_t = x], x: (n, *shape); t: one time of `process`, at the noise level sigma / alpha of the signal."""
        s = self.process.time(self.process.kappa(t) / self.scale)  # where the network sees the same noise
        alpha, sigma = self.process.alpha(s), self.process.sigma(s)
        u = _to_channels(x, self._width, self.axes)
        u = (u / self.process.alpha(t) - self.offset) * (alpha / self.scale)
        u0 = self.parameterisation(self._predict(u, s), u, alpha, sigma)
        return _from_channels(self.offset + self.scale * u0, x)

    def _predict(self, u, s):
        """The network's answer to u: (rows, channels, *axes), in the dtype of u."""
        like = next(self.module.parameters(), u)
        time = self.clock(s).to(like.device, like.dtype).expand(len(u))
        size = u.shape[2:]
        out = self.module(_reflect(u, self.multiple).to(like.dtype), time)[:, : self._width]
        return out[(..., *(slice(n) for n in size))].to(u.dtype)


class _White(nn.Module):
    """The noise prediction for white noise of unit variance, sigma x."""

    def __init__(self, process):
        super().__init__()
        self.process = process

    def forward(self, x, t):
        return self.process.sigma(t[0]) * x


def _to_channels(x, width, axes):
    """(n, *shape) real or complex -> (rows, width, *axes) real, real parts before imaginary ones."""
    x = x.reshape(len(x), -1, *x.shape[x.ndim - axes :])
    x = torch.cat([x.real, x.imag], dim=1) if x.is_complex() else x
    return x.reshape(-1, width, *x.shape[2:])


def _from_channels(u, like):
    """The inverse of `_to_channels`, in the shape and dtype of `like`."""
    if not like.is_complex():
        return u.reshape(like.shape)
    real, imag = u.reshape(len(like), 2, *like.shape[1:]).unbind(1)
    return torch.complex(real, imag)


def _reflect(u, multiple):
    """u: (rows, channels, *axes), each axis continued by reflection to the next multiple of `multiple`."""
    for axis in range(2, u.ndim):
        size = u.shape[axis]
        if size % multiple:
            i = torch.arange(-(-size // multiple) * multiple, device=u.device) % max(2 * size - 2, 1)
            u = u.index_select(axis, torch.where(i < size, i, 2 * size - 2 - i))
    return u


# Networks of the diffusers library.

PREDICTIONS = dict(epsilon=epsilon, sample=data, v_prediction=velocity)
BETAS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


NO_SCHEDULER = "give the folder of the whole pipeline, or pass process= and parameterisation="


class _Diffusers(nn.Module):
    """A diffusers model that answers with a tensor."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, t):
        return self.model(x, t, return_dict=False)[0]


def from_diffusers(
    folder, shape=None, dtype=torch.float32, scale=1.0, offset=0.0, process=None, parameterisation=None
):
    """The Network of a diffusers folder: a UNet2DModel in safetensors, with the table of its scheduler.

    folder: a pipeline's (`unet/`, `scheduler/`), or a model's alone (`config.json`), which needs `process` and
    `parameterisation`.  shape: of the signal, by default the size it was trained on; dtype: real or complex.
    scale, offset: signal = offset + scale * network intensity; 0.5, 0.5 takes its [-1, 1] to [0, 1].
    Nothing is fetched and no pickle is read. Raises BadInput for a missing folder, another kind of model, pickled
    weights, weights that do not fit the model, or a scheduler without a table of betas.
    """
    folder = Path(folder)
    home = folder / "unet" if (folder / "unet").is_dir() else folder
    model = _load(_checked_home(home))
    if process is None or parameterisation is None:
        scheduler = _settings(folder / "scheduler" / "scheduler_config.json", NO_SCHEDULER)
        process = process or _table(scheduler)
        parameterisation = parameterisation or _prediction(scheduler)
    tabulated = isinstance(process, Tabulated)
    low, high = (1, process.t_max) if tabulated else (process.time(1e-3), process.t_max)
    return Network(
        _Diffusers(model),
        parameterisation,
        process,
        tuple(shape or _trained_shape(model.config, dtype)),
        (scale * float(process.kappa(low)), scale * float(process.kappa(high))),
        dtype=dtype,
        channels=model.config.in_channels,
        scale=scale,
        offset=offset,
        clock=table_step if tabulated else same_time,
        multiple=2 ** (len(model.config.block_out_channels) - 1),
    )


def _library():
    """The diffusers library; a BadInput where it is missing."""
    try:
        import diffusers
    except ImportError:
        raise BadInput(
            "folder: reading it needs diffusers; pip install 'inverse-workbench[models]'"
        ) from None
    return diffusers


def _first(error):
    """The first line of what an error says."""
    return str(error).strip().split("\n")[0]


def _settings(path, mend):
    """The JSON settings at `path`."""
    if not path.is_file():
        raise BadInput(f"folder: {path} does not exist; {mend}")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise BadInput(f"folder: {path} holds no JSON settings; save the model again with save_pretrained")
    return settings


def _checked_home(home):
    """`home`, if it holds an unconditional UNet2DModel whose weights are safetensors."""
    settings = _settings(
        home / "config.json", "give a folder written by save_pretrained of a diffusers UNet2DModel"
    )
    if settings.get("_class_name") != "UNet2DModel":
        raise BadInput(f"folder: {home} holds a {settings.get('_class_name')}; only UNet2DModel is read")
    if settings.get("class_embed_type") or settings.get("num_class_embeds"):
        raise BadInput(f"folder: {home} holds a model conditioned on classes; give an unconditional one")
    if not list(home.glob("diffusion_pytorch_model*.safetensors")):
        found = sorted(p.name for p in home.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        raise BadInput(
            f"folder: {home} has no safetensors weights{f' but {found[0]}, a pickle' if found else ''}; "
            f"save it where it came from with save_pretrained(folder, safe_serialization=True)"
        )
    return home


def _trained_shape(settings, dtype):
    """The signal that fills the network's channels at the size it was trained on."""
    size = settings.sample_size
    if not size:
        raise BadInput("shape: the model states no sample_size; pass shape=(H, W)")
    size = (size, size) if isinstance(size, int) else tuple(size)
    count = settings.in_channels // (2 if dtype.is_complex else 1)
    return size if count <= 1 else (count, *size)


def _prediction(scheduler):
    """What the scheduler says that the network predicts."""
    word = scheduler.get("prediction_type", "epsilon")
    if word not in PREDICTIONS:
        raise BadInput(
            f"folder: prediction_type = {word!r} is not one of {', '.join(PREDICTIONS)}; pass parameterisation="
        )
    return PREDICTIONS[word]


def _table(scheduler):
    """The discrete schedule of a diffusers scheduler, in double precision; entries without signal are left out."""
    if not {"beta_schedule", "trained_betas"} & set(scheduler):
        raise BadInput(f"folder: a {scheduler.get('_class_name')} has no table of betas; pass process=")
    try:
        betas = _library().DDPMScheduler(**{k: v for k, v in scheduler.items() if k in BETAS}).betas
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"folder: the scheduler gives no betas ({_first(error)}); pass process=") from None
    abar = torch.cumprod(1 - betas.double(), dim=0)
    return Tabulated(tuple(abar[abar > 0].tolist()))


def _load(home):
    """The UNet2DModel in `home`, every weight of it from the file."""
    kind = _library().UNet2DModel
    try:
        model, info = kind.from_pretrained(
            home,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise BadInput(f"folder: {home} cannot be loaded ({_first(error)}); save it again") from None
    odd = [*info["missing_keys"], *info["unexpected_keys"]]
    if odd:
        raise BadInput(
            f"folder: {home} has weights that do not fit its config.json, such as {odd[0]}; save it again"
        )
    return model


# Is it a denoiser at all?


@torch.no_grad()
def denoising_errors(prior, images, kappa, seed=0):
    """Mean |x0 - truth|^2 of the prior and of the identity x_t / alpha, at noise level kappa: two floats.

    images: (n, *prior.shape) of the signal, in its units.
    """
    t = prior.process.time(kappa)
    alpha, sigma = prior.process.alpha(t), prior.process.sigma(t)
    x = alpha * images + sigma * Rng(seed, "denoising_errors").normal(images)
    return tuple(float((guess - images).abs().square().mean()) for guess in (prior.denoise(x, t), x / alpha))


def beats_identity(prior, images, seed=0):
    """Whether the prior's denoising error is below that of leaving the noise in.

    Untrained weights fail it, and so do most mistakes of parameterisation, schedule or intensities; passing it proves
    no more than that.
    images: (n, *prior.shape), a few signals of the kind it was trained on. The noise is 0.3 of their spread (or the
    nearest in noise_range), where neither a constant nor the noisy image is a good guess.
    """
    spread = float((images - images.mean()).abs().square().mean()) ** 0.5
    low, high = prior.noise_range
    ours, identity = denoising_errors(prior, images, min(max(0.3 * spread, low), high), seed)
    return ours < identity
