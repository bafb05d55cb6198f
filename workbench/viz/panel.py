"""Pictures of images and posteriors, with colour bars and units."""

import base64
from html import escape
from io import BytesIO

import numpy as np


def image(ax, picture, title, unit="", cmap="gray", low=None, high=None, hidden=None):
    """One picture with its colour bar. hidden: bool, True where nothing is shown."""
    a = np.asarray(picture, dtype=float)
    a = a if hidden is None else np.where(hidden, np.nan, a)
    shown = ax.imshow(a, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    ax.set_title(title, fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])
    bar = ax.figure.colorbar(shown, ax=ax, fraction=0.046, pad=0.03)
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return shown


def row(pictures, width=3.3):
    """A figure with one picture an entry of `pictures`, dicts of the arguments of `image`."""
    from matplotlib.figure import Figure

    shape = np.asarray(pictures[0]["picture"]).shape
    height = width * shape[0] / shape[1] * 0.82 + 0.5
    figure = Figure(figsize=(width * len(pictures), min(height, 2 * width)), layout="constrained")
    for ax, arguments in zip(np.atleast_1d(figure.subplots(1, len(pictures))), pictures, strict=True):
        image(ax, **arguments)
    return figure


def grid(pictures, columns=4, width=3.3):
    """The same in rows of `columns`."""
    from matplotlib.figure import Figure

    rows = -(-len(pictures) // columns)
    shape = np.asarray(pictures[0]["picture"]).shape
    height = min(width * shape[0] / shape[1] * 0.82 + 0.5, 1.8 * width)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for ax, arguments in zip(axes, pictures, strict=False):
        image(ax, **arguments)
    for ax in axes[len(pictures) :]:
        ax.set_axis_off()
    return figure


def embedded(figure, dpi=110):
    """The figure as a data URI, for HTML without a second file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def posterior_pictures(post, samples=2):
    """Mean, standard deviation and a few samples of a posterior of images; complex ones by their modulus."""
    import torch

    flat = post.show()
    modulus = flat.map(torch.abs) if flat.samples.is_complex() else flat
    mean, std = modulus.mean(), flat.std()
    while mean.ndim > 2:
        mean, std = mean[len(mean) // 2], std[len(std) // 2]
    low, high = float(mean.min()), float(mean.max())
    label = "modulus" if flat.samples.is_complex() else "value"
    pictures = [
        dict(picture=mean.cpu(), title="posterior mean", unit=label, low=low, high=high),
        dict(picture=std.cpu(), title="posterior standard deviation", unit="std", cmap="magma", low=0),
    ]
    for i in range(min(samples, len(post))):
        x = modulus.samples[i]
        while x.ndim > 2:
            x = x[len(x) // 2]
        pictures.append(dict(picture=x.cpu(), title=f"sample {i + 1}", unit=label, low=low, high=high))
    return pictures


def posterior_html(post):
    """What Jupyter shows of a Posterior: pictures if it is of images, else a table of mean and std; size and cost."""
    note = (
        f"{len(post)} samples of shape {tuple(post.samples.shape[1:])}, effective {post.ess:.0f}; "
        f"{post.provenance.get('sampler', '')}; {post.cost.denoiser} denoiser calls, {post.cost.seconds:.2f} s"
    )
    warning = post.provenance.get("warning")
    head = f"<p>{escape(note)}</p>" + (f"<p><b>{escape(warning)}</b></p>" if warning else "")
    if post.show().samples.ndim >= 3:
        return (
            head
            + f'<img alt="posterior mean, standard deviation and samples" src="{embedded(row(posterior_pictures(post)))}">'
        )
    rows = zip(post.mean().flatten().tolist(), post.std().flatten().tolist(), strict=True)
    cells = "".join(
        f"<tr><td>{i}</td><td>{m:.4g}</td><td>{s:.4g}</td></tr>" for i, (m, s) in enumerate(list(rows)[:20])
    )
    return head + f"<table><tr><th>entry</th><th>mean</th><th>std</th></tr>{cells}</table>"
