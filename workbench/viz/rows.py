"""Rows of pictures, each row with its name: what several operators, methods or slices make of one signal."""

import numpy as np

from workbench.viz.panel import image


def rows(named, width=2.1):
    """A figure with a row for each name: {name: [dicts of the arguments of `image`, ...]}.

    Every picture fills a square of about `width` inches, whatever its shape, so that sinograms and images stand side by
    side. One of shape (3, H, W) is RGB in [0, 1], clipped, and has no colour bar.
    """
    from matplotlib.figure import Figure

    columns = max(map(len, named.values()))
    size = (width * columns + 0.3, 0.88 * width * len(named))
    figure = Figure(figsize=size, layout="constrained")
    for line, (name, pictures) in zip(
        figure.subplots(len(named), columns, squeeze=False), named.items(), strict=True
    ):
        for ax, arguments in zip(line, pictures, strict=False):
            square(ax, **arguments)
        for ax in line[len(pictures) :]:
            ax.set_axis_off()
        line[0].set_ylabel(name, fontsize=10)
    return figure


def square(ax, picture, title, **how):
    """One picture that fills its panel."""
    a = np.asarray(picture, dtype=float)
    if a.ndim == 2:
        image(ax, a, title, **how).colorbar.ax.locator_params(nbins=3)
    else:
        ax.imshow(a.transpose(1, 2, 0).clip(0, 1), interpolation="nearest")
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[])
    ax.set_facecolor("lightsteelblue")  # shows where a picture has NaN
    ax.set_aspect("auto")
    ax.set_box_aspect(1)
