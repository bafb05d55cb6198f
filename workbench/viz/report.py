"""The report of a reconstruction: one HTML file without links to anything outside it."""

from pathlib import Path

import numpy as np
import torch

from workbench.viz.panel import embedded, grid

NAMES = dict(
    held_out_chi_square=("Chi-square of the held-out data", "1 if the model is right"),
    held_out_coverage_90=("Held-out data inside their 90 % interval", "0.90 if the model is right"),
    held_out_numbers=("Real numbers held out", ""),
    data_consistency=("Mean square misfit of the draws, in noise variances", "1 in expectation"),
    measurements=("Real numbers measured", ""),
    noise_factor=("Fitted noise level, in units of the first estimate", ""),
    psnr_mean=("PSNR of the posterior mean inside the head (dB)", ""),
    coverage_90=(
        "Truth inside the 90 % interval of the modulus, inside the head",
        "0.90 if the prior were right",
    ),
)


def modulus(x):
    """|x| for complex images, x itself for real ones, as numpy."""
    return (x.abs() if x.is_complex() else x).detach().cpu().numpy()


def quantile(picture, hidden, q):
    """The q-quantile of what is shown."""
    return float(np.quantile(picture if hidden is None else picture[~hidden], q))


def pictures(part, unit, truth=None):
    """The pictures of one slice: posterior first, then what it is compared with, all on one scale."""
    hidden = ~part.support.cpu().numpy() if not part.support.all() else None
    mean, std = modulus(part.mean), part.std.cpu().numpy()
    high, low = quantile(mean, hidden, 0.999), min(0.0, quantile(mean, hidden, 0.001))
    common = dict(unit=unit, low=low, high=high, hidden=hidden)
    spread = "standard deviation" + (" of the modulus" if part.mean.is_complex() else "")
    first = [
        dict(picture=mean, title="posterior mean", **common),
        dict(
            picture=std,
            title=spread,
            unit=unit,
            cmap="magma",
            low=0.0,
            high=quantile(std, hidden, 0.995),
            hidden=hidden,
        ),
        dict(picture=part.lower.cpu(), title="5 % quantile", **common),
        dict(picture=part.upper.cpu(), title="95 % quantile", **common),
    ]
    second = [dict(picture=modulus(x), title=f"draw {i + 1}", **common) for i, x in enumerate(part.draws[:2])]
    second += [dict(picture=modulus(x), title=name, **common) for name, x in part.others.items()]
    if truth is not None:
        second.append(dict(picture=modulus(truth), title="truth", **common))
        error = modulus(part.mean) - modulus(truth)
        size = quantile(np.abs(error), hidden, 0.995)
        second.append(
            dict(
                picture=error,
                title="posterior mean - truth",
                unit=unit,
                cmap="RdBu_r",
                low=-size,
                high=size,
                hidden=hidden,
            )
        )
    return first, second


def fit_figure(part):
    """The fitted spectrum along the radius, and how the iteration settled."""
    from matplotlib.figure import Figure

    P = part.spectrum.cpu()
    axes = [torch.fft.fftfreq(n) for n in P.shape]
    r = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt().flatten()
    order = r.argsort()[:: max(1, len(r) // 4000)]
    figure = Figure(figsize=(10, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.loglog(r[order].clamp_min(1e-4), P.flatten()[order])
    left.set(
        xlabel="spatial frequency (cycles / pixel)",
        ylabel="variance of a frequency",
        title="fitted prior spectrum",
    )
    steps = range(1, len(part.history) + 1)
    right.semilogy(steps, [h["change"] for h in part.history], label="largest relative change")
    right.semilogy(steps, [h["sigma"] for h in part.history], label="noise factor")
    right.set(xlabel="EM iteration", title="how the fit settled")
    right.legend(fontsize=8)
    return figure


def report_html(title, parts, unit, labels, truths=None, tables=()):
    """The page, as text. parts: `Slice`s; labels: of the slices; tables: (caption, header, rows) shown first."""
    import jinja2

    template = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    slices = []
    for part, label, truth in zip(parts, labels, truths or [None] * len(parts), strict=True):
        first, second = pictures(part, unit, truth)
        slices.append(
            dict(
                label=label,
                first=embedded(grid(first, columns=4)),
                second=embedded(grid(second, columns=4)),
                fit=embedded(fit_figure(part)),
                checks=[(*NAMES.get(k, (k, "")), v) for k, v in part.checks.items()],
                settings=part.settings,
                notes=part.notes,
                warnings=part.warnings,
            )
        )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:].rstrip(".") + "."
    environment.filters["figure"] = lambda v: f"{v:.4g}" if isinstance(v, float) else f"{v}"
    return environment.from_string(template).render(title=title, slices=slices, unit=unit, tables=tables)
