"""The suite `overhead`: what a sampler takes beyond its calls of the network, 64x64 real images in batches of 8.

The network carries a stopwatch. Two identities stand at its door: a call runs from the one to the other, and so does its
backward pass, whose gradient comes in at the second and leaves at the first. `inside` is all the time between them, and
overhead = (seconds - inside) / inside, with the seconds of the run's own cost, or to the end of its last pass where that
is later (a sampler's `finish` may call the network). Whatever else the machine does falls on both alike, and a batch of
another size or a call that keeps a graph counts as what it took. The adapter from the signal to the network (`Network`),
the counting and the loop are outside: they are overhead.

The column "by count" is the check: the denoiser calls and products that the run counted, times medians per signal of a
forward, a forward that keeps its graph and a backward, taken in batches of 8 before and after. It rests on two clocks
at two times and on one size of batch, so it agrees within the noise of the machine and no better. A "?" at the counts
says that they are not the signals that went through the network.
"""

import time
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

N, SIZE = 8, 64
SECONDS = 2.0  # of each sampler, about
STEPS = 40  # at most
FREE, BASED = 0.05, 0.10  # of the network's time, without and with gradients of it
WIDTHS = (24, 48, 96, 192)  # 2.0 million parameters, about 0.1 s a batch of 8 on one thread
HEADER = (
    "sampler",
    "gradient",
    "steps",
    "denoiser",
    "vjp",
    "seconds",
    "in the network",
    "overhead",
    "by count",
    "limit",
    "met",
)
BESIDE = {"exact", "exact-draws", "mala"}  # want the prior's density, which a network does not give


# --- the network ----------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """x + two convolutions, the time added between them."""

    def __init__(self, before, after, times, groups=4):
        super().__init__()
        self.before, self.between = nn.GroupNorm(groups, before), nn.GroupNorm(groups, after)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.time, self.skip = nn.Linear(times, after), nn.Conv2d(before, after, 1)

    def forward(self, x, e):
        h = self.first(F.silu(self.before(x))) + self.time(e)[:, :, None, None]
        return self.skip(x) + self.second(F.silu(self.between(h)))


class UNet(nn.Module):
    """A U-Net as diffusion models have it, small and untrained: (n, 1, H, W), (n,) -> (n, 1, H, W)."""

    def __init__(self, widths=WIDTHS, times=64):
        super().__init__()
        pairs = list(zip((widths[0], *widths), widths, strict=False))
        self.time = nn.Sequential(nn.Linear(1, times), nn.SiLU(), nn.Linear(times, times))
        self.first = nn.Conv2d(1, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Block(a, b, times) for a, b in pairs)
        self.middle = Block(widths[-1], widths[-1], times)
        self.up = nn.ModuleList(Block(2 * b, a, times) for a, b in reversed(pairs))
        self.last = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, x, t):
        e, x, kept = self.time(t[:, None]), self.first(x), []
        for block in self.down:
            x = block(F.avg_pool2d(x, 2) if kept else x, e)
            kept.append(x)
        x = self.middle(x, e)
        for block in self.up:
            x = block(torch.cat([x, kept.pop()], 1), e)
            x = F.interpolate(x, scale_factor=2.0) if kept else x
        return self.last(x)


def unet(seed=0):
    """The U-Net with weights drawn from a seed of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet()


# --- the stopwatch --------------------------------------------------------------------------------------------------


class Watch:
    """Signals and seconds of three kinds of pass: `plain` forward, forward that keeps a `graph`, `backward`."""

    def __init__(self):
        self.signals = dict(plain=0, graph=0, backward=0)
        self.seconds = dict(plain=0.0, graph=0.0, backward=0.0)
        self.since, self.last = None, 0.0

    inside = property(lambda self: sum(self.seconds.values()))

    def start(self):
        if self.since is not None:
            raise RuntimeError(
                "a pass of the network began within another; the stopwatch knows one at a time"
            )
        self.since = time.perf_counter()

    def stop(self, kind, n):
        self.last = time.perf_counter()
        self.seconds[kind] += self.last - self.since
        self.signals[kind] += n
        self.since = None


class _Enter(torch.autograd.Function):
    """x, at the door; the backward pass of the network ends here."""

    @staticmethod
    def forward(ctx, x, watch):
        ctx.watch = watch
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        ctx.watch.stop("backward", len(g))
        return g, None


class _Leave(torch.autograd.Function):
    """x, at the door; the backward pass of the network begins here.

    It keeps x, so that a call under torch.utils.checkpoint is recomputed, as a forward, before the pass begins.
    """

    @staticmethod
    def forward(ctx, x, watch):
        ctx.watch = watch
        ctx.save_for_backward(x)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        _ = ctx.saved_tensors
        ctx.watch.start()
        return g, None


class Timed(nn.Module):
    """The module, its passes timed by `watch`."""

    def __init__(self, module):
        super().__init__()
        self.module, self.watch = module, Watch()

    def forward(self, x, t):
        x = _Enter.apply(x, self.watch)
        self.watch.start()
        out = self.module(x, t)
        self.watch.stop("graph" if out.requires_grad else "plain", len(x))
        return _Leave.apply(out, self.watch)


# --- what is measured -----------------------------------------------------------------------------------------------


def inpainting(module, size=SIZE):
    """Half of the pixels of a smooth image under Gaussian noise, with the module as its prior."""
    import workbench as wb
    from workbench.operators.mask import Mask, random_mask
    from workbench.priors.network import Network, data

    axis = torch.linspace(-1, 1, size)
    truth = torch.sin(3 * axis[:, None] + axis) * torch.cos(4 * axis)
    process = wb.diffusion.VariancePreserving()
    prior = Network(Timed(module), data, process, (size, size), (0.01, 50.0))
    A, noise = Mask(random_mask((size, size), 0.5)), wb.noise.Gaussian(0.05)
    return wb.Problem(prior, A, noise, y=noise.sample(A(truth), 0), truth=truth, name="overhead")


def plans():
    """(name, sampler) of the catalogue, in the form that a large y or a short suite needs; steppers as steppers."""
    from workbench import catalogue
    from workbench.samplers.h_transform import HTransform
    from workbench.samplers.pigdm import PiGDM
    from workbench.samplers.twists import Isotropic

    settings = {
        "tds": dict(twist=Isotropic()),  # the matched twist forms a matrix of the size of y
        "noise-space-mcmc": dict(ode_steps=3),
        "d-flow": dict(ode_steps=3),
        "enkg": dict(ode_steps=5),
        "optimal-boundary": dict(candidates=2, search_steps=2, flow=PiGDM()),
        "repaint": dict(resamplings=2),
    }
    for entry in catalogue.entries("samplers"):
        kind = entry.card["kind"]
        if kind in ("stepper", "guidance", "sampler") and entry.name not in BESIDE:
            sampler = catalogue.load("samplers", entry.name)
            if kind == "stepper":  # under the guidance that takes the least
                yield f"{entry.name} + h-transform", sampler(guidance=HTransform())
            else:
                yield entry.name, sampler(**settings.get(entry.name, {}))


def rows(say=None, module=None, chosen=None, seconds=SECONDS, n=N, size=SIZE):
    """One dict a sampler (default: all of `plans`), on `module` (default: the U-Net)."""
    from workbench.samplers.ddpm import DDPM

    problem, found = inpainting(unet() if module is None else module, size), []
    measured(problem, DDPM(), 2, 2)  # what is imported at the first run is imported here
    before = passes(problem, n)
    for name, sampler in plans() if chosen is None else chosen:
        steps = affordable(problem, sampler, seconds, n)
        row = measured(problem, sampler, steps, n)
        after = passes(problem, n)
        found.append(summary(name, row, {k: before[k] + after[k] for k in after}))
        before = after
        if say is not None:
            say(found[-1])
    return found


def affordable(problem, sampler, seconds, n):
    """How many steps take about so many seconds, from 2 to STEPS; the run that tells, of 2 samples, is the warm-up."""
    step = measured(problem, sampler, 2, min(n, 2))["seconds"] / 2 * max(1, n / 2)
    return max(2, min(STEPS, int(seconds / step)))


def measured(problem, sampler, steps, n):
    """One run: what it counted, its seconds, and those of the network by the stopwatch."""
    from workbench.run import sample

    problem.prior.module.watch = watch = Watch()
    start = time.perf_counter()
    cost = sample(problem, sampler, n=n, steps=steps, progress=False).cost
    return dict(
        steps=steps,
        denoiser=cost.denoiser,
        vjp=cost.vjp,
        seconds=max(cost.seconds, watch.last - start),
        inside=watch.inside,
        signals=watch.signals,
        parts=watch.seconds,
    )


def passes(problem, n, repeats=2):
    """Seconds per signal of each kind of pass, `repeats` of each in turn, of a batch of n."""
    prior, taken = problem.prior, dict(plain=[], graph=[], backward=[])
    t, x = prior.process.time(1.0), torch.zeros(n, *prior.shape)
    for _ in range(repeats):
        prior.module.watch = watch = Watch()
        with torch.no_grad():
            prior.denoise(x, t)
        _, covariance = prior.tweedie(x, t)
        covariance(x)
        for kind, seconds in watch.seconds.items():
            taken[kind].append(seconds / n)
    return taken


def summary(name, row, taken):
    """The row with its overhead, its limit, and the overhead that counts and medians give."""
    each = {kind: median(values) for kind, values in taken.items()}
    kept = row["signals"]["graph"]
    predicted = (
        (row["denoiser"] - kept) * each["plain"] + kept * each["graph"] + row["vjp"] * each["backward"]
    )
    gradient = row["signals"]["backward"] > 0
    overhead, limit = row["seconds"] / row["inside"] - 1, BASED if gradient else FREE
    return dict(
        name=name,
        gradient=gradient,
        **row,
        overhead=overhead,
        by_count=row["seconds"] / predicted - 1,
        counted=agree(row),
        limit=limit,
        within=overhead <= limit,
    )


def agree(row):
    """Whether the run counted the signals that went through the network, forward and backward."""
    s = row["signals"]
    return (row["denoiser"], row["vjp"]) == (s["plain"] + s["graph"], s["backward"])


# --- how it is shown ------------------------------------------------------------------------------------------------


def cells(row):
    """The words of one row under HEADER."""
    return (
        row["name"],
        "yes" if row["gradient"] else "no",
        str(row["steps"]),
        str(row["denoiser"]),
        str(row["vjp"]) + ("" if row["counted"] else " ?"),
        f"{row['seconds']:.2f}",
        f"{row['inside']:.2f}",
        f"{100 * row['overhead']:.1f} %",
        f"{100 * row['by_count']:.1f} %",
        f"{100 * row['limit']:.0f} %",
        "yes" if row["within"] else "NO",
    )


def table(found):
    """The rows as text."""
    lines = [HEADER, *map(cells, found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )


def page(found):
    """The rows for a page, with what they were measured on."""
    facts = ", ".join(f"{k} {v}" for k, v in found["machine"].items() if v is not None)
    lines = [HEADER, ("---", *["---:"] * (len(HEADER) - 1)), *map(cells, found["rows"])]
    about = (
        f"Inpainting of a {SIZE}x{SIZE} real image, batch {N}, an untrained U-Net. overhead: seconds of the run over "
        f"those inside the network, less one; by count: over counted calls times their medians in batches of {N}."
    )
    return "\n".join(
        ["# overhead", "", about, facts + ".", "", *["| " + " | ".join(c) + " |" for c in lines], ""]
    )
